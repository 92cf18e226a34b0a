"""What the registry is asked, and when it need not be."""

import shutil

import pytest

from appraise.bootstrap import build_registry
from appraise.errors import RegistryError
from appraise.serving.source import RegistrySource
from appraise.settings import Settings


class _Counting(RegistrySource):
    """Counts the processes that ask."""

    questions = 0

    def _elsewhere(self, function, *arguments):
        self.questions += 1
        return super()._elsewhere(function, *arguments)


def test_nobody_is_asked_while_the_registry_is_as_it_was(own_home, register):
    source = _Counting(build_registry(Settings(home=own_home)))
    first = source.ask(())
    assert [(known.version, known.aliases) for known in first] == [("1.0.0", ("champion",))]
    assert source.ask(()) == first
    assert source.questions == 1

    register(own_home, "1.1.0", promote=True)
    assert [(known.version, known.aliases) for known in source.ask(())] == [("1.1.0", ("champion",)), ("1.0.0", ())]
    assert source.questions == 2

    shutil.rmtree(own_home / "cache")
    (champion, _) = source.ask(())
    assert champion.folder.is_dir()
    assert source.questions == 3

    (own_home / "mlflow.db").write_bytes(b"no database")
    with pytest.raises(RegistryError, match="does not answer as it should"):
        source.ask(())

"""What the registry is asked, and when it need not be."""

import multiprocessing
import shutil
import socket

import pytest

from appraise.bootstrap import build_registry
from appraise.errors import RegistryError
from appraise.registry.changes import content_of
from appraise.serving.answers import Answers
from appraise.serving.source import RegistrySource
from appraise.settings import Settings


class _Counting(RegistrySource):
    """Counts the processes that ask."""

    questions = 0

    def _elsewhere(self, function, *arguments):
        self.questions += 1
        return super()._elsewhere(function, *arguments)


def test_nobody_is_asked_while_the_registry_is_as_it_was(asking_home, register):
    source = _Counting(build_registry(Settings(home=asking_home)))
    first = source.ask(())
    assert [(known.version, known.aliases) for known in first] == [("1.0.0", ("champion",))]
    assert source.ask(()) == first
    assert source.questions == 1

    register(asking_home, "1.1.0", promote=True)
    assert [(known.version, known.aliases) for known in source.ask(())] == [("1.1.0", ("champion",)), ("1.0.0", ())]
    assert source.questions == 2

    shutil.rmtree(asking_home / "cache")
    (champion, _) = source.ask(())
    assert champion.folder.is_dir()
    assert source.questions == 3

    (asking_home / "mlflow.db").write_bytes(b"no database")
    with pytest.raises(RegistryError, match="does not answer as it should"):
        source.ask(())


def _source(home):
    return _Counting(build_registry(Settings(home=home)))


def test_an_answer_holds_for_later_processes_and_for_copies_of_a_home(asking_home, register, tmp_path):
    first = _source(asking_home).ask(("california",))
    copied = tmp_path / "copied"
    shutil.copytree(asking_home, copied)
    for home in (asking_home, copied):
        later = _source(home)
        (champion,) = later.ask(("california",))
        assert (champion.version, champion.aliases, champion.digest) == (
            first[0].version,
            ("champion",),
            first[0].digest,
        )
        assert champion.folder.is_relative_to(home)
        assert later.questions == 0

    # Another question, another content, and files that are not what was registered are no answer to it.
    other = _source(asking_home)
    assert len(other.ask(())) == 1
    register(asking_home, "1.1.0", promote=True)
    assert [known.version for known in other.ask(())] == ["1.1.0", "1.0.0"]
    assert other.questions == 2
    for file in copied.rglob("model.*"):
        file.write_bytes(b"garbage")
    damaged = _source(copied)
    (mended,) = damaged.ask(("california",))
    assert damaged.questions == 1
    assert (mended.folder / "manifest.json").is_file()


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"content": "CONTENT", "answers": {"": [{"name": 1}]}}', "\x00"])
def test_answers_that_were_tampered_with_are_none(own_home, kept):
    registry = build_registry(Settings(home=own_home))
    answers = Answers(registry)
    content = answers.content()
    (known,) = answers.find(content, ())
    assert known.version == "1.0.0"
    (own_home / "cache" / "models" / "answers.json").write_text(kept.replace("CONTENT", content))
    assert answers.find(content, ()) is None
    answers.keep(content, (), (known,))
    assert answers.find(content, ()) == (known,)


@pytest.mark.parametrize("log", ["wal", "journal"])
def test_a_registry_that_is_being_written_to_is_asked(own_home, log):
    source = _source(own_home)
    source.ask(())
    assert source.questions == 0
    assert content_of(f"sqlite:///{own_home}/mlflow.db") is not None
    (own_home / f"mlflow.db-{log}").write_bytes(b"changes")
    assert content_of(f"sqlite:///{own_home}/mlflow.db") is None


def test_a_registry_that_takes_the_call_and_says_nothing_is_given_up(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("APPRAISE_MLFLOW__TRACKING_URI", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        source = RegistrySource(build_registry(Settings(home=tmp_path)), most_seconds=0.5)
        with pytest.raises(RegistryError, match=r"did not answer within 0\.5 seconds"):
            source.ask(())
    assert not multiprocessing.active_children()

from pathlib import Path

import pytest

from appraise.datasets.atomic import replacing
from appraise.errors import OutputError


def test_a_whole_file_takes_its_place(tmp_path):
    path = tmp_path / "new" / "sales.txt"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert path.stat().st_mode & 0o444 == 0o444
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_a_failure_leaves_what_was_there(tmp_path, failure):
    path = tmp_path / "sales.txt"
    path.write_text("before")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises((OutputError, KeyboardInterrupt, ValueError)) as caught:
        write()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(failure, OSError):
        assert "No space left on device" in str(caught.value)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught, replacing(Path(tmp_path / "file" / "sales.txt")):
        pass
    assert caught.value.hint

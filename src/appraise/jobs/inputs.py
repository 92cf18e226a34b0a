"""A file that a person names to be read, looked at before it is opened."""

from __future__ import annotations

from pathlib import Path

from appraise.errors import DataError, did_you_mean


def check_readable(path: Path) -> None:
    """Refuse a path that is no file with something in it; a pipe is taken as it is.

    Raises:
        DataError: saying what is there instead, and which name is near.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder", hint="name a file in it")
    if not path.exists():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file {path}", hint=did_you_mean(path.name, beside) or "check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"the file {path} is empty", hint="check what wrote it")

"""Paths as a person reads them."""

from __future__ import annotations

import os
from pathlib import Path


def plain(path: Path) -> Path:
    """The same place without `..` on the way: the path itself where it has none, or else the whole one.

    A link before a `..` is followed, for that leads up from where the link points to.
    """
    return Path(os.path.realpath(path)) if ".." in path.parts else path

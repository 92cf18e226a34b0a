"""What a model was made with: library versions and the commit of the working folder."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_LIBRARIES = ("appraise", "catboost", "lightgbm", "numba", "numpy", "polars", "scikit-learn", "scipy", "xgboost-cpu")
_GIT_SECONDS = 5.0


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that a model's numbers can depend on."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit(folder: Path) -> str | None:
    """The commit that `folder` is checked out at, with `-dirty` where it has changes; None outside a repository."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None

"""Specs that come with Appraise, and the way from what a person types to a spec."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

from appraise.datasets.spec import DatasetSpec
from appraise.datasets.specfile import read_spec
from appraise.errors import SpecError, did_you_mean

_SUFFIX = ".toml"
_TABLES = frozenset({".csv", ".tsv", ".txt", ".parquet", ".gz", ".xlsx", ".xls"})


def preset_names() -> tuple[str, ...]:
    """The names of the presets, in alphabetical order."""
    files = resources.files("appraise.datasets").joinpath("presets").iterdir()
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX)))


def find_spec(name_or_path: str) -> DatasetSpec:
    """The spec of a preset's name or of a TOML file's path.

    Raises:
        SpecError: there is neither, or the file is wrong.
    """
    if name_or_path in preset_names():
        return _preset(name_or_path)
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() in _TABLES:
        raise SpecError(
            f"{name_or_path} is a table of sales, not a spec",
            hint=f"make a spec from it: appraise init {name_or_path} --target COLUMN",
        )
    if path.suffix.lower() == _SUFFIX or path.is_file():
        return read_spec(path)
    names = preset_names()
    raise SpecError(
        f"there is no preset {name_or_path!r}, and no spec of that path",
        hint=did_you_mean(name_or_path, names)
        or f"the presets are {', '.join(names)}; a spec of your own ends in .toml",
    )


def _preset(name: str) -> DatasetSpec:
    with resources.as_file(resources.files("appraise.datasets").joinpath("presets", name + _SUFFIX)) as path:
        return replace(read_spec(path), path=None)

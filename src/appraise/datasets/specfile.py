"""Dataset specs as TOML files, as JSON-able dictionaries, and as hashes."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from appraise.datasets.atomic import replacing
from appraise.datasets.spec import Cleaning, Column, CsvFormat, DatasetSpec, RandomSplit, Rule, TimeSplit
from appraise.datasets.speccheck import check_spec
from appraise.datasets.specparse import Places, parse_spec
from appraise.datasets.tomllines import key_lines
from appraise.errors import SpecError

_LINE = 110
_LARGEST = 1_000_000
#: Whole numbers below it are written without a fraction.
_LARGEST_WHOLE = 1e15
#: What may change without the dataset becoming another one: where its data are, and words for people.
_WORDS = frozenset({"path", "source", "title", "description", "example", "reason"})


def read_spec(path: Path) -> DatasetSpec:
    """The spec in a TOML file, checked.

    Raises:
        SpecError: the file cannot be read, or is wrong; with the line at fault.
    """
    text = _read_text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        cause = str(error).partition(" (at ")[0]
        raise SpecError(
            f"this is not TOML: {cause[:1].lower()}{cause[1:]}",
            hint="texts stand in quotes, each key on a line of its own: https://toml.io",
            path=str(path),
            line=line,
        ) from None
    except RecursionError:
        raise SpecError("the lists of this file are nested too deeply to be a spec", path=str(path)) from None
    return _parsed(document, Places(str(path), key_lines(text)))


def write_spec(spec: DatasetSpec, path: Path, *, notes: Mapping[str, str] | None = None) -> None:
    """Writes a spec as TOML; what was there before stays whole until the new file is.

    Args:
        spec: the spec; its `path` is not written.
        path: the file.
        notes: remarks that become comments, under the name of a column, or under "[csv]", "[split]", "[cleaning]",
            "[rules]" or "[dataset]".

    Raises:
        SpecError: the spec makes no sense.
        OutputError: the file cannot be written.
    """
    check_spec(spec)
    text = _document(spec, notes or {})
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def spec_to_dict(spec: DatasetSpec) -> dict[str, object]:
    """A JSON-able dictionary in the shape of the TOML file, without what has its default value."""
    document: dict[str, object] = json.loads(json.dumps(_tables(spec), default=dt.date.isoformat))
    return document


def spec_from_dict(document: Mapping[str, object]) -> DatasetSpec:
    """The inverse of `spec_to_dict`; raises SpecError for a dictionary that is no spec."""
    return _parsed(document, Places())


def spec_hash(spec: DatasetSpec) -> str:
    """SHA-256, in hexadecimal, of all that changes what a model of the dataset means.

    Titles, descriptions, examples, reasons and the place of the data do not; neither does a key that is left out or
    written with its default value.
    """
    document = _without_words(spec_to_dict(spec))
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _parsed(document: object, places: Places) -> DatasetSpec:
    spec = parse_spec(document, places)
    check_spec(spec, places)
    return spec


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise SpecError(
                "the file is too large for a spec",
                hint=f"if it is a table of sales, make a spec from it: appraise init {path.name} --target COLUMN",
                path=str(path),
            )
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecError(
            f"there is no spec {path}", hint="make one from a CSV with: appraise init FILE --target COLUMN"
        ) from None
    except IsADirectoryError:
        raise SpecError(f"{path} is a folder, not a spec", hint="give the path of a .toml file") from None
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", hint="check the file and its rights") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError("this is not UTF-8 text", hint="save the file as UTF-8", path=str(path), line=line) from None
    return text.replace("\r\n", "\n")


def _without_words(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_words(item) for key, item in value.items() if key not in _WORDS}
    if isinstance(value, list):
        return [_without_words(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) + 0.0  # 0, 0.0 and -0.0 are one number
    return value


def _tables(spec: DatasetSpec) -> dict[str, Any]:
    """The TOML document of a spec: keys with their default value left out, save those that a reader looks for."""
    document = _changed(spec, always=("name", "objective"))
    sections: dict[str, Any] = {
        "csv": _changed(spec.csv),
        "split": {"by": "time" if isinstance(spec.split, TimeSplit) else "random", **_all(spec.split)},
        "cleaning": _changed(spec.cleaning),
        "columns": [_changed(column, always=("name", "kind", "role")) for column in spec.columns],
        "rules": [_all(rule) for rule in spec.rules],
    }
    for key in ("path", *sections):
        document.pop(key, None)
    return document | {key: value for key, value in sections.items() if value}


def _all(value: TimeSplit | RandomSplit | Rule) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _changed(value: DatasetSpec | Column | CsvFormat | Cleaning, always: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        f.name: getattr(value, f.name)
        for f in fields(value)
        if f.name in always or not _is_default(f, getattr(value, f.name))
    }


def _is_default(of: Field[Any], value: object) -> bool:
    default = of.default_factory() if of.default_factory is not MISSING else of.default
    return type(value) is type(default) and value == default


def _document(spec: DatasetSpec, notes: Mapping[str, str]) -> str:
    tables = _tables(spec)
    columns, rules = tables.pop("columns"), tables.pop("rules", [])
    blocks = [[*_comment(notes.get("[dataset]")), *_pairs({k: v for k, v in tables.items() if type(v) is not dict})]]
    blocks += [
        [*_comment(notes.get(f"[{section}]")), f"[{section}]", *_pairs(tables.get(section, {}))]
        for section in ("csv", "split", "cleaning")
        if section in tables or f"[{section}]" in notes
    ]
    blocks += [[*_comment(notes.get(column["name"])), "[[columns]]", *_pairs(column)] for column in columns]
    blocks += [
        [*_comment(None if position else notes.get("[rules]")), "[[rules]]", *_pairs(rule)]
        for position, rule in enumerate(rules)
    ]
    return "\n".join("\n".join([*block, ""]) for block in blocks)


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _comment(note: str | None) -> list[str]:
    if not note:
        return []
    printable = "".join(character if character.isprintable() else " " for character in note)
    return textwrap.wrap(printable, _LINE, initial_indent="# ", subsequent_indent="# ")


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case dt.date():
            return value.isoformat()
        case tuple():
            items = [_value(item) for item in value]
            line = f"[{', '.join(items)}]"
            return line if len(line) <= _LINE else "[\n" + "".join(f"  {item},\n" for item in items) + "]"
        case float() if value.is_integer() and abs(value) < _LARGEST_WHOLE:
            return str(int(value))
        case _:
            return repr(value)

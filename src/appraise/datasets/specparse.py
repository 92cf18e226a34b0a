"""From the tables of a TOML or JSON document to the values of a spec: types, unknown keys, and nothing more."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TypeVar, get_args

from appraise.datasets.spec import (
    Cleaning,
    Column,
    CsvFormat,
    DatasetSpec,
    Encoding,
    Kind,
    Objective,
    Operator,
    RandomSplit,
    Role,
    Rule,
    TimeSplit,
)
from appraise.datasets.tomllines import KeyPath
from appraise.errors import SpecError, did_you_mean

T = TypeVar("T")

_KINDS: tuple[Kind, ...] = get_args(Kind)
_ROLES: tuple[Role, ...] = get_args(Role)
_ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
_OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
_OPERATORS: tuple[Operator, ...] = get_args(Operator)

_SECTIONS = ("csv", "split", "cleaning", "columns", "rules")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the values of a spec stand in its file, so that an error can say so.

    Attributes:
        file: the file, None for a spec that came from elsewhere.
        lines: the line of each key.
    """

    file: str | None = None
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def error(self, path: KeyPath, message: str, hint: str | None) -> SpecError:
        """The error for the value at `path`, or at the nearest table above it that has a line."""
        while path and path not in self.lines:
            path = path[:-1]
        return SpecError(message, hint=hint, path=self.file, line=self.lines.get(path))


class _Table:
    """One table while it is read: hands out its values by type, and refuses keys that nobody knows."""

    def __init__(self, values: object, path: KeyPath, places: Places, known: Sequence[str]) -> None:
        self._path = path
        self._places = places
        if not isinstance(values, Mapping):
            raise places.error(path, f"{self._name()} must be a table, not {_shown(values)}", None)
        self._values = values
        for key in values:
            if key not in known:
                raise self.error(
                    str(key),
                    f"unknown key {key!r}{self._where()}",
                    did_you_mean(str(key), known) or f"the keys here are {', '.join(known)}",
                )

    def error(self, key: str, message: str, hint: str | None = None) -> SpecError:
        return self._places.error((*self._path, key), message, hint)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def _name(self) -> str:
        return ".".join(str(part) for part in self._path if not isinstance(part, int))

    def _where(self) -> str:
        return f" in [{self._name()}]" if self._path else ""

    def _read(self, key: str, default: T, wanted: str, convert: Callable[[object], T | None]) -> T:
        if key not in self._values:
            return default
        value = convert(self._values[key])
        if value is None:
            raise self.error(key, f"{key} must be {wanted}, not {_shown(self._values[key])}")
        return value

    def text(self, key: str) -> str | None:
        return self._read(key, None, "text in quotes", lambda v: v if isinstance(v, str) else None)

    def required_text(self, key: str) -> str:
        text = self.text(key)
        if text is None or not text.strip():
            raise self.error(key, f"{key} is missing{self._where()}", f'write {key} = "..."')
        return text

    def text_or(self, key: str, default: str) -> str:
        text = self.text(key)
        return default if text is None else text

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        return self._read(key, default, 'a list of texts such as ["a", "b"]', _as_texts)

    def optional_texts(self, key: str) -> tuple[str, ...] | None:
        return self.texts(key, ()) if key in self._values else None

    def flag(self, key: str, *, default: bool) -> bool:
        return self._read(key, default, "true or false", lambda v: v if isinstance(v, bool) else None)

    def number(self, key: str) -> float | None:
        return self._read(key, None, "a finite number", _as_number)

    def number_or(self, key: str, default: float) -> float:
        number = self.number(key)
        return default if number is None else number

    def integer(self, key: str, default: int) -> int:
        return self._read(key, default, "a whole number", lambda v: v if type(v) is int else None)

    def date(self, key: str) -> dt.date:
        if key not in self._values:
            raise self.error(key, f"{key} is missing{self._where()}", f"write {key} = 2022-01-01")
        return self._read(key, dt.date.min, "a date such as 2022-01-01", _as_date)

    def choice(self, key: str, options: tuple[T, ...], default: T | None) -> T:
        if key not in self._values and default is not None:
            return default
        value = self.required_text(key)
        for option in options:
            if option == value:
                return option
        known = [str(option) for option in options]
        near = did_you_mean(value, known) if value.isalpha() else None
        raise self.error(key, f"{key} cannot be {value!r}", near or f"{key} is one of {', '.join(known)}")

    def scalar(self, key: str) -> str | float | int | bool | None:
        return self._read(key, None, "text, a number, true or false", _as_scalar)

    def operand(self, key: str) -> str | float:
        if key not in self._values:
            raise self.error(key, f"{key} is missing{self._where()}", f"write {key} = a column's name, or a number")
        number = _as_number(self._values[key])
        return self.required_text(key) if number is None else number

    def table(self, key: str, known: Sequence[str]) -> _Table | None:
        if key not in self._values:
            return None
        return _Table(self._values[key], (*self._path, key), self._places, known)

    def tables(self, key: str, known: Sequence[str]) -> list[_Table]:
        values = self._values.get(key, [])
        if not isinstance(values, list | tuple):
            raise self.error(key, f"{key} must be a list of tables", f"write each as a table of its own: [[{key}]]")
        return [_Table(value, (*self._path, key, n), self._places, known) for n, value in enumerate(values)]


def parse_spec(document: object, places: Places) -> DatasetSpec:
    """The spec of a document; raises SpecError for a key that is unknown, missing or of another type."""
    top_keys = [f.name for f in fields(DatasetSpec) if f.name not in ("path", *_SECTIONS)]
    top = _Table(document, (), places, [*top_keys, *_SECTIONS])
    defaults = DatasetSpec(name="", columns=())
    return DatasetSpec(
        name=top.required_text("name"),
        title=top.text("title"),
        description=top.text("description"),
        source=top.text("source"),
        currency=top.text("currency"),
        price_unit=top.number_or("price_unit", defaults.price_unit),
        objective=top.choice("objective", _OBJECTIVES, defaults.objective),
        region=top.text("region"),
        csv=_csv(top.table("csv", _keys(CsvFormat))),
        split=_split(top),
        cleaning=_cleaning(top.table("cleaning", _keys(Cleaning))),
        columns=tuple(_column(table) for table in top.tables("columns", _keys(Column))),
        rules=tuple(_rule(table) for table in top.tables("rules", _keys(Rule))),
        path=places.file,
    )


def _column(table: _Table) -> Column:
    defaults = Column("", "number")
    return Column(
        name=table.required_text("name"),
        kind=table.choice("kind", _KINDS, None),
        role=table.choice("role", _ROLES, defaults.role),
        source=table.text("source"),
        unit=table.text("unit"),
        description=table.text("description"),
        optional=table.flag("optional", default=defaults.optional),
        minimum=table.number("minimum"),
        maximum=table.number("maximum"),
        levels=table.optional_texts("levels"),
        encoding=table.choice("encoding", _ENCODINGS, defaults.encoding),
        date_format=table.text("date_format"),
        true_values=table.texts("true_values", ()),
        false_values=table.texts("false_values", ()),
        example=table.scalar("example"),
        reason=table.text("reason"),
    )


def _rule(table: _Table) -> Rule:
    return Rule(
        left=table.required_text("left"),
        operator=table.choice("operator", _OPERATORS, None),
        right=table.operand("right"),
        message=table.required_text("message"),
    )


def _split(top: _Table) -> TimeSplit | RandomSplit:
    keys = {"time": _keys(TimeSplit), "random": _keys(RandomSplit)}
    table = top.table("split", ["by", *keys["time"], *keys["random"]])
    defaults = RandomSplit()
    if table is None:
        return defaults
    by = table.choice("by", tuple(keys), None)
    for key in keys["random" if by == "time" else "time"]:
        if key in table:
            raise table.error(key, f'{key} does not belong to a split by = "{by}"', "remove it, or change `by`")
    if by == "time":
        return TimeSplit(train_before=table.date("train_before"), holdout_from=table.date("holdout_from"))
    return RandomSplit(
        validation=table.number_or("validation", defaults.validation),
        holdout=table.number_or("holdout", defaults.holdout),
        seed=table.integer("seed", defaults.seed),
    )


def _csv(table: _Table | None) -> CsvFormat:
    defaults = CsvFormat()
    if table is None:
        return defaults
    return CsvFormat(
        separator=table.text_or("separator", defaults.separator),
        quote=table.text_or("quote", defaults.quote),
        decimal_comma=table.flag("decimal_comma", default=defaults.decimal_comma),
        thousands=table.text("thousands"),
        encoding=table.text_or("encoding", defaults.encoding),
        missing=table.texts("missing", defaults.missing),
    )


def _cleaning(table: _Table | None) -> Cleaning:
    defaults = Cleaning()
    if table is None:
        return defaults
    return Cleaning(
        city_columns=table.texts("city_columns", ()),
        drop_duplicates=table.flag("drop_duplicates", default=defaults.drop_duplicates),
        near_duplicate_columns=table.texts("near_duplicate_columns", ()),
        outlier_log_mads=table.number("outlier_log_mads"),
    )


def _keys(kind: type) -> list[str]:
    return [f.name for f in fields(kind)]


def _as_texts(value: object) -> tuple[str, ...] | None:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _as_scalar(value: object) -> str | float | int | bool | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | float | int) else None


def _as_date(value: object) -> dt.date | None:
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, dt.date) and not isinstance(value, dt.datetime) else None


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "a table"
    return str(value)

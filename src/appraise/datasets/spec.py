"""What a dataset is: the one declaration behind reading, checks, request schemas, forms and drift features.

These are plain immutable values; `specfile` reads and writes them as TOML, `infer` makes them from a CSV.
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["number", "integer", "boolean", "category", "date", "identifier", "text"]
Role = Literal["feature", "target", "sale_date", "latitude", "longitude", "id", "ignored", "leak"]
Encoding = Literal["auto", "frequency", "target"]
Objective = Literal["rmse", "relative"]
Operator = Literal["<", "<=", ">", ">=", "==", "!="]

#: What the operators of rules mean, of values, arrays and expressions alike.
OPERATORS: Mapping[Operator, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

#: Roles whose columns reach the model. The sale date does too, as the valuation date of the row.
INPUT_ROLES: frozenset[Role] = frozenset({"feature", "latitude", "longitude", "sale_date"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a dataset.

    Attributes:
        name: the name used everywhere in Appraise (requests, reports, drift).
        kind: how its values are read and what they mean.
        role: what it is for.
        source: its header in the file, where that differs from `name`.
        unit: unit of measure for display ("m2", "USD", "years").
        description: one sentence for documentation and forms.
        optional: whether a value may be missing.
        minimum, maximum: hard bounds, inclusive: outside them a value is impossible and is refused.
            They never refuse a row of the dataset's own training data.
        levels: the allowed levels of a closed category; None leaves it open (unseen levels are accepted).
        encoding: how a category becomes a number.
        date_format: strptime format of a date column; None is ISO 8601.
        true_values, false_values: how a boolean is written in files.
        example: a value for documentation and forms.
        reason: why the column is ignored, or a leak.
    """

    name: str
    kind: Kind
    role: Role = "feature"
    source: str | None = None
    unit: str | None = None
    description: str | None = None
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[str, ...] | None = None
    encoding: Encoding = "auto"
    date_format: str | None = None
    true_values: tuple[str, ...] = ()
    false_values: tuple[str, ...] = ()
    example: str | float | int | bool | None = None
    reason: str | None = None

    @property
    def header(self) -> str:
        """The column's header in the file."""
        return self.source if self.source is not None else self.name

    @property
    def is_input(self) -> bool:
        """Whether the column reaches the model."""
        return self.role in INPUT_ROLES


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule across columns: `left operator right`, with the sentence that a person is shown when it is broken.

    A rule with a missing operand holds.

    Attributes:
        left, right: names of numeric, integer or date columns; `right` may be a number.
        operator: one of `<`, `<=`, `>`, `>=`, `==`, `!=`.
        message: the sentence.
    """

    left: str
    operator: Operator
    right: str | float
    message: str


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Rows dated before `train_before` train, those from `holdout_from` are held out, those between validate."""

    train_before: dt.date
    holdout_from: dt.date


@dataclass(frozen=True, slots=True)
class RandomSplit:
    """A seeded permutation cut into train, validation and holdout, in that order.

    Attributes:
        validation, holdout: shares of all rows.
        seed: seed of `numpy.random.RandomState(seed).permutation`, the protocol of the tabular papers.
    """

    validation: float = 0.16
    holdout: float = 0.20
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """How the file is written.

    Attributes:
        separator: the field separator.
        quote: the quote character.
        decimal_comma: whether numbers are written 1.234,5.
        thousands: the thousands separator within numbers, if any.
        encoding: text encoding.
        missing: texts that mean "no value", besides the empty one.
    """

    separator: str = ","
    quote: str = '"'
    decimal_comma: bool = False
    thousands: str | None = None
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-", "?")


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What cleaning drops besides impossible values; every dropped row is kept in the rejects file with its reason.

    Attributes:
        city_columns: category columns whose names are normalised (case, white space, punctuation, "St." and "Saint").
        drop_duplicates: drop rows equal in every column.
        near_duplicate_columns: rows equal in these columns (and in the price) are one sale; () turns it off.
        outlier_log_mads: drop rows whose log price is more than this many scaled median absolute deviations from the
            median; None turns it off. Never applied to the holdout or to validation.
    """

    city_columns: tuple[str, ...] = ()
    drop_duplicates: bool = True
    near_duplicate_columns: tuple[str, ...] = ()
    outlier_log_mads: float | None = None


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A dataset: its columns, rules, split and price unit.

    Attributes:
        name: the dataset's and its registered model's name, a slug ([a-z0-9_-]+).
        title, description: for people.
        columns: in the order of requests and forms.
        currency: ISO 4217 code of the price, or None where unknown.
        price_unit: how many units of the currency one unit of the target is (100,000 for California).
        objective: `rmse` compares models by squared error in the target's unit; `relative` by percentage error.
        region: the category column by which regions are reported; None makes spatial blocks of the coordinates.
        source: where the data are: path, folder, glob, `s3://` address, or `sklearn:california_housing`,
            or `simulate:NAME`; None where `--data` must say. Relative paths are relative to the spec's file.
        path: the spec's own file, None for one made in memory; two specs that differ in it alone are equal.
    """

    name: str
    columns: tuple[Column, ...]
    title: str | None = None
    description: str | None = None
    rules: tuple[Rule, ...] = ()
    split: TimeSplit | RandomSplit = field(default_factory=RandomSplit)
    csv: CsvFormat = field(default_factory=CsvFormat)
    cleaning: Cleaning = field(default_factory=Cleaning)
    currency: str | None = None
    price_unit: float = 1.0
    objective: Objective = "relative"
    region: str | None = None
    source: str | None = None
    path: str | None = field(default=None, compare=False)

    def column(self, name: str) -> Column:
        """The column of that name; raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def _with_role(self, role: Role) -> Column | None:
        return next((column for column in self.columns if column.role == role), None)

    @property
    def target(self) -> Column:
        """The price column."""
        target = self._with_role("target")
        if target is None:
            raise ValueError(f"spec {self.name!r} has no target")
        return target

    @property
    def sale_date(self) -> Column | None:
        """The date of sale, which is the valuation date of a request."""
        return self._with_role("sale_date")

    @property
    def latitude(self) -> Column | None:
        """Degrees north."""
        return self._with_role("latitude")

    @property
    def longitude(self) -> Column | None:
        """Degrees east."""
        return self._with_role("longitude")

    @property
    def inputs(self) -> tuple[Column, ...]:
        """Columns that reach the model, in order: features, coordinates and the sale date."""
        return tuple(column for column in self.columns if column.is_input)

"""Rows straight from JSON: one compiled decoder a dataset knows the names, types and bounds of its columns.

It reads only what nothing is wrong with, which is nearly every row. Whatever needs a closer look, to be refused with a
sentence or to be filled from elsewhere, is left to the decoder of plain values and `RowChecker`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from appraise.datasets.spec import OPERATORS, Column, DatasetSpec
from appraise.datasets.table import Table
from appraise.features.vocabulary import Vocabulary
from appraise.serving.rows import is_date

#: Kinds that are written with quotes.
TEXTS = frozenset({"category", "identifier", "text", "date"})

#: A row as it was decoded. Encoded as JSON it is the object that was read.
Row = msgspec.Struct


def row_type(spec: DatasetSpec) -> type[Row]:
    """What a decoder makes of a row: a field a column, in the spec's order, UNSET where it is left out.

    Names, types, bounds and levels are the decoder's to check; whether a date is one, a whole number whole and the
    rules kept is not.
    """
    fields = [(f"field_{number}", *_field(column)) for number, column in enumerate(spec.inputs)]
    return msgspec.defstruct("Row", fields, forbid_unknown_fields=True, frozen=True, kw_only=True, gc=False)


def may_be_missing(column: Column) -> bool:
    """Whether a row may leave the column out."""
    return column.optional or column.role == "sale_date"


def _field(column: Column) -> tuple[Any, ...]:
    """Type and default of a column's field."""
    kind: Any
    match column.kind:
        case "number" | "integer":
            kind = Annotated[float, msgspec.Meta(ge=column.minimum, le=column.maximum)]
        case "boolean":
            kind = bool
        case "date":
            kind = str
        case _:
            kind = str if column.levels is None else Literal[column.levels]
    if may_be_missing(column):
        return kind | None | UnsetType, msgspec.field(default=UNSET, name=column.name)
    return kind, msgspec.field(name=column.name)


class RowCodec:
    """Decodes and encodes single rows of one dataset.

    Args:
        spec: the dataset.
        vocabulary: what encodes its values.
    """

    def __init__(self, spec: DatasetSpec, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = msgspec.json.Decoder(row_type(spec))
        columns = list(enumerate(spec.inputs))
        self._texts = tuple(at for at, column in columns if column.kind in TEXTS)
        self._dates = tuple(at for at, column in columns if column.kind == "date")
        self._wholes = tuple(at for at, column in columns if column.kind == "integer")
        #: Numbers all of which are there: the rows are a matrix as they are.
        self._plain = not self._texts and not any(may_be_missing(column) for column in spec.inputs)
        numbers = {column.name: at for at, column in columns if column.kind in ("number", "integer")}
        # As `RowChecker`: rules about the price, which is not read, are left out.
        names = {column.name for column in spec.inputs}
        rules = [
            rule
            for rule in spec.rules
            if rule.left in names and (not isinstance(rule.right, str) or rule.right in names)
        ]
        self._able = all(
            rule.left in numbers and (not isinstance(rule.right, str) or rule.right in numbers) for rule in rules
        )
        self._rules: tuple[tuple[int, Callable[[Any, Any], bool], int | None, Any], ...] = tuple(
            (
                numbers[rule.left],
                OPERATORS[rule.operator],
                numbers[rule.right] if isinstance(rule.right, str) else None,
                rule.right,
            )
            for rule in (rules if self._able else ())
        )

    def read(self, body: bytes) -> Row | None:
        """The row that a JSON object holds, every rule of the spec kept; None where it needs a closer look."""
        # Escapes hide quotes.
        if not self._able or b"\\" in body:
            return None
        try:
            row: Row = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        values = msgspec.structs.astuple(row)
        there = len(values) - values.count(UNSET)
        texts = sum(type(values[at]) is str for at in self._texts)
        # Of two equal keys the decoder keeps the last without a word: then there are quotes too many.
        if body.count(b'"') != 2 * (there + texts):
            return None
        for at, holds, other, constant in self._rules:
            left, right = values[at], constant if other is None else values[other]
            if type(left) is float and type(right) in (float, int) and not holds(left, right):
                return None
        for at in self._wholes:
            if type(values[at]) is float and not values[at].is_integer():
                return None
        for at in self._dates:
            if type(values[at]) is str and not is_date(values[at]):
                return None
        return row

    def table(self, rows: Sequence[Row]) -> Table:
        """Rows that were read, n of them, as a table of n rows."""
        values = list(map(msgspec.structs.astuple, rows))
        names = self._vocabulary.names_
        if self._plain:
            return Table(names, np.array(values, np.float64))
        columns = ([None if value is UNSET else value for value in column] for column in zip(*values, strict=True))
        return self._vocabulary.encode(dict(zip(names, columns, strict=True)))

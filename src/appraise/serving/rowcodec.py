"""Rows straight from JSON: one compiled decoder a dataset knows the names, types and bounds of its columns.

It reads only what nothing is wrong with, which is nearly every row. Whatever needs a closer look, to be refused with a
sentence or to be filled from elsewhere, is left to the decoder of plain values and `RowChecker`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from appraise.datasets.spec import Column, DatasetSpec
from appraise.datasets.table import Table
from appraise.features.vocabulary import Vocabulary
from appraise.serving.rows import OPERATORS, is_date

_TYPES: dict[str, type] = {"number": float, "integer": int, "boolean": bool}

#: Whole numbers that a float holds exactly.
_MOST_WHOLE = 2**53

#: A row as it was decoded. Encoded as JSON it is the object that was read.
Row = msgspec.Struct

_Holds = Callable[[Any, Any], bool]


class RowCodec:
    """Decodes and encodes the rows of one dataset.

    Args:
        spec: the dataset.
        vocabulary: what encodes its values.
    """

    def __init__(self, spec: DatasetSpec, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        fields = [f"f{position}" for position in range(len(spec.inputs))]
        row = msgspec.defstruct(
            "Row",
            [_field(field, column) for field, column in zip(fields, spec.inputs, strict=True)],
            rename=dict(zip(fields, (column.name for column in spec.inputs), strict=True)),
            kw_only=True,
            frozen=True,
            gc=False,
            omit_defaults=True,
            forbid_unknown_fields=True,
        )
        self._decoder = msgspec.json.Decoder(row)
        position = {column.name: at for at, column in enumerate(spec.inputs)}
        self._texts = tuple(at for at, column in enumerate(spec.inputs) if column.kind not in _TYPES)
        self._checks = tuple((at, check) for at in self._texts if (check := _text_check(spec.inputs[at])) is not None)
        self._numeric = not self._texts
        # As `RowChecker`: rules about the price, which is not read, are left out.
        rules = [
            rule
            for rule in spec.rules
            if rule.left in position and (not isinstance(rule.right, str) or rule.right in position)
        ]
        self._rules: tuple[tuple[int, _Holds, int | None, Any], ...] = tuple(
            (
                position[rule.left],
                OPERATORS[rule.operator],
                position[rule.right] if isinstance(rule.right, str) else None,
                rule.right,
            )
            for rule in rules
        )
        numbers = {column.name for column in spec.inputs if column.kind in ("number", "integer")}
        self._able = all(
            rule.left in numbers and (not isinstance(rule.right, str) or rule.right in numbers) for rule in rules
        )

    def read(self, body: bytes) -> Row | None:
        """The row that a JSON object holds, every rule of the spec kept; None where it needs a closer look."""
        # Texts with escapes hide quotes, and a null that is written is not one that is left out.
        if not self._able or b"\\" in body or b"null" in body:
            return None
        try:
            row: Row = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        values = msgspec.structs.astuple(row)
        there = len(values) - values.count(None)
        texts = sum(values[at] is not None for at in self._texts)
        # Of two equal keys the decoder keeps the last without a word: then there are quotes too many.
        if body.count(b'"') != 2 * (there + texts):
            return None
        for at, holds, other, constant in self._rules:
            left, right = values[at], constant if other is None else values[other]
            if left is not None and right is not None and not holds(left, right):
                return None
        for at, check in self._checks:
            if values[at] is not None and not check(values[at]):
                return None
        return row

    def table(self, rows: Sequence[Row]) -> Table:
        """Rows that were read, n of them, as a table of n rows."""
        values = list(map(msgspec.structs.astuple, rows))
        names = self._vocabulary.names_
        if self._numeric:
            return Table(names, np.array(values, np.float64))
        return self._vocabulary.encode(dict(zip(names, zip(*values, strict=True), strict=True)))


def _field(name: str, column: Column) -> tuple[str, Any] | tuple[str, Any, Any]:
    kind: Any = _TYPES.get(column.kind, str)
    if column.kind in ("number", "integer"):
        low, high = column.minimum, column.maximum
        if column.kind == "integer":
            low = -_MOST_WHOLE if low is None else low
            high = _MOST_WHOLE if high is None else high
        kind = Annotated[kind, msgspec.Meta(ge=low, le=high)]
    if column.optional or column.role == "sale_date":
        return name, kind | None, None
    return name, kind


def _text_check(column: Column) -> Callable[[str], bool] | None:
    if column.kind == "date":
        return is_date
    return None if column.levels is None else frozenset(column.levels).__contains__

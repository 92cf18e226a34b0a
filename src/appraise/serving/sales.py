"""Known sales as they are shown beside an estimate."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import Table, date_of
from appraise.features.comparables import NearSale, SalesPool
from appraise.features.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Comparable:
    """A known sale near the valued home.

    Attributes:
        price: what it fetched, in the target's unit.
        date: when, or None in undated data.
        distance_km: how far away, or None without coordinates.
        difference: distance in the metric of place and attributes that ranks comparables; 0 is an equal home.
        attributes: its input columns.
    """

    price: float
    date: dt.date | None
    distance_km: float | None
    difference: float
    attributes: dict[str, Any]


def shown_sales(
    spec: DatasetSpec, vocabulary: Vocabulary, pool: SalesPool, found: Sequence[NearSale]
) -> tuple[Comparable, ...]:
    """Sales of a pool as a person reads them, in the order in which they were found."""
    date = spec.sale_date
    return tuple(
        Comparable(
            price=float(pool.prices[sale.position]),
            date=None if date is None else date_of(pool.table.column(date.name)[sale.position]),
            distance_km=sale.distance_km,
            difference=sale.likeness,
            attributes=_attributes(vocabulary, pool.table, sale.position),
        )
        for sale in found
    )


def _attributes(vocabulary: Vocabulary, table: Table, position: int) -> dict[str, Any]:
    return {
        name: _decoded(vocabulary, name, kind, float(table.column(name)[position]))
        for name, kind in zip(vocabulary.names_, vocabulary.kinds_, strict=True)
    }


def _decoded(vocabulary: Vocabulary, name: str, kind: str, value: float) -> Any:
    if np.isnan(value):
        return None
    match kind:
        case "number":
            return value
        case "integer":
            return int(value)
        case "boolean":
            return bool(value)
        case "date":
            return date_of(value)
        case _:
            return vocabulary.level(name, value)

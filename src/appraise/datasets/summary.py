"""What loading, checking, cleaning and splitting did to a dataset, to be shown and to be read by programs."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass

#: Quantiles of the target that are shown for each set.
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows that were dropped for one reason.

    Attributes:
        step: the step that dropped them (`read`, `check`, `duplicate`, `near duplicate`, `outlier`).
        reason: what was asked of them.
        rows: how many; a row counts for the first reason alone.
    """

    step: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class SetSummary:
    """One of the sets of a split.

    Attributes:
        name: `train`, `validation` or `holdout`.
        rows: how many.
        first_date, last_date: of the sales; None where there are no dates.
        target: quantiles of the price, by their key (`q50`).
    """

    name: str
    rows: int
    first_date: dt.date | None
    last_date: dt.date | None
    target: dict[str, float]


@dataclass(frozen=True, slots=True)
class DataSummary:
    """A dataset on its way from the source to the model.

    Attributes:
        dataset: the spec's name.
        source: what was read.
        notes: what a person should know.
        rows_read: rows of the source.
        rows_kept: rows that are left.
        dropped: the others by reason, the commonest first; they sum to `rows_read - rows_kept`.
        sets: of the split, in order.
    """

    dataset: str
    source: str
    notes: tuple[str, ...]
    rows_read: int
    rows_kept: int
    dropped: tuple[Dropped, ...]
    sets: tuple[SetSummary, ...]

    def to_dict(self) -> dict[str, object]:
        """For JSON: keys as the attributes, dates as ISO 8601."""
        summary = asdict(self)
        for each in summary["sets"]:
            for key in ("first_date", "last_date"):
                each[key] = None if each[key] is None else each[key].isoformat()
        return summary

    def to_text(self) -> str:
        """For a terminal or a log: plain lines, at most 120 characters wide but for long reasons."""
        lines = [f"{self.dataset}: {self.rows_kept:,} of {self.rows_read:,} rows kept, from {self.source}"]
        lines += [f"note: {note}" for note in self.notes]
        if self.dropped:
            width = len(f"{max(each.rows for each in self.dropped):,}")
            lines += ["", "dropped"]
            lines += [f"  {each.rows:>{width},}  {each.step}: {each.reason}" for each in self.dropped]
        header = ("set", "rows", "from", "to", *(f"{100 * share:g}%" for share in QUANTILES))
        rows = [
            (
                each.name,
                f"{each.rows:,}",
                "" if each.first_date is None else each.first_date.isoformat(),
                "" if each.last_date is None else each.last_date.isoformat(),
                *(_price(value) for value in each.target.values()),
            )
            for each in self.sets
        ]
        return "\n".join([*lines, "", *_aligned([header, *rows])])


def quantile_key(share: float) -> str:
    """`q05` of 0.05."""
    return f"q{round(100 * share):02d}"


def _price(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns side by side, the first to the left, the others to the right; empty columns are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]

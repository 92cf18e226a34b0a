"""Rows that are set aside, each with its reason: nothing is dropped without a trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.atomic import replacing

#: What is wrong with rows of a frame: the row's index, what is asked of it, and the sentence with what came instead.
FOUND = pl.Schema({"row": pl.Int64(), "rule": pl.String(), "reason": pl.String()})
#: Rows that were set aside: their position in the source, the step that did it, and as above.
REJECTED = pl.Schema({"position": pl.Int64(), "step": pl.String(), "rule": pl.String(), "reason": pl.String()})


def nothing_found() -> pl.DataFrame:
    """No rows of the schema `FOUND`."""
    return FOUND.to_frame()


def one_a_row(found: pl.DataFrame) -> pl.DataFrame:
    """At most one entry for each row: the first rule counts, and the reasons are joined."""
    return (
        found.sort("row", maintain_order=True)
        .group_by("row", maintain_order=True)
        .agg(pl.col("rule").first(), pl.col("reason").str.join("; "))
    )


@dataclass(frozen=True, slots=True)
class Sifted:
    """Rows that are kept, and those that were set aside on the way.

    Attributes:
        frame: the rows kept, n of them.
        position: where each stands in the source, from 0, shape (n,).
        rejected: the others, of the schema `REJECTED`.
    """

    frame: pl.DataFrame
    position: NDArray[np.int64]
    rejected: pl.DataFrame

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Sifted:
        """All rows of a source."""
        return cls(frame, np.arange(frame.height, dtype=np.int64), REJECTED.to_frame())

    def without(self, found: pl.DataFrame, *, step: str) -> Sifted:
        """The same without the rows that were found wanting.

        Args:
            found: entries of the schema `FOUND`; several for one row are joined.
            step: the step that found them.
        """
        if found.is_empty():
            return self
        entries = one_a_row(found)
        rows = entries["row"].to_numpy()
        kept = np.ones(self.frame.height, dtype=np.bool_)
        kept[rows] = False
        rejected = entries.select(
            pl.Series("position", self.position[rows]), pl.lit(step).alias("step"), pl.col("rule"), pl.col("reason")
        )
        return Sifted(self.frame.filter(kept), self.position[kept], pl.concat([self.rejected, rejected]))


def write_rejects(rejects: pl.DataFrame, path: Path) -> None:
    """Writes a rejects frame as CSV.

    Raises:
        OutputError: the file cannot be written.
    """
    with replacing(path) as temporary:
        rejects.write_csv(temporary)

"""Show what a dataset is: its spec alone, or its rows on their way from the source to the split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appraise.datasets.presets import find_spec
from appraise.datasets.spec import DatasetSpec, TimeSplit
from appraise.datasets.specfile import spec_hash
from appraise.datasets.summary import DataSummary
from appraise.jobs.workspace import Workspace


@dataclass(frozen=True, slots=True)
class SpecCheck:
    """A spec that is right."""

    spec: DatasetSpec

    def to_dict(self) -> dict[str, object]:
        """The spec's outline as JSON."""
        spec = self.spec
        return {
            "dataset": spec.name,
            "path": spec.path,
            "source": spec.source,
            "target": spec.target.name,
            "inputs": [column.name for column in spec.inputs],
            "left_out": {
                column.name: column.reason for column in spec.columns if column.role in ("ignored", "leak", "id")
            },
            "rules": len(spec.rules),
            "split": "time" if isinstance(spec.split, TimeSplit) else "random",
            "spec_hash": spec_hash(spec),
        }


@dataclass(frozen=True, slots=True)
class DataResult:
    """What became of a dataset's rows.

    Attributes:
        summary: rows read, dropped by reason, and split.
        rejects: the file with the rows that were dropped, or None where none were.
    """

    summary: DataSummary
    rejects: Path | None

    def to_dict(self) -> dict[str, object]:
        """The summary as JSON."""
        return {**self.summary.to_dict(), "rejects": None if self.rejects is None else str(self.rejects)}


def check_spec(dataset: str) -> SpecCheck:
    """Check a spec alone, without its data.

    Raises:
        SpecError: naming the line that is wrong.
    """
    return SpecCheck(find_spec(dataset))


def prepare_data(dataset: str, *, workspace: Workspace, data: str | None = None) -> DataResult:
    """Load, check, clean and split a dataset, and keep what was dropped in a file.

    Raises:
        SpecError: a spec that is wrong.
        DataError: data that cannot be read, or that do not fit the spec.
        FitError: a set of the split would be too small.
        OutputError: the workspace cannot be written.
    """
    spec = find_spec(dataset)
    prepared = workspace.prepare(spec, data)
    return DataResult(prepared.summary, None if prepared.rejects.is_empty() else workspace.rejects / f"{spec.name}.csv")

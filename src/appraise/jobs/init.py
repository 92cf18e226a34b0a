"""Make a dataset spec from a file of sales."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appraise.datasets.infer import Decision, infer_spec
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.specfile import write_spec
from appraise.errors import OutputError


@dataclass(frozen=True, slots=True)
class InitResult:
    """The spec that was written, and why it says what it says.

    Attributes:
        path: the spec's file.
        spec: the spec.
        decisions: what was decided, in order.
    """

    path: Path
    spec: DatasetSpec
    decisions: tuple[Decision, ...]

    def to_dict(self) -> dict[str, object]:
        """The result as JSON."""
        return {
            "path": str(self.path),
            "dataset": self.spec.name,
            "target": self.spec.target.name,
            "columns": [
                {"name": column.name, "kind": column.kind, "role": column.role, "reason": column.reason}
                for column in self.spec.columns
            ],
            "decisions": [
                {
                    "column": each.column,
                    "decision": each.decision,
                    "reason": each.reason,
                    "check": each.check,
                }
                for each in self.decisions
            ],
        }


def init(
    file: Path, *, target: str, output: Path | None = None, name: str | None = None, force: bool = False
) -> InitResult:
    """Infer a spec and write it, with the reasons as comments.

    Args:
        file: a CSV or Parquet file of sales.
        target: the header of the column of prices.
        output: the spec's file; the dataset's name with `.toml` in the working folder where it is not given.
        name: the dataset's name; the file's where it is not given.
        force: whether a file that is there may be replaced.

    Raises:
        DataError: the file cannot be read, has no such column, or holds nothing to learn from.
        SpecError: the name is none.
        OutputError: the spec is there already, or cannot be written.
    """
    if output is not None:
        _refuse_overwriting(output, force=force)
    inference = infer_spec(file, target=target, name=name)
    path = Path(f"{inference.spec.name}.toml") if output is None else output
    _refuse_overwriting(path, force=force)
    write_spec(inference.spec_for(path), path, notes=inference.notes)
    return InitResult(path, inference.spec, inference.decisions)


def _refuse_overwriting(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise OutputError(
            f"{path} is there already", hint="choose another with --output FILE, or replace it with --force"
        )

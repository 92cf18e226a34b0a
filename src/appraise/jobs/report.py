"""Keep an evaluation as a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appraise.evaluation.evaluation import Evaluation
from appraise.jobs.outputs import write_text
from appraise.jobs.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation and its page."""

    evaluation: Evaluation
    path: Path

    def to_dict(self) -> dict[str, object]:
        """The evaluation as JSON, with the page's path."""
        return {**self.evaluation.to_dict(), "report": str(self.path)}


def write_report(evaluation: Evaluation, *, workspace: Workspace, path: Path | None = None) -> Report:
    """Write the page of an evaluation, to the workspace's reports where no path is given.

    Raises:
        OutputError: where it cannot be written.
    """
    from appraise.evaluation.report import render_html

    if path is None:
        path = workspace.reports / evaluation.model.name / f"{evaluation.model.version}.html"
    write_text(render_html(evaluation), path)
    return Report(evaluation, path)

"""`appraise evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import Alias, AsJson, Data, Dataset, Version, parse_version
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.report import Report

EXAMPLES = """\
appraise evaluate california
appraise evaluate my_sales.toml --alias challenger
appraise evaluate california --version 1.2.0 --html report.html
"""


def evaluate(
    context: typer.Context,
    dataset: Dataset,
    data: Data = None,
    version: Version = None,
    alias: Alias = "champion",
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="The page; reports/NAME/VERSION.html in APPRAISE_HOME where not given.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how good a model is on sales that it has not seen.

    Errors, ratio study and interval coverage on the holdout, each figure with its interval and acceptable range, as
    text, as JSON, and as one HTML page with plots that needs no network.
    """
    from appraise.datasets.presets import find_spec
    from appraise.jobs.evaluate import evaluate as job
    from appraise.jobs.report import write_report

    session: Session = context.obj
    wanted = parse_version(version)
    workspace = session.open()
    evaluation = job(
        find_spec(dataset), workspace=workspace, data=data, version=wanted, alias=alias, progress=make_progress()
    )
    show(write_report(evaluation, workspace=workspace, path=html), _render, as_json=as_json)


def _render(console: Console, report: Report) -> None:
    from appraise.evaluation.text import render_text

    console.print(render_text(report.evaluation))
    console.print(f"\nThe whole report, with plots: {report.path}", markup=False, soft_wrap=True)

"""`appraise train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson, Data, Dataset, Quality, RowBudget, Seed, Threads
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.train import TrainResult

EXAMPLES = """\
appraise train california
appraise train my_sales.toml --data newer.csv
appraise train california --quality best --promote
"""


def train(
    context: typer.Context,
    dataset: Dataset,
    data: Data = None,
    quality: Quality = None,
    row_budget_us: RowBudget = None,
    seed: Seed = None,
    threads: Threads = None,
    promote: Annotated[
        bool | None,
        typer.Option(
            "--promote/--no-promote",
            metavar="",
            help="Make the model the champion, or only the challenger. Where neither is given it becomes the champion "
            "if its validation error is not above the champion's.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train and compare models on a dataset, and register the best.

    The candidates are compared on validation rows by error and by the time of one estimate. The holdout chooses
    nothing; `appraise evaluate` reports on it.
    """
    from appraise.datasets.presets import find_spec
    from appraise.jobs.train import TrainOptions
    from appraise.jobs.train import train as job

    session: Session = context.obj
    workspace = session.open(
        {"train.quality": quality, "train.row_budget_us": row_budget_us, "train.threads": threads, "seed": seed}
    )
    result = job(
        find_spec(dataset),
        workspace=workspace,
        data=data,
        options=TrainOptions(promote=promote),
        progress=make_progress(),
    )
    show(result, _render, as_json=as_json)


def _render(console: Console, result: TrainResult) -> None:
    from appraise.evaluation.text import candidates_table

    console.print(result.summary.to_text(), markup=False, soft_wrap=True)
    if result.summary.dropped:
        console.print(
            f"\nThe rows that were dropped, with their reasons: {result.rejects}", markup=False, soft_wrap=True
        )
    console.print(
        candidates_table(
            result.candidates, error_metric=result.error_metric, row_budget_microseconds=result.row_budget_us
        )
    )
    if result.left_out:
        console.print(f"Not tried on so many rows: {', '.join(result.left_out)}", markup=False)
    entry = result.entry
    console.print(
        f"\n{entry.name} {entry.version} ({entry.kind}) is the {result.alias}: {result.reason}.",
        markup=False,
        soft_wrap=True,
    )

"""`appraise outcomes add` and `accuracy`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.exits import CODES
from appraise.cli.options import AsJson
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import counted, show
from appraise.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.outcomes import AddedOutcomes
    from appraise.monitoring.accuracy import LiveAccuracy

ADD_EXAMPLES = """\
appraise outcomes add sold.csv
appraise outcomes add sold.parquet --rejects refused.csv
"""
ACCURACY_EXAMPLES = """\
appraise outcomes accuracy
appraise outcomes accuracy --days 90 --model california --json
"""

_MOST_REFUSED = 20


def add(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV or Parquet with prediction_id or user_id, price, sold_at, perhaps model_name.",
            show_default=False,
        ),
    ],
    rejects: Annotated[
        Path | None,
        typer.Option(
            "--rejects",
            metavar="FILE",
            help="A .csv, .parquet or .jsonl file for refused rows, with the reason of each.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report what homes were sold for; every row is taken, or refused with a reason.

    Prices are in the currency. The same file may be given again: rows that are known change nothing. The exit code is 5
    where rows were refused.
    """
    from appraise.bootstrap import build_database, build_log_plan
    from appraise.jobs.outcomes import add_file

    session: Session = context.obj
    settings = session.settings()
    result = add_file(
        file,
        database=build_database(settings),
        spool=build_log_plan(settings).folder,
        actor=getpass.getuser(),
        rejects=rejects,
        progress=make_progress(),
    )
    show(result, _render_added, as_json=as_json)
    if result.refused:
        raise typer.Exit(CODES[DataError])


def accuracy(
    context: typer.Context,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=3650, help="How far back sales are looked at.")
    ] = 30,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Of that model alone.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how right served estimates have been, by the sales that were reported.

    Only estimates that were made before their sale count.
    """
    from appraise.bootstrap import build_database
    from appraise.jobs.outcomes import accuracy as job

    session: Session = context.obj
    show(job(build_database(session.settings()), days=days, model=model), _render_accuracy, as_json=as_json)


def _render_added(console: Console, result: AddedOutcomes) -> None:
    console.print(
        f"Took {result.rows - len(result.refused):,} of {result.rows:,} rows: {result.recorded:,} new, "
        f"{result.known:,} known already, {result.corrected:,} corrections; {result.counted:,} count in live accuracy.",
        markup=False,
        soft_wrap=True,
    )
    for row in result.refused[:_MOST_REFUSED]:
        console.print(f"Row {row.row} refused: {row.reason}", markup=False, soft_wrap=True)
    if len(result.refused) > _MOST_REFUSED:
        console.print(f"and {len(result.refused) - _MOST_REFUSED:,} more; --rejects writes all", markup=False)


def _render_accuracy(console: Console, result: LiveAccuracy) -> None:
    from rich.table import Table
    from rich.text import Text

    console.print(
        f"{counted(result.outcomes, 'sale')} since {result.since:%Y-%m-%d}; estimates made after their sale, which do "
        f"not count: {result.after_the_sale:,}",
        markup=False,
        soft_wrap=True,
    )
    if not result.models:
        console.print("No estimate is settled yet. Report sales: appraise outcomes add sold.csv", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("model", "version", "arm", "rows", "MdAPE", "PPE10", "bias", "COD", "coverage"):
        table.add_column(header, no_wrap=True)
    for model in result.models:
        metrics = {key: figure.value for key, figure in model.metrics.items()}
        covered = ", ".join(f"{one.observed:.1%} of {one.level:.0%}" for one in model.coverage)
        which = (model.model_name, model.model_version, model.arm, f"{model.rows:,}")
        errors = (
            f"{metrics['mdape']:.1%}",
            f"{metrics['ppe10']:.1%}",
            f"{metrics['bias']:+.1%}",
            f"{metrics['cod']:.1f}",
        )
        table.add_row(*map(Text, (*which, *errors, covered)))
    console.print(table)

"""`appraise init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.init import InitResult

EXAMPLES = """\
appraise init my_sales.csv --target price
appraise init export.csv --target "Sale Price" --name riverside --output specs/riverside.toml
"""


def init(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file of sales, one a row.", show_default=False)
    ],
    target: Annotated[
        str, typer.Option("--target", metavar="COLUMN", help="The column of prices.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The spec; NAME.toml where not given.", show_default=False),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="The dataset's name; the file's where not given.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace a spec that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a dataset spec from a file of sales.

    Finds out how the file is written and what each column is, says what it decided and why, and writes a spec that
    can be read and changed. Columns that would leak the price are named and left out.
    """
    from appraise.jobs.init import init as job

    session: Session = context.obj
    session.open()
    with make_progress().task(f"reading {file}"):
        result = job(file, target=target, output=output, name=name, force=force)
    show(result, _render, as_json=as_json)


def _render(console: Console, result: InitResult) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("column", "decision", "reason"):
        table.add_column(header, overflow="fold")
    for each in result.decisions:
        table.add_row(*map(Text, (each.column, each.decision, each.reason)), style="yellow" if each.check else None)
    console.print(table)
    doubtful = [each for each in result.decisions if each.check]
    if doubtful:
        console.print(
            f"\nCheck {'this' if len(doubtful) == 1 else 'these'}, the file leaves it open:", style="bold yellow"
        )
        for each in doubtful:
            console.print(Text(f"  {each.column}: {each.decision} ({each.reason})"))
    console.print(f"\nWritten to {result.path}. Look at it, change what is wrong, then:", markup=False, soft_wrap=True)
    console.print(f"  appraise train {result.path}", markup=False, soft_wrap=True)

"""`appraise simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson, Seed
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.simulate import SimulateResult

EXAMPLES = """\
appraise simulate bayside
appraise simulate bayside --rows 1000000 --seed 7 --output sales.parquet
appraise simulate bayside --shock level:2022-09-01:-15% --output fallen.csv
"""


def simulate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="bayside, homes, garden or housets.", show_default=False)],
    rows: Annotated[
        int | None,
        typer.Option("--rows", metavar="N", min=1, help="How many rows; bayside has 20,000 else.", show_default=False),
    ] = None,
    seed: Seed = None,
    shock: Annotated[
        list[str] | None,
        typer.Option(
            "--shock",
            metavar="SHOCK",
            help="What goes wrong, once or more (bayside only): level:2022-09-01:-15%, "
            "region:2022-09-01:Mill Creek:+12%, mix:2022-09-01:flat:+30%, "
            "broken:2022-09-01:living_area:x10.764, missing:2022-09-01:year_built:30%.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The .csv, .parquet or .jsonl file. Where it is not given, the table is kept in APPRAISE_HOME, "
            "and the dataset NAME is read from it.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write made-up sales whose true prices are known.

    Bayside is a market of dated sales with places, attributes and an index that moves; the others are tables of the
    presets of the same name. No home, place or price in them is real. The same seed gives the same table.
    """
    from appraise.jobs.simulate import simulate as job

    session: Session = context.obj
    workspace = session.open({"seed": seed})
    with make_progress().task(f"simulating {name}"):
        result = job(name, workspace=workspace, rows=rows, shocks=shock or (), output=output)
    show(result, _render, as_json=as_json)


def _render(console: Console, result: SimulateResult) -> None:
    shocks = f", with {', '.join(result.shocks)}" if result.shocks else ""
    console.print(
        f"Simulated {result.rows:,} rows of {result.name} (seed {result.seed}{shocks}): made-up data, no real home.",
        markup=False,
    )
    console.print(f"Written to {result.path}", markup=False, soft_wrap=True)

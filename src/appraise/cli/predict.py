"""`appraise predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import Alias, AsJson, Dataset, Version, parse_version
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.predict import PredictResult

EXAMPLES = """\
appraise predict california --input new.csv --output estimates.parquet
appraise predict my_sales.toml --input new.csv --output estimates.csv --level 0.8 --version 1.2.0
"""


def predict(
    context: typer.Context,
    dataset: Dataset,
    input: Annotated[  # noqa: A002
        str,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="CSV or Parquet file, folder of Parquet files, or s3:// address of homes, prices not needed.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The .csv, .parquet or .jsonl file to write.", show_default=False
        ),
    ],
    level: Annotated[
        float, typer.Option("--level", metavar="P", help="Nominal level of the intervals, between 0 and 1.")
    ] = 0.9,
    version: Version = None,
    alias: Alias = "champion",
    as_json: AsJson = False,
) -> None:
    """Value the homes of a file.

    Every row of the input is in the output, in its order, with an estimate, an interval and a confidence score, or
    with the reason why there is none.
    """
    from appraise.datasets.presets import find_spec
    from appraise.jobs.predict import predict_file

    session: Session = context.obj
    if not 0.0 < level < 1.0:
        raise typer.BadParameter(f"{level:g} is not between 0 and 1", param_hint="--level")
    wanted = parse_version(version)
    workspace = session.open()
    result = predict_file(
        find_spec(dataset),
        workspace=workspace,
        input=input,
        output=output,
        version=wanted,
        alias=alias,
        level=level,
        progress=make_progress(),
    )
    show(result, _render, as_json=as_json)


def _render(console: Console, result: PredictResult) -> None:
    console.print(
        f"Valued {result.valued:,} of {result.rows:,} homes with {result.dataset} {result.model_version}, "
        f"{result.level:.0%} intervals.",
        markup=False,
    )
    if result.valued < result.rows:
        console.print(f"{result.rows - result.valued:,} were refused; the column error says why.", markup=False)
    console.print(f"Written to {result.output}", markup=False, soft_wrap=True)

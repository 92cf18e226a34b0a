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
appraise predict california --input big/ --output estimates/
appraise predict california --input s3://homes/2026/ --output s3://estimates/2026/ --engine tcp://scheduler:8786
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
            help="CSV or Parquet file, folder of them, or s3:// address of homes, prices not needed.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="The .csv, .parquet or .jsonl file to write, or the folder or s3:// address for Parquet in parts.",
            show_default=False,
        ),
    ],
    level: Annotated[
        float, typer.Option("--level", metavar="P", help="Nominal level of the intervals, between 0 and 1.")
    ] = 0.9,
    version: Version = None,
    alias: Alias = "champion",
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="ADDRESS",
            help="A Dask scheduler (tcp://HOST:8786) whose workers make the parts; this machine if not given.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Processes that make the parts; one a processor if not given.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", metavar="", help="Begin anew where the folder holds another run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Value the homes of a file, a folder or S3.

    Every row of the input is in the output, in its order, with an estimate, an interval and a confidence score, or
    with the reason why there is none.

    Into a folder or S3 the rows go in parts, made by several processes at constant memory. A run that is interrupted
    goes on where it was when the same command is given again.
    """
    from appraise.datasets.presets import find_spec
    from appraise.jobs.predict import InterruptedRun, is_folder, predict_file, predict_folder

    session: Session = context.obj
    if not 0.0 < level < 1.0:
        raise typer.BadParameter(f"{level:g} is not between 0 and 1", param_hint="--level")
    wanted = parse_version(version)
    if not is_folder(output):
        for option, given in (("--engine", engine), ("--workers", workers), ("--overwrite", overwrite)):
            if given:
                raise typer.BadParameter(f"{output} is a file; this goes with a folder", param_hint=option)
    workspace, spec, progress = session.open(), find_spec(dataset), make_progress()
    if is_folder(output):
        try:
            result = predict_folder(
                spec,
                workspace=workspace,
                input=input,
                output=output,
                version=wanted,
                alias=alias,
                level=level,
                engine=engine,
                workers=workers,
                overwrite=overwrite,
                progress=progress,
            )
        except InterruptedRun as interruption:
            progress.message(
                f"{interruption.done} of {interruption.parts} parts are done; the same command goes on from there"
            )
            raise
    else:
        result = predict_file(
            spec,
            workspace=workspace,
            input=input,
            output=Path(output),
            version=wanted,
            alias=alias,
            level=level,
            progress=progress,
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
    parts = "" if result.parts is None else f", {result.parts} {'part' if result.parts == 1 else 'parts'}"
    console.print(f"Written to {result.output}{parts}", markup=False, soft_wrap=True)

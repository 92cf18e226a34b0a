"""`appraise predict`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.exits import Interrupted
from appraise.cli.options import Alias, AsJson, Dataset, Version, parse_version
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import counted, show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.month import Month, MonthResult
    from appraise.jobs.predict import PredictResult
    from appraise.registry.version import Version as ModelVersion

EXAMPLES = """\
appraise predict california --input new.csv --output estimates.parquet
appraise predict california --input big/ --output estimates/
appraise predict california --input s3://homes/2026/ --output s3://estimates/2026/ --engine tcp://scheduler:8786
appraise predict housets --month 2023-05
appraise predict my_sales.toml --input new.csv --output estimates.csv --level 0.8 --version 1.2.0
"""


def predict(
    context: typer.Context,
    dataset: Dataset,
    input: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="CSV or Parquet file, folder of them, or s3:// address of homes, prices not needed.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PLACE",
            help="The .csv, .parquet or .jsonl file to write, or the folder or s3:// address for Parquet in parts.",
            show_default=False,
        ),
    ] = None,
    month: Annotated[
        str | None,
        typer.Option(
            "--month",
            metavar="YYYY-MM",
            help="Value the homes of this month with what was known before it; --input and --output may be left out.",
            show_default=False,
        ),
    ] = None,
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

    With --month the homes of one month are valued by the model as it stood before, and measured where their prices
    are known.
    """
    session: Session = context.obj
    if not 0.0 < level < 1.0:
        raise typer.BadParameter(f"{level:g} is not between 0 and 1", param_hint="--level")
    wanted = parse_version(version)
    parts = Parts(engine, workers, overwrite=overwrite)
    if month is not None:
        parts.refuse("a month goes into one file")
        result = _month(session, dataset, _parse_month(month), input, output, level, wanted, alias)
        show(result, _render_month, as_json=as_json)
        return
    for option, given in (("--input", input), ("--output", output)):
        if given is None:
            raise typer.BadParameter("it is needed, unless --month is given", param_hint=option)
    assert input is not None  # noqa: S101
    assert output is not None  # noqa: S101
    show(_predict(session, dataset, input, output, level, wanted, alias, parts), _render, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Parts:
    """The options of outputs in parts."""

    engine: str | None
    workers: int | None
    overwrite: bool = field(kw_only=True)

    def refuse(self, why: str) -> None:
        """A usage error where one of them was given."""
        for option, given in (
            ("--engine", self.engine),
            ("--workers", self.workers),
            ("--overwrite", self.overwrite),
        ):
            if given:
                raise typer.BadParameter(f"{why}; this goes with a folder", param_hint=option)


def _predict(
    session: Session,
    dataset: str,
    input: str,  # noqa: A002
    output: str,
    level: float,
    version: ModelVersion | None,
    alias: str,
    parts: Parts,
) -> PredictResult:
    from appraise.jobs.predict import InterruptedRun, find_dataset, is_folder, predict_file, predict_folder

    if not is_folder(output):
        parts.refuse(f"{output} is a file")
    workspace, progress = session.open(), make_progress()
    spec = find_dataset(dataset, workspace)
    if not is_folder(output):
        return predict_file(
            spec,
            workspace=workspace,
            input=input,
            output=Path(output),
            version=version,
            alias=alias,
            level=level,
            progress=progress,
        )
    try:
        return predict_folder(
            spec,
            workspace=workspace,
            input=input,
            output=output,
            version=version,
            alias=alias,
            level=level,
            engine=parts.engine,
            workers=parts.workers,
            overwrite=parts.overwrite,
            progress=progress,
        )
    except InterruptedRun as stop:
        kept = f"interrupted; {stop.done} of {counted(stop.parts, 'part')} done and kept"
        raise Interrupted(kept, "the same command goes on from there") from None


def _month(
    session: Session,
    dataset: str,
    month: Month,
    data: str | None,
    output: str | None,
    level: float,
    version: ModelVersion | None,
    alias: str,
) -> MonthResult:
    from appraise.jobs.month import predict_month
    from appraise.jobs.predict import find_dataset

    workspace = session.open()
    return predict_month(
        find_dataset(dataset, workspace),
        month,
        workspace=workspace,
        data=data,
        output=None if output is None else Path(output),
        version=version,
        alias=alias,
        level=level,
        progress=make_progress(),
    )


def _parse_month(text: str) -> Month:
    from appraise.jobs.month import Month

    try:
        return Month.parse(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a month such as 2023-05", param_hint="--month") from None


def _render_month(console: Console, result: MonthResult) -> None:
    console.print(
        f"Valued {result.valued:,} of {result.rows:,} homes of {result.month} with {result.dataset} "
        f"{result.model_version} and {result.known_sales:,} sales that became known since it was trained.",
        markup=False,
        soft_wrap=True,
    )
    _tell_unusable(console, result)
    if result.metrics:
        figures = result.metrics
        console.print(
            f"{result.measured:,} have a price: median error {figures['mdape']:.1%}, within 10% of it "
            f"{figures['ppe10']:.1%}, within 20% {figures['ppe20']:.1%}, bias {figures['bias']:+.1%}; "
            f"{figures['coverage']:.1%} lie in the {result.level:.0%} interval.",
            markup=False,
            soft_wrap=True,
        )
    else:
        console.print("No price of the month is known, so nothing can be measured.", markup=False)
    console.print(f"Written to {result.output}{_replaced(result)}", markup=False, soft_wrap=True)


def _render(console: Console, result: PredictResult) -> None:
    console.print(
        f"Valued {result.valued:,} of {result.rows:,} homes with {result.dataset} {result.model_version}, "
        f"{result.level:.0%} intervals.",
        markup=False,
    )
    if result.valued < result.rows:
        refused = result.rows - result.valued
        console.print(f"{refused:,} {_be(refused, 'was', 'were')} refused; the column error says why.", markup=False)
    _tell_unusable(console, result)
    parts = "" if result.parts is None else f", {counted(result.parts, 'part')}"
    if result.resumed:
        parts += f", {result.resumed} of which {_be(result.resumed, 'was', 'were')} there already"
    console.print(f"Written to {result.output}{parts}{_replaced(result)}", markup=False, soft_wrap=True)


def _tell_unusable(console: Console, result: PredictResult | MonthResult) -> None:
    if result.unusable:
        console.print(
            f"{counted(result.unusable, 'estimate')} {_be(result.unusable, 'is', 'are')} not to be used, with the "
            "confidence grade none; the column warnings says why.",
            markup=False,
        )


def _be(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _replaced(result: PredictResult | MonthResult) -> str:
    return ", which replaced the file that was there" if result.replaced else ""

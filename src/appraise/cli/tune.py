"""`appraise tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson, Data, Dataset, Seed, Threads
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.tune import TuneResult

EXAMPLES = """\
appraise tune california --trials 50
appraise tune my_sales.toml --model lightgbm --timeout 600
"""


def tune(
    context: typer.Context,
    dataset: Dataset,
    data: Data = None,
    model: Annotated[
        str, typer.Option("--model", metavar="KIND", help="catboost, catboost_deep, lightgbm or xgboost.")
    ] = "catboost",
    trials: Annotated[int, typer.Option("--trials", metavar="N", min=1, help="Trials to add.")] = 30,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", metavar="S", min=0, help="Seconds after which no further trial begins.", show_default=False
        ),
    ] = None,
    seed: Seed = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Search the hyperparameters of a model on validation rows.

    The search is kept and goes on where it was left; each trial is an MLflow run. The next `appraise train` of the
    dataset uses the best that was found.
    """
    from appraise.datasets.presets import find_spec
    from appraise.jobs.tune import tune as job
    from appraise.models.catalogue import TUNABLE

    session: Session = context.obj
    if model not in TUNABLE:
        raise typer.BadParameter(f"{model!r} is not one of {', '.join(TUNABLE)}", param_hint="--model")
    workspace = session.open({"seed": seed, "train.threads": threads})
    result = job(
        find_spec(dataset),
        workspace=workspace,
        data=data,
        kind=model,
        trials=trials,
        timeout=timeout,
        progress=make_progress(),
    )
    show(result, _render, as_json=as_json)


def _render(console: Console, result: TuneResult) -> None:
    console.print(
        f"{result.ran} trials of {result.kind} on {result.dataset}, {result.trials} in all: validation "
        f"{result.error_metric} {result.best_error:.5g}, {result.default_error:.5g} with the defaults.",
        markup=False,
        soft_wrap=True,
    )
    for name, value in result.best.items():
        console.print(f"  {name} = {value:.6g}" if isinstance(value, float) else f"  {name} = {value}", markup=False)
    console.print(f"Kept in {result.path}, where appraise train finds them", markup=False, soft_wrap=True)

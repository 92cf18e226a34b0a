"""`appraise data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson, Data, Dataset
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.data import DataResult, SpecCheck

EXAMPLES = """\
appraise data california
appraise data sales.toml --data newer.csv
appraise data sales.toml --check
"""


def data(
    context: typer.Context,
    dataset: Dataset,
    data: Data = None,
    check: Annotated[
        bool,
        typer.Option("--check", metavar="", help="Check the spec alone, and say which line is wrong, if one is."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Load, check, clean and split a dataset.

    Says what was dropped and why; the rows themselves are kept in a file beside the reason of each.
    """
    from appraise.jobs.data import check_spec, prepare_data

    session: Session = context.obj
    workspace = session.open()
    if check:
        show(check_spec(dataset), _render_check, as_json=as_json)
        return
    with make_progress().task(f"reading {dataset}"):
        result = prepare_data(dataset, workspace=workspace, data=data)
    show(result, _render, as_json=as_json)


def _render_check(console: Console, check: SpecCheck) -> None:
    spec = check.spec
    place = spec.path or f"the preset {spec.name}"
    console.print(
        f"{place} is right: {spec.target.name} from {len(spec.inputs)} columns, {len(spec.rules)} rules.",
        markup=False,
        soft_wrap=True,
    )


def _render(console: Console, result: DataResult) -> None:
    console.print(result.summary.to_text(), markup=False, soft_wrap=True)
    if result.rejects is not None:
        console.print(
            f"\nThe rows that were dropped, with their reasons: {result.rejects}", markup=False, soft_wrap=True
        )

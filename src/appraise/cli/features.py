"""`appraise features put` and `appraise features show`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.features import Put, UserFeatures

PUT_EXAMPLES = """\
appraise features put user2 HouseAge=41 AveRooms=6.98 --dataset california
appraise features put user2 MedInc=8.3 --at 2026-11-01T12:00:00Z
"""
SHOW_EXAMPLES = """\
appraise features show user2
appraise features show user2 --at 2026-10-01
"""

User = Annotated[str, typer.Argument(metavar="USER", help="Whose features.", show_default=False)]


def put(
    context: typer.Context,
    user: User,
    pairs: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="A feature and its value.", show_default=False)
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="DATASET",
            help="The preset or spec whose inputs they are; without it anything is stored.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="Since when they hold, ISO 8601, UTC; now if not given.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store features of a user, which fill what requests leave out that name the user."""
    from appraise.bootstrap import build_database, build_registry
    from appraise.datasets.presets import find_spec
    from appraise.jobs.features import put_features

    session: Session = context.obj
    spec = None if dataset is None else find_spec(dataset)
    settings = session.settings()
    result = put_features(
        build_database(settings), user, pairs, at=_moment(at), spec=spec, registry=build_registry(settings)
    )
    for warning in result.unknown:
        typer.echo(f"warning: {warning}", err=True)
    show(result, _render_put, as_json=as_json)


def show_features(
    context: typer.Context,
    user: User,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="As of when, ISO 8601, UTC; now if not given.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest features of a user."""
    from appraise.bootstrap import build_database
    from appraise.jobs.features import show_features as job

    session: Session = context.obj
    show(job(build_database(session.settings()), user, at=_moment(at)), _render_features, as_json=as_json)


def _moment(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a time such as 2026-11-01T12:00:00Z", param_hint="--at") from error
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _render_put(console: Console, put: Put) -> None:
    names, since = ", ".join(put.values), f"{put.at:%Y-%m-%d %H:%M:%S} UTC"
    text = f"Stored {names} of {put.user_id}, since {since}." if put.changed else f"Nothing changed, since {since}."
    console.print(text, markup=False, soft_wrap=True)


def _render_features(console: Console, features: UserFeatures) -> None:
    from rich.table import Table
    from rich.text import Text

    if not features.values:
        since = f"{features.as_of:%Y-%m-%d %H:%M:%S} UTC"
        console.print(f"Nothing of {features.user_id} was stored before {since}.", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("feature", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("since (UTC)", no_wrap=True)
    for name, one in features.values.items():
        table.add_row(*map(Text, (name, str(one.value), f"{one.timestamp:%Y-%m-%d %H:%M:%S}")))
    console.print(table)

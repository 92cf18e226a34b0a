"""`appraise keys create`, `list` and `revoke`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.session import Session, user_name
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.keys import KeyPlace
    from appraise.serving.keys import ApiKey

CREATE_EXAMPLES = """\
appraise keys create --name web --scopes predict,read
"""
LIST_EXAMPLES = """\
appraise keys list
"""
REVOKE_EXAMPLES = """\
appraise keys revoke web
"""

#: What a service answers without a key.
_OPEN_ROUTES = "/, /health and /docs"


@dataclass(frozen=True, slots=True)
class _Created:
    key: ApiKey
    secret: str

    def to_dict(self) -> dict[str, object]:
        return {"key": self.secret, **self.key.to_dict()}


@dataclass(frozen=True, slots=True)
class _Listed:
    keys: tuple[ApiKey, ...]

    def to_dict(self) -> dict[str, object]:
        return {"keys": [key.to_dict() for key in self.keys]}


def create(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Whose it is.", show_default=False)],
    scopes: Annotated[
        str, typer.Option("--scopes", metavar="LIST", help="What it may do: some of predict,read,produce,admin.")
    ] = "predict,read",
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="N",
            min=0.01,
            help="Requests a second; as the server says if not given.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key.

    It is shown this once: what is kept is its hash, in the database where APPRAISE_DATABASE_URL gives one, and else in
    the home. Running servers notice it. The first key closes the service to requests without one.
    """
    from appraise.jobs.keys import create_key
    from appraise.jobs.keys import list_keys as job

    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    first = not job(_place(context))
    key, secret = create_key(_place(context), name, wanted, rate_per_second=rate, actor=user_name())
    show(_Created(key, secret), _render_created, as_json=as_json)
    if first:
        typer.echo(f"From now on the service asks for a key on every route but {_OPEN_ROUTES}.", err=True)


def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """List the API keys, without the keys themselves."""
    from appraise.jobs.keys import list_keys as job

    show(_Listed(job(_place(context))), _render_list, as_json=as_json)


def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or its name.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Revoke an API key. Running servers notice it within a second.

    When the last one is revoked the service stays closed: it opens to a new key.
    """
    from appraise.jobs.keys import list_keys as job
    from appraise.jobs.keys import revoke_key

    show(revoke_key(_place(context), key, actor=user_name()), _render_revoked, as_json=as_json)
    if all(one.revoked_at is not None for one in job(_place(context))):
        typer.echo(
            f"No valid key is left: the service refuses every request but those to {_OPEN_ROUTES}.\n"
            "Make another: appraise keys create --name NAME",
            err=True,
        )


def _place(context: typer.Context) -> KeyPlace:
    from appraise.bootstrap import build_key_place

    session: Session = context.obj
    return build_key_place(session.settings())


def _render_created(console: Console, created: _Created) -> None:
    console.print(created.secret, markup=False, soft_wrap=True)
    key = created.key
    typer.echo(f"{key.name} ({key.id}) may {' and '.join(key.scopes)}. Keep it: it is not shown again.", err=True)


def _render_list(console: Console, listed: _Listed) -> None:
    from rich.table import Table
    from rich.text import Text

    if not listed.keys:
        console.print("No keys yet. Make one: appraise keys create --name web", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("id", "name", "scopes", "made (UTC)", "revoked (UTC)"):
        table.add_column(header, no_wrap=True)
    for key in listed.keys:
        row = (key.id, key.name, ", ".join(key.scopes), key.created_at[:16], (key.revoked_at or "")[:16])
        table.add_row(*map(Text, row))
    console.print(table)


def _render_revoked(console: Console, key: ApiKey) -> None:
    console.print(f"{key.name} ({key.id}) opens nothing from now on.", markup=False)

"""`appraise db upgrade`, `status`, `psql`, `audit` and `stop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.db import AuditTrail, Stopped, Upgraded
    from appraise.store.database import Database
    from appraise.store.standing import DatabaseStatus

UPGRADE_EXAMPLES = """\
appraise db upgrade
APPRAISE_DATABASE_URL=postgresql://appraise@db.example.org/appraise appraise db upgrade
"""
STATUS_EXAMPLES = """\
appraise db status
"""
PSQL_EXAMPLES = """\
appraise db psql
appraise db psql -c 'SELECT count(*) FROM predictions'
"""
AUDIT_EXAMPLES = """\
appraise db audit --limit 10
"""
STOP_EXAMPLES = """\
appraise db stop
"""


def upgrade(context: typer.Context, as_json: AsJson = False) -> None:
    """Make the tables, or bring them up to date.

    All of it happens, or nothing. A database that a newer version of Appraise made is refused and left as it is.
    """
    from appraise.cli.session import user_name
    from appraise.jobs.db import upgrade as job

    show(job(_database(context), actor=user_name()), _render_upgraded, as_json=as_json)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show which database is used, whether it answers, and whether its tables are up to date."""
    from appraise.jobs.db import status as job

    show(job(_database(context)), _render_status, as_json=as_json)


def psql(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Option("--command", "-c", metavar="SQL", help="Run this and end, again for each.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Open PostgreSQL's own terminal on the database.

    With --json nothing is opened: it prints how psql is called.
    """
    from appraise.jobs.db import psql as job
    from appraise.jobs.db import psql_call

    database = _database(context)
    if as_json:
        show(psql_call(database), lambda _console, _call: None, as_json=True)
        return
    raise typer.Exit(job(database, [word for one in command or () for word in ("-c", one)]))


def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show who changed keys, models and tables, and when, newest first."""
    from appraise.jobs.db import audit as job

    show(job(_database(context), limit=limit), _render_audit, as_json=as_json)


def stop(context: typer.Context, as_json: AsJson = False) -> None:
    """Stop the embedded database, whoever uses it.

    A service that runs goes on without it. appraise db upgrade, appraise up and appraise serve start it again.
    """
    from appraise.jobs.db import stop as job

    show(job(_database(context)), _render_stopped, as_json=as_json)


def _database(context: typer.Context) -> Database:
    from appraise.bootstrap import build_database

    session: Session = context.obj
    return build_database(session.settings())


def _render_upgraded(console: Console, upgraded: Upgraded) -> None:
    if upgraded.before == upgraded.after:
        text = f"The database {upgraded.address} is up to date, at revision {upgraded.after}."
    elif upgraded.before is None:
        text = f"Made the tables of revision {upgraded.after} in the database {upgraded.address}."
    else:
        text = f"Brought the database {upgraded.address} from revision {upgraded.before} to {upgraded.after}."
    console.print(text, markup=False, soft_wrap=True)


def _render_status(console: Console, status: DatabaseStatus) -> None:
    from rich.table import Table
    from rich.text import Text

    rows = {"database": f"{'embedded, ' if status.embedded else ''}{status.address}"}
    if status.running:
        rows["PostgreSQL"] = f"{status.version}, answers in {status.latency_ms:.2f} ms"
        rows["size"] = f"{(status.size_bytes or 0) / 2**20:.1f} MB"
        rows["revision"] = _revision(status)
    else:
        rows["PostgreSQL"] = (
            "does not run. Whatever needs it starts it; once appraise db stop has ended it, only appraise up and "
            "appraise db upgrade do."
        )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows.items():
        table.add_row(label, Text(value))
    console.print(table)


def _revision(status: DatabaseStatus) -> str:
    if status.up_to_date:
        return f"{status.revision}, up to date"
    have = "no tables yet" if status.revision is None else status.revision
    return f"{have}; this version needs {status.expected}: appraise db upgrade"


def _render_audit(console: Console, trail: AuditTrail) -> None:
    from rich.table import Table
    from rich.text import Text

    if not trail.entries:
        console.print("Nothing was changed yet.", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("at (UTC)", "who", "did", "to what"):
        table.add_column(header, no_wrap=True)
    table.add_column("detail", overflow="fold")
    for entry in trail.entries:
        detail = ", ".join(f"{name} {_plain(value)}" for name, value in (entry.detail or {}).items() if value)
        row = (f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.actor, entry.action, entry.subject, detail)
        table.add_row(*map(Text, row))
    console.print(table)


def _plain(value: object) -> str:
    match value:
        case dict():
            return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
        case list():
            return " and ".join(map(_plain, value))
        case _:
            return str(value)


def _render_stopped(console: Console, stopped: Stopped) -> None:
    text = "Stopped the database" if stopped.ran else "No server ran for the database"
    console.print(f"{text} {stopped.address}.", markup=False, soft_wrap=True)

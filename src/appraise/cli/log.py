"""`appraise log verify`, `export`, `load` and `status`."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.exits import CODES
from appraise.cli.options import AsJson
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import counted, show
from appraise.errors import LogError

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.log import Exported, Loaded, LogStatus
    from appraise.settings import Settings
    from appraise.store.database import Database
    from appraise.store.walk import Verification

VERIFY_EXAMPLES = """\
appraise log verify
appraise log verify --spool
appraise log verify log.parquet
"""
EXPORT_EXAMPLES = """\
appraise log export --since 2026-11-01 > log.parquet
appraise log export --since 2026-11-01 --until 2026-12-01 --output november.parquet
"""
LOAD_EXAMPLES = """\
appraise log load
"""
STATUS_EXAMPLES = """\
appraise log status
"""

_MOST_FINDINGS = 20

_Day = Annotated[
    str | None,
    typer.Option("--since", metavar="DATE", help="From this day or moment on, UTC unless said.", show_default=False),
]
_Until = Annotated[
    str | None,
    typer.Option("--until", metavar="DATE", help="Before this day or moment, UTC unless said.", show_default=False),
]


def verify(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="An export to verify in place of the log itself.", show_default=False),
    ] = None,
    spool: Annotated[bool, typer.Option("--spool", metavar="", help="The spool alone, without the database.")] = False,
    as_json: AsJson = False,
) -> None:
    """Walk the hash chains of the prediction log, and tell whether anything was changed.

    Records that were altered, removed, inserted, put in another order or damaged are named. The exit code is 9 where
    there are any, where there is no log, or where the database could not be read. Note the last line elsewhere: who can
    write the log and the database can make every chain anew, but not one that ends with a hash that you noted.
    """
    from appraise.bootstrap import build_log_plan
    from appraise.jobs import log as job

    session: Session = context.obj
    settings = session.settings()
    if file is not None:
        result = job.verify_file(file, progress=make_progress())
    else:
        database = None if spool else _database(settings)
        result = job.verify_log(build_log_plan(settings), database, progress=make_progress())
    show(result, _render_verified, as_json=as_json)
    if not result.whole or result.database_trouble is not None:
        raise typer.Exit(CODES[LogError])


def export(
    context: typer.Context,
    since: _Day = None,
    until: _Until = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write; the standard output if not given.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the predictions of the database as Parquet, each with its record and its place in the chain."""
    from appraise.jobs import log as job

    session: Session = context.obj
    moments = _moment(since, "--since"), _moment(until, "--until")
    if output is None and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is not for a terminal: redirect it, or give --output", param_hint="--output")
    if output is None and as_json:
        raise typer.BadParameter("the export itself goes to the standard output: give --output", param_hint="--json")
    database = _database(session.settings())
    sink = sys.stdout.buffer if output is None else output
    result = job.export(database, sink, since=moments[0], until=moments[1], progress=make_progress())
    if output is None:
        typer.echo(f"Exported {counted(result.rows, 'prediction')}.", err=True)
    else:
        show(result, _render_exported, as_json=as_json)


def load(context: typer.Context, as_json: AsJson = False) -> None:
    """Bring what waits in the spool into the database.

    A running service does so by itself; this is for where there is none, as beside stream workers alone.
    """
    from appraise.bootstrap import build_database, build_log_plan
    from appraise.jobs import log as job

    session: Session = context.obj
    settings = session.settings()
    show(job.load(build_log_plan(settings), build_database(settings)), _render_loaded, as_json=as_json)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how much of the prediction log waits in the spool, and how much is in the database."""
    from appraise.bootstrap import build_log_plan
    from appraise.jobs import log as job

    session: Session = context.obj
    settings = session.settings()
    show(job.log_status(build_log_plan(settings), _database(settings)), _render_status, as_json=as_json)


def _database(settings: Settings) -> Database | None:
    """The database; None for an embedded one that was never made."""
    from appraise.bootstrap import build_database

    database = build_database(settings)
    return None if database.embedded and not database.options.folder.exists() else database


def _moment(text: str | None, option: str) -> dt.datetime | None:
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date such as 2026-11-01", param_hint=option) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


def _render_verified(console: Console, result: Verification) -> None:
    for place, records in result.records.items():
        segments = counted(result.segments.get(place, 0), "segment")
        console.print(f"{place}: {counted(records, 'record')} in {segments}", markup=False)
    if result.unlisted:
        console.print(f"Second copies, and what is no record: {result.unlisted:,}, kept aside", markup=False)
    if result.database_trouble is not None:
        console.print(f"The database was not read: {result.database_trouble}", markup=False, soft_wrap=True)
    for finding in result.findings[:_MOST_FINDINGS]:
        console.print(
            f"{finding.kind.upper()} in the {finding.place}, segment {finding.segment}: {finding.message}",
            markup=False,
            soft_wrap=True,
        )
    if len(result.findings) > _MOST_FINDINGS:
        console.print(f"and {len(result.findings) - _MOST_FINDINGS:,} more; --json has all", markup=False)
    if result.whole and result.database_trouble is not None:
        console.print("Nothing was changed in the spool; the database was not checked.", markup=False)
    elif result.whole:
        console.print("Nothing was changed.", markup=False)
    if result.newest is not None:
        newest = result.newest
        console.print(
            f"Newest: segment {newest.segment}, {counted(newest.frames, 'frame')}, hash {newest.hash}",
            markup=False,
            soft_wrap=True,
        )


def _render_exported(console: Console, result: Exported) -> None:
    console.print(f"Exported {counted(result.rows, 'prediction')} to {result.output}", markup=False, soft_wrap=True)


def _render_loaded(console: Console, result: Loaded) -> None:
    console.print(f"Loaded {counted(result.records, 'prediction')}", markup=False)
    if result.unloaded_bytes:
        console.print(f"{result.unloaded_bytes / 2**20:,.2f} MiB are still being written", markup=False)


def _render_status(console: Console, status: LogStatus) -> None:
    backlog = status.backlog
    console.print(f"Mode: {status.mode}", markup=False)
    console.print(
        f"Spool: {counted(backlog.segments, 'segment')}, {backlog.spool_bytes / 2**20:,.1f} MiB in {status.folder}",
        markup=False,
        soft_wrap=True,
    )
    if backlog.unloaded_bytes:
        console.print(
            f"Not loaded: {backlog.unloaded_bytes / 2**20:,.2f} MiB, the oldest for {backlog.oldest_seconds:,.0f} s",
            markup=False,
        )
    else:
        console.print("All of it is in the database", markup=False)
    if backlog.trouble is not None:
        console.print(f"The loader waits: {backlog.trouble}", markup=False, soft_wrap=True)
    elif not backlog.loading:
        console.print("Nothing loads it now: a service does, or appraise log load", markup=False)
    if status.records is not None:
        console.print(f"Database: {counted(status.records, 'prediction')}", markup=False)
    elif status.database_trouble is not None:
        console.print(f"Database: {status.database_trouble}", markup=False, soft_wrap=True)

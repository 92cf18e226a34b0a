"""`appraise up` and `appraise down`."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import typer

from appraise.cli.options import AsJson
from appraise.cli.progress import make_progress
from appraise.cli.serve import Host, Insecure, Models, Port, Workers
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.up import DownResult, UpResult

UP_EXAMPLES = """\
appraise up
appraise up --model california --workers 2
"""
DOWN_EXAMPLES = """\
appraise down
"""

_STATES = {"started": "runs", "restarted": "runs again, with the new settings,", "running": "runs already"}


def up(
    context: typer.Context,
    model: Models = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Serve in the background, and show a request that works.

    The service is seen to value a home before this ends. One that runs already takes the newest models, and is
    restarted where settings changed. `appraise down` ends it.
    """
    from appraise.bootstrap import build_up_plan
    from appraise.jobs.up import up as job

    session: Session = context.obj
    settings = session.settings({"serve.host": host, "serve.port": port, "serve.workers": workers})
    plan = build_up_plan(settings, names=tuple(model or ()), insecure=insecure)
    home = session.flags.get("home")
    down = "appraise down" if home is None else f"appraise --home {shlex.quote(str(home))} down"
    result = job(plan, progress=make_progress())
    show(result, lambda console, result: _render_up(console, result, down), as_json=as_json)


def down(context: typer.Context, as_json: AsJson = False) -> None:
    """End the service that `appraise up` started; requests that have begun are finished."""
    from appraise.bootstrap import build_end_seconds
    from appraise.jobs.up import down as job

    session: Session = context.obj
    settings = session.settings()
    result = job(settings.home.absolute(), end_seconds=build_end_seconds(settings), progress=make_progress())
    show(result, _render_down, as_json=as_json)


def _render_up(console: Console, result: UpResult, down: str) -> None:
    served = ", ".join(f"{name} {version}" for name, version in result.models.items())
    interval = result.answer["prediction_interval"]
    estimate, lower = _money(result.answer["prediction"], result.unit), _money(interval["lower"], None)
    command = [
        f"curl -X POST {result.url}{result.path} -H 'Content-Type: application/json'",
        *(["-H 'X-API-Key: KEY'"] if result.keys else []),
        f"-d {shlex.quote(json.dumps(dict(result.row)))}",
    ]
    asked = f"It valued a home at {estimate} ({interval['level']:.0%} interval: {lower} to "
    lines = [
        f"The service {_STATES[result.state]} at {result.url} (process {result.pid}), with {served}.",
        *([f"Its models may not be the newest: {result.stale}."] if result.stale else []),
        f"{asked}{_money(interval['upper'], result.unit)}). Ask it yourself:",
        "",
        " \\\n  ".join(command),
        "",
        *(["KEY is one that appraise keys create made.", ""] if result.keys else []),
        f"Documentation  {result.url}/docs",
        f"Log            {result.log}",
        f"To end it      {down}",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _money(value: Any, unit: str | None) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if not unit:
        return text
    return f"{text} x {unit}" if unit[0].isdigit() else f"{text} {unit}"


def _render_down(console: Console, result: DownResult) -> None:
    if result.pid is None:
        console.print("Nothing runs.", markup=False)
    elif result.killed:
        console.print(f"The service (process {result.pid}) did not end in time and was killed.", markup=False)
    else:
        console.print(f"The service (process {result.pid}) has ended.", markup=False)

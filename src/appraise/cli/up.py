"""`appraise up` and `appraise down`."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from appraise.cli.options import AsJson
from appraise.cli.progress import make_progress
from appraise.cli.serve import Default, Host, Insecure, Models, Port, Workers, served_names
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.asking import Asked
    from appraise.jobs.up import DownResult, UpResult

UP_EXAMPLES = """\
appraise up
appraise up --model california --workers 2
"""
DOWN_EXAMPLES = """\
appraise down
"""

_STATES = {"started": "runs", "restarted": "runs again", "running": "runs already"}


def up(
    context: typer.Context,
    model: Models = None,
    default: Default = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Serve in the background, and show a request that works.

    The service is seen to value a home before this ends. One that runs already takes the newest models, and is
    restarted where settings changed. Options that it was given are kept unless they are given anew, after a crash
    too; `appraise down` ends it, and forgets them.
    """
    from appraise.bootstrap import build_up_plan
    from appraise.jobs.up import up as job

    session: Session = context.obj
    settings = session.settings({"serve.host": host, "serve.port": port, "serve.workers": workers})
    flags = {
        "model": list(served_names(model, default)) or None,
        "default": default,
        "host": host,
        "port": port,
        "workers": workers,
        "insecure": insecure or None,
    }
    plan = build_up_plan(settings, {name: value for name, value in flags.items() if value is not None})
    home = session.flags.get("home")
    down = "appraise down" if home is None else f"appraise --home {shlex.quote(str(home))} down"
    result = job(plan, progress=make_progress())
    show(result, lambda console, result: _render_up(console, result, down), as_json=as_json)


def down(context: typer.Context, as_json: AsJson = False) -> None:
    """End the service that `appraise up` started; requests that have begun are finished."""
    from appraise.bootstrap import build_end_seconds, home_of
    from appraise.jobs.up import down as job

    session: Session = context.obj
    settings = session.settings()
    result = job(home_of(settings), end_seconds=build_end_seconds(settings), progress=make_progress())
    show(result, _render_down, as_json=as_json)


def _render_up(console: Console, result: UpResult, down: str) -> None:
    asked = result.asked
    served = ", ".join(f"{name} {version}" for name, version in asked.models.items())
    interval = asked.answer["prediction_interval"]
    prices = (asked.answer["prediction"], interval["lower"], interval["upper"])
    estimate, lower, upper = (f"{price:,.0f}" for price in _rounded([price * asked.price_unit for price in prices]))
    command = [
        f"curl -X POST {asked.url}{asked.path} -H 'Content-Type: application/json'",
        *(["-H 'X-API-Key: KEY'"] if asked.keys else []),
        f"-d {shlex.quote(json.dumps(dict(asked.row)))}",
    ]
    currency = "" if asked.currency is None else f" {asked.currency}"
    valued = f"{estimate}{currency} ({interval['level']:.0%} interval: {lower} to {upper})"
    lines = [
        f"The service {_STATES[result.state]} at {asked.url} (process {result.pid}), with {served}.",
        *([f"Changed: {', '.join(result.changes)}."] if result.changes else []),
        *([f"Kept from its start: {_given(result.kept)}; {down} forgets it."] if result.kept else []),
        *([f"Its models may not be the newest: {asked.stale}."] if asked.stale else []),
        *_of_several(asked),
        f"It valued a home at {valued}. Ask it yourself:",
        "",
        " \\\n  ".join(command),
        "",
        *(["KEY is one that appraise keys create made.", ""] if asked.keys else []),
        f"Documentation  {asked.url}/docs",
        f"Log            {result.log}",
        f"To end it      {down}",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _of_several(asked: Asked) -> Iterator[str]:
    """Which of several models answers `/predict`."""
    if len(asked.models) == 1:
        return
    if asked.default is None:
        why = f"none of the {len(asked.models)} models is its default"
        yield f"/predict answers nobody, for {why}: use /models/NAME/predict, or choose one:"
        yield f"  appraise up --default {asked.model}"
    else:
        yield f"/predict is answered by {asked.default}, every model by /models/NAME/predict."


def _given(flags: Mapping[str, Any]) -> str:
    words = (
        f"--{name}" if value is True else f"--{name} {one}"
        for name, value in flags.items()
        for one in (value if isinstance(value, list) else [value])
    )
    return " ".join(words)


def _rounded(prices: list[float]) -> list[float]:
    """Prices to a thousandth of the first, a power of ten: 207,433 and 171,988 are 207,400 and 172,000."""
    step = 10.0 ** (math.floor(math.log10(abs(prices[0]))) - 3) if prices[0] else 1.0
    return [round(price / max(step, 1.0)) * max(step, 1.0) for price in prices]


def _render_down(console: Console, result: DownResult) -> None:
    if result.pid is None:
        console.print("Nothing runs.", markup=False)
    elif result.killed:
        console.print(f"The service (process {result.pid}) did not end in time and was killed.", markup=False)
    else:
        console.print(f"The service (process {result.pid}) has ended.", markup=False)

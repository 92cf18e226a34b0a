"""`appraise kafka start`, `stop` and `status`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.kafka.broker import LocalBroker
    from appraise.jobs.kafka.control import BrokerStatus

START_EXAMPLES = """\
appraise kafka start
appraise kafka start --port 0 --set log.retention.hours=1
"""
STOP_EXAMPLES = """\
appraise kafka stop
"""
STATUS_EXAMPLES = """\
appraise kafka status
"""


def start(
    context: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            min=0,
            max=65535,
            help="The port, 0 for a free one; that of the last start, or 9092, or a free one if not given.",
            show_default=False,
        ),
    ] = None,
    heap: Annotated[
        int | None,
        typer.Option(
            "--heap", metavar="MB", min=64, help="Most memory of its heap; 512 if not given.", show_default=False
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the broker by Kafka's own name, again for each.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start a real Apache Kafka on this machine.

    One broker on loopback, for development: its topics are kept in APPRAISE_HOME over restarts. The other commands find
    it by themselves. Java 17 is needed, and Maven the first time, when it fetches Kafka.
    """
    from appraise.jobs.kafka.control import start_broker

    status = start_broker(
        _broker(context), port=port, heap_mb=heap, properties=_properties(set_ or ()), progress=make_progress()
    )
    show(status, _render_start, as_json=as_json)


def stop(context: typer.Context, as_json: AsJson = False) -> None:
    """Stop the broker of this machine; its topics stay."""
    from appraise.jobs.kafka.control import stop_broker

    show(stop_broker(_broker(context), make_progress()), _render_stop, as_json=as_json)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show whether the broker of this machine runs, and where."""
    from appraise.jobs.kafka.control import broker_status

    show(broker_status(_broker(context)), _render_status, as_json=as_json)


def _broker(context: typer.Context) -> LocalBroker:
    from appraise.bootstrap import build_broker

    session: Session = context.obj
    return build_broker(session.settings())


def _properties(pairs: list[str] | tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip() or "\n" in pair:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--set")
        found[name.strip()] = value
    return found


def _render_start(console: Console, status: BrokerStatus) -> None:
    from appraise.jobs.kafka.jars import KAFKA_VERSION

    broker = status.broker
    if broker is None:
        return
    how = f"Apache Kafka {KAFKA_VERSION} is ready" if status.changed else "The broker runs already"
    lines = [
        f"{how} at {broker.bootstrap_servers} (process {broker.pid}).",
        *_without_effect(status.ignored),
        "",
        f"Data            {status.folder}",
        f"Log             {broker.log}",
        f"Other programs  export KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap_servers}",
        "Next            appraise stream topics create --partitions 2",
        "To end it       appraise kafka stop",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _without_effect(options: tuple[str, ...]) -> list[str]:
    if not options:
        return []
    named = " and ".join([", ".join(options[:-1]), options[-1]] if options[1:] else options)
    counts = "count" if options[1:] else "counts"
    return [f"{named} {counts} when it starts, and had no effect: appraise kafka stop, then start it again."]


def _render_stop(console: Console, status: BrokerStatus) -> None:
    broker = status.broker
    text = (
        "No broker runs here." if broker is None else f"The broker (process {broker.pid}) has ended; its topics stay."
    )
    console.print(text, markup=False)


def _render_status(console: Console, status: BrokerStatus) -> None:
    broker = status.broker
    if broker is None:
        console.print("No broker runs here. Start one: appraise kafka start", markup=False)
        return
    since = dt.datetime.fromtimestamp(broker.started_at, dt.UTC)
    says = f"answers, with {status.topics} topics" if status.problem is None else f"does not answer: {status.problem}"
    lines = [
        f"The broker at {broker.bootstrap_servers} (process {broker.pid}, since {since:%Y-%m-%d %H:%M:%S} UTC) {says}.",
        "",
        f"Data  {status.folder}",
        f"Log   {broker.log}",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)

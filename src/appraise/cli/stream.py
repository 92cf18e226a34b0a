"""`appraise stream produce`, `view` and `lag`."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.terminal import counted, is_terminal, show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.produce import ProduceResult
    from appraise.serving.streaming.lag import Lag
    from appraise.serving.streaming.viewing import Seen, Start

PRODUCE_EXAMPLES = """\
appraise stream produce
appraise stream produce 5 --dataset california
appraise stream produce --to events --file events.jsonl
"""
VIEW_EXAMPLES = """\
appraise stream view requests
appraise stream view predictions --partition 0 --from end
appraise stream view price_requests_dead_letters --count 10 --json
"""
LAG_EXAMPLES = """\
appraise stream lag
"""

_SENT_SHOWN = 20
_LONGEST_SHOWN = 2000

Partition = Annotated[
    int | None,
    typer.Option("--partition", metavar="N", min=0, help="The one partition; all if not given.", show_default=False),
]


def produce(
    context: typer.Context,
    count: Annotated[
        int | None,
        typer.Argument(metavar="[N]", min=1, help="How many messages; one if not given.", show_default=False),
    ] = None,
    partition: Annotated[
        int | None,
        typer.Option("--partition", metavar="N", min=0, help="Where to; by chance if not given.", show_default=False),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="What homes to make up; those of the one model here, or else of california, if not given.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Send its lines as they are, one message each; - is the standard input.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="TOPIC", help="requests, events, or the name of any topic.")
    ] = "requests",
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Seed of the homes and partitions.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send price requests of made-up homes, or the lines of a file.

    Each message goes to a partition by chance, and its partition and offset are shown.
    """
    from appraise.bootstrap import build_kafka, build_registry, build_topics
    from appraise.jobs.produce import find_dataset, produce_file, produce_requests

    session: Session = context.obj
    settings = session.settings()
    kafka, topics, progress = build_kafka(settings), build_topics(settings), make_progress()
    topic = topics.named(to)
    if file is not None:
        if dataset is not None or seed is not None:
            raise typer.BadParameter(
                "it says which homes to make up, and --file sends what is there", param_hint="--dataset"
            )
        result = produce_file(kafka, topic, path=file, count=count, partition=partition, progress=progress)
    elif topic == topics.events:
        raise typer.BadParameter("events are not made up; give them with --file", param_hint="--to")
    else:
        spec = find_dataset(build_registry(settings), dataset)
        result = produce_requests(
            kafka, topic, spec=spec, count=count or 1, partition=partition, seed=seed, progress=progress
        )
    show(result, _render_produced, as_json=as_json)


def view(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC", help="requests, predictions, events, or the name of any topic.", show_default=False
        ),
    ],
    partition: Partition = None,
    start: Annotated[
        str, typer.Option("--from", metavar="PLACE", help="Where to begin: beginning, end, or an offset.")
    ] = "beginning",
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", min=1, help="Messages after which to end.", show_default=False),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle", metavar="S", min=0.1, help="Seconds without a message after which to end.", show_default=False
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print one JSON object a line, one for each message.")
    ] = False,
) -> None:
    """Show the messages of a topic as they arrive, until Ctrl-C.

    Only what was committed is shown. Nothing is taken from anybody: no group is joined.
    """
    from appraise.bootstrap import build_kafka, build_topics
    from appraise.serving.streaming.viewing import view as job

    session: Session = context.obj
    settings = session.settings()
    topic = build_topics(settings).named(what)
    messages = job(
        build_kafka(settings), topic, partition=partition, start=_start(start), count=count, idle_seconds=idle
    )
    if is_terminal():
        typer.echo(f"Reading {topic} from {start}; Ctrl-C ends.", err=True)
    shown = 0
    try:
        with closing(messages):
            for message in messages:
                shown += 1
                _show_message(message, as_json=as_json)
    except KeyboardInterrupt:
        typer.echo(err=True)
    typer.echo(f"{counted(shown, 'message')} of {topic}", err=True)


def lag(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how many messages wait for the workers that score and ingest, partition by partition."""
    from appraise.bootstrap import build_kafka, build_topics
    from appraise.serving.streaming.lag import lag_of

    session: Session = context.obj
    settings = session.settings()
    topics = build_topics(settings)
    groups = (topics.group("score"), topics.requests), (topics.group("ingest"), topics.events)
    show(_Lags(lag_of(build_kafka(settings), groups)), _render_lags, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Lags:
    partitions: tuple[Lag, ...]

    @property
    def total(self) -> int:
        return sum(one.lag for one in self.partitions)

    def to_dict(self) -> dict[str, object]:
        return {"total": self.total, "partitions": [one.to_dict() for one in self.partitions]}


def _start(text: str) -> Start:
    if text == "beginning":
        return "beginning"
    if text == "end":
        return "end"
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    raise typer.BadParameter(f"{text!r} is not beginning, end or an offset", param_hint="--from")


def _show_message(message: Seen, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        sys.stdout.write(msgspec.json.encode(message.to_dict()).decode() + "\n")
    else:
        moment = "" if message.timestamp is None else f"{message.timestamp:%Y-%m-%d %H:%M:%S.%f}"[:-3]
        place = f"partition {message.partition}  offset {message.offset}  {moment}"
        key = "" if message.key is None else f"  key {printable(message.key)}"
        lines = [typer.style(place + key, dim=True)]
        lines += [typer.style(f"  {name}: {printable(value or b'')}", dim=True) for name, value in message.headers]
        lines.append(f"  {'(no value)' if message.value is None else printable(message.value)}")
        typer.echo("\n".join(lines))
    sys.stdout.flush()


def printable(data: bytes) -> str:
    """Bytes as text that does nothing to a terminal, shortened."""
    text = data[: 4 * _LONGEST_SHOWN].decode("utf-8", "backslashreplace")
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text[:_LONGEST_SHOWN]
    )
    return shown if len(data) <= _LONGEST_SHOWN else f"{shown}… ({len(data):,} bytes)"


def _render_produced(console: Console, result: ProduceResult) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("partition", justify="right")
    table.add_column("offset", justify="right")
    table.add_column("key", no_wrap=True)
    for one in result.sent[:_SENT_SHOWN]:
        table.add_row(str(one.partition), str(one.offset), Text(one.key or ""))
    console.print(table)
    more = len(result.sent) - _SENT_SHOWN
    if more > 0:
        console.print(f"and {more:,} more")
    partitions = {one.partition for one in result.sent}
    counts = ", ".join(
        f"{sum(one.partition == number for one in result.sent):,} to partition {number}"
        for number in sorted(partitions)
    )
    sent = counted(len(result.sent), "message")
    console.print(f"Sent {sent} to {result.topic}: {counts}.", markup=False, soft_wrap=True)


def _render_lags(console: Console, lags: _Lags) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("group", "topic"):
        table.add_column(header, no_wrap=True)
    for header in ("partition", "next", "end", "waiting"):
        table.add_column(header, justify="right")
    for one in lags.partitions:
        committed = "none" if one.committed is None else f"{one.committed:,}"
        table.add_row(one.group, one.topic, str(one.partition), committed, f"{one.end:,}", f"{one.lag:,}")
    console.print(table)
    waiting = "1 message waits." if lags.total == 1 else f"{lags.total:,} messages wait."
    console.print(waiting if lags.total else "Nothing waits.")

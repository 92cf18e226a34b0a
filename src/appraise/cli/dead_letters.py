"""`appraise stream dead-letters list` and `replay`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.stream import printable
from appraise.cli.terminal import counted, show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.serving.streaming.clients import KafkaConfig
    from appraise.serving.streaming.replaying import DeadLetter, Replayed
    from appraise.serving.streaming.topics import Topics

LIST_EXAMPLES = """\
appraise stream dead-letters list
appraise stream dead-letters list requests --reason "not JSON" --json
"""
REPLAY_EXAMPLES = """\
appraise stream dead-letters replay
appraise stream dead-letters replay requests --reason "unknown dataset"
"""

_VALUE_SHOWN = 40

Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TOPIC]...", help="requests, events, or both if not given.", show_default=False),
]
Reason = Annotated[
    str | None,
    typer.Option(
        "--reason",
        metavar="TEXT",
        help="Only those with this in the kind of error, the stage or the sentence.",
        show_default=False,
    ),
]


def list_(
    context: typer.Context,
    names: Inputs = None,
    reason: Reason = None,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Most letters to show.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the refused messages that were not sent back yet, and why they were refused."""
    from appraise.serving.streaming.replaying import dead_letters

    kafka, topics, inputs = _cluster(context, names)
    with closing(dead_letters(kafka, topics, inputs, reason=reason)) as letters:
        found = tuple(islice(letters, count + 1))
    show(_Listed(found[:count], more=len(found) > count), _render_list, as_json=as_json)


def replay(
    context: typer.Context,
    names: Inputs = None,
    reason: Reason = None,
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", min=1, help="Most letters to send; all if not given.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send refused messages back to where they came from, once what refused them is mended.

    Each goes back once, byte for byte, to its topic and partition, with a header that counts its replays.
    """
    from appraise.serving.streaming.replaying import replay as job

    kafka, topics, inputs = _cluster(context, names)
    with make_progress().task("sending back", total=count) as task:
        result = job(kafka, topics, inputs, reason=reason, most=count, replayed=task.advance)
    show(result, _render_replayed, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Listed:
    letters: tuple[DeadLetter, ...]
    more: bool

    def to_dict(self) -> dict[str, object]:
        return {"dead_letters": [one.to_dict() for one in self.letters], "more": self.more}


def _cluster(context: typer.Context, names: list[str] | None) -> tuple[KafkaConfig, Topics, tuple[str, ...]]:
    from appraise.bootstrap import build_kafka, build_topics

    session: Session = context.obj
    settings = session.settings()
    topics = build_topics(settings)
    inputs = tuple(topics.named(name) for name in names) if names else topics.inputs
    for name in inputs:
        if name not in topics.inputs:
            raise typer.BadParameter(f"{name!r} is not requests or events", param_hint="TOPIC")
    return build_kafka(settings), topics, inputs


def _render_list(console: Console, listed: _Listed) -> None:
    from rich.table import Table
    from rich.text import Text

    if not listed.letters:
        console.print("No dead letters.", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("from", "refused (UTC)", "stage", "replays", "why", "value"):
        table.add_column(header, no_wrap=header != "why", overflow="fold" if header == "why" else "ellipsis")
    for one in listed.letters:
        origin, seen = one.origin, one.seen
        value = seen.value or b""
        shown = printable(value[:_VALUE_SHOWN]) + ("…" if len(value) > _VALUE_SHOWN else "")
        moment = "" if seen.timestamp is None else f"{seen.timestamp:%Y-%m-%d %H:%M:%S}"
        place = f"{origin.topic}/{origin.partition}/{origin.offset}"
        why = printable(origin.message.encode())
        table.add_row(*map(Text, (place, moment, origin.stage, str(origin.replays), why, shown)))
    console.print(table)
    more = " Show more: --count." if listed.more else ""
    console.print(f"{counted(len(listed.letters), 'dead letter')}.{more}", markup=False)


def _render_replayed(console: Console, result: Replayed) -> None:
    for topic, count in result.sent.items():
        console.print(f"Sent {counted(count, 'message')} back to {topic}.", markup=False)
    if not result.sent:
        console.print("Nothing was sent back.", markup=False)
    if result.kept:
        console.print(f"{result.kept:,} dead letter{' is' if result.kept == 1 else 's are'} left.", markup=False)
    if result.incomplete:
        console.print(f"{result.incomplete:,} without their value, which was too large, cannot go back.", markup=False)

"""`appraise stream topics create`, `list`, `describe` and `delete`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.session import Session
from appraise.cli.terminal import counted, is_terminal, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from appraise.serving.streaming.clients import KafkaConfig
    from appraise.serving.streaming.topics import Topic, Topics

CREATE_EXAMPLES = """\
appraise stream topics create --partitions 2
appraise stream topics create --partitions 6 --grow
"""
LIST_EXAMPLES = """\
appraise stream topics list
"""
DESCRIBE_EXAMPLES = """\
appraise stream topics describe
appraise stream topics describe predictions
"""
DELETE_EXAMPLES = """\
appraise stream topics delete --yes
appraise stream topics delete predictions
"""

#: How long refused messages are kept: someone must find the time to mend what refused them.
_DEAD_LETTERS_KEPT_MS = 30 * 24 * 3600 * 1000
#: A dead letter is its message and headers that say why: it may be larger than what the input's topic takes.
_LARGEST_DEAD_LETTER = 2 * 2**20

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TOPIC]...",
        help="requests, predictions, events, or any name; those of Appraise if not given.",
        show_default=False,
    ),
]


def create(
    context: typer.Context,
    partitions: Annotated[int, typer.Option("--partitions", metavar="N", min=1, max=10_000, help="Of each topic.")] = 2,
    replication: Annotated[
        int | None,
        typer.Option(
            "--replication",
            metavar="N",
            min=1,
            help="Copies of each partition; as the cluster has it if not given.",
            show_default=False,
        ),
    ] = None,
    grow: Annotated[bool, typer.Option("--grow", metavar="", help="Add partitions to topics that have fewer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the topics: raw_data_events, price_requests and price_predictions, and the dead letters of the inputs.

    Topics that are there already, with as many partitions, are left alone.
    """
    from appraise.serving.streaming.topics import create_topics

    kafka, topics = _cluster(context)
    dead = {topics.dead_letters(name) for name in topics.inputs}
    make = partial(
        create_topics, kafka, partitions=partitions, replication=-1 if replication is None else replication, grow=grow
    )
    done = make([name for name in topics.all if name not in dead])
    done |= make(
        sorted(dead),
        options={"retention.ms": str(_DEAD_LETTERS_KEPT_MS), "max.message.bytes": str(_LARGEST_DEAD_LETTER)},
    )
    show(_Created(done, partitions), _render_created, as_json=as_json)


def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the topics of the cluster."""
    from appraise.serving.streaming.topics import list_topics

    kafka, _ = _cluster(context)
    show(_Listed(list_topics(kafka)), _render_list, as_json=as_json)


def describe(context: typer.Context, names: Names = None, as_json: AsJson = False) -> None:
    """Show the partitions of topics: their offsets, leaders and copies."""
    from appraise.serving.streaming.topics import list_topics

    kafka, topics = _cluster(context)
    wanted = [topics.named(name) for name in names] if names else topics.all
    show(_Listed(list_topics(kafka, wanted)), _render_partitions, as_json=as_json)


def delete(
    context: typer.Context,
    names: Names = None,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete topics with all that is in them."""
    from appraise.serving.streaming.topics import delete_topics, list_topics, unknown_topic

    kafka, topics = _cluster(context)
    present = {topic.name: topic for topic in list_topics(kafka)}
    wanted = [topics.named(name) for name in names] if names else [name for name in topics.all if name in present]
    for name in wanted:
        if name not in present:
            raise unknown_topic(name, present)
    if wanted and not yes:
        _confirm([present[name] for name in wanted], kafka.bootstrap_servers)
    show(_Deleted(delete_topics(kafka, wanted)), _render_deleted, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Created:
    topics: Mapping[str, str]
    partitions: int

    def to_dict(self) -> dict[str, object]:
        return {"topics": dict(self.topics), "partitions": self.partitions}


@dataclass(frozen=True, slots=True)
class _Listed:
    topics: tuple[Topic, ...]

    def to_dict(self) -> dict[str, object]:
        return {"topics": [topic.to_dict() for topic in self.topics]}


@dataclass(frozen=True, slots=True)
class _Deleted:
    topics: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        return {"deleted": list(self.topics)}


def _cluster(context: typer.Context) -> tuple[KafkaConfig, Topics]:
    from appraise.bootstrap import build_kafka, build_topics

    session: Session = context.obj
    settings = session.settings()
    return build_kafka(settings), build_topics(settings)


def _confirm(topics: list[Topic], servers: str) -> None:
    """Ask whether to delete; where nobody can answer, nothing is deleted."""
    if not (is_terminal() and sys.stdin.isatty()):
        raise typer.BadParameter("where nobody can be asked, nothing is deleted without it", param_hint="--yes")
    for topic in topics:
        typer.echo(f"{topic.name}: {len(topic.partitions)} partitions, {topic.offsets:,} offsets", err=True)
    typer.confirm(f"Delete them from {servers}, with all that is in them?", abort=True, err=True)


def _render_created(console: Console, created: _Created) -> None:
    for name, what in created.topics.items():
        console.print(f"{what:<9}  {name}", markup=False)
    console.print(f"Each has {counted(created.partitions, 'partition')}.", markup=False)


def _render_list(console: Console, listed: _Listed) -> None:
    from rich.table import Table

    if not listed.topics:
        console.print("No topics yet. Make them: appraise stream topics create --partitions 2", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("topic", no_wrap=True)
    table.add_column("partitions", justify="right")
    table.add_column("offsets", justify="right")
    for topic in listed.topics:
        table.add_row(topic.name, str(len(topic.partitions)), f"{topic.offsets:,}")
    console.print(table)


def _render_partitions(console: Console, listed: _Listed) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("topic", no_wrap=True)
    for header in ("partition", "oldest", "next", "leader"):
        table.add_column(header, justify="right")
    for header in ("copies", "in sync"):
        table.add_column(header)
    for topic in listed.topics:
        for one in topic.partitions:
            table.add_row(
                topic.name,
                str(one.partition),
                f"{one.beginning:,}",
                f"{one.end:,}",
                "none" if one.leader < 0 else str(one.leader),
                ", ".join(map(str, one.replicas)),
                ", ".join(map(str, one.in_sync)),
            )
    console.print(table)


def _render_deleted(console: Console, deleted: _Deleted) -> None:
    for name in deleted.topics:
        console.print(f"deleted  {name}", markup=False)
    if not deleted.topics:
        console.print("None of the topics is there.", markup=False)

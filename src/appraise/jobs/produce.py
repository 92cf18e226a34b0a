"""Produce: price requests or feature events into their topics, made up or from a file."""

from __future__ import annotations

import itertools
import math
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import IO, Any

from appraise.datasets.presets import find_spec
from appraise.datasets.spec import Column, DatasetSpec
from appraise.datasets.specfile import spec_from_dict
from appraise.errors import DataError, StreamError
from appraise.jobs.inputs import check_readable
from appraise.jobs.progress import Progress
from appraise.registry.bundle import read_manifest
from appraise.registry.mlflow_registry import Registry
from appraise.serving.models import example_row
from appraise.serving.rows import RowChecker
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.messages import PriceRequest, encode
from appraise.serving.streaming.producing import Outgoing, Sent, send
from appraise.serving.streaming.topics import list_topics

_TRIES = 20
#: Spread of made-up numbers around a column's example, and of coordinates in degrees.
_SPREAD, _DEGREES = 0.15, 0.02
DEFAULT_DATASET = "california"


@dataclass(frozen=True, slots=True)
class ProduceResult:
    """What was sent.

    Attributes:
        topic: where to.
        dataset: what the messages are about; None for those of a file.
        sent: each message's place, in their order.
    """

    topic: str
    dataset: str | None
    sent: tuple[Sent, ...]

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "topic": self.topic,
            "dataset": self.dataset,
            "count": len(self.sent),
            "messages": [asdict(one) for one in self.sent],
        }


def produce_requests(
    kafka: KafkaConfig,
    topic: str,
    *,
    spec: DatasetSpec,
    count: int,
    partition: int | None,
    seed: int | None,
    progress: Progress,
) -> ProduceResult:
    """Send made-up price requests, each to a partition by chance.

    Args:
        kafka, topic: where to.
        spec: the dataset of the homes.
        count: how many.
        partition: the one partition; any where None.
        seed: of the homes and partitions; None takes others each time.
        progress: watches.

    Raises:
        UnknownTopicError: there is no such topic or partition.
        StreamError: a message did not arrive.
    """
    (found,) = list_topics(kafka, [topic])
    random = Random(seed)  # noqa: S311  made-up homes, no secrets
    homes = varied_rows(spec, random)

    def messages() -> Iterator[Outgoing]:
        for row in itertools.islice(homes, count):
            request_id = str(uuid.UUID(int=random.getrandbits(128), version=4))
            value = encode(PriceRequest(row, spec.name, request_id))
            place = random.randrange(len(found.partitions)) if partition is None else partition
            yield Outgoing(value, request_id.encode(), place)

    with progress.task(f"sending to {topic}", total=count) as task:
        sent = send(kafka, topic, messages(), delivered=lambda _: task.advance())
    return ProduceResult(topic, spec.name, tuple(sent))


def produce_file(
    kafka: KafkaConfig, topic: str, *, path: Path, count: int | None, partition: int | None, progress: Progress
) -> ProduceResult:
    """Send each line of a file as it is; `-` is the standard input. Arguments and errors are those of the above.

    Raises:
        DataError: the file cannot be read.
    """
    if str(path) != "-":
        check_readable(path)
    with progress.task(f"sending {path} to {topic}", total=count) as task:
        try:
            if str(path) == "-":
                sent = send(
                    kafka, topic, _lines(sys.stdin.buffer, partition, count), delivered=lambda _: task.advance()
                )
            else:
                with path.open("rb") as stream:
                    sent = send(kafka, topic, _lines(stream, partition, count), delivered=lambda _: task.advance())
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not sent:
        raise DataError(f"{path} has no line to send")
    return ProduceResult(topic, None, tuple(sent))


def find_dataset(registry: Registry, name: str | None) -> DatasetSpec:
    """The spec that messages are made up from: of a preset, a file, or a model.

    Args:
        registry: where models are; it is asked only where no name is given and its cache is empty.
        name: the dataset; where None the one model that there is, or else `california`.

    Raises:
        SpecError: there is none of that name.
        RegistryError: the registry cannot be reached.
        BundleError: what it holds is not what was registered.
    """
    cached = registry.cached_names()
    if name is None and not cached:
        registered = {entry.name for entry in registry.list_models() if "champion" in entry.aliases}
        if len(registered) == 1:
            return spec_from_dict(read_manifest(registry.resolve(registered.pop())).spec)
    wanted = name if name is not None else cached[0] if len(cached) == 1 else DEFAULT_DATASET
    folder = registry.cached(wanted) if wanted in cached else None
    return find_spec(wanted) if folder is None else spec_from_dict(read_manifest(folder).spec)


def varied_rows(spec: DatasetSpec, random: Random) -> Iterator[dict[str, Any]]:
    """Made-up rows around the examples of a spec, without end; each is one that the spec accepts.

    Raises:
        StreamError: the examples of the spec are not rows that it accepts.
    """
    checker, example = RowChecker(spec), example_row(spec)
    problems = checker.problems([example])
    if problems:
        raise StreamError(
            f"a row cannot be made up for {spec.name}: {problems[0].field} {problems[0].constraint}",
            hint="send rows of your own: --file rows.jsonl",
        )
    columns = [column for column in spec.inputs if column.name in example]
    while True:
        for _ in range(_TRIES):
            row = {column.name: _varied(column, example[column.name], random) for column in columns}
            if not checker.problems([row]):
                yield row
                break
        else:
            yield dict(example)


def _varied(column: Column, value: Any, random: Random) -> Any:
    if column.role in ("latitude", "longitude"):
        return round(value + random.gauss(0, _DEGREES), 5)
    match column.kind:
        case "number":
            varied = value * math.exp(random.gauss(0, _SPREAD))
            return float(round(varied)) if float(value).is_integer() else float(f"{varied:.5g}")
        case "integer":
            return (
                max(0, round(value * math.exp(random.gauss(0, _SPREAD))))
                if value < 1000
                else value - random.randrange(20)
            )
        case "boolean":
            return random.random() < 0.5
        case "category":
            return random.choice(column.levels) if column.levels else value
        case _:
            return value


def _lines(stream: IO[bytes], partition: int | None, count: int | None) -> Iterator[Outgoing]:
    lines = (line.rstrip(b"\r\n") for line in stream)
    for line in itertools.islice((line for line in lines if line), count):
        yield Outgoing(line, partition=partition)

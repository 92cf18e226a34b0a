"""The streams on one page: producer, scorer, ingester and viewer once, on a mock cluster that keeps nothing."""

from __future__ import annotations

import datetime as dt
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

import msgspec

from appraise.errors import StreamError
from appraise.jobs.ingesting import event_check
from appraise.jobs.produce import varied_rows
from appraise.jobs.progress import Progress
from appraise.registry.mlflow_registry import Registry
from appraise.serving.models import LoadedModel, Shelf
from appraise.serving.source import RegistrySource
from appraise.serving.streaming.answering import Answerer
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.ingesting import FeatureSink
from appraise.serving.streaming.lives import WorkerLimits, ingesting_session, scoring_session
from appraise.serving.streaming.messages import PriceRequest, encode, encode_event
from appraise.serving.streaming.mock import mock_cluster
from appraise.serving.streaming.producing import Outgoing, Sent, send
from appraise.serving.streaming.replaying import DeadLetter, dead_letters
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.topics import Topics, list_topics
from appraise.serving.streaming.viewing import Seen, view
from appraise.store.database import Database, DatabaseOptions
from appraise.store.features import FeatureEvent, all_features

_DEADLINE_SECONDS = 60.0
_USER = "user2"
_POISON = b"not a request"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What was to be seen.

    Attributes:
        model: what answered.
        sent: the requests, the last of which is none.
        predictions: their answers.
        refused: the dead letters.
        features: what is known of the user after the events, by name.
        unit: of the predictions.
    """

    model: str
    sent: tuple[Sent, ...]
    predictions: tuple[Seen, ...]
    refused: tuple[DeadLetter, ...]
    features: Mapping[str, Any]
    unit: str | None

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "model": self.model,
            "requests": [{"partition": one.partition, "offset": one.offset, "key": one.key} for one in self.sent],
            "predictions": [one.to_dict() for one in self.predictions],
            "dead_letters": [one.to_dict() for one in self.refused],
            "features": dict(self.features),
            "kept": False,
        }


def demo(registry: Registry, *, dataset: str | None, count: int, seed: int, progress: Progress) -> DemoResult:
    """Play it once.

    Args:
        registry: where the model is.
        dataset: its name; the only registered one where None.
        count: how many homes to value.
        seed: of the homes.
        progress: watches.

    Raises:
        UnknownModelError, RegistryError, BundleError: there is no model.
        StreamError: the parts did not play together in time.
    """
    topics = Topics()
    shelf = Shelf(RegistrySource(registry), () if dataset is None else (dataset,))
    with progress.task("loading the model"):
        shelf.open()
    model = shelf.lineup.champions()[0]
    with mock_cluster(topics.all) as kafka:
        with progress.task("producing"):
            sent = _produce(kafka, topics, model, count, Random(seed))  # noqa: S311  made-up homes
        with progress.task("scoring"):
            _score(kafka, topics, shelf, model, count)
        with progress.task("ingesting into a database of its own"):
            features = _ingest(kafka, topics, model)
        with closing(view(kafka, topics.predictions, to_end=True)) as predictions:
            return DemoResult(
                model=f"{model.name} {model.version}",
                sent=tuple(sent),
                predictions=tuple(predictions),
                refused=tuple(dead_letters(kafka, topics, topics.inputs)),
                features=features,
                unit=model.spec.target.unit,
            )


def _produce(kafka: KafkaConfig, topics: Topics, model: LoadedModel, count: int, random: Random) -> list[Sent]:
    requests = [
        Outgoing(encode(PriceRequest(row, model.name, f"home-{number}")), f"home-{number}".encode(), number % 4)
        for number, row in enumerate(itertools.islice(varied_rows(model.spec, random), count), start=1)
    ]
    return send(kafka, topics.requests, [*requests, Outgoing(_POISON, b"poison", random.randrange(4))])


def _score(kafka: KafkaConfig, topics: Topics, shelf: Shelf, model: LoadedModel, count: int) -> None:
    answerer = Answerer(
        lambda: shelf.lineup,
        predictions=topics.predictions,
        dead_letters=topics.dead_letters(topics.requests),
        dataset=model.name,
        log=None,
    )
    outputs = topics.predictions, topics.dead_letters(topics.requests)
    open_session = scoring_session(
        kafka, topics, topics.group("score"), "demo", None, answerer, Tally("score"), WorkerLimits()
    )
    _work(open_session(), lambda: sum(one.offsets for one in list_topics(kafka, outputs)) > count)


def _ingest(kafka: KafkaConfig, topics: Topics, model: LoadedModel) -> dict[str, Any]:
    """Send events and write them into a database that is removed again; what is known of the user then."""
    now = dt.datetime.now(tz=dt.UTC)
    row = next(varied_rows(model.spec, Random(0)))  # noqa: S311
    events = [FeatureEvent(_USER, name, value, now) for name, value in row.items() if not isinstance(value, dt.date)]
    # The same event twice changes nothing.
    messages = [Outgoing(encode_event(event), _USER.encode()) for event in (*events, events[0])]
    send(kafka, topics.events, messages)
    group = topics.group("ingest")
    with (
        tempfile.TemporaryDirectory(prefix="appraise-demo-") as folder,
        Database(DatabaseOptions(url=None, folder=Path(folder) / "postgres")) as database,
    ):
        database.upgrade(actor="appraise stream demo")
        sink = FeatureSink(database, group, topics.events)
        open_session = ingesting_session(
            kafka, topics, group, None, sink, event_check(model.spec), Tally("ingest"), WorkerLimits()
        )

        def known() -> dict[str, Any]:
            with closing(database.dedicated()) as connection:
                found = all_features(connection, _USER, as_of=dt.datetime.now(tz=dt.UTC))
            return {name: one.value for name, one in found.values.items()}

        _work(open_session(), lambda: len(known()) == len(events))
        features = known()
        database.stop()
    return features


class _Session(Protocol):
    def turn(self) -> bool:
        """Do what there is to do."""

    def finish(self) -> None:
        """Commit what was taken."""

    def close(self) -> None:
        """Leave the group."""


def _work(session: _Session, done: Callable[[], bool]) -> None:
    """Let a worker work until all is done."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    try:
        while not (session.turn() and done()):
            if done():
                break
            if time.monotonic() > deadline:
                raise StreamError(f"the worker was not done within {_DEADLINE_SECONDS:g} s", hint="run it again")
        session.finish()
    finally:
        session.close()


def estimate_of(message: Seen) -> dict[str, Any]:
    """The prediction that a message holds."""
    document: dict[str, Any] = msgspec.json.decode(message.value or b"{}")
    return document

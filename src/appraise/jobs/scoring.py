"""Score: from price requests in Kafka to predictions, exactly once."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from appraise.registry.mlflow_registry import Registry
from appraise.serving.models import Shelf
from appraise.serving.source import RegistrySource
from appraise.serving.streaming.answering import Answerer
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.health import HealthServer, Pulse
from appraise.serving.streaming.keeping import ModelKeeper
from appraise.serving.streaming.lives import WorkerLimits, check_topics, scoring_session, topics_present
from appraise.serving.streaming.sharing import keep_to_one_way
from appraise.serving.streaming.slots import hold_slot
from appraise.serving.streaming.supervising import Supervisor
from appraise.serving.streaming.tally import Known, Tally
from appraise.serving.streaming.topics import Topics
from appraise.serving.threads import threads_used, use_threads
from appraise.store.log import PredictionLog
from appraise.store.logplan import LogPlan

#: New objects between two looks for garbage: a batch makes some ten for each message, and none of them is any.
_GARBAGE_THRESHOLD = 100_000
#: Seconds for which a thread that computes keeps those waiting that answer the broker.
_SWITCH_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """How to score.

    Attributes:
        kafka, topics: where.
        registry: where the models are.
        home: the folder that holds all state.
        group: the consumer group.
        limits: batches and deadlines.
        partition: the one partition; the group shares them out where None.
        slot: this worker's name within the group; the next free number of this machine where None.
        dataset: the dataset of requests that name none.
        log: how predictions are logged; None logs none.
        health_host, health_port: where health and metrics are; port 0 takes a free one.
        ask_seconds: seconds between questions to the registry.
    """

    kafka: KafkaConfig
    topics: Topics
    registry: Registry
    home: Path
    group: str
    limits: WorkerLimits
    partition: int | None = None
    slot: str | None = None
    dataset: str | None = None
    log: LogPlan | None = None
    health_host: str = "127.0.0.1"
    health_port: int = 0
    ask_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Scoring:
    """What is scored, and where."""

    source: str
    target: str
    dead_letters: str
    group: str
    slot: str
    partition: int | None
    models: Mapping[str, str]
    health: str

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "source": self.source,
            "target": self.target,
            "dead_letters": self.dead_letters,
            "group": self.group,
            "slot": self.slot,
            "partition": self.partition,
            "models": dict(self.models),
            "health": self.health,
        }


def score(plan: ScoringPlan, *, announce: Callable[[Scoring], None]) -> None:
    """Score until SIGTERM or Ctrl-C: what was taken is committed then, and the group left.

    Args:
        plan: how.
        announce: is called once, when the topics and the models have been found.

    Raises:
        StreamError: a topic is missing or has too few partitions, the cluster cannot be reached or refuses, or workers
            of the group come to their partitions in the other way.
        UnknownModelError, RegistryError, BundleError: there is no model.
        SettingsError: the health endpoint cannot listen.
    """
    topics = plan.topics
    dead_letters = topics.dead_letters(topics.requests)
    check_topics(plan.kafka, topics.requests, (topics.predictions, dead_letters), plan.partition)
    source = RegistrySource(plan.registry)
    names = (plan.dataset,) if plan.dataset is not None else ()
    shelf = Shelf(source, names)
    tally, pulse = Tally("score"), Pulse()

    def note_models() -> None:
        tally.models = shelf.lineup.champion_versions()

    def note_registry(registry: Known) -> None:
        tally.registry = registry

    with ExitStack() as stack:
        folder = plan.home / "run" / "slots"
        stack.enter_context(keep_to_one_way(plan.kafka, folder, plan.group, plan.partition))
        slot_name = None if plan.partition is None else f"partition-{plan.partition}"
        slot = stack.enter_context(hold_slot(folder, plan.group, plan.slot or slot_name))
        asked = shelf.open()
        note_models()
        note_registry("answered" if asked else "cached")
        keeper = ModelKeeper(
            shelf,
            source,
            names,
            cache=plan.home / "cache" / "models",
            ask_seconds=plan.ask_seconds,
            changed=note_models,
            heard=note_registry,
            ask_now=not asked,
        )
        stack.callback(keeper.close)
        log = None
        if plan.log is not None:
            log = PredictionLog(plan.log)
            stack.callback(log.close)
        answerer = Answerer(
            lambda: shelf.lineup,
            predictions=topics.predictions,
            dead_letters=dead_letters,
            dataset=plan.dataset,
            log=log,
        )
        health = HealthServer(plan.health_host, plan.health_port, pulse, tally)
        stack.callback(health.close)
        stop = stack.enter_context(stopped_by_signals({signal.SIGHUP: keeper.ask}))
        announce(
            Scoring(
                topics.requests,
                topics.predictions,
                dead_letters,
                plan.group,
                slot,
                plan.partition,
                dict(tally.models),
                health.url,
            )
        )
        stack.enter_context(_ready_for_batches())
        session = scoring_session(plan.kafka, topics, plan.group, slot, plan.partition, answerer, tally, plan.limits)
        look = topics_present(plan.kafka, (topics.requests, topics.predictions, dead_letters))
        Supervisor(session, stop, tally, pulse, plan.limits.stall_seconds, look).run()


@contextmanager
def _ready_for_batches() -> Iterator[None]:
    """The interpreter as many small objects and a few busy threads want it; as it was before at the end."""
    thresholds, seconds, threads = gc.get_threshold(), sys.getswitchinterval(), threads_used()
    # What was loaded stays: it need not be looked through again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD, *thresholds[1:])
    sys.setswitchinterval(_SWITCH_SECONDS)
    # Two batches are valued at a time, each in a thread: to cut them up as well costs a seventh of a worker's time.
    use_threads(1)
    try:
        yield
    finally:
        sys.setswitchinterval(seconds)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        use_threads(threads)


@contextmanager
def stopped_by_signals(others: Mapping[int, Callable[[], None]] | None = None) -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set.

    Args:
        others: what to do at other signals.
    """
    stop = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if number in actions:
            actions[number]()
        else:
            stop.set()

    actions = dict(others or {})
    before: dict[int, Any] = {
        number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, *actions)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

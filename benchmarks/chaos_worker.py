"""A scoring worker of the chaos run: the product's own sessions, with a stand-in for the model, that dies on command.

    python benchmarks/chaos_worker.py '{"servers": ..., "prefix": ..., "slot": ..., "point": "produced", "after": 3}'

At the `after`-th transaction it kills itself at `point`. A share of its transactions, `abort_share`, is aborted with
all of it on the broker already. `mutant` breaks it in a way that the chaos run must find out.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message

from appraise import logs
from appraise.errors import MessageError
from appraise.jobs.scoring import stopped_by_signals
from appraise.serving.streaming.answering import prediction_ids
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.deadletters import dead_letter_headers
from appraise.serving.streaming.failures import AbortedError
from appraise.serving.streaming.health import Pulse
from appraise.serving.streaming.lives import WorkerLimits, scoring_session
from appraise.serving.streaming.messages import decode_request
from appraise.serving.streaming.reading import Reader, place_of
from appraise.serving.streaming.scoring import Answers
from appraise.serving.streaming.supervising import Supervisor
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.topics import Topics
from appraise.serving.streaming.transactions import Output, Transaction

#: Where in a transaction a worker can die.
POINTS = ("valued", "begun", "produced", "offsets sent", "committing", "committed")
#: Ways to be wrong that the check must find.
MUTANTS = ("offsets outside", "no seek back")

#: Quick to give up, so that a run shows much in little time.
LIMITS = WorkerLimits(batch=200, wait_seconds=0.1, transaction_seconds=5.0, session_seconds=3.0, stall_seconds=15.0)


class StandIn:
    """Answers like the real one, without a model: what is tested is what happens to answers."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def answer(self, messages: Sequence[Message]) -> Answers:
        """A prediction, or a dead letter, for each message."""
        outputs, dead = [], 0
        for message in messages:
            topic, partition, offset = place_of(message)
            try:
                request = decode_request(message.value())
            except MessageError as error:
                dead += 1
                headers = dead_letter_headers(message, error, stage="decode")
                target = self._topics.dead_letters(self._topics.requests)
                outputs.append(Output(target, partition, message.key(), message.value(), headers))
            else:
                (identity,) = prediction_ids(topic, [partition], [offset], [message.timestamp()[1]])
                answer = {"request_id": request.request_id, "prediction_id": identity}
                body = json.dumps({**answer, "partition": partition, "offset": offset}).encode()
                outputs.append(Output(self._topics.predictions, partition, message.key(), body, None))
        return Answers(outputs, dead, [message.timestamp()[1] for message in messages])

    def settle(self, seconds: float) -> None:
        """There is no log."""

    def too_large(self, answers: Answers) -> None:
        """Nothing is."""


class Dying(Transaction):
    """A transaction that may be aborted, or die with its process, at any of the points."""

    plan: dict[str, Any]
    count = 0

    def __init__(self, producer: Any, *, seconds: float, calls: Any) -> None:
        Dying.count += 1
        self._abort = random.random() < self.plan.get("abort_share", 0.0)  # noqa: S311
        self._reach("valued")
        super().__init__(producer, seconds=seconds, calls=calls)
        self._reach("begun")

    def send_offsets(self, offsets: Any, group: Any) -> None:
        """Send them, with a death before or after, or an abort in between."""
        if self._abort or self._due("produced"):
            # What was not flushed never reached the broker, and its abort would show nothing.
            self._producer.flush(5.0)
        self._reach("produced")
        self._offsets = offsets
        if self.plan.get("mutant") != "offsets outside":
            super().send_offsets(offsets, group)
        self._reach("offsets sent")
        if self._abort:
            self.abort()
            raise AbortedError(KafkaError(KafkaError.INVALID_TXN_STATE, "the chaos run aborts this transaction"))

    def commit(self) -> None:
        """Commit, with a death while the broker is at it, or after."""
        if self._due("committing"):
            self._producer.flush(5.0)
            threading.Timer(random.uniform(0.0, 0.004), _die).start()  # noqa: S311
        super().commit()
        self._reach("committed")
        if self.plan.get("mutant") == "offsets outside":
            self.plan["consumer"].commit(offsets=self._offsets, asynchronous=False)

    def _due(self, point: str) -> bool:
        return self.plan.get("point") == point and Dying.count >= self.plan.get("after", 1)

    def _reach(self, point: str) -> None:
        if self._due(point):
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _mutate(plan: dict[str, Any], kafka: KafkaConfig) -> KafkaConfig:
    """Break the worker in one way."""
    if plan.get("mutant") == "no seek back":
        Reader.rewind = lambda _: None  # type: ignore[method-assign]
    if plan.get("mutant") == "offsets outside":

        class Remembering(KafkaConfig):
            def consumer(self, group: str, options: Any = None) -> Consumer:
                plan["consumer"] = KafkaConfig.consumer(self, group, options)
                return plan["consumer"]

        return Remembering(kafka.bootstrap_servers)
    return kafka


def main() -> None:
    """Work until SIGTERM, or death."""
    plan = json.loads(sys.argv[1])
    logs.configure(level="info", format="json")
    random.seed(plan.get("seed", time.time_ns()))
    Dying.plan = plan
    kafka = _mutate(plan, KafkaConfig(plan["servers"], seconds=5.0))
    topics = Topics(plan["prefix"])
    tally, pulse = Tally("score"), Pulse()
    session = scoring_session(
        kafka, topics, topics.group("score"), plan["slot"], None, StandIn(topics), tally, LIMITS, begin=Dying
    )
    with stopped_by_signals() as stop:
        Supervisor(session, stop, tally, pulse, LIMITS.stall_seconds).run()


if __name__ == "__main__":
    main()

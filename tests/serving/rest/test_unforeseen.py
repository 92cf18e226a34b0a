"""Errors that nobody foresaw: who met one is told so, and nobody else notices."""

import asyncio
import errno
import itertools
import json
import os
from dataclasses import dataclass, field

import pytest

from appraise.bootstrap import build_registry
from appraise.serving import batching
from appraise.serving.keys import KeyFile
from appraise.serving.models import Shelf
from appraise.serving.rest import service as services
from appraise.serving.rest.app import build_app
from appraise.serving.rest.crew import Crew
from appraise.serving.rest.guard import Guard
from appraise.serving.rest.http import Reply, Scope
from appraise.serving.rest.limits import Limits
from appraise.serving.rest.service import Service
from appraise.serving.source import RegistrySource
from appraise.settings import Settings


@dataclass
class _Exchange:
    """A request that came whole."""

    body: bytes
    name: str | None = None
    query: bytes = b""
    scope: Scope = field(default_factory=lambda: {"headers": []})
    answer: asyncio.Future[Reply] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def reply(self, reply: Reply) -> None:
        self.answer.set_result(reply)


@pytest.fixture
def service(own_home):
    settings = Settings(home=own_home)
    shelf = Shelf(RegistrySource(build_registry(settings)))
    shelf.open()
    return Service(shelf, Limits(), Guard(KeyFile(settings.home / "keys.json")), Crew(), "sqlite:///none.db", own_home)


def _ask(service: Service, rows: list[dict[str, float]]) -> list[Reply]:
    """The answers to requests that come at once and take no task."""

    async def ask() -> list[Reply]:
        direct = build_app(service).direct
        exchanges = [_Exchange(json.dumps(row).encode()) for row in rows]
        assert all(direct.answer(exchange) for exchange in exchanges)
        return await asyncio.gather(*(exchange.answer for exchange in exchanges))

    return asyncio.run(asyncio.wait_for(ask(), 60))


def test_a_full_disk_keeps_no_worker_from_hearing_of_a_key_that_was_revoked(service, monkeypatch):
    looks = itertools.count(1)

    def full(_counts: dict[str, object]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(services, "_WATCH_SECONDS", 0.0)
    monkeypatch.setattr(service.crew, "report", full)

    async def watch() -> None:
        looked_again = asyncio.Event()
        monkeypatch.setattr(service.guard, "refresh", lambda: looked_again.set() if next(looks) > 2 else None)
        watching = asyncio.create_task(service.watch())
        await asyncio.wait_for(looked_again.wait(), 60)
        watching.cancel()

    asyncio.run(watch())


def _statuses(answers: list[Reply]) -> list[int]:
    return [answer.status for answer in answers]


def test_a_row_that_cannot_be_valued_costs_the_others_nothing(service, row, monkeypatch):
    def value_rows(model, rows, level):
        if (model.codec.table(rows).column("HouseAge") == 13.0).any():
            raise ZeroDivisionError("a secret of ours")
        return whole(model, rows, level)

    whole = batching.value_rows
    monkeypatch.setattr(batching, "value_rows", value_rows)
    answers = _ask(service, [{**row, "HouseAge": age} for age in (12.0, 13.0, 14.0)])
    assert _statuses(answers) == [200, 500, 200]
    problem = json.loads(answers[1].body)
    assert problem["detail"] == "the service met an error that it did not expect, and wrote it to its log"
    assert "secret" not in answers[1].body.decode()


def test_an_answer_that_cannot_be_told_costs_the_others_nothing(service, row, monkeypatch):
    counted = []

    def valued(*args):
        counted.append(args)
        if len(counted) == 2:
            raise ZeroDivisionError

    monkeypatch.setattr(service.tally, "valued", valued)
    assert _statuses(_ask(service, [row] * 3)) == [200, 500, 200]
    assert service.tally.requests == {("/predict", "POST", "200"): 2.0, ("/predict", "POST", "500"): 1.0}


class _Recorder:
    """Records nothing, and the second estimate worse than that."""

    def __init__(self) -> None:
        self._turns = itertools.count(1)

    async def answered(self, *_details: object) -> None:
        if next(self._turns) == 2:
            raise ZeroDivisionError


def test_an_estimate_that_cannot_be_recorded_is_answered_too(service, row):
    service.recorder = _Recorder()
    assert sorted(_statuses(_ask(service, [row] * 3))) == [200, 200, 500]

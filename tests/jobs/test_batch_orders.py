"""Batch runs beside a service, where something is wrong."""

import threading

from tests.waiting import until

from appraise.bootstrap import build_serve_plan
from appraise.errors import OutputError
from appraise.jobs.batches import carrying_out
from appraise.serving.orders import OrderBook
from appraise.settings import Settings


def test_orders_are_looked_for_again_after_a_disk_was_full(tmp_path, monkeypatch):
    looks: list[threading.Thread] = []

    def full(_book: OrderBook) -> None:
        looks.append(threading.current_thread())
        raise OutputError("the order cannot be written: No space left on device")

    monkeypatch.setattr(OrderBook, "next", full)
    with carrying_out(build_serve_plan(Settings(home=tmp_path)).batches):
        until(lambda: len(looks) > 1)
    assert not looks[0].is_alive()

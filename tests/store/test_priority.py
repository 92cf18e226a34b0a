"""Work behind other work: how long it rests, and what it does in spite of it."""

import subprocess
import sys

import pytest

from appraise.store import loader, priority
from appraise.store.loader import Loader
from appraise.store.priority import Courtesy


@pytest.mark.parametrize(
    ("took", "waited", "rests"), [(1.0, 0.0, 0.0), (0.1, 0.09, 1.0), (0.1, 0.01, 0.0), (9, 5, 4.0)]
)
def test_work_rests_where_it_had_to_wait_for_the_processor(monkeypatch, took, waited, rests):
    now, delay = [100.0], [7.0]
    monkeypatch.setattr(priority.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(priority, "_waited", lambda: delay[0])
    courtesy = Courtesy()
    now[0], delay[0] = now[0] + took, delay[0] + waited
    assert courtesy.rest_seconds() == pytest.approx(rests)
    courtesy.begin()
    assert courtesy.rest_seconds() == 0.0


def test_a_process_that_stands_back_is_in_the_class_for_idle_work_or_at_the_lowest_priority():
    program = (
        "import os; from appraise.store.priority import stand_back; stand_back()\n"
        "if hasattr(os, 'SCHED_IDLE'): assert os.sched_getscheduler(0) == os.SCHED_IDLE\n"
        "else: assert os.getpriority(os.PRIO_PROCESS, 0) == 19"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_what_has_waited_for_long_is_loaded_without_a_rest(tmp_path, database, served, write_log, monkeypatch):
    rests = []
    monkeypatch.setattr(Courtesy, "rest_seconds", lambda _: 1.0)
    monkeypatch.setattr(loader, "_SMALL_CHUNK", 2_000)
    write_log(tmp_path, [served(number) for number in range(20)])
    behind = Loader(tmp_path, database, behind=True)
    monkeypatch.setattr(behind._stop, "wait", rests.append)
    assert behind.load() == 20
    assert len(rests) > 2
    write_log(tmp_path, [served(number) for number in range(20, 40)])
    monkeypatch.setattr(loader, "_PATIENCE_SECONDS", 0.0)
    rests.clear()
    assert behind.load() == 20
    assert not rests
    behind.close()


def test_what_has_waited_for_too_long_is_left_to_a_loader_that_takes_a_share(
    tmp_path, database, served, write_log, monkeypatch
):
    stood_back = []
    monkeypatch.setattr(Courtesy, "rest_seconds", lambda _: 1.0)
    monkeypatch.setattr(loader, "_SMALL_CHUNK", 2_000)
    monkeypatch.setattr(loader, "stand_back", stood_back.append)
    write_log(tmp_path, [served(number) for number in range(20)])
    behind = Loader(tmp_path, database, behind=True, lag_seconds=0.0)
    first = behind.load()
    assert behind.overdue
    assert 0 < first < 20
    behind.close()
    late = Loader(tmp_path, database, behind=True, lag_seconds=0.0, late=True)
    monkeypatch.setattr(late._stop, "wait", lambda _: pytest.fail("it rests"))
    assert late.load() == 20 - first
    assert not late.overdue
    assert stood_back == [0]
    late.close()


def test_a_process_that_takes_a_share_has_a_nice_level_and_can_stand_back_later():
    program = (
        "import os; from appraise.store.priority import stand_back, take_a_share\n"
        "before = os.getpriority(os.PRIO_PROCESS, 0); take_a_share()\n"
        "assert os.getpriority(os.PRIO_PROCESS, 0) == max(before, 3)\n"
        "stand_back()\n"
        "if hasattr(os, 'SCHED_IDLE'): assert os.sched_getscheduler(0) == os.SCHED_IDLE\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

"""The loader beside a service whose database is the embedded one: behind everything else, and back after a kill."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.waiting import until


def _loaded(server, row):
    """Value a home, and wait until the database has it."""
    name = server.post("/predict", json=row).json()["prediction_id"]
    # While its database is away an estimate may not be found at all.
    until(lambda: server.get(f"/predictions/{name}").json().get("log", {}).get("place") == "database")


def _postmaster(home: Path) -> int:
    return int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _standing_back(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        # A process of the database may have ended since it was listed.
        with suppress(ProcessLookupError):
            if os.sched_getscheduler(pid) == os.SCHED_IDLE:
                found.append(pid)
    return found


def _loaders(server) -> list[int]:
    tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
    return _standing_back([int(pid) for task in tasks for pid in (task / "children").read_text().split()])


def test_the_loader_stands_back_and_its_database_does_not(serve, own_home, row):
    server = serve(own_home, APPRAISE_DATABASE_URL="")
    _loaded(server, row)
    postmaster = _postmaster(own_home)
    assert len(_loaders(server)) == 1
    assert len(_standing_back(_children(postmaster))) == 1
    assert os.getsid(postmaster) == os.getsid(server.process.pid)
    assert os.getpgid(postmaster) != os.getpgid(server.process.pid)

    for pid in (postmaster, *_children(postmaster)):
        # Without the first the others end by themselves.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _loaded(server, row)
    again = _postmaster(own_home)
    assert again != postmaster
    assert os.sched_getscheduler(again) == os.SCHED_OTHER
    assert len(_standing_back(_children(again))) == 1

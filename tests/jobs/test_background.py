"""A process in the background, when somebody else ends it."""

import os
import signal
import sys
import threading
from pathlib import Path

from tests.waiting import until

from appraise.jobs.background import Background

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_child_that_somebody_else_has_ended_is_no_zombie_after_stop(tmp_path):
    started = Background(tmp_path, "sleeper")
    found = started.start(SLEEPS, fingerprint="x")
    # Whoever finds it by its files may end it, and cannot wait for another's child.
    elsewhere = Background(tmp_path, "sleeper")
    assert elsewhere.running() == found
    os.kill(found.pid, signal.SIGKILL)
    until(lambda: elsewhere.running() is None)
    assert Path(f"/proc/{found.pid}").exists()
    assert started.stop(seconds=1.0)
    assert not Path(f"/proc/{found.pid}").exists()


def test_stop_ends_it_by_itself_and_again_does_nothing(tmp_path):
    started = Background(tmp_path, "sleeper")
    found = started.start(SLEEPS, fingerprint="x")
    assert Background(tmp_path, "sleeper").running() == found
    assert started.stop(seconds=10.0)
    assert started.running() is None
    assert started.stop(seconds=10.0)


def test_somebody_who_looks_is_not_taken_for_it_and_holds_up_no_start(tmp_path):
    started = Background(tmp_path, "sleeper")
    ended = started.start(SLEEPS, fingerprint="x")
    assert started.stop(seconds=10.0)
    look = Background(tmp_path, "sleeper")._locked()
    # Its record is still there, and the number in it may be another program's by now.
    assert started.last() == ended
    assert started.running() is None
    assert not Background(tmp_path, "sleeper").alive()
    threading.Timer(0.2, os.close, [look]).start()
    found = started.start(SLEEPS, fingerprint="y")
    assert Background(tmp_path, "sleeper").running() == found
    assert started.stop(seconds=10.0)


def test_what_ran_last_is_known_until_it_is_forgotten(tmp_path):
    started = Background(tmp_path, "sleeper")
    assert started.last() is None
    found = started.start(SLEEPS, fingerprint="x", details={"port": 8123})
    started.note(None)
    assert started.last() == found, "while it runs nothing else can be said of it"
    assert started.stop(seconds=10.0)
    assert (started.running(), started.last()) == (None, found)
    started.note(None)
    assert started.last() is None
    started.note(found)
    assert Background(tmp_path, "sleeper").last() == found
    (tmp_path / "sleeper.json").write_text('{"pid": ')
    assert started.last() is None

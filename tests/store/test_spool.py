"""The spool: what was handed over is on the disk, in segments that name each other."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest
from tests.waiting import until

from appraise.errors import LogError, LogFullError
from appraise.store import files, segments
from appraise.store.chain import Damage, Frame, framed, scan
from appraise.store.current import CurrentSegment
from appraise.store.files import writer_lives
from appraise.store.headers import read_header, read_seal, seal_of
from appraise.store.log import PredictionLog
from appraise.store.logplan import LogPlan
from appraise.store.records import Served, ServedInterval, read_record, record_bytes
from appraise.store.segments import SegmentWriter, SpoolFolder

SPAWN = multiprocessing.get_context("spawn")


def served(number: int = 0, **changes) -> Served:
    fields = {
        "prediction_id": str(uuid.UUID(int=number)),
        "timestamp": "2026-11-21T12:00:00.000+00:00",
        "model_name": "california",
        "model_version": "1.0.0",
        "prediction": 4.5,
        "prediction_interval": ServedInterval(4.0, 5.0, 0.9),
        "confidence_score": 0.9,
        "input_features": {"MedInc": 8.3},
        **changes,
    }
    return Served(**fields)


def bodies_of(folder: Path) -> list[bytes]:
    """Every record of every segment."""
    found = []
    for segment in SpoolFolder(folder).segments():
        frames = list(scan(segment.path.read_bytes()))
        assert not [piece for piece in frames if isinstance(piece, Damage)]
        found += [frame.body for frame in frames[1:] if seal_of(frame) is None]
    return found


def test_what_was_handed_over_is_in_the_spool_in_order(tmp_path):
    log = PredictionLog(LogPlan(tmp_path))
    log.append_all(served(number) for number in range(300))
    log.flush()
    assert [read_record(body).prediction_id for body in bodies_of(tmp_path)] == [
        str(uuid.UUID(int=number)) for number in range(300)
    ]
    assert log.state().depth == 0
    assert log.close() == 0


def test_a_record_is_what_was_handed_over_byte_for_byte(tmp_path):
    body = b'{"prediction_id": "x",  "odd spacing":1.50e1, "text":"\\u00e9\xc3\xa9"}'
    log = PredictionLog(LogPlan(tmp_path))
    log.append(body)
    log.close()
    assert bodies_of(tmp_path) == [body]


def test_records_are_written_without_being_asked_for(tmp_path):
    log = PredictionLog(LogPlan(tmp_path, commit_seconds=0.02))
    log.append(record_bytes(served()))
    until(lambda: log.state().durable == 1)
    log.close()


def test_who_waits_for_what_was_handed_over_finds_it(tmp_path):
    log = PredictionLog(LogPlan(tmp_path, commit_seconds=0.2))
    log.append(record_bytes(served()))
    log.catch_up(seconds=60.0)
    assert len(bodies_of(tmp_path)) == 1
    log.close()


def test_many_threads_hand_over_and_nothing_is_lost_or_twice(tmp_path):
    log = PredictionLog(LogPlan(tmp_path, segment_bytes=20_000))
    threads = [
        threading.Thread(target=lambda start=start: log.append_all(served(start + n) for n in range(250)))
        for start in range(0, 1000, 250)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    ids = [read_record(body).prediction_id for body in bodies_of(tmp_path)]
    assert len(ids) == len(set(ids)) == 1000


def test_segments_are_closed_by_size_and_name_each_other(tmp_path):
    log = PredictionLog(LogPlan(tmp_path, segment_bytes=10_000))
    log.append_all(served(number) for number in range(500))
    log.close()
    segments = SpoolFolder(tmp_path).segments()
    assert len(segments) > 3
    seals = {}
    before = None
    for number, segment in enumerate(segments, 1):
        header, digest = read_header(segment.path)
        assert (header.number, header.previous) == (number, before)
        for seal in header.seals:
            assert seal == seals[seal.segment]
        before = digest
        seals[segment.id] = read_seal(segment.path)
        assert seals[segment.id] is not None
    assert {seal.segment for one in segments for seal in read_header(one.path)[0].seals} == set(seals) - {
        segments[-1].id
    }


def test_segments_are_closed_by_age(tmp_path):
    log = PredictionLog(LogPlan(tmp_path, segment_seconds=0.1))
    log.append(record_bytes(served(1)))
    log.flush()
    until(lambda: read_seal(SpoolFolder(tmp_path).segments()[0].path) is not None)
    log.append(record_bytes(served(2)))
    log.close()
    assert len(bodies_of(tmp_path)) == 2


def test_a_full_queue_refuses_and_says_so(tmp_path):
    log = PredictionLog(LogPlan(tmp_path, queue=10, commit_seconds=5.0))
    for number in range(10):
        log.append(record_bytes(served(number)))
    with pytest.raises(LogFullError, match="10 predictions wait"):
        log.append_all([served(11)], seconds=0.05)
    assert log.state().refused == 1
    log.close()
    assert len(bodies_of(tmp_path)) == 10


def test_a_queue_is_full_by_its_bytes_too(tmp_path):
    log = PredictionLog(LogPlan(tmp_path, queue_bytes=1000, commit_seconds=5.0))
    log.append(b"x" * 1000)
    with pytest.raises(LogFullError):
        log.append(b"x")
    log.close()


def test_of_many_records_as_many_are_taken_as_there_is_room_for(tmp_path):
    records = [record_bytes(served(number)) for number in range(25)]
    log = PredictionLog(LogPlan(tmp_path, queue=10, queue_bytes=len(records[0]) * 8, commit_seconds=5.0))
    assert log.append_many([]) == 0
    assert 8 <= log.append_many(records) <= 10
    with pytest.raises(LogFullError):
        log.append_many(records)
    taken = log.state().taken
    log.close()
    assert bodies_of(tmp_path) == records[:taken]


def _die_writing(folder: str, records: int) -> None:
    log = PredictionLog(LogPlan(Path(folder)))
    log.append_all(served(number) for number in range(records))
    log.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_leaves_what_was_durable_and_its_segment_is_sealed(tmp_path):
    process = SPAWN.Process(target=_die_writing, args=(str(tmp_path), 50))
    process.start()
    process.join(30)
    (segment,) = SpoolFolder(tmp_path).segments()
    assert read_seal(segment.path) is None
    with segment.path.open("ab") as stream:
        stream.write(segment.path.read_bytes()[-100:-20])
    assert SpoolFolder(tmp_path).recover(segment)
    assert len(bodies_of(tmp_path)) == 50
    assert read_seal(segment.path).frames == 51
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert kept.stat().st_size == 80


def test_the_segment_of_a_living_process_is_left_alone(tmp_path):
    log = PredictionLog(LogPlan(tmp_path))
    (segment,) = SpoolFolder(tmp_path).segments()
    assert writer_lives(segment.path)
    assert not SpoolFolder(tmp_path).recover(segment)
    log.append(record_bytes(served()))
    log.close()
    assert not writer_lives(segment.path)
    assert len(bodies_of(tmp_path)) == 1


def test_a_segment_that_is_just_being_made_is_not_taken_for_one_that_was_left(tmp_path, monkeypatch):
    lock = files.fcntl.flock

    def look_first(descriptor, how):
        monkeypatch.undo()
        spool = SpoolFolder(tmp_path)
        assert all(spool.recover(segment) for segment in spool.segments())
        lock(descriptor, how)

    spool = SpoolFolder(tmp_path)
    tmp_path.joinpath("lock").touch()
    opened = spool._locked
    with opened():
        # The folder's own lock is taken by now: what is locked next is the segment.
        monkeypatch.setattr(files.fcntl, "flock", look_first)
        writer = spool._open_segment(spool._head())
    writer.write(*framed([record_bytes(served())], writer.link))
    writer.close()
    assert len(bodies_of(tmp_path)) == 1


def _append_some(folder: str, start: int) -> None:
    log = PredictionLog(LogPlan(Path(folder), segment_bytes=5_000))
    log.append_all(served(start + number) for number in range(200))
    log.close()


def test_two_processes_write_one_log_in_segments_of_their_own(tmp_path):
    processes = [SPAWN.Process(target=_append_some, args=(str(tmp_path), start)) for start in (0, 1000)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    ids = [read_record(body).prediction_id for body in bodies_of(tmp_path)]
    assert len(ids) == len(set(ids)) == 400
    numbers = [read_header(segment.path)[0].number for segment in SpoolFolder(tmp_path).segments()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_folder_that_cannot_be_made_is_an_error_that_says_so(tmp_path):
    (tmp_path / "log").write_text("a file")
    with pytest.raises(LogError, match="cannot be written") as caught:
        PredictionLog(LogPlan(tmp_path / "log"))
    assert "prediction_log.mode" in caught.value.hint


def test_a_damaged_head_is_made_anew_from_the_newest_segment(tmp_path):
    PredictionLog(LogPlan(tmp_path)).close()
    (tmp_path / "head.json").write_text("{")
    log = PredictionLog(LogPlan(tmp_path))
    log.close()
    first, second = (read_header(segment.path) for segment in SpoolFolder(tmp_path).segments())
    assert (second[0].number, second[0].previous, second[0].log) == (2, first[1], first[0].log)


def _fill(folder: str, mode: str, results: str) -> None:
    """Write until the file may grow no more, then make room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log = PredictionLog(LogPlan(Path(folder), mode=mode, queue=300))
    told: list[tuple[int, int, str | None]] = []
    log.listen(lambda first, last, reason: told.append((first, last, reason)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    taken = refused = 0
    pause = threading.Event()
    deadline = time.monotonic() + 20
    while refused < 5 and time.monotonic() < deadline and log.state().withdrawn == 0:
        try:
            log.append(record_bytes(served(taken, input_features={"text": "x" * 30_000})))
            taken += 1
        except LogFullError:
            refused += 1
        pause.wait(0.002)
    trouble, withdrawn = log.state().trouble, log.state().withdrawn
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.append_all([served(10_000)])
    log.close()
    summary = {
        "taken": taken,
        "refused": refused,
        "withdrawn": log.state().withdrawn,
        "during": withdrawn,
        "trouble": trouble,
        "told": sum(last - first + 1 for first, last, reason in told if reason is not None),
    }
    Path(results).write_text(json.dumps(summary))


@pytest.mark.parametrize("mode", ["async", "sync"])
def test_what_cannot_be_written_is_kept_or_withdrawn_and_never_dropped_without_a_word(tmp_path, mode):
    folder, results = tmp_path / "log", tmp_path / "results.json"
    process = SPAWN.Process(target=_fill, args=(str(folder), mode, str(results)))
    process.start()
    process.join(60)
    found = json.loads(results.read_text())
    assert found["trouble"] == os.strerror(errno.EFBIG)
    kept = len(bodies_of(folder))
    if mode == "async":
        assert found["refused"] == 5
        assert found["withdrawn"] == 0
        assert kept == found["taken"] + 1
    else:
        assert found["during"] > 0
        assert found["told"] == found["withdrawn"]
        assert kept == found["taken"] + 1 - found["withdrawn"]


def test_what_the_disk_does_not_confirm_is_not_said_to_be_on_it(tmp_path, monkeypatch):
    log = PredictionLog(LogPlan(tmp_path))

    def fail(_descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(segments, "confirm", fail)
    log.append(record_bytes(served(1)))
    with pytest.raises(LogError, match="1 predictions could not be logged"):
        log.flush()
    monkeypatch.undo()
    log.append(record_bytes(served(2)))
    log.flush()
    log.close()


def test_a_segment_that_gave_way_before_the_disk_confirmed_it_is_told_of(tmp_path, monkeypatch):
    spool = CurrentSegment(SpoolFolder(tmp_path), most_bytes=10_000, most_seconds=60.0)
    spool.open()
    spool.write(*framed([record_bytes(served())], spool.end[0]))

    def fail(_descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(segments, "confirm", fail)
    spool.give_up()
    monkeypatch.undo()
    spool.open()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        spool.sync()
    spool.sync()
    spool.give_up()


def test_each_of_those_who_ask_is_told_that_records_were_withdrawn(tmp_path, monkeypatch):
    log = PredictionLog(LogPlan(tmp_path, mode="sync"))

    def full(_writer, _frames, _link):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lost = log.lost
    with monkeypatch.context() as disk:
        disk.setattr(SegmentWriter, "write", full)
        log.append(record_bytes(served()))
        until(lambda: log.lost > lost)
    for _ in range(2):
        with pytest.raises(LogError, match="could not be logged"):
            log.flush(since=lost)
    log.flush(since=log.lost)
    log.close()


def test_a_spool_of_records_is_scanned_from_where_a_reader_was(tmp_path):
    log = PredictionLog(LogPlan(tmp_path))
    log.append_all(served(number) for number in range(3))
    log.close()
    data = SpoolFolder(tmp_path).segments()[0].path.read_bytes()
    frames = list(scan(data))
    assert [piece.position for piece in scan(data, frames[2].offset) if isinstance(piece, Frame)] == [2, 3, 4]

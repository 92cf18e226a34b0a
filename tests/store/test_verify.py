"""Verification: each way in which a log can be changed is seen, in the spool, in the database and in an export."""

import datetime as dt
import shutil
from contextlib import closing

import pytest
from sqlalchemy import text

from appraise.store import verify as verification
from appraise.store.chain import Frame, Link, framed, scan
from appraise.store.database import Database, DatabaseOptions
from appraise.store.loader import Loader
from appraise.store.log import PredictionLog
from appraise.store.logplan import LogPlan
from appraise.store.predictions import latest, stream
from appraise.store.records import read_record, record_bytes
from appraise.store.segments import SpoolFolder
from appraise.store.verify import verify, verify_export


@pytest.fixture
def spool(tmp_path, served, write_log):
    """Three closed segments."""
    for start in (0, 20, 40):
        write_log(tmp_path / "log", [served(start + number) for number in range(20)])
    return tmp_path / "log"


@pytest.fixture
def loaded(spool, database):
    """The same in the database."""
    with closing(Loader(spool, database)) as loader:
        assert loader.load() == 60
    return database


def _kinds(found):
    return [(finding.place, finding.kind, finding.position) for finding in found.findings]


def _second(spool):
    return SpoolFolder(spool).segments()[1].path


def _frames(path):
    return [piece for piece in scan(path.read_bytes()) if isinstance(piece, Frame)]


def _raw(frames, path):
    data = path.read_bytes()
    return [data[frame.offset : frame.end] for frame in frames]


def _forged(record, frame):
    """A frame for another record in a frame's place, its checksum right."""
    return framed([record], Link(frame.position, frame.previous))[0]


def test_a_log_that_nobody_touched_is_whole(spool, loaded):
    found = verify(spool, loaded)
    assert found.whole
    assert found.records == {"spool": 60, "database": 60}
    assert found.segments == {"spool": 3, "database": 3}
    assert (found.newest.frames, found.unlisted) == (21, 0)


def test_a_segment_that_was_kept_for_long_enough_meanwhile_is_no_finding(spool, loaded, monkeypatch):
    read, first = verification.read_header, SpoolFolder(spool).segments()[0]

    def read_header(path):
        first.path.unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(verification, "read_header", read_header)
    found = verify(spool, loaded)
    assert found.whole, found.findings
    assert found.segments == {"spool": 2, "database": 3}


def test_a_log_that_is_being_written_and_loaded_is_whole(tmp_path, database, served):
    log = PredictionLog(LogPlan(tmp_path))
    with closing(Loader(tmp_path, database)) as loader:
        for start in range(0, 50, 10):
            log.append_all([served(start + number) for number in range(10)])
            log.flush()
            assert verify(tmp_path, database).whole
            loader.load()
            assert verify(tmp_path, database).whole
    log.close()
    assert verify(tmp_path, database).whole


def test_a_log_whose_clock_went_backwards_is_whole_and_told_in_the_order_of_its_times(
    tmp_path, database, served, write_log
):
    noon = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
    records = [
        served(number, timestamp=(noon - dt.timedelta(hours=number)).isoformat(timespec="milliseconds"))
        for number in range(20)
    ]
    for half in (records[:10], records[10:]):
        write_log(tmp_path, half)
    with closing(Loader(tmp_path, database)) as loader:
        assert loader.load() == 20
    found = verify(tmp_path, database)
    assert (found.whole, found.records) == (True, {"spool": 20, "database": 20})
    page = latest(database, limit=20)
    assert [one.record for one in page.predictions] == [record_bytes(record) for record in records]


def test_second_copies_belong_to_the_chain(tmp_path, database, served, write_log):
    write_log(tmp_path, [served(1), served(1), b"no record", served(2)])
    with closing(Loader(tmp_path, database)) as loader:
        loader.load()
    found = verify(tmp_path, database)
    assert found.whole
    assert (found.records["database"], found.unlisted) == (4, 2)


def test_an_altered_record_of_the_spool_is_seen(spool):
    path, frames = _second(spool), _frames(_second(spool))
    pieces = _raw(frames, path)
    changed = frames[5].body.replace(b"4.5", b"9.9")
    pieces[5] = _forged(changed, frames[5])
    path.write_bytes(b"".join(pieces))
    assert _kinds(verify(spool, None)) == [("spool", "altered", 5)]


def test_an_altered_last_record_is_seen_by_the_seal(spool):
    path, frames = _second(spool), _frames(_second(spool))
    pieces = _raw(frames, path)
    pieces[20] = _forged(frames[20].body.replace(b"4.5", b"9.9"), frames[20])
    path.write_bytes(b"".join(pieces))
    assert ("spool", "altered", 20) in _kinds(verify(spool, None))


def test_a_removed_record_is_seen(spool):
    path = _second(spool)
    pieces = _raw(_frames(path), path)
    path.write_bytes(b"".join(pieces[:7] + pieces[8:]))
    assert _kinds(verify(spool, None)) == [("spool", "removed", 7)]


def test_an_inserted_record_is_seen(spool):
    path, frames = _second(spool), _frames(_second(spool))
    pieces = _raw(frames, path)
    pieces.insert(8, _forged(b'{"prediction_id":"made up"}', frames[7]))
    path.write_bytes(b"".join(pieces))
    assert _kinds(verify(spool, None)) == [("spool", "inserted", 7)]


def test_reordered_records_are_seen(spool):
    path = _second(spool)
    pieces = _raw(_frames(path), path)
    pieces[7], pieces[8] = pieces[8], pieces[7]
    path.write_bytes(b"".join(pieces))
    assert ("spool", "reordered", 7) in _kinds(verify(spool, None))


@pytest.mark.parametrize("keep", [15, 21])
def test_a_closed_segment_that_lost_its_end_is_seen_by_the_next_header(spool, keep):
    path = _second(spool)
    pieces = _raw(_frames(path), path)
    path.write_bytes(b"".join(pieces[:keep]))
    found = verify(spool, None)
    assert ("spool", "removed", None) in _kinds(found)
    assert (("spool", "removed", 15) in _kinds(found)) == (keep == 15)


def test_the_newest_segment_that_lost_its_end_is_seen_by_the_head(spool):
    path = SpoolFolder(spool).segments()[2].path
    pieces = _raw(_frames(path), path)
    path.write_bytes(b"".join(pieces[:15]))
    assert ("spool", "removed", 15) in _kinds(verify(spool, None))


def test_a_chain_made_anew_is_seen_by_the_next_header(spool):
    path, frames = _second(spool), _frames(_second(spool))
    bodies = [frame.body for frame in frames[:-1]]
    bodies[5] = bodies[5].replace(b"4.5", b"9.9")
    path.write_bytes(framed(bodies, Link())[0])
    kinds = _kinds(verify(spool, None))
    assert ("spool", "altered", 20) in kinds


def test_a_segment_that_is_gone_is_seen(spool, loaded):
    _second(spool).unlink()
    (finding,) = verify(spool, None).findings
    assert (finding.kind, finding.message) == (
        "removed",
        "segment 2 is missing before this one, and not in the database",
    )
    assert verify(spool, loaded).whole


def test_damage_is_named(spool):
    path = _second(spool)
    data = bytearray(path.read_bytes())
    data[_frames(path)[6].offset + 70] ^= 1
    path.write_bytes(data)
    (finding,) = verify(spool, None).findings
    assert (finding.kind, finding.position) == ("damaged", 6)


#: What somebody does to the second of the segments, and how it is called.
CHANGES = {
    "UPDATE predictions SET estimate = 9.9 WHERE position = 5 AND segment = :segment": "altered",
    "UPDATE predictions SET input = '[1]' WHERE position = 5 AND segment = :segment": "altered",
    "UPDATE predictions SET created_at = now() WHERE position = 5 AND segment = :segment": "altered",
    "UPDATE predictions SET record = replace(record, '4.5', '9.9'), estimate = 9.9"
    " WHERE position = 5 AND segment = :segment": "altered",
    "UPDATE predictions p SET record = q.record, record_hash = q.record_hash FROM predictions q"
    " WHERE q.position = 6 AND p.position = 5 AND q.segment = p.segment AND p.segment = :segment": "altered",
    "UPDATE predictions SET position = 30 - position WHERE position IN (10, 20) AND segment = :segment": "altered",
    "UPDATE predictions SET position = 21, prediction_id = gen_random_uuid()"
    " WHERE position = 20 AND segment = :segment": "altered",
    "DELETE FROM predictions WHERE position = 5 AND segment = :segment": "removed",
    "DELETE FROM predictions WHERE position = 20 AND segment = :segment": "removed",
    "DELETE FROM predictions WHERE segment = :segment": "removed",
}


def test_each_change_of_the_database_is_seen(spool, loaded):
    segment = SpoolFolder(spool).segments()[1].id
    for change, kind in CHANGES.items():
        with loaded.connect() as connection:
            connection.execute(
                text("ALTER TABLE predictions DROP CONSTRAINT IF EXISTS predictions_segment_position_key")
            )
            connection.execute(text("TRUNCATE predictions, log_segments"))
        with closing(Loader(spool, loaded)) as loader:
            loader.load()
        with loaded.connect() as connection:
            assert connection.execute(text(change), {"segment": segment}).rowcount > 0, change
        found = verify(spool, loaded)
        # The spool is still whole, so that what was changed can be told from it.
        assert {(one.place, one.segment) for one in found.findings} == {("database", segment)}, change
        assert kind in {one.kind for one in found.findings}, change


def test_rows_of_no_segment_are_seen(spool, loaded):
    with loaded.connect() as connection:
        connection.execute(text("UPDATE predictions SET segment = 'mine-' || segment WHERE position = 20"))
    assert ("database", "inserted", None) in _kinds(verify(spool, loaded))


def test_a_database_that_is_away_leaves_the_spool_to_be_verified(spool, database_url, tmp_path):
    away = database_url.replace("host=", "host=/nowhere")
    with Database(DatabaseOptions(away, tmp_path, connect_timeout=2)) as lost:
        found = verify(spool, lost)
    assert found.whole
    assert found.records == {"spool": 60}
    assert "cannot be reached" in found.database_trouble


def test_the_database_alone_can_be_verified(spool, loaded, tmp_path):
    shutil.rmtree(spool)
    found = verify(spool, loaded)
    assert found.whole
    assert found.records["database"] == 60


def test_an_export_can_be_verified_and_what_was_changed_in_it_is_seen(spool, loaded):
    rows = [row for some in stream(loaded) for row in some]
    assert len(rows) == 60
    assert read_record(rows[0][5].encode()).prediction_id.endswith("000000000000")
    assert verify_export([rows], advance=lambda _: None).whole
    assert verify_export([rows[7:30]], advance=lambda _: None).whole
    changed = [*rows[:9], (*rows[9][:5], rows[9][5].replace("4.5", "9.9")), *rows[10:]]
    assert _kinds(verify_export([changed], advance=lambda _: None)) == [("export", "altered", 10)]


def test_what_a_record_says_survives_its_way_through_the_database(tmp_path, database, served, write_log):
    record = served(
        1,
        prediction=0.1 + 0.2,
        input_features={
            "a": 1e22,
            "b": 1e-7,
            "c": -0.0,
            "d": 2**53 + 1,
            "e": "é\u2028",
            "f": None,
            "g": True,
            "h": 1.0,
        },
    )
    write_log(tmp_path, [record_bytes(record)])
    with closing(Loader(tmp_path, database)) as loader:
        loader.load()
    assert verify(tmp_path, database).whole

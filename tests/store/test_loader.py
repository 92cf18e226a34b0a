"""The loader: each record of the spool is in the database once, whatever happens on the way."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy import text

from appraise.errors import StoreUnavailableError
from appraise.store.chain import Frame, scan
from appraise.store.database import Database, DatabaseOptions
from appraise.store.leadership import read_status
from appraise.store.loader import Loader
from appraise.store.log import PredictionLog
from appraise.store.logplan import LogPlan
from appraise.store.predictions import find_in_database, find_in_spool, latest
from appraise.store.records import record_bytes
from appraise.store.segments import SpoolFolder
from appraise.store.verify import verify


def _rows(database, query="SELECT * FROM predictions ORDER BY segment, position"):
    with database.connect() as connection:
        return connection.execute(text(query)).mappings().all()


def _count(database, table="predictions"):
    return len(_rows(database, f"SELECT * FROM {table}"))  # noqa: S608


def _load(folder, database, **options):
    with closing(Loader(folder, database, **options)) as loader:
        return loader.load()


def test_a_record_is_loaded_with_everything_it_says(tmp_path, database, served, write_log):
    record = served(
        7,
        transport="kafka",
        arm="challenger",
        caller="web",
        user_id="user1",
        request_id="r-1",
        batch_id=str(uuid.UUID(int=9)),
        feature_sources={"MedInc": "request"},
    )
    write_log(tmp_path, [record])
    assert _load(tmp_path, database) == 1
    (row,) = _rows(database)
    assert str(row["prediction_id"]) == record.prediction_id
    assert (row["estimate"], row["lower"], row["upper"], row["level"]) == (4.5, 4.0, 5.0, 0.9)
    assert (row["transport"], row["arm"], row["alias"], row["caller"]) == ("kafka", "challenger", "champion", "web")
    assert (row["user_id"], row["request_id"], row["batch_id"]) == ("user1", "r-1", uuid.UUID(int=9))
    assert row["input"] == {"MedInc": 8.3, "HouseAge": 41}
    assert row["feature_sources"] == {"MedInc": "request"}
    assert row["warnings"] == list(record.warnings)
    assert row["created_at"].isoformat() == "2026-11-01T00:00:00+00:00"
    assert (row["latency_ms"], row["currency"], row["price_unit"]) == (0.8, "USD", 100_000.0)
    assert row["record"].encode() == record_bytes(record)
    assert row["position"] == 1


def test_loading_goes_on_where_it_was(tmp_path, database, served):
    log = PredictionLog(LogPlan(tmp_path))
    with closing(Loader(tmp_path, database)) as loader:
        for start in (0, 10, 20):
            log.append_all(served(start + number) for number in range(10))
            log.flush()
            assert loader.load() == 10
    assert _load(tmp_path, database) == 0
    log.close()
    assert _load(tmp_path, database) == 0
    assert _count(database) == 30
    (segment,) = _rows(database, "SELECT * FROM log_segments")
    assert segment["sealed_frames"] == segment["frames"] == 31


def test_a_worker_that_always_has_something_new_keeps_no_others_records_waiting(
    tmp_path, database, served, monkeypatch
):
    busy, other = PredictionLog(LogPlan(tmp_path)), PredictionLog(LogPlan(tmp_path))
    for log, number in ((busy, 0), (other, 1)):
        log.append_all([served(number)])
        log.flush()
    more = iter(range(2, 12))

    def write_meanwhile(_loader):
        busy.append_all([served(next(more))])
        busy.flush()

    monkeypatch.setattr(Loader, "_rest", write_meanwhile)
    with closing(Loader(tmp_path, database)) as loader:
        loader.load()
    assert any(row["prediction_id"] == uuid.UUID(int=1) for row in _rows(database))
    busy.close()
    other.close()


def test_a_loader_that_was_overtaken_does_not_take_back_how_far_it_is(tmp_path, database, served):
    # Two load one spool where the lock of its folder does not reach, as over two machines.
    log = PredictionLog(LogPlan(tmp_path))
    with closing(Loader(tmp_path, database)) as slow, closing(Loader(tmp_path, database)) as quick:
        for start, loader, loaded in ((0, slow, 10), (10, quick, 10), (20, slow, 10), (30, quick, 10)):
            log.append_all(served(start + number) for number in range(10))
            log.flush()
            assert loader.load() == loaded
    log.close()
    assert _count(database) == 40
    assert _count(database, "log_unlisted") == 0


def test_two_loaders_at_once_load_each_record_once(tmp_path, database, served, write_log):
    write_log(tmp_path, [served(number) for number in range(3000)])
    stop = threading.Event()
    findings = []

    def watch():
        while not stop.is_set():
            findings.extend(verify(tmp_path, database).findings)

    watcher = threading.Thread(target=watch)
    watcher.start()
    loaders = [Loader(tmp_path, database, behind=True) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        loaded = list(pool.map(Loader.load, loaders))
    stop.set()
    watcher.join()
    for loader in loaders:
        loader.close()
    assert sum(loaded) == _count(database) == 3000
    assert findings == []


def test_a_second_copy_of_a_prediction_is_kept_aside(tmp_path, database, served, write_log):
    write_log(tmp_path, [served(1), served(2), served(1, prediction=9.0)])
    write_log(tmp_path, [served(2), served(3)])
    _load(tmp_path, database)
    assert [row["estimate"] for row in _rows(database)] == [4.5] * 3
    aside = _rows(database, "SELECT * FROM log_unlisted")
    assert sorted(str(row["prediction_id"])[-1] for row in aside) == ["1", "2"]
    assert {row["reason"] for row in aside} == {"its prediction_id is in the log already"}


def test_what_is_no_record_is_set_aside_and_the_rest_goes_on(tmp_path, database, served, write_log):
    strange = [b"{}", b"not json", record_bytes(served(5, prediction_id="no uuid")), b"\xff"]
    strange.append(record_bytes(served(6, batch_id="no uuid")))
    write_log(tmp_path, [served(1), *strange, served(2)])
    _load(tmp_path, database)
    assert _count(database) == 2
    aside = _rows(database, "SELECT position, reason, record FROM log_unlisted ORDER BY position")
    assert [bytes(row["record"]) for row in aside] == strange
    assert all(row["reason"] for row in aside)


def test_texts_that_postgres_does_not_keep_are_kept_in_the_record(tmp_path, database, served, write_log):
    record = served(1, user_id="a\0b", input_features={"kind": "x\0y"}, warnings=("w\0",))
    write_log(tmp_path, [record])
    _load(tmp_path, database)
    (row,) = _rows(database)
    assert row["user_id"] == "a\ufffdb"
    assert row["input"] == {"kind": "x\ufffdy"}
    assert json.loads(row["record"])["user_id"] == "a\0b"


@pytest.mark.parametrize("place", ["body", "length"])
def test_damage_in_the_middle_is_set_aside_and_the_rest_goes_on(tmp_path, database, served, write_log, place):
    write_log(tmp_path, [served(number) for number in range(10)])
    (segment,) = SpoolFolder(tmp_path).segments()
    data = bytearray(segment.path.read_bytes())
    frame = [piece for piece in scan(bytes(data)) if isinstance(piece, Frame)][5]
    data[frame.offset + (60 if place == "body" else 5)] ^= 0xFF
    segment.path.write_bytes(data)
    _load(tmp_path, database)
    assert [row["position"] for row in _rows(database)] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert kept.read_bytes() == data[frame.offset : frame.end]
    assert _rows(database, "SELECT damaged_bytes FROM log_segments")[0]["damaged_bytes"] == frame.end - frame.offset


def test_a_database_that_is_away_loses_nothing(tmp_path, database, database_url, served, write_log):
    write_log(tmp_path, [served(number) for number in range(5)])
    away = database_url.replace("host=", "host=/nowhere")
    with (
        Database(DatabaseOptions(away, tmp_path, connect_timeout=2)) as lost,
        pytest.raises(StoreUnavailableError),
    ):
        _load(tmp_path, lost)
    assert _load(tmp_path, database) == 5


def test_a_transaction_that_is_cut_off_leaves_nothing_and_is_done_again(tmp_path, database, served, write_log):
    write_log(tmp_path, [served(number) for number in range(5)])
    with database.connect() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE TRIGGER hang_up BEFORE UPDATE ON log_segments FOR EACH ROW"
                " WHEN (NEW.frames > 0) EXECUTE FUNCTION hang_up()"
            )
        )
    with pytest.raises(StoreUnavailableError):
        _load(tmp_path, database)
    assert _count(database) == _count(database, "log_segments") == 0
    with database.connect() as connection:
        connection.execute(text("DROP TRIGGER hang_up ON log_segments"))
    assert _load(tmp_path, database) == 5


def test_many_records_are_loaded_in_parts(tmp_path, database, served, write_log):
    write_log(tmp_path, (served(n, warnings=("x" * 4000,)) for n in range(3000)), segment_bytes=5 * 2**20)
    assert _load(tmp_path, database) == 3000
    assert _count(database) == 3000


def test_segments_are_removed_when_they_were_kept_for_long_enough(tmp_path, database, served, write_log):
    write_log(tmp_path, (served(number) for number in range(300)), segment_bytes=8_000)
    _load(tmp_path, database, keep_days=1)
    count = len(SpoolFolder(tmp_path).segments())
    assert count > 2
    _load(tmp_path, database, keep_days=0)
    assert SpoolFolder(tmp_path).segments() == ()
    write_log(tmp_path, [served(900)])
    assert SpoolFolder(tmp_path).segments()[0].number > count
    _load(tmp_path, database, keep_days=0)
    assert _count(database) == 301


def test_one_loader_leads_and_another_takes_over(tmp_path, database, database_url, served, eventually):
    log = PredictionLog(LogPlan(tmp_path))
    stops = [threading.Event(), threading.Event()]
    with Database(DatabaseOptions(database_url, tmp_path)) as other:
        loaders = [Loader(tmp_path, database), Loader(tmp_path, other)]
        threads = [
            threading.Thread(target=loader.run, args=(stop,)) for loader, stop in zip(loaders, stops, strict=True)
        ]
        threads[0].start()
        eventually(lambda: read_status(tmp_path) is not None)
        threads[1].start()
        log.append_all([served(1)])
        eventually(lambda: _count(database) == 1)
        stops[0].set()
        threads[0].join(60)
        log.append_all([served(2)])
        eventually(lambda: _count(database) == 2)
        log.append_all([served(3)])
        log.close()
        stops[1].set()
        threads[1].join(60)
    assert _count(database) == 3


def test_an_estimate_is_found_in_the_spool_until_it_is_in_the_database(tmp_path, database, served, write_log):
    wanted = uuid.UUID(int=3)
    write_log(tmp_path, (served(number) for number in range(6)), segment_bytes=1500)
    assert find_in_database(database, wanted) is None
    waiting = find_in_spool(tmp_path, wanted)
    assert waiting.served == served(3)
    assert waiting.place == "spool"
    _load(tmp_path, database)
    loaded = find_in_database(database, wanted)
    assert (loaded.record, loaded.record_hash, loaded.position) == (
        waiting.record,
        waiting.record_hash,
        waiting.position,
    )
    assert find_in_spool(tmp_path, uuid.UUID(int=99)) is None


def test_the_latest_come_page_by_page_without_a_gap(tmp_path, database, served, write_log):
    times = ["2026-11-01T00:00:00+00:00", "2026-11-02T00:00:00+00:00"]
    write_log(tmp_path, [served(number, timestamp=times[number % 2], user_id=f"u{number % 3}") for number in range(9)])
    _load(tmp_path, database)
    seen, cursor = [], None
    while True:
        page = latest(database, limit=2, cursor=cursor)
        seen += [uuid.UUID(one.served.prediction_id).int for one in page.predictions]
        if (cursor := page.next) is None:
            break
    assert seen == [7, 5, 3, 1, 8, 6, 4, 2, 0]
    assert len(latest(database, limit=50, user_id="u1").predictions) == 3
    assert latest(database, limit=50, model="another").predictions == ()
    with pytest.raises(ValueError, match="cursor"):
        latest(database, limit=2, cursor="bm9uc2Vuc2U")

"""A run from files to parts: every row once and in its order, whatever ends it on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from pyarrow import parquet

from appraise.errors import BatchError, DataError, OutputError
from appraise.serving.batch import engines, processes
from appraise.serving.batch.engines import ProcessPool, ThisProcess
from appraise.serving.batch.layout import ADDED
from appraise.serving.batch.manifest import MANIFEST_FILE, RUN_FILE, encode
from appraise.serving.batch.shard import do_shard
from appraise.serving.predictor import Predictor

pytestmark = pytest.mark.usefixtures("small_shards")


def parts(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(folder.glob("part-*.parquet")))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Stopping:
    """Does so many shards and is then ended, as by Ctrl-C."""

    def __init__(self, shards: int) -> None:
        self.left = shards
        self.done: list[int] = []

    def run(self, work, shards):
        for shard in shards:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            self.done.append(shard.index)
            yield do_shard(work, shard)


def test_every_row_is_there_once_in_its_order_as_the_predictor_values_it(plan, homes, bundle, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    run = plan(tmp_path / "in.parquet", level=0.8)
    manifest = run.carry_out(ThisProcess())
    out = parts(tmp_path / "out")
    assert out.columns == [*homes.columns, *ADDED.names]
    assert out.select(homes.columns).equals(homes)
    estimates = Predictor.load(bundle).predict(homes.drop("home").to_dicts(), level=0.8)
    assert out["estimate"].to_list() == estimates.estimate.tolist()
    assert out["lower"].to_list() == estimates.lower.tolist()
    assert (manifest.rows, manifest.valued, len(manifest.parts)) == (3000, 3000, 30)
    written = json.loads((tmp_path / "out" / MANIFEST_FILE).read_text())
    assert written["run_id"] == manifest.run_id == run.mark.run_id
    assert [part["file"] for part in written["parts"]] == sorted(path.name for path in tmp_path.glob("out/part-*"))
    assert written["inputs"][0]["sha256"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_text_gives_what_parquet_gives_and_keeps_unnamed_columns(plan, homes, tmp_path, newline):
    strange = homes.with_columns(note=pl.lit('he said "no",' + newline + "twice"))
    text = strange.write_csv(line_terminator=newline)
    (tmp_path / "in.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    homes.write_parquet(tmp_path / "in.parquet")
    assert plan(tmp_path / "in.csv").carry_out(ThisProcess()).rows == 3000
    plan(tmp_path / "in.parquet", tmp_path / "other").carry_out(ThisProcess())
    text_out, parquet_out = parts(tmp_path / "out"), parts(tmp_path / "other")
    assert text_out["estimate"].to_list() == parquet_out["estimate"].to_list()
    assert text_out["note"].unique().to_list() == ['he said "no",' + newline + "twice"]
    assert text_out["square_feet"].dtype == pl.Float64
    assert text_out["home"].cast(pl.Int64).to_list() == list(range(3000))


def test_a_folder_is_read_in_the_order_of_its_names_and_small_files_share_a_part(plan, homes, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for place, piece in enumerate(homes.iter_slices(40)):
        piece.write_parquet(folder / f"{place:03}.parquet", row_group_size=15)
    manifest = plan(folder).carry_out(ThisProcess())
    assert parts(tmp_path / "out")["home"].to_list() == list(range(3000))
    assert len(manifest.parts) < 75


def test_files_of_other_columns_and_types_become_one_table(plan, homes, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    homes[:100].with_columns(pl.col("bedrooms").cast(pl.Int16), extra=pl.lit("x")).write_parquet(folder / "a.parquet")
    homes[100:200].select(reversed(homes.columns)).write_parquet(folder / "b.parquet")
    plan(folder).carry_out(ThisProcess())
    out = parts(tmp_path / "out")
    assert out["extra"].to_list() == ["x"] * 100 + [None] * 100
    assert out["home"].to_list() == list(range(200))
    assert out["error"].null_count() == 200


def test_hostile_rows_stay_in_their_place_and_say_why(plan, homes, tmp_path):
    lines = homes[:500].write_csv().splitlines()
    lines[1 + 7] += ",1,2"
    lines[1 + 150] = "only this"
    cells = lines[1 + 301].split(",")
    lines[1 + 301] = ",".join([cells[0], "-5", *cells[2:]])
    lines[1 + 302] = ",".join([cells[0], "many", *cells[2:]])
    (tmp_path / "in.csv").write_text("\n\n".join(lines))
    manifest = plan(tmp_path / "in.csv").carry_out(ThisProcess())
    out = parts(tmp_path / "out")
    assert (manifest.rows, manifest.valued) == (500, 496)
    refused = {place: reason for place, reason in enumerate(out["error"]) if reason is not None}
    assert list(refused) == [7, 150, 301, 302]
    assert "8 fields where the header has 6" in refused[7]
    assert "1 field where the header has 6: only this" in refused[150]
    assert "square_feet must be at least" in refused[301]
    assert "square_feet must be a number, received 'many'" in refused[302]
    assert out["estimate"].is_null().arg_true().to_list() == list(refused)


def test_estimates_that_are_not_to_be_used_are_counted_by_part_and_by_run(plan, homes, tmp_path, monkeypatch):
    # Without places none of these homes is beyond everything: what would have the grade low has none here.
    monkeypatch.setattr("appraise.serving.estimates._LEAST_SCORES", (0.70, 0.70, 0.85))
    strange = {"square_feet": 49_000.0, "bedrooms": 40, "bathrooms": 40.0, "age_years": 900.0}
    changed = [
        pl.when(pl.col("home") % 150 == 0).then(pl.lit(value)).otherwise(name).cast(homes.schema[name]).alias(name)
        for name, value in strange.items()
    ]
    homes.with_columns(changed).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(KeyboardInterrupt):
        plan(tmp_path / "in.parquet").carry_out(Stopping(11))
    manifest = plan(tmp_path / "in.parquet").carry_out(Stopping(19))
    grades = parts(tmp_path / "out")["confidence_grade"].to_list()
    assert (manifest.valued, manifest.unusable) == (3000, grades.count("none"))
    assert all(grade == "none" for grade in grades[::150])
    written = json.loads((tmp_path / "out" / MANIFEST_FILE).read_text())
    assert written["unusable"] == manifest.unusable
    assert [part["unusable"] for part in written["parts"]] == [
        grades[start : start + 100].count("none") for start in range(0, 3000, 100)
    ]


def test_a_run_of_another_version_of_the_files_is_told_as_such(plan, homes, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    run = plan(tmp_path / "in.parquet")
    older = replace(run.mark, format_version=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RUN_FILE).write_bytes(encode(older))
    with pytest.raises(OutputError, match="holds another run: it was begun by another version of Appraise"):
        run.carry_out(ThisProcess())
    assert run.carry_out(ThisProcess(), overwrite=True).rows == 3000


def test_a_run_that_was_interrupted_goes_on_and_does_nothing_twice(plan, homes, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    first = Stopping(11)
    with pytest.raises(KeyboardInterrupt):
        plan(tmp_path / "in.parquet").carry_out(first)
    assert MANIFEST_FILE not in files(tmp_path / "out")
    assert plan(tmp_path / "in.parquet").parts_there() == 11
    seen: list[tuple[int, int]] = []
    second = Stopping(30)
    manifest = plan(tmp_path / "in.parquet").carry_out(second, observe=lambda *done: seen.append(done))
    assert seen[0] == (1100, 11)
    assert not set(first.done) & set(second.done)
    assert manifest.rows == 3000
    assert parts(tmp_path / "out")["home"].to_list() == list(range(3000))
    again = Stopping(0)
    assert plan(tmp_path / "in.parquet").carry_out(again).parts == manifest.parts


def test_an_interrupted_pool_leaves_no_process_and_nothing_half_written(plan, homes, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")

    def observe(_rows: int, shards: int) -> None:
        if shards:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan(tmp_path / "in.parquet").carry_out(ProcessPool(2), observe=observe)
    assert not _workers()
    assert not [name for name in files(tmp_path / "out") if name.startswith(".")]


def test_a_part_that_was_lost_or_damaged_is_made_again(plan, homes, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    whole = plan(tmp_path / "in.parquet").carry_out(ThisProcess())
    (tmp_path / "out" / "part-00003.parquet").unlink()
    (tmp_path / "out" / "part-00005.parquet").write_bytes(b"PAR1 and no more")
    engine = Stopping(2)
    again = plan(tmp_path / "in.parquet").carry_out(engine)
    assert engine.done == [3, 5]
    assert again.parts == whole.parts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("level", "holds another run: its level is 0.9, and not 0.8"),
        ("input", "holds another run: its input is another, or has changed since"),
        ("foreign", "is not empty"),
    ],
)
def test_an_output_that_holds_something_else_is_refused_and_stays(plan, homes, tmp_path, change, said):
    homes.write_parquet(tmp_path / "in.parquet")
    out = tmp_path / "out"
    if change == "foreign":
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")
    else:
        plan(tmp_path / "in.parquet").carry_out(ThisProcess())
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    if change == "input":
        homes[:2999].write_parquet(tmp_path / "in.parquet")
    run = plan(tmp_path / "in.parquet", level=0.8 if change == "level" else 0.9)
    with pytest.raises(OutputError, match=said):
        run.carry_out(ThisProcess())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    if change == "foreign":
        with pytest.raises(OutputError, match=r"thesis\.txt, which no run of appraise predict wrote"):
            run.carry_out(ThisProcess(), overwrite=True)
        assert (out / "thesis.txt").exists()
    else:
        assert run.carry_out(ThisProcess(), overwrite=True).run_id == run.mark.run_id


def test_two_runs_do_not_write_to_one_folder_at_a_time(plan, homes, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    run = plan(tmp_path / "in.parquet")
    with run.work.output.locked(), pytest.raises(OutputError, match="another run is writing"):
        run.carry_out(ThisProcess())


def test_the_output_is_not_the_input(plan, homes, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    with pytest.raises(OutputError, match="is what is read"):
        plan(tmp_path, tmp_path / ".")


def test_a_pool_makes_the_parts_that_one_process_makes(plan, homes, tmp_path):
    homes.write_csv(tmp_path / "in.csv")
    alone = plan(tmp_path / "in.csv").carry_out(ThisProcess())
    pooled = plan(tmp_path / "in.csv", tmp_path / "other").carry_out(ProcessPool(2))
    assert pooled.parts == alone.parts


class Killed:
    """A pool of which some processes are killed with the shard that they were just given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kills: int) -> None:
        self.left = kills
        outer = self

        class Watched(engines.Worker):
            def give(self, shard):
                super().give(shard)
                if outer.left:
                    outer.left -= 1
                    os.kill(self.process.pid, signal.SIGKILL)

        monkeypatch.setattr(engines, "Worker", Watched)


def test_a_worker_that_is_killed_costs_no_row(plan, homes, tmp_path, monkeypatch):
    homes.write_parquet(tmp_path / "in.parquet")
    killed = Killed(monkeypatch, 2)
    manifest = plan(tmp_path / "in.parquet").carry_out(ProcessPool(2))
    assert killed.left == 0
    assert manifest.rows == 3000
    assert parts(tmp_path / "out")["home"].to_list() == list(range(3000))
    assert files(tmp_path / "out") == {RUN_FILE, MANIFEST_FILE, *(part.file for part in manifest.parts)}


def test_workers_that_die_again_and_again_end_the_run(plan, homes, tmp_path, monkeypatch):
    homes.write_parquet(tmp_path / "in.parquet")
    Killed(monkeypatch, 1000)
    with pytest.raises(BatchError, match="ended without a word 3 times") as caught:
        plan(tmp_path / "in.parquet").carry_out(ProcessPool(2))
    assert "--workers 1" in caught.value.hint
    assert MANIFEST_FILE not in files(tmp_path / "out")


def _end_at_once(_listening: object) -> None:
    os._exit(7)


def test_workers_that_cannot_begin_end_the_run(plan, homes, tmp_path, monkeypatch):
    homes.write_parquet(tmp_path / "in.parquet")
    monkeypatch.setattr(processes, "_serve", _end_at_once)
    with pytest.raises(BatchError, match=r"3 processes .* ended before they had begun, .* exit code 7") as caught:
        plan(tmp_path / "in.parquet").carry_out(ProcessPool(2))
    assert caught.value.hint
    assert not _workers()


def test_what_a_worker_raises_ends_the_run_and_says_where_it_arose(plan, homes, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    run = plan(tmp_path / "in.parquet")
    homes.reverse().write_parquet(tmp_path / "in.parquet")
    with pytest.raises(DataError, match="changed while it was read") as caught:
        run.carry_out(ProcessPool(2))
    assert "in do_shard" in caught.value.__notes__[0]
    assert not _workers()


def test_workers_that_do_nothing_are_given_up(plan, homes, tmp_path, monkeypatch):
    homes.write_parquet(tmp_path / "in.parquet")
    monkeypatch.setattr(engines, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(BatchError, match="no part was done for 0 minutes"):
        plan(tmp_path / "in.parquet").carry_out(ProcessPool(2))
    assert not _workers()


RUN_AND_WAIT = """
import sys
from pathlib import Path
from appraise.serving.batch import planning
from appraise.serving.batch.engines import ProcessPool
from appraise.serving.batch.run import plan_run

if __name__ == "__main__":
    planning.UNIT_ROWS = 100
    bundle, source, output = sys.argv[1:]
    run = plan_run(bundle=Path(bundle), input=source, output=output, level=0.9, cache=Path(output), endpoint=None)
    done = 0

    def observe(_rows, shards):
        global done
        done += shards
        print(done, flush=True)
        if done >= 4:
            # Until it is killed: what the workers have at hand may still be done.
            sys.stdin.read()

    run.carry_out(ProcessPool(2), observe=observe)
"""


def test_kill_9_of_everything_leaves_a_run_that_goes_on_and_no_process(plan, homes, bundle, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    program = tmp_path / "program.py"
    program.write_text(RUN_AND_WAIT)
    command = [sys.executable, program, bundle, tmp_path / "in.parquet", tmp_path / "out"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, start_new_session=True) as process:
        while int(process.stdout.readline()) < 4:
            pass
        workers = _children(process.pid)
        assert workers
        process.kill()
        process.stdout.read()  # ends when the workers, which have it too, are gone
    assert not [pid for pid in workers if _alive(pid)]
    done = len(list(tmp_path.glob("out/part-*.parquet")))
    assert 3 <= done < 30
    engine = Stopping(30)
    assert plan(tmp_path / "in.parquet").carry_out(engine).rows == 3000
    assert len(engine.done) == 30 - done
    assert parts(tmp_path / "out")["home"].to_list() == list(range(3000))
    assert not [name for name in files(tmp_path / "out") if name.startswith(".")]


def _workers() -> list[int]:
    """Processes of a pool of this one."""
    return [pid for pid in _children(os.getpid()) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def _alive(pid: int, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        threading.Event().wait(0.02)
    return True


def test_a_full_disk_ends_the_run_with_what_is_done(plan, homes, tmp_path, monkeypatch):
    homes.write_parquet(tmp_path / "in.parquet")
    run = plan(tmp_path / "in.parquet")
    engine = Stopping(5)
    with pytest.raises(KeyboardInterrupt):
        run.carry_out(engine)
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written") as caught:
            run.carry_out(ThisProcess())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "the same command goes on" in caught.value.hint
    assert len(list(tmp_path.glob("out/part-*.parquet"))) == 5
    assert not [name for name in files(tmp_path / "out") if name.startswith(".")]
    assert run.carry_out(ThisProcess()).rows == 3000


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: frame.drop("square_feet"), "has no column 'square_feet'"),
        (lambda frame: frame[:0], "there are no rows in"),
        (lambda frame: frame.with_columns(pl.concat_list("square_feet")), r"holds (large_)?list"),
    ],
    ids=["a column is missing", "no rows", "lists"],
)
def test_wrong_inputs_are_refused_before_any_work(plan, homes, tmp_path, spoil, message):
    spoil(homes).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(DataError, match=message) as caught:
        plan(tmp_path / "in.parquet")
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_types_that_do_not_go_together_are_named_with_both_files(plan, homes, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    homes[:100].write_parquet(folder / "a.parquet")
    homes[100:200].with_columns(pl.col("bedrooms").cast(pl.String)).write_parquet(folder / "b.parquet")
    with pytest.raises(DataError, match=r"'bedrooms' is (large_)?string in .*b\.parquet and \w+ in .*a\.parquet"):
        plan(folder)


def test_an_empty_folder_and_a_mixed_one(plan, homes, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(DataError, match="holds no data file"):
        plan(folder)
    homes.write_parquet(folder / "a.parquet")
    homes.write_csv(folder / "a.csv")
    with pytest.raises(DataError, match="both Parquet and text"):
        plan(folder)


def test_a_file_that_is_damaged_in_its_middle_ends_the_run_with_its_name(plan, homes, tmp_path):
    source = tmp_path / "in.parquet"
    parquet.write_table(homes.to_arrow(), source, row_group_size=1000, write_page_checksum=True)
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle - 200 : middle + 200] = os.urandom(400)
    source.write_bytes(content)
    run = plan(source)
    with pytest.raises(DataError, match=r"in\.parquet is not a whole Parquet file") as caught:
        run.carry_out(ThisProcess())
    assert caught.value.hint == "write or copy the file again"
    assert MANIFEST_FILE not in files(tmp_path / "out")


def test_a_file_that_changes_while_it_is_read(plan, homes, tmp_path):
    source = tmp_path / "in.parquet"
    homes.write_parquet(source)
    run = plan(source)
    homes.reverse().write_parquet(source)
    with pytest.raises(DataError, match="changed while it was read"):
        run.carry_out(ThisProcess())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'home,square_feet\n1,"2\n', "never closed"),
        ("square_feet,stra\u00dfe\n1,2\n".encode("latin-1"), "the text is not utf-8"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"", "is empty"),
    ],
    ids=["quote", "encoding", "archive", "empty"],
)
def test_text_that_is_none_is_refused_before_any_work(plan, homes, tmp_path, content, message):
    header = homes[:50].write_csv().encode()
    (tmp_path / "in.csv").write_bytes(content if message in ("gzip", "is empty") else header + content)
    with pytest.raises(DataError, match=message):
        plan(tmp_path / "in.csv")
    assert not (tmp_path / "out").exists()

"""The embedded server: shared by processes, ended by the last of them, and back after whatever was done to it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.waiting import until

from appraise.errors import StoreError, StoreUnavailableError
from appraise.store.database import Database, DatabaseOptions
from appraise.store.embedded import EmbeddedServer

_HASTY = {"fsync": "off", "shared_buffers": "16MB"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A server's folder as it is after its first start and stop."""
    folder = Path(tempfile.mkdtemp(prefix="appraise-cluster-")) / "postgres"
    with _database(folder) as database:
        database.upgrade(actor="tests")
    yield folder
    shutil.rmtree(folder.parent)


@pytest.fixture
def folder(cluster):
    """A copy of it that a test may spoil."""
    base = Path(tempfile.mkdtemp(prefix="appraise-embedded-"))
    subprocess.run(["cp", "-a", str(cluster), str(base / "postgres")], check=True)
    yield base / "postgres"
    EmbeddedServer(base / "postgres").stop()
    shutil.rmtree(base)


def _database(folder: Path) -> Database:
    return Database(DatabaseOptions(None, folder, embedded_settings=_HASTY))


def _pid(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])


def test_nothing_is_started_before_the_first_question(tmp_path):
    with _database(tmp_path / "postgres") as database:
        assert database.status().running is False
        assert not database.stop()
    assert not (tmp_path / "postgres").exists()


def test_the_last_of_its_users_ends_it(folder):
    first, second = _database(folder), _database(folder)
    assert first.ping() < 5
    assert second.ping() < 5
    pid = _pid(folder)
    first.close()
    assert second.ping() < 5
    assert _pid(folder) == pid
    second.close()
    assert not (folder / "data" / "postmaster.pid").exists()
    with _database(folder) as again:
        again.check()


_USER = """
import sys
from pathlib import Path
from appraise.store.database import Database, DatabaseOptions
database = Database(DatabaseOptions(None, Path(sys.argv[1])))
database.upgrade(actor="another process")
print("open", flush=True)
sys.stdin.readline()
database.close()
"""


def _user(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _end(user: "subprocess.Popen[str]", *, kill: bool = False) -> None:
    if kill:
        user.kill()
        user.communicate()
    else:
        user.communicate("\n", timeout=60)
        assert user.returncode == 0


def test_processes_that_come_at_once_share_one_server(folder):
    shutil.rmtree(folder)
    users = [_user(folder) for _ in range(3)]
    for user in users:
        assert user.stdout is not None
        assert user.stdout.readline() == "open\n"
    pid = _pid(folder)
    _end(users[0])
    # One that is killed is no longer counted.
    _end(users[1], kill=True)
    assert _pid(folder) == pid
    _end(users[2])
    assert not (folder / "data" / "postmaster.pid").exists()


def test_a_server_that_is_killed_is_started_again_with_what_was_committed(folder):
    with _database(folder) as database:
        with database.connect() as connection:
            connection.execute(text("INSERT INTO audit (actor, action, subject) VALUES ('a', 'b', 'kept')"))
        os.kill(_pid(folder), signal.SIGKILL)
        # Its processes end when they notice, and with them the connections that are still open.
        until(lambda: _answers(database))
        with database.connect() as connection:
            found = connection.execute(text("SELECT count(*) FROM audit WHERE subject = 'kept'")).scalar_one()
    assert found == 1


def test_the_number_of_a_killed_server_may_be_another_programs_now(folder):
    with _database(folder) as database:
        database.ping()
        os.kill(_pid(folder), signal.SIGKILL)
        until(lambda: EmbeddedServer(folder).socket_folder() is None)
    file = folder / "data" / "postmaster.pid"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    with _database(folder) as database:
        assert database.ping() < 5


def test_one_that_was_stopped_by_hand_stays_so_until_it_is_started(folder):
    service, hand = _database(folder), _database(folder)
    service.ping()
    assert hand.stop()
    with pytest.raises(StoreUnavailableError, match="was stopped by hand") as caught:
        service.ping()
    assert "appraise db upgrade" in caught.value.hint
    with _database(folder) as later:
        with pytest.raises(StoreUnavailableError, match="was stopped by hand"):
            later.ping()
        later.upgrade(actor="tests")
        assert service.ping() < 5, "it was started again, and the service finds it"
    service.close()


def test_a_folder_that_was_made_halfway_is_not_taken_for_a_whole_one(folder):
    shutil.rmtree(folder)
    (folder / "new-dead").mkdir(parents=True)
    (folder / "new-dead" / "PG_VERSION").write_text("18\n")
    with _database(folder) as database:
        assert database.ping() < 5
    assert not list(folder.glob("new-*"))


def test_a_long_path_is_no_obstacle(folder):
    long = folder.parent / ("long" * 30) / "postgres"
    long.parent.mkdir()
    folder.rename(long)
    with _database(long) as database:
        database.ping()
        place = EmbeddedServer(long).socket_folder()
        assert place is not None
        assert long not in place.parents
        assert place.stat().st_mode & 0o777 == 0o700
        assert database.ping() < 5
    assert not place.exists(), "nothing is left behind"
    shutil.move(long, folder)


def test_only_its_owner_may_enter(folder):
    with _database(folder) as database:
        database.ping()
        place = EmbeddedServer(folder).socket_folder()
        assert place is not None
        assert place.stat().st_mode & 0o077 == 0
        assert (folder / "data").stat().st_mode & 0o077 == 0
        assert place.stat().st_uid == (folder / "data").stat().st_uid


def test_a_server_that_cannot_start_says_why(folder):
    with (folder / "data" / "postgresql.conf").open("a") as stream:
        stream.write("\nshared_buffers = 'lots'\n")
    with (
        pytest.raises(StoreError, match=r"cannot be started: .*shared_buffers") as caught,
        _database(folder) as database,
    ):
        database.ping()
    assert str(folder) in caught.value.hint


def test_why_an_earlier_start_failed_is_not_told_of_a_later_one(folder):
    (folder / "data" / "start.log").write_text("FATAL:  an old story\n")
    for file in (folder / "data" / "pg_wal").glob("0*"):
        file.unlink()
    with pytest.raises(StoreError, match=r"cannot be started: .*checkpoint") as caught, _database(folder) as database:
        database.ping()
    assert "an old story" not in str(caught.value)


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StoreError, match="cannot be made: Not a directory"):
        _database(tmp_path / "home" / "postgres").ping()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 160 MB, where this user may make one."""
    place = Path(tempfile.mkdtemp(prefix="appraise-disk-"))
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(place)], check=False, capture_output=True
        ).returncode
    ):
        place.rmdir()
        pytest.skip("only root may make a file system that is small enough to fill")
    place.chmod(0o755)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


def test_a_full_disk_is_said_and_loses_nothing_that_was_committed(small_disk):
    folder = small_disk / "postgres"
    with _database(folder) as database:
        database.upgrade(actor="tests")
        with database.connect() as connection:
            connection.execute(text("INSERT INTO audit (actor, action, subject) VALUES ('a', 'b', 'kept')"))
        ballast = small_disk / "ballast"
        with ballast.open("wb") as stream:
            stream.write(bytes(shutil.disk_usage(small_disk).free - 4 * 2**20))
        with pytest.raises(StoreError, match=r"the disk of the database .* is full|is away") as caught:
            _fill(database)
        ballast.unlink()
        until(lambda: _answers(database))
        with database.connect() as connection:
            assert connection.execute(text("SELECT subject FROM audit WHERE actor = 'a'")).scalar_one() == "kept"
    assert caught.value.hint


def _fill(database: Database) -> None:
    for _ in range(100):
        with database.connect() as connection:
            connection.execute(
                text(
                    "INSERT INTO audit (actor, action, subject)"
                    " SELECT 'filler', 'b', repeat(md5(random()::text), 100) FROM generate_series(1, 2000)"
                )
            )


def _answers(database: Database) -> bool:
    try:
        database.check()
    except StoreError:
        return False
    return True

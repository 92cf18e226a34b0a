"""One PostgreSQL and one S3 service for the test run; a database or a bucket of its own for each test that asks."""

import dataclasses
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from appraise.store.database import Database, DatabaseOptions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

#: Files that take longest, and the folder of most others that take long: begun first, so that no process of a run is
#: left with one of them at its end.
_LONGEST = ("test_chaos.py", "test_up.py", "test_service.py")
_LONG = "serving"

#: A test's database need not survive a power cut.
_HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have files that take long run first; the order within a file stays."""
    rank = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: (rank.get(item.path.name, len(rank)), _LONG not in item.path.parts))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    """A real server, and in it a database whose tables are made."""
    # Not in pytest's own folder: root's is closed to others, and so to the account that runs the server.
    folder = Path(tempfile.mkdtemp(prefix="appraise-test-"))
    with Database(DatabaseOptions(url=None, folder=folder / "postgres", embedded_settings=_HASTY)) as database:
        database.upgrade(actor="tests")
        yield database
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def make_database(postgres: Database) -> Callable[..., str]:
    """Makes a database, with the tables unless they are not wanted, and returns its address."""
    count = itertools.count()

    def make(*, tables: bool = True) -> str:
        name = f"test_{next(count)}"
        template = "appraise" if tables else "template1"
        place = postgres.options.folder / "socket"
        maintenance = f"postgresql://appraise@/template1?host={place}"
        # A database with connections to it cannot be copied.
        postgres._dispose()
        with Database(DatabaseOptions(maintenance, place)) as server, server.dedicated(autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql://appraise@/{name}?host={place}"

    return make


@pytest.fixture
def database_url(make_database: Callable[..., str]) -> str:
    """The address of an empty database of this test's own, its tables made."""
    return make_database()


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """An empty database of this test's own, its tables made."""
    with Database(DatabaseOptions(database_url, tmp_path)) as opened:
        yield opened


_SERVERS = Path(__file__).parent.parent / "scripts" / "install-test-servers"
_START_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class S3Server:
    """A real S3 service on loopback, and a way to it on which connections can be cut."""

    endpoint: str
    access_key: str
    secret_key: str
    toxiproxy: str

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    @contextmanager
    def proxy(self) -> Iterator["Proxy"]:
        """A way to the service on which connections can be cut."""
        name = uuid.uuid4().hex
        proxy = {"name": name, "listen": "127.0.0.1:0", "upstream": self.endpoint.removeprefix("http://")}
        made = httpx.post(f"{self.toxiproxy}/proxies", json=proxy).raise_for_status().json()
        place = f"{self.toxiproxy}/proxies/{name}"
        try:
            yield Proxy(f"http://{made['listen']}", place)
        finally:
            httpx.delete(place).raise_for_status()


@dataclasses.dataclass(frozen=True)
class Proxy:
    """A proxy of toxiproxy."""

    endpoint: str
    place: str

    def cut(self, stream: str, *, after: int) -> None:
        """Cut each connection after so many bytes `upstream` or `downstream`."""
        toxic = {"type": "limit_data", "stream": stream, "attributes": {"bytes": after}}
        httpx.post(f"{self.place}/toxics", json=toxic).raise_for_status()


@dataclasses.dataclass(frozen=True)
class Bucket:
    """An empty bucket of a test's own."""

    name: str
    server: S3Server
    client: Any

    @property
    def endpoint(self) -> str:
        return self.server.endpoint

    def put(self, key: str, body: bytes) -> str:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)
        return f"s3://{self.name}/{key}"

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def keys(self, prefix: str = "") -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix)
        return [each["Key"] for each in listed.get("Contents", [])]


# Its event loop runs in this thread until it is closed, and would be in the way of tests that run one.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A real browser without a window, which asks for nothing of its own."""
    executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if executable is None:
        pytest.fail("no Chromium on the PATH; scripts/install-chromium installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """versitygw: signatures, conditions and multipart uploads are checked as Amazon's S3 checks them."""
    servers = Path(subprocess.run([_SERVERS], check=True, capture_output=True, text=True, timeout=900).stdout.strip())
    port, other = reserve_port(), reserve_port()
    server = S3Server(f"http://127.0.0.1:{port}", "appraise-tests", uuid.uuid4().hex, f"http://127.0.0.1:{other}")
    # Not in pytest's own folder, whose name is long: objects are files under their keys.
    folder = Path(tempfile.mkdtemp(prefix="appraise-s3-"))
    (folder / "data").mkdir()
    credentials = {"ROOT_ACCESS_KEY": server.access_key, "ROOT_SECRET_KEY": server.secret_key}
    gateway = next(servers.glob("versitygw-*"))
    command = [gateway, "--port", f"127.0.0.1:{port}", "--quiet", "posix", folder / "data"]
    proxy = [next(servers.glob("toxiproxy-*")), "-host", "127.0.0.1", "-port", str(other)]
    with (folder / "log").open("wb") as log:
        started = [
            subprocess.Popen(command, env={**os.environ, **credentials}, stdout=log, stderr=log),
            subprocess.Popen(proxy, stdout=log, stderr=log),
        ]
    try:
        for process, number in zip(started, (port, other), strict=True):
            _await_port(process, number, folder / "log")
        yield server
    finally:
        for process in started:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def reserve_port() -> int:
    """A free port of the loopback address that the system gives to nobody for a minute but who asks for it by number.

    A connection that was ended on it makes it so (TIME_WAIT): a port that is merely free may be anybody's the moment
    after, for tests run side by side.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        # Who closes first keeps the port.
        listener.accept()[0].close()
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a port that a server of the test can have."""
    return reserve_port


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
        except OSError:
            threading.Event().wait(0.02)
    raise AssertionError(f"{process.args} does not answer: {log.read_text()}")


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket, and its credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = s3_server.client()
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(name, s3_server, client)

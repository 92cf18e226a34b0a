"""A small model, trained once, and real server processes on loopback."""

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serving.california import HOME, train_california

from appraise.bootstrap import build_registry, build_workspace
from appraise.registry.bundle import write_bundle
from appraise.registry.version import Version
from appraise.serving.predictor import Predictor
from appraise.serving.source import RegistrySource
from appraise.settings import Settings


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with `california` 1.0.0, its champion; trained by the first of the test processes that needs it."""
    folder = tmp_path_factory.mktemp("trained")
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent.parent / "trained"
        folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            train_california(folder, rows=500, west=2.0, iterations=40)
            # A home that was served before: otherwise each test's first server would ask MLflow for seconds.
            RegistrySource(build_registry(Settings(home=folder / "home"))).ask(())
            (folder / "done").touch()
    return folder / "home"


@pytest.fixture(scope="session")
def home(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with `california` 1.0.0, the champion, 1.1.0, the challenger."""
    return _copied(trained, tmp_path_factory.mktemp("shared") / "home", "1.1.0")


@pytest.fixture
def own_home(trained: Path, tmp_path: Path) -> Path:
    """A home that a test may change: `california` 1.0.0, the champion."""
    return _copied(trained, tmp_path / "home")


@pytest.fixture
def asking_home(own_home: Path) -> Path:
    """The same with nothing in its cache, so that a service asks the registry before it takes requests.

    From a cache it would take requests at once and ask beside them, and might or might not find what a test registers
    meanwhile.
    """
    for name in ("index.json", "answers.json"):
        for file in (own_home / "cache").rglob(name):
            file.unlink()
    return own_home


@pytest.fixture(scope="session")
def row() -> dict[str, float]:
    """A home that the model values without a warning."""
    return HOME


@pytest.fixture(scope="session")
def register() -> Callable[..., None]:
    """Registers the champion's trees again as another version."""
    return _register


@pytest.fixture(scope="session")
def read_all() -> Callable[[socket.socket], bytes]:
    """Reads until the other side hangs up."""
    return _read_all


def _copied(source: Path, target: Path, *versions: str) -> Path:
    """A home with the models of another, and more versions, each a challenger."""
    # MLflow keeps absolute paths: the artifacts stay where they were made.
    target.mkdir(parents=True)
    shutil.copy(source / "mlflow.db", target)
    shutil.copytree(source / "cache", target / "cache")
    for version in versions:
        _register(target, version, promote=False)
    return target


def _register(
    home: Path,
    version: str,
    *,
    promote: bool,
    name: str = "california",
    change: Callable[[Predictor], Predictor] | None = None,
) -> None:
    """Register the champion's trees again as another version, or as another model."""
    workspace = build_workspace(Settings(home=home))
    registry = workspace.registry
    predictor = Predictor.load(registry.resolve("california"))
    assert predictor.manifest is not None
    manifest = dataclasses.replace(predictor.manifest, name=name, version=Version.parse(version), files={})
    with workspace.scratch() as scratch, registry.run("california", name=f"again {version}") as run:
        parts = (predictor if change is None else change(predictor)).parts()
        write_bundle(scratch / "bundle", manifest=manifest, parts=parts)
        registry.register(scratch / "bundle", run=run, metric="rmse", error=0.4, promote=promote)


class Server:
    """A server process."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any], log: Path) -> None:
        self.process = process
        self.ready = ready
        self.log = log
        self.url: str = ready["url"]
        self.port = int(self.url.rsplit(":", 1)[1])
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.client.post(path, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, data: bytes) -> bytes:
        """What comes back for these bytes, until the server hangs up."""
        with self.connect() as client:
            client.sendall(data)
            return _read_all(client)

    def memory(self) -> int:
        """Resident bytes of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def end(self) -> int:
        """End it as an operator would; returns the exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def _read_all(client: socket.socket) -> bytes:
    """Everything until the other side hangs up."""
    received = b""
    while True:
        try:
            piece = client.recv(65536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


#: One database for servers that have no other: making one for each would take a second each.
_DATABASE: dict[str, str] = {}


@pytest.fixture(scope="session", autouse=True)
def shared_database(make_database: Callable[..., str]) -> None:
    """Every server of these tests has a database."""
    _DATABASE["APPRAISE_DATABASE_URL"] = make_database()


@pytest.fixture(scope="session", name="start")
def start_fixture() -> Callable[..., Server]:
    """Starts a server that the caller ends."""
    return start


def start(home: Path, *args: str, **settings: str) -> Server:
    """Start `appraise serve` and wait until it takes requests.

    Args:
        home: its home.
        args: of the command.
        settings: of the section `serve`, or variables by their whole names; an empty one is not set.
    """
    log = home.parent / f"serve-{len(list(home.parent.glob('serve-*.log')))}.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
    environment |= _DATABASE
    environment |= {
        name if name.startswith("APPRAISE_") else f"APPRAISE_SERVE__{name.upper()}": value
        for name, value in settings.items()
    }
    command = [sys.executable, "-m", "appraise", "--home", str(home), "serve", "--port", "0", "--json", *args]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stream, text=True, env=environment, cwd=home.parent
        )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.rstrip() == "}":
            return Server(process, json.loads("".join(lines)), log)
    process.stdout.close()
    raise AssertionError(f"the server did not start, exit code {process.wait()}: {log.read_text()}")


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[Server]:
    """The server that tests share which do not change it."""
    running = start(home)
    yield running
    assert running.end() == 0
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers of a test's own."""
    with ExitStack() as stack:

        def starter(home: Path, *args: str, **settings: str) -> Server:
            running = start(home, *args, **settings)
            stack.callback(running.end)
            return running

        yield starter

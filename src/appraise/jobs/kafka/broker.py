"""One Apache Kafka broker on this machine's loopback address: KRaft mode, small heap, its data in one folder.

    server.properties   as it was started
    data/               topics, formatted once; kept over restarts
    broker.*            the process and its log (`appraise.jobs.background`)

It is for development and tests: a single broker acknowledges from the page cache, so what it holds survives its own
death but not the machine's.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appraise.errors import OutputError, ServiceError, SettingsError, StreamError
from appraise.jobs.background import Background
from appraise.jobs.kafka.jars import KAFKA_VERSION, cache_folder, fetch_jars, find_java
from appraise.jobs.progress import Progress, SilentProgress
from appraise.serving.streaming.clients import KafkaConfig, metadata_of

#: The port that Kafka's clients expect.
USUAL_PORT = 9092

_HOST = "127.0.0.1"
_READY_SECONDS = 90.0
_STOP_SECONDS = 30.0
_KILL_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_FORMAT_SECONDS = 60.0
#: Properties of ours, which Kafka does not read.
_PORT, _CONTROLLER_PORT, _VERSION = "appraise.port", "appraise.controller.port", "appraise.kafka.version"
#: The version of a folder that does not say its own.
_UNSTATED_VERSION = "4.3.0"


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that runs.

    Attributes:
        pid: its process.
        started_at: when, seconds since 1970.
        bootstrap_servers: where clients find it.
        log: what it writes.
    """

    pid: int
    started_at: float
    bootstrap_servers: str
    log: Path


class LocalBroker:
    """The broker of one folder.

    Args:
        folder: where all of it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = Background(folder, "broker")
        self._properties = folder / "server.properties"

    def running(self) -> RunningBroker | None:
        """The broker, where its process lives."""
        found = self._process.running()
        if found is None:
            return None
        port = self._ports()[_PORT]
        return RunningBroker(found.pid, found.started_at, f"{_HOST}:{port}", self._process.output)

    def start(
        self,
        *,
        port: int | None = None,
        heap_mb: int = 512,
        properties: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> RunningBroker:
        """Start it, and wait until it answers. What was in its topics is there again.

        Args:
            port: where clients find it, 0 for a free one; where None that of the last start, or else Kafka's usual
                port, or else a free one.
            heap_mb: most memory of its heap, in MB.
            properties: settings of the broker by Kafka's own names, which beat ours.
            progress: watches jars being fetched.

        Raises:
            MissingProgramError: Java or Maven.
            ServiceError: it runs already, its data are of a later Kafka, or it does not start; its own words are in the
                message.
            SettingsError: the port is taken.
            OutputError: its folder cannot be written.
        """
        if self._process.running() is not None:
            raise ServiceError("the broker runs already", hint="appraise kafka status shows where")
        self._check_version()
        java = find_java()
        jars = fetch_jars(cache_folder(), progress or SilentProgress())
        ports = self._choose_ports(port)
        self._write_properties(ports, properties or {})
        command = [java, f"-Xmx{heap_mb}m", f"-Xms{min(heap_mb, 256)}m", "-XX:+ExitOnOutOfMemoryError", *_FLAGS]
        command += [f"-XX:ErrorFile={self.folder / 'crash.log'}", f"-Dlog4j2.configurationFile={self._log_settings()}"]
        command += ["-cp", f"{jars}/*"]
        if not self._formatted():
            self._format(command)
        fingerprint = hashlib.sha256("\n".join(command).encode()).hexdigest()
        self._process.start([*command, "kafka.Kafka", str(self._properties)], fingerprint=fingerprint)
        self._await_ready(f"{_HOST}:{ports[0]}")
        found = self.running()
        if found is None:
            raise self._failed("ended as soon as it had started")
        return found

    def stop(self) -> bool:
        """End it as it wants to end; what does not end is killed. Returns whether there was one."""
        there = self._process.running() is not None
        self._process.stop(seconds=_STOP_SECONDS)
        return there

    def kill(self) -> None:
        """End it as a crash would: by SIGKILL, so that nothing is written any more."""
        found = self._process.running()
        if found is None:
            return
        os.kill(found.pid, signal.SIGKILL)
        deadline = time.monotonic() + _KILL_SECONDS
        while self._process.alive():
            if time.monotonic() > deadline:
                raise ServiceError(f"the broker (process {found.pid}) does not end", hint="see what it waits for")
            time.sleep(_PAUSE_SECONDS)

    def _formatted(self) -> bool:
        return (self.folder / "data" / "meta.properties").exists()

    def _check_version(self) -> None:
        """Kafka reads what an earlier one wrote, and ends with a stack trace at what a later one wrote."""
        if not self._formatted():
            return
        wrote = self._stated().get(_VERSION, _UNSTATED_VERSION)
        if _numbers(wrote) > _numbers(KAFKA_VERSION):
            raise ServiceError(
                f"{self.folder} holds data of Apache Kafka {wrote}, which {KAFKA_VERSION} cannot read",
                hint="move the folder away, or choose another --home: the broker then begins with no topics",
            )

    def _choose_ports(self, wanted: int | None) -> tuple[int, int]:
        """Ports of clients and of the controller."""
        before = self._ports()
        candidates = [before.get(_PORT, USUAL_PORT), 0] if wanted is None else [wanted]
        for candidate in candidates:
            try:
                with _bound(candidate) as client, _bound(before.get(_CONTROLLER_PORT, 0), fallback=True) as controller:
                    return client.getsockname()[1], controller.getsockname()[1]
            except OSError as error:
                reason = error.strerror or str(error)
        raise SettingsError(
            f"port {candidates[-1]} of {_HOST} cannot be listened on: {reason}", hint="choose another, or --port 0"
        )

    def _ports(self) -> dict[str, int]:
        """The ports of the last start."""
        return {name: int(value) for name, value in self._stated().items() if name in (_PORT, _CONTROLLER_PORT)}

    def _stated(self) -> dict[str, str]:
        """The properties of the last start."""
        try:
            lines = self._properties.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def _write_properties(self, ports: tuple[int, int], more: Mapping[str, str]) -> None:
        port, controller = ports
        text = _PROPERTIES.format(host=_HOST, port=port, controller=controller, data=self.folder / "data")
        values = dict(line.split("=", 1) for line in text.splitlines()) | dict(more)
        values |= {_PORT: str(port), _CONTROLLER_PORT: str(controller), _VERSION: KAFKA_VERSION}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._properties.touch(mode=0o600)
            self._properties.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written: {error.strerror or error}", hint="choose another --home"
            ) from error

    def _log_settings(self) -> Path:
        path = self.folder / "log4j2.properties"
        path.write_text(_LOG4J, encoding="utf-8")
        return path

    def _format(self, command: list[str]) -> None:
        """Prepare the folder for KRaft's metadata."""
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # An identifier that begins with a dash would be read as an option.
        cluster = f"A{cluster[1:]}"
        words = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(self._properties)]
        try:
            done = subprocess.run(  # noqa: S603
                [*command, *words], capture_output=True, text=True, check=False, timeout=_FORMAT_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise ServiceError(
                f"the broker's folder was not formatted after {_FORMAT_SECONDS:g} s", hint="run it again"
            ) from error
        if done.returncode != 0:
            raise ServiceError(f"the broker's folder cannot be formatted: {_last(done.stdout + done.stderr)}")

    def _await_ready(self, address: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        config = KafkaConfig(address, seconds=5.0)
        while True:
            if not self._process.alive():
                raise self._failed("ended before it was ready")
            try:
                with socket.create_connection((_HOST, int(address.rpartition(":")[2])), timeout=1.0):
                    metadata_of(config, config.admin())
            except (OSError, StreamError) as error:
                if time.monotonic() > deadline:
                    self._process.stop(seconds=_STOP_SECONDS)
                    raise self._failed(f"did not answer within {_READY_SECONDS:g} s") from error
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _failed(self, how: str) -> ServiceError:
        words = _last(*(file.read_text(errors="replace") for file in (self._process.output, self._process.log)))
        return ServiceError(f"the broker {how}: {words}", hint=f"its log is {self._process.output}")


def _bound(port: int, *, fallback: bool = False) -> socket.socket:
    """A socket bound to a port; to a free one where that is taken and `fallback` allows it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As Kafka does, so that the port of a broker that has just ended can be had.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError:
        listener.close()
        if fallback and port:
            return _bound(0)
        raise
    return listener


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _last(*texts: str) -> str:
    """The line that says why a broker failed, as far as its log can tell."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "ERROR" in line or "Exception" in line or "FATAL" in line]
    return (telling or lines or ["it said nothing"])[-1][:400]


#: One collector thread: the broker shares the machine with all that is tested on it.
_FLAGS = ("-XX:+UseSerialGC", "-Djava.awt.headless=true")

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.quorum.bootstrap.servers={host}:{controller}
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false"""

_LOG4J = """\
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c{1})%n%throwable{short}
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""

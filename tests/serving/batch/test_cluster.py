"""The same shards by a Dask cluster: a scheduler and workers that are processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl
import pytest
from distributed import Client

from appraise.errors import BatchError
from appraise.serving.batch.cluster import DaskCluster
from appraise.serving.batch.engines import ThisProcess
from appraise.serving.batch.manifest import MANIFEST_FILE

pytestmark = pytest.mark.usefixtures("small_shards")

_START_SECONDS = 60.0


@dataclass
class Cluster:
    """Real processes on loopback."""

    address: str
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)


@pytest.fixture
def cluster(tmp_path, free_port) -> Iterator[Cluster]:
    """A scheduler and two workers."""
    port = free_port()
    dask = [sys.executable, "-m", "dask"]
    made = Cluster(f"tcp://127.0.0.1:{port}")
    environment = {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "30s"}
    with (tmp_path / "dask.log").open("wb") as log:
        options = {"stdout": log, "stderr": log, "env": environment}
        command = [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        scheduler = subprocess.Popen([*command, "--dashboard-address", "127.0.0.1:0"], **options)
        worker = [*dask, "worker", made.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny"]
        for number in range(2):
            place = ["--no-dashboard", "--local-directory", str(tmp_path / f"worker-{number}")]
            made.workers.append(subprocess.Popen([*worker, *place], **options))
    try:
        _await_workers(made, scheduler)
        yield made
    finally:
        for process in (*made.workers, scheduler):
            process.kill()
            process.wait()


def _await_workers(cluster: Cluster, scheduler: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    port = int(cluster.address.rpartition(":")[2])
    while time.monotonic() < deadline and scheduler.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            break
        except OSError:
            threading.Event().wait(0.05)
    with Client(cluster.address, timeout=_START_SECONDS) as client:
        client.wait_for_workers(2, timeout=_START_SECONDS)


def test_a_worker_that_is_killed_midway_costs_no_row(cluster, plan, homes, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    alone = plan(tmp_path / "in.parquet", tmp_path / "alone").carry_out(ThisProcess())
    shards = 0

    def observe(_rows: int, done: int) -> None:
        nonlocal shards
        shards += done
        if shards == 5:
            cluster.workers[0].send_signal(signal.SIGKILL)

    manifest = plan(tmp_path / "in.parquet").carry_out(DaskCluster(cluster.address), observe=observe)
    assert cluster.workers[0].wait(timeout=60) == -signal.SIGKILL
    assert shards == 30
    assert manifest.parts == alone.parts
    out = pl.read_parquet(sorted((tmp_path / "out").glob("part-*.parquet")))
    assert out["home"].to_list() == list(range(3000))


def test_no_scheduler_is_named_with_its_address(plan, homes, tmp_path, monkeypatch):
    monkeypatch.setattr("appraise.serving.batch.cluster._CONNECT_SECONDS", 0.5)
    homes.write_parquet(tmp_path / "in.parquet")
    run = plan(tmp_path / "in.parquet")
    for address in ("tcp://127.0.0.1:1", "nonsense", "nonsense://1:2"):
        with pytest.raises(BatchError, match=f"no Dask scheduler answers at {address}") as caught:
            run.carry_out(DaskCluster(address))
        assert "dask scheduler" in caught.value.hint
    assert not (tmp_path / "out" / MANIFEST_FILE).exists()


def test_without_dask_the_extra_is_named(plan, homes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    homes.write_parquet(tmp_path / "in.parquet")
    with pytest.raises(BatchError, match="Dask is not installed") as caught:
        plan(tmp_path / "in.parquet").carry_out(DaskCluster("tcp://127.0.0.1:1"))
    assert "appraise[cluster]" in caught.value.hint

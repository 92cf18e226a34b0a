"""Carry out ordered batch runs beside a service: one at a time, in a process of its own, and on after a restart."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from appraise import logs
from appraise.errors import AppraiseError, StoreError
from appraise.jobs.beside import follow, run_process, working
from appraise.registry.mlflow_registry import Registry
from appraise.registry.version import Version
from appraise.serving.orders import Order, OrderBook, now
from appraise.store.batches import BatchRun, keep_batch
from appraise.store.database import Database

if TYPE_CHECKING:
    from appraise.jobs.month import MonthResult
    from appraise.jobs.predict import PredictResult

_log = logs.get_logger(__name__)

_LOOK_SECONDS = 0.5
_TELL_SECONDS = 1.0
_END_SECONDS = 10.0
#: Times that the process of one order may end without a word.
_MOST_LOSSES = 3
#: Answers to requests come first.
_NICE = 10


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How orders are carried out, as plain values.

    Attributes:
        registry: where models are.
        home: the folder that holds all state; orders and what they make are in `batches`.
        inputs: folders and `s3://` addresses that may be read.
        most_open: orders that may wait or be carried out at a time.
        data_dir: where data files are looked for by their dataset's name.
        database: where runs are recorded; None records none.
        s3_endpoint: address of an S3 service other than Amazon's.
        log_level, log_format: as of the settings.
    """

    registry: Registry
    home: Path
    inputs: tuple[str, ...] = ()
    most_open: int = 8
    data_dir: Path | None = None
    database: Database | None = None
    s3_endpoint: str | None = None
    log_level: logs.Level = "info"
    log_format: logs.Format = "auto"

    @property
    def book(self) -> OrderBook:
        """The orders."""
        return OrderBook(self.home / "batches", inputs=self.inputs, most_open=self.most_open)


@contextmanager
def carrying_out(plan: BatchPlan | None) -> Iterator[None]:
    """Carry out orders for as long as the block runs; what is under way at its end goes on with the next service."""
    if plan is None:
        yield
        return
    with working(partial(_keep, plan), name="batch-orders", seconds=_END_SECONDS + 5.0):
        yield


def _keep(plan: BatchPlan, ended: threading.Event) -> None:
    losses: dict[str, int] = {}
    told: str | None = None
    while not ended.wait(_LOOK_SECONDS):
        trouble = None
        try:
            _carry_out_next(plan, losses, ended)
        except (AppraiseError, OSError) as error:
            # As where the disk is full: orders wait for as long as it is.
            trouble = str(error)
            if trouble != told:
                _log.error("batch runs cannot be carried out for now", reason=trouble)
        told = trouble


def _carry_out_next(plan: BatchPlan, losses: dict[str, int], ended: threading.Event) -> None:
    """Carry out the next order, if there is one; `losses` counts how often the process of each has ended."""
    order = plan.book.next()
    if order is None:
        return
    code = run_process(
        _carry_out, plan, order.batch_id, os.getpid(), name="appraise-batch", ended=ended, seconds=_END_SECONDS
    )
    if code == 0 or ended.is_set():
        return
    losses[order.batch_id] = losses.get(order.batch_id, 0) + 1
    _log.error("the process of a batch run ended without a word", batch_id=order.batch_id, exit_code=code)
    if losses[order.batch_id] >= _MOST_LOSSES:
        order = plan.book.find(order.batch_id)
        order.state, order.finished_at = "failed", now()
        order.error, order.hint = f"its process ended {_MOST_LOSSES} times", "see the log of the service"
        plan.book.write(order)


def _carry_out(plan: BatchPlan, batch_id: str, parent: int) -> None:
    """The process."""
    logs.configure(level=plan.log_level, format=plan.log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    follow(parent, partial(os.kill, os.getpid(), signal.SIGTERM))
    os.nice(_NICE)
    book = plan.book
    order = book.find(batch_id)
    order.state, order.started_at = "running", order.started_at or now()
    try:
        _begin(plan, book, order)
        result = _predict(plan, book, order)
    except AppraiseError as error:
        order.state, order.error, order.hint = "failed", error.message, error.hint
        _log.error("a batch run failed", batch_id=batch_id, reason=error.message)
    else:
        order.state, order.rows, order.rows_done = "done", result.rows, result.rows
        order.valued, order.unusable = result.valued, result.unusable
    order.finished_at = now()
    book.write(order)
    _record(plan, order)


def _begin(plan: BatchPlan, book: OrderBook, order: Order) -> None:
    version = None if order.model_version is None else Version.parse(order.model_version)
    order.model_version = str(plan.registry.find(order.model_name, version=version).version)
    order.output = str(plan.home / "batches" / order.batch_id)
    book.write(order)
    _record(plan, order)


def _predict(plan: BatchPlan, book: OrderBook, order: Order) -> PredictResult | MonthResult:
    from appraise.datasets.specfile import spec_from_dict
    from appraise.jobs.month import Month, predict_month
    from appraise.jobs.predict import predict_folder
    from appraise.jobs.workspace import Workspace
    from appraise.registry.bundle import read_manifest

    workspace = Workspace(plan.home, plan.registry, data_dir=plan.data_dir, s3_endpoint=plan.s3_endpoint)
    assert order.model_version is not None  # noqa: S101  `_begin` has said it
    assert order.output is not None  # noqa: S101
    version = Version.parse(order.model_version)
    spec = spec_from_dict(read_manifest(plan.registry.resolve(order.model_name, version=version)).spec)
    progress = _OrderProgress(book, order)
    if order.month is not None:
        month = Month.parse(order.month)
        output = Path(order.output) / month.file_name
        monthly = predict_month(
            spec, month, workspace=workspace, data=None, output=output, version=version, level=order.level,
            progress=progress,
        )  # fmt: skip
        order.output, order.metrics = str(output), monthly.metrics
        return monthly
    assert order.input is not None  # noqa: S101  the one or the other was ordered
    result = predict_folder(
        spec, workspace=workspace, input=order.input, output=order.output, version=version, level=order.level,
        progress=progress,
    )  # fmt: skip
    manifest = Path(order.output, "_manifest.json").read_bytes()
    order.manifest_sha256 = hashlib.sha256(manifest).hexdigest()
    return result


def _record(plan: BatchPlan, order: Order) -> None:
    """Write the run to the database; where that is away the run goes on, and its file says the same."""
    if plan.database is None or order.model_version is None or order.started_at is None:
        return
    detail = {
        "unusable": order.unusable,
        "manifest_sha256": order.manifest_sha256,
        "metrics": order.metrics,
        "error": order.error,
    }
    run = BatchRun(
        batch_id=uuid.UUID(order.batch_id),
        model_name=order.model_name,
        model_version=order.model_version,
        source=order.input or f"{order.model_name} {order.month}",
        target=order.output or "",
        state="running" if order.state == "queued" else order.state,
        rows=order.rows or 0,
        valued=order.valued or 0,
        caller=order.caller,
        started_at=dt.datetime.fromisoformat(order.started_at),
        finished_at=None if order.finished_at is None else dt.datetime.fromisoformat(order.finished_at),
        detail={key: value for key, value in detail.items() if value is not None},
    )
    try:
        with plan.database.connect() as connection:
            keep_batch(connection, run)
    except StoreError as error:
        _log.warning("a batch run is not in the database", batch_id=order.batch_id, reason=error.message)


class _OrderProgress:
    """Tells how far an order is by its file."""

    def __init__(self, book: OrderBook, order: Order) -> None:
        self._book = book
        self._order = order
        self._told = time.monotonic()

    @contextmanager
    def task(self, name: str, *, total: float | None = None) -> Iterator[_OrderTask]:
        """The rows are what is counted."""
        if name == "estimates" and total is not None:
            self._order.rows, self._order.rows_done = int(total), 0
            self._book.write(self._order)
        yield _OrderTask(self if name == "estimates" else None)

    def message(self, text: str) -> None:
        """What a person should know goes to the log."""
        _log.info(text, batch_id=self._order.batch_id)

    def advance(self, rows: int) -> None:
        """Count rows, and write from time to time."""
        self._order.rows_done += rows
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            self._book.write(self._order)


@dataclass(frozen=True, slots=True)
class _OrderTask:
    progress: _OrderProgress | None

    def advance(self, amount: float = 1) -> None:
        if self.progress is not None:
            self.progress.advance(int(amount))

    def note(self, text: str) -> None:
        pass

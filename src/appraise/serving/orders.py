"""Orders of batch runs: files in a folder, by which those who take orders and the one who carries them out agree."""

from __future__ import annotations

import datetime as dt
import heapq
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from appraise.datasets.atomic import replacing
from appraise.datasets.locks import locked
from appraise.errors import BatchError, DataError, ForbiddenInputError, OutputError, UnknownBatchError
from appraise.logs import get_logger

State = Literal["queued", "running", "done", "failed"]

_log = get_logger(__name__)

_SCHEME = "s3://"
#: Orders that are kept when they are over.
_MOST_KEPT = 1000


class Order(msgspec.Struct, kw_only=True):
    """One batch run.

    Attributes:
        batch_id: its name.
        state: where it stands.
        model_name: whose homes.
        model_version: the version that values them; the champion of the moment it begins where none was asked for.
        input: what is read, None for a month.
        month: the month that is valued (`2023-05`), None for an input.
        level: nominal level of the intervals.
        caller: the name of the API key.
        created_at, started_at, finished_at: ISO 8601.
        rows: how many there are, once they are counted.
        rows_done: how many are done.
        valued: how many have an estimate, at the end.
        unusable: how many of the estimates have the confidence grade `none`, at the end.
        output: the folder or file on the server.
        manifest_sha256: hash of the manifest, which has the hash of every part.
        metrics: errors of a month whose prices are known.
        error, hint: why it failed.
    """

    batch_id: str
    state: State = "queued"
    model_name: str
    model_version: str | None = None
    input: str | None = None
    month: str | None = None
    level: float = 0.9
    caller: str | None = None
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    rows: int | None = None
    rows_done: int = 0
    valued: int | None = None
    unusable: int | None = None
    output: str | None = None
    manifest_sha256: str | None = None
    metrics: dict[str, float] | None = None
    error: str | None = None
    hint: str | None = None


class OrderBook:
    """The orders of a home folder.

    Args:
        folder: where they are, and what is made.
        inputs: folders and `s3://` addresses that may be read.
        most_open: orders that may wait or be carried out at a time.
    """

    def __init__(self, folder: Path, *, inputs: Sequence[str] = (), most_open: int = 8) -> None:
        self.folder = folder
        # Those that are over lie apart, for the others are looked through twice a second.
        self._open = folder / "orders"
        self._over = folder / "orders" / "over"
        self._inputs = tuple(inputs)
        self._most_open = most_open

    def place(
        self,
        model_name: str,
        *,
        model_version: str | None = None,
        input: str | None = None,  # noqa: A002  what the field is called
        month: str | None = None,
        level: float = 0.9,
        caller: str | None = None,
    ) -> Order:
        """Take an order.

        Raises:
            ForbiddenInputError: the input is not in a folder that may be read.
            DataError: it is not there.
            BatchError: too many orders wait.
            OutputError: the folder cannot be written.
        """
        if input is not None:
            input = self._allowed(input)  # noqa: A001  what the field is called
        with self._locked():
            waiting = len(list(self._open.glob("*.json")))
            if waiting >= self._most_open:
                raise BatchError(f"{waiting} batch runs are waiting already", hint="come back when one is done")
            over = sorted(self._over.glob("*.json"), key=_written_at)
            for old in over[: max(0, len(over) - _MOST_KEPT + 1)]:
                old.unlink(missing_ok=True)
            order = Order(
                batch_id=str(uuid.uuid4()),
                model_name=model_name,
                model_version=model_version,
                input=input,
                month=month,
                level=level,
                caller=caller,
                # One after another, so that no two orders are of the same time.
                created_at=now(),
            )
            self.write(order)
        return order

    def find(self, batch_id: str) -> Order:
        """An order; raises UnknownBatchError."""
        try:
            name = f"{uuid.UUID(batch_id)}.json"
        except ValueError:
            name = ""
        # One that ends meanwhile is in its new place before it is gone from the old one.
        order = _read(self._open / name) or _read(self._over / name) if name else None
        if order is None:
            raise UnknownBatchError(
                f"there is no batch run {batch_id[:60]!r}", hint="give the batch_id that POST /run_batch answered"
            )
        return order

    def latest(self, limit: int) -> tuple[Order, ...]:
        """The orders that were placed last, newest first, whether they are over or not."""
        # They are carried out in turn, so those that ended last were placed last.
        over = heapq.nlargest(limit, self._over.glob("*.json"), key=_written_at)
        # One that ends meanwhile may be seen in both places; it is over then.
        paths = (*self._open.glob("*.json"), *over)
        found = {order.batch_id: order for order in map(_read, paths) if order is not None}
        return tuple(sorted(found.values(), key=lambda order: order.created_at, reverse=True)[:limit])

    def write(self, order: Order) -> None:
        """Say how an order stands now."""
        name, over = f"{order.batch_id}.json", order.state in ("done", "failed")
        with replacing((self._over if over else self._open) / name) as temporary:
            temporary.write_bytes(msgspec.json.encode(order))
        if over:
            (self._open / name).unlink(missing_ok=True)

    def next(self) -> Order | None:
        """The order that is to be carried out: one that was begun and left, or the oldest that waits."""
        waiting = [order for order in map(_read, self._open.glob("*.json")) if order is not None]
        return min(waiting, key=lambda order: (order.state != "running", order.created_at), default=None)

    def _allowed(self, wanted: str) -> str:
        """Where an input is, if it may be read."""
        if "\0" in wanted:
            raise ForbiddenInputError("the input has a zero byte in its name")
        if wanted.startswith(_SCHEME):
            if any(_within_bucket(wanted, root) for root in self._inputs):
                return wanted
            raise self._forbidden(wanted)
        for root in self._inputs:
            if root.startswith(_SCHEME):
                continue
            folder = Path(root).expanduser().resolve()
            path = (folder / wanted).resolve()
            if path.is_relative_to(folder):
                if path.exists():
                    return str(path)
                raise DataError(f"there is no {wanted} in the folders of batch inputs", hint="check the name")
        raise self._forbidden(wanted)

    def _forbidden(self, wanted: str) -> ForbiddenInputError:
        return ForbiddenInputError(
            f"{wanted[:200]} may not be read by this service",
            hint="APPRAISE_SERVE__BATCH_INPUTS names the folders and s3:// addresses that may",
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder / ".lock"))
            except OSError as error:
                raise OutputError(
                    f"{self.folder} cannot be written: {error.strerror or error}", hint="make room, or check its rights"
                ) from error
            yield


def now() -> str:
    """This moment, ISO 8601, to the microsecond."""
    return dt.datetime.now(tz=dt.UTC).isoformat(timespec="microseconds")


def _written_at(path: Path) -> int:
    """When a file was written, nanoseconds since 1970; 0 where it was removed meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _read(path: Path) -> Order | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Order)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        # As after a power cut. Left there, it would keep every other order from being read.
        _log.error("the order of a batch run is damaged and set aside", file=str(path), reason=str(error))
        with suppress(FileNotFoundError):
            path.rename(path.with_suffix(".damaged"))
        return None


def _within_bucket(wanted: str, root: str) -> bool:
    return root.startswith(_SCHEME) and (wanted == root or wanted.startswith(f"{root.rstrip('/')}/"))

"""The embedded PostgreSQL: real, from a wheel, in a folder of the home, reached through a Unix socket alone.

Every process that uses the server holds a shared lock on one file, and the last one to let go stops the server. The
kernel keeps that count, so that a process that was killed is no longer counted. Starting and stopping happen under a
second lock, by one process at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appraise.errors import StoreError, StoreUnavailableError
from appraise.store.cluster import Cluster
from appraise.store.wheel import program

#: A path longer than this does not fit into a socket's address.
_LONGEST_SOCKET = 100
_LOCK_SECONDS = 120.0


class EmbeddedServer:
    """A PostgreSQL server that the processes of this machine share.

    Args:
        folder: where its files are; made when it is first started.
        options: settings of a server that is about to be made, over those that are usual here.
    """

    def __init__(self, folder: Path, *, options: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._cluster = Cluster(folder, options)
        self._held: int | None = None

    def open(self, *, wake: bool = False) -> Path:
        """Start the server where it does not run, and count this process among its users.

        Args:
            wake: start it although it was stopped by hand.

        Returns:
            The folder of its socket.

        Raises:
            StoreError: it cannot be made or started.
            StoreUnavailableError: it was stopped by hand.
        """
        program("postgres")
        self._make_folder()
        with self._alone():
            if wake:
                self._stopped.unlink(missing_ok=True)
            elif self._stopped.exists():
                raise StoreUnavailableError(
                    "the embedded PostgreSQL was stopped by hand", hint="start it again: appraise db upgrade"
                )
            place = self._cluster.socket_folder()
            if place is None:
                place = self._start()
            if self._held is None:
                self._held = _lock_file(self._users)
                fcntl.flock(self._held, fcntl.LOCK_SH)
        return place

    def close(self) -> None:
        """Let go of the server, and stop it where nobody else uses it."""
        if self._held is None:
            return
        with self._alone():
            held, self._held = self._held, None
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            else:
                if self._cluster.socket_folder() is not None:
                    self._stop()
            finally:
                os.close(held)

    def exists(self) -> bool:
        """Whether it was ever made."""
        return self._cluster.exists()

    def socket_folder(self) -> Path | None:
        """Where a running server is reached; None where none answers."""
        return self._cluster.socket_folder()

    def stop(self) -> bool:
        """Stop the server, whoever uses it; says whether it ran.

        Raises:
            StoreError: it does not stop.
        """
        if not self._cluster.exists():
            return False
        with self._alone():
            if self._cluster.socket_folder() is None:
                return False
            self._stopped.touch()
            self._stop()
        return True

    @property
    def _place_elsewhere(self) -> Path:
        """Where the socket is whose path would be too long."""
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"appraise-{os.geteuid()}-{digest}"

    @property
    def _users(self) -> Path:
        return self.folder / "users.lock"

    @property
    def _stopped(self) -> Path:
        return self.folder / "stopped"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the folder {self.folder} of the embedded PostgreSQL cannot be made: {error.strerror}",
                hint="choose another home with --home, or give a database in APPRAISE_DATABASE_URL",
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else starts or stops the server meanwhile."""
        try:
            lock = _lock_file(self.folder / "start.lock")
        except OSError as error:
            raise StoreError(
                f"the folder {self.folder} of the embedded PostgreSQL cannot be written: {error.strerror}"
            ) from error
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreUnavailableError(
                            f"another process has been starting the embedded PostgreSQL for {_LOCK_SECONDS:.0f} s",
                            hint=self._cluster.log_hint(),
                        ) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(lock)

    def _start(self) -> Path:
        cluster = self._cluster
        if not cluster.exists():
            cluster.make()
        elif not os.access(cluster.data, os.R_OK | os.X_OK):
            raise StoreError(
                f"the embedded PostgreSQL in {self.folder} belongs to the user {cluster.data.owner()}",
                hint="run as that user or as root, or choose another home with --home",
            )
        cluster.start(self._socket_place())
        found = cluster.socket_folder()
        if found is None:
            raise StoreError("the embedded PostgreSQL started and cannot be reached", hint=cluster.log_hint())
        return found

    def _stop(self) -> None:
        self._cluster.stop()
        with suppress(OSError):
            self._place_elsewhere.rmdir()

    def _socket_place(self) -> Path:
        """A folder for the socket that only the server's account may enter, and whose path is short enough."""
        place = self.folder / "socket"
        if len(str(place)) > _LONGEST_SOCKET - 16 or "," in str(place):
            place = self._place_elsewhere
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            account = self._cluster.account()
            owner = os.geteuid() if account is None else account.pw_uid
            if account is not None and place.stat().st_uid == 0:
                os.chown(place, account.pw_uid, account.pw_gid)
            if place.is_symlink() or place.stat().st_uid != owner:
                raise StoreError(f"the socket's folder {place} belongs to somebody else", hint="remove it")
        except OSError as error:
            raise StoreError(f"the socket's folder {place} cannot be made: {error.strerror}") from error
        return place


def _lock_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

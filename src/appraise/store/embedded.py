"""The embedded PostgreSQL: real, from a wheel, in a folder of the home, reached through a Unix socket alone.

Every process that uses the server holds a shared lock on one file, and the last one to let go stops the server. The
kernel keeps that count, so that a process that was killed is no longer counted. Starting and stopping happen under a
second lock, by one process at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from appraise.errors import StoreError, StoreUnavailableError
from appraise.logs import get_logger
from appraise.store.wheel import account as new_account
from appraise.store.wheel import make_reachable, program

_log = get_logger(__name__)

USER = "appraise"
DATABASE = "appraise"
_PORT = 5432
#: A path longer than this does not fit into a socket's address.
_LONGEST_SOCKET = 100
_START_SECONDS = 60
_STOP_SECONDS = 30
_LOCK_SECONDS = 120.0
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    # The server's own log: one file a weekday, so that it does not grow for ever.
    "logging_collector": "on",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}


class EmbeddedServer:
    """A PostgreSQL server that the processes of this machine share.

    Args:
        folder: where its files are; made when it is first started.
        options: settings of a server that is about to be made, over those that are usual here.
    """

    def __init__(self, folder: Path, *, options: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._options = {**_SETTINGS, **(options or {})}
        self._data = folder / "data"
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
            place = self.socket_folder()
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
                if self.socket_folder() is not None:
                    self._stop()
            finally:
                os.close(held)

    def exists(self) -> bool:
        """Whether it was ever made."""
        return self._data.exists()

    def stop(self) -> bool:
        """Stop the server, whoever uses it; says whether it ran.

        Raises:
            StoreError: it does not stop.
        """
        if not self._data.exists():
            return False
        with self._alone():
            if self.socket_folder() is None:
                return False
            self._stopped.touch()
            self._stop()
        return True

    def socket_folder(self) -> Path | None:
        """Where a running server is reached; None where none answers."""
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        if len(lines) < 8 or lines[7].strip() != "ready":
            return None
        place = Path(lines[4])
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2.0)
            try:
                client.connect(str(place / f".s.PGSQL.{_PORT}"))
            except OSError:
                return None
        return place

    def _account(self) -> pwd.struct_passwd | None:
        """The account that runs the server; None where it is this one."""
        if os.geteuid() == 0 and self._data.exists():
            # Whoever made it: root may look after somebody else's.
            owner = self._data.stat().st_uid
            try:
                return pwd.getpwuid(owner)
            except KeyError:
                raise StoreError(
                    f"the embedded PostgreSQL in {self.folder} belongs to user {owner}, who has no account here",
                    hint="make the account, or choose another home with --home",
                ) from None
        return new_account()

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
                            hint=f"see the log in {self._data / 'log'}",
                        ) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(lock)

    def _start(self) -> Path:
        if not self._data.exists():
            self._make_cluster()
        elif not os.access(self._data, os.R_OK | os.X_OK):
            raise StoreError(
                f"the embedded PostgreSQL in {self.folder} belongs to the user {self._data.owner()}",
                hint="run as that user or as root, or choose another home with --home",
            )
        place = self._socket_place()
        self._forget_killed_server(place)
        _log.debug("starting the embedded PostgreSQL", folder=str(self.folder))
        deadline = time.monotonic() + _START_SECONDS
        options = f"-k {shlex.quote(str(place))} -p {_PORT}"
        while True:
            try:
                self._launch(options)
                break
            except StoreError as error:
                # Backends of a server that was killed need a moment to notice.
                if "still in use" not in error.message or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        found = self.socket_folder()
        if found is None:
            raise StoreError("the embedded PostgreSQL started and cannot be reached", hint=self._log_hint())
        return found

    def _make_cluster(self) -> None:
        """Make the data folder under another name first, so that half a one is never taken for a whole one."""
        _log.info("making the embedded PostgreSQL", folder=str(self.folder))
        for leftover in self.folder.glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        new = self.folder / f"new-{uuid.uuid4().hex[:8]}"
        try:
            new.mkdir(mode=0o700)
            account = self._account()
            if account is not None:
                os.chown(new, account.pw_uid, account.pw_gid)
            settings = [part for name, value in self._options.items() for part in ("--set", f"{name}={value}")]
            encoding = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
            self._run("initdb", "-D", str(new), "-U", USER, "--auth=trust", *encoding, *settings, seconds=120)
            single = ("--single", "-D", str(new), "-c", "logging_collector=off", "template1")
            self._run("postgres", *single, seconds=60, text=f"CREATE DATABASE {DATABASE}\n")
            new.rename(self._data)
        except OSError as error:
            raise StoreError(f"the embedded PostgreSQL cannot be made in {self.folder}: {error.strerror}") from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _forget_killed_server(self, place: Path) -> None:
        """Remove the lock files of a server that was killed and whose number stands for something else now.

        PostgreSQL refuses to start while that number is taken, be it by another program, or by the dead server itself
        in a container where nobody collects the dead.
        """
        for file in (self._data / "postmaster.pid", place / f".s.PGSQL.{_PORT}.lock"):
            try:
                pid = int(file.read_text(encoding="utf-8").splitlines()[0])
                _, _, rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").partition("(")
            except (OSError, ValueError, IndexError):
                continue
            name, _, state = rest.rpartition(") ")
            if name != "postgres" or state[:1] in ("Z", "X"):
                file.unlink(missing_ok=True)

    def _socket_place(self) -> Path:
        """A folder for the socket that only the server's account may enter, and whose path is short enough."""
        place = self.folder / "socket"
        if len(str(place)) > _LONGEST_SOCKET - 16 or "," in str(place):
            place = self._place_elsewhere
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            account = self._account()
            owner = os.geteuid() if account is None else account.pw_uid
            if account is not None and place.stat().st_uid == 0:
                os.chown(place, account.pw_uid, account.pw_gid)
            if place.is_symlink() or place.stat().st_uid != owner:
                raise StoreError(f"the socket's folder {place} belongs to somebody else", hint="remove it")
        except OSError as error:
            raise StoreError(f"the socket's folder {place} cannot be made: {error.strerror}") from error
        return place

    def _launch(self, options: str) -> None:
        seconds, log = _START_SECONDS, str(self._data / "start.log")
        words = ("start", "-w", "-t", str(seconds), "-D", str(self._data), "-l", log, "-o", options)
        try:
            self._run("pg_ctl", *words, seconds=seconds + 10)
        except StoreError as error:
            raise StoreError(
                f"the embedded PostgreSQL in {self.folder} cannot be started: {self._reason() or error.message}",
                hint=self._log_hint(),
            ) from error

    def _stop(self) -> None:
        """End the server as an administrator does: transactions under way are rolled back, the rest is written."""
        file = self._data / "postmaster.pid"
        deadline = time.monotonic() + _STOP_SECONDS
        try:
            os.kill(int(file.read_text(encoding="utf-8").splitlines()[0]), signal.SIGINT)
        except (ProcessLookupError, FileNotFoundError):
            return
        except (OSError, ValueError) as error:
            raise StoreError(
                f"the embedded PostgreSQL in {self.folder} cannot be stopped: {error}", hint=self._log_hint()
            ) from error
        while file.exists():
            if time.monotonic() > deadline:
                raise StoreError(
                    f"the embedded PostgreSQL in {self.folder} did not stop within {_STOP_SECONDS} s",
                    hint=self._log_hint(),
                )
            time.sleep(0.02)
        with suppress(OSError):
            self._place_elsewhere.rmdir()

    def _reason(self) -> str | None:
        """What the server itself said last of why it does not start."""
        for file in (self._data / "start.log", *sorted((self._data / "log").glob("*.log"), key=_age)):
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
            except OSError:
                continue
            found = [number for number, line in enumerate(lines) if "FATAL:" in line or "PANIC:" in line]
            if found:
                # Of settings the line before says which is wrong, and this one only that one is.
                number = found[-1] - ("contains errors" in lines[found[-1]] and found[-1] > 0)
                return lines[number].partition(":  ")[2]
        return None

    def _log_hint(self) -> str:
        return f"its log is in {self._data / 'log'}"

    def _run(self, name: str, *arguments: str, seconds: float, text: str | None = None) -> None:
        """Run one of PostgreSQL's programs as the server's account."""
        account = self._account()
        identity: dict[str, Any] = (
            {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        )
        path = program(name)
        if account is not None:
            make_reachable(path)
            make_reachable(self._data)
        try:
            done = subprocess.run(  # noqa: S603  a program of the wheel, with arguments from here
                [str(path), *arguments],
                input=text or "",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
                check=False,
                text=True,
                **identity,
            )
        except subprocess.TimeoutExpired as error:
            raise StoreError(f"{name} did not finish within {seconds:.0f} s", hint=self._log_hint()) from error
        if done.returncode:
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            telling = [line for line in lines if "error:" in line or "FATAL:" in line] or lines or ["it says nothing"]
            raise StoreError(f"{name} failed with code {done.returncode}: {telling[-1].strip()}")


def _lock_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _age(path: Path) -> float:
    """Sorts the newest file first."""
    return -path.stat().st_mtime

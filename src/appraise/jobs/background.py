"""A process in the background: it outlives who started it, is known by a lock that it holds, and is ended by its id.

    NAME.lock    locked for as long as the process lives
    NAME.json    its id, when it was started, and as what; it stays when the process ends, until it is to be forgotten
    NAME.out     what it wrote to its standard output
    NAME.log     what it wrote to its standard error; NAME.log.1 is that of the run before

A process id alone proves nothing, for the system gives it to others once the process has ended. The lock is the word of
the kernel: whoever holds it is the process that was started here, and the id beside it is its own. Who only looks takes
it together with others who look, and so is not taken for the process by them.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from appraise.errors import OutputError, ServiceError
from appraise.jobs.origin import Origin, origin_of

_PAUSE_SECONDS = 0.05
_KILL_SECONDS = 5.0
#: How long a start waits for those who look whether it runs.
_LOOKERS_SECONDS = 1.0
_LOG_LINES = 5


class Running(msgspec.Struct, frozen=True):
    """A process in the background.

    Attributes:
        pid: its id.
        started_at: when, seconds since 1970.
        fingerprint: changes with everything that it was started with.
        details: what whoever started it noted of how.
    """

    pid: int
    started_at: float
    fingerprint: str
    details: dict[str, Any] = {}


class Background:
    """One process in the background.

    Args:
        folder: where its files are.
        name: what it is called.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.output = folder / f"{name}.out"
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._name = name
        self._lock = folder / f"{name}.lock"
        self._record = folder / f"{name}.json"
        self._process: subprocess.Popen[bytes] | None = None

    def running(self) -> Running | None:
        """The process, where it runs."""
        descriptor = self._locked()
        if descriptor is not None:
            os.close(descriptor)
            return None
        if not self._lock.exists():
            return None
        deadline = time.monotonic() + 1.0
        while True:
            try:
                return msgspec.json.decode(self._record.read_bytes(), type=Running)
            except (OSError, msgspec.DecodeError) as error:
                # Between the lock and the record there is a moment in which the process starts.
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"something holds {self._lock}, and {self._record.name} beside it does not say what",
                        hint=f"see which process has it open (fuser {self._lock}), and end that",
                    ) from error
            time.sleep(_PAUSE_SECONDS)

    def last(self) -> Running | None:
        """The process, or where none runs the last that ran, unless that was to be forgotten (`note`)."""
        found = self.running()
        if found is not None:
            return found
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Running)
        except (OSError, msgspec.DecodeError):
            # What cannot be read is not needed: a start says what is wrong with the folder.
            return None

    def note(self, last: Running | None) -> None:
        """Have `last` tell this from now on, where nothing runs; nothing is changed where something does.

        Raises:
            OutputError: the record cannot be written.
        """
        with self._writing():
            descriptor = self._locked()
            if descriptor is None:
                return
            try:
                if last is None:
                    self._record.unlink(missing_ok=True)
                else:
                    self._write(last)
            finally:
                os.close(descriptor)

    def origin(self) -> Origin | None:
        """How it was started; None where it does not run, or the system does not tell."""
        found = self.running()
        return None if found is None else origin_of(found.pid)

    def start(
        self,
        command: Sequence[str],
        *,
        fingerprint: str,
        details: Mapping[str, Any] | None = None,
        origin: Origin | None = None,
    ) -> Running:
        """Start it, apart from this process, its terminal and its signals.

        Args:
            command: the program and its arguments.
            fingerprint: changes with everything that it is started with.
            details: what is to be noted of it.
            origin: whose environment and working folder it has; this process's where None.

        Raises:
            ServiceError: it runs already, or cannot be started.
            OutputError: its files cannot be written.
        """
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = self._locked()
            if descriptor is None:
                raise self._started_already()
            try:
                # Before the lock is held: whoever sees that it is takes the process of the record for its holder.
                self._record.unlink(missing_ok=True)
                self._hold(descriptor)
                return self._start(command, descriptor, fingerprint, dict(details or {}), origin)
            finally:
                os.close(descriptor)

    def alive(self) -> bool:
        """Whether it runs, asked cheaply."""
        if self._process is not None:
            return self._process.poll() is None
        descriptor = self._locked()
        if descriptor is None:
            return self._lock.exists()
        os.close(descriptor)
        return False

    def stop(self, *, seconds: float) -> bool:
        """Ask it to end, and wait until it has.

        Args:
            seconds: how long it may take; then it is killed.

        Returns:
            Whether it ended by itself.

        Raises:
            ServiceError: it goes on even so, or belongs to another user.
        """
        found = self.running()
        if found is None:
            self._reap()
            return True
        for sig, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, _KILL_SECONDS)):
            try:
                os.kill(found.pid, sig)
            except ProcessLookupError:
                return True
            except PermissionError as error:
                raise ServiceError(
                    f"the {self._name} (process {found.pid}) belongs to another user", hint="end it as that user"
                ) from error
            deadline = time.monotonic() + patience
            while self.alive():
                if time.monotonic() > deadline:
                    break
                time.sleep(_PAUSE_SECONDS)
            else:
                return sig is signal.SIGTERM
        raise ServiceError(f"the {self._name} (process {found.pid}) does not end", hint="see what it waits for")

    def _reap(self) -> None:
        """Take note of the end of a child that somebody else has ended, or it would stay as a zombie."""
        if self._process is not None:
            try:
                self._process.wait(_KILL_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise ServiceError(
                    f"the {self._name} (process {self._process.pid}) has given up its lock and does not end",
                    hint="see what it waits for",
                ) from error

    def last_words(self) -> str:
        """The last lines of its log."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_LOG_LINES:])

    def _start(
        self,
        command: Sequence[str],
        descriptor: int,
        fingerprint: str,
        details: dict[str, Any],
        origin: Origin | None,
    ) -> Running:
        if self.log.exists():
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        with self.output.open("wb") as output, self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  the program itself
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
                pass_fds=(descriptor,),
                env=None if origin is None else dict(origin.environment),
                cwd=None if origin is None else origin.folder,
            )
        found = Running(self._process.pid, time.time(), fingerprint, details)
        self._write(found)
        return found

    def _write(self, record: Running) -> None:
        temporary = self._record.with_suffix(".partial")
        temporary.write_bytes(msgspec.json.encode(record))
        temporary.replace(self._record)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say of files that cannot be used what to do about it."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{error.filename or self._folder} cannot be used: {error.strerror or error}",
                hint=f"see that {self._folder} may be written",
            ) from error

    def _hold(self, descriptor: int) -> None:
        """Have the lock alone, of which there is a part already, as soon as nobody looks."""
        deadline = time.monotonic() + _LOOKERS_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise self._started_already() from error
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _started_already(self) -> ServiceError:
        return ServiceError(f"the {self._name} is being started already", hint="wait for it")

    def _locked(self) -> int | None:
        """A part of the lock, for a look; None where the process has it, or where nothing was ever started."""
        if not self._folder.is_dir():
            return None
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

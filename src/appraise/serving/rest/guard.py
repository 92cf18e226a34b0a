"""Who may do what, and how often."""

from __future__ import annotations

import time
from http import HTTPStatus

from appraise.errors import SettingsError
from appraise.logs import get_logger
from appraise.serving.keys import ApiKey, KeyFile, hash_of
from appraise.serving.rest.http import Scope
from appraise.serving.rest.problems import Refusal

_log = get_logger(__name__)

_CHALLENGE = ((b"www-authenticate", b'Bearer realm="appraise"'),)
_MAKE_ANOTHER = "make another: appraise keys create --name NAME"


class _Bucket:
    """A token bucket: `rate` requests a second, a second's worth at once."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(rate, 1.0)
        self._left = self._most
        self._at = time.monotonic()

    def take(self) -> float:
        """Take a token; returns seconds to wait where there is none."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return (1.0 - self._left) / self._rate
        self._left -= 1.0
        return 0.0


class Guard:
    """Admits requests by their keys.

    Without a key file everything is open, which the command line allows on loopback alone. As soon as there is one,
    every key revoked or not, a valid key is asked for.

    Args:
        keys: the key file.
        rate_per_second: requests of one key in a second; None is no limit.
        workers: processes that share the limit.
    """

    def __init__(self, keys: KeyFile, *, rate_per_second: float | None = None, workers: int = 1) -> None:
        self._file = keys
        self._rate = rate_per_second
        self._workers = workers
        self._stamp: object = None
        self._keys: dict[str, ApiKey] = {}
        self._buckets: dict[str, _Bucket] = {}
        self.required = False
        self.refresh()

    def refresh(self) -> None:
        """Notice keys that were made or revoked. A file that is damaged leaves what was known."""
        stamp = self._file.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            keys = self._file.read()
        except SettingsError as error:
            self.required = True
            _log.error("the key file cannot be used; the keys are as they were", reason=error.message)
            return
        # A file that went away must not open what it closed.
        self.required = self.required or bool(keys)
        self._keys = {key.hash: key for key in keys}
        self._buckets = {}

    def admit(self, scope: Scope, needed: str) -> None:
        """Let a request in.

        Raises:
            Refusal: 401 without a valid key, 403 for one without the scope, 429 for one that asks too often.
        """
        key = self._key_of(scope)
        scope["appraise.caller"] = key.name
        if needed not in key.scopes:
            scopes = "scope" if len(key.scopes) == 1 else "scopes"
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                f"the key {key.id} has the {scopes} {' and '.join(key.scopes)}, and this needs {needed}",
                hint=f"make one that may: appraise keys create --name NAME --scopes {needed}",
            )
        rate = key.rate_per_second or self._rate
        if rate is None:
            return
        bucket = self._buckets.get(key.id)
        if bucket is None:
            bucket = self._buckets[key.id] = _Bucket(rate / self._workers)
        wait = bucket.take()
        if wait > 0:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"the key {key.id} may ask {rate:g} times a second, and asks more often",
                hint="wait as long as Retry-After says",
                headers=((b"retry-after", b"%d" % max(1, round(wait))),),
            )

    def _key_of(self, scope: Scope) -> ApiKey:
        secret = None
        for name, value in scope["headers"]:
            if name == b"x-api-key":
                secret = value
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                secret = value[7:].strip()
        key = None if secret is None else self._keys.get(hash_of(secret.decode("latin-1")))
        if key is not None and key.revoked_at is None:
            return key
        if all(known.revoked_at is not None for known in self._keys.values()):
            detail, hint = "this needs an API key, and none is valid any more", _MAKE_ANOTHER
        elif secret is None:
            detail = "this needs an API key, and none came"
            hint = "send it as Authorization: Bearer KEY, or as X-API-Key"
        else:
            detail = "the API key is not known" if key is None else f"the API key was revoked at {key.revoked_at}"
            hint = f"appraise keys list shows those that are valid; {_MAKE_ANOTHER}"
        raise Refusal(HTTPStatus.UNAUTHORIZED, detail, hint=hint, headers=_CHALLENGE)

"""The address that is listened on."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from appraise.errors import SettingsError
from appraise.serving.keys import ApiKey

#: Hosts that stand for all addresses of a machine, and what each is reached by on it.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket; raises SettingsError where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"{host}:{port} cannot be listened on: {reason}", hint="choose another port with --port, or --port 0"
        ) from error
    with listener:
        yield listener


def is_loopback(host: str) -> bool:
    """Whether no other machine reaches this host's address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_open(host: str, keys: Collection[ApiKey], *, insecure: bool) -> None:
    """Refuse to serve other machines without a key that is valid, unless that is meant; raises SettingsError."""
    if insecure or is_loopback(host) or any(key.revoked_at is None for key in keys):
        return
    if keys:
        # `--insecure` is no way out: as soon as there is a key, revoked or not, a valid one is asked for.
        raise SettingsError(
            f"{host} can be reached from other machines, and every API key is revoked: nobody could get in",
            hint="make one with appraise keys create --name web",
        )
    raise SettingsError(
        f"{host} can be reached from other machines, and there is no API key",
        hint="make one with appraise keys create --name web, or serve without: --insecure",
    )


def reachable(url: str) -> str:
    """The address by which this machine reaches a service that listens on all addresses."""
    parts = urlsplit(url)
    host = EVERYWHERE.get(parts.hostname or "")
    if host is None:
        return url
    return f"http://[{host}]:{parts.port}" if ":" in host else f"http://{host}:{parts.port}"

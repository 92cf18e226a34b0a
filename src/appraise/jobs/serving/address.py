"""The address that is listened on."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from appraise.errors import SettingsError

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


def check_open(host: str, *, has_keys: bool, insecure: bool) -> None:
    """Refuse to serve other machines without keys, unless that is meant; raises SettingsError."""
    if not has_keys and not insecure and not is_loopback(host):
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

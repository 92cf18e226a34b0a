"""Where a database is, and what its driver is told to reach it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from appraise.errors import SettingsError
from appraise.store import cluster
from appraise.store.faults import require_driver

if TYPE_CHECKING:
    from appraise.store.database import DatabaseOptions


def address_of(options: DatabaseOptions) -> str:
    """Where a database is, without a password."""
    if options.url is None:
        return f"in {options.folder}"
    url = _parsed(options.url)
    port = "" if url.port is None else f":{url.port}"
    host = url.host or url.query.get("host") or "localhost"
    return f"{url.database or url.username or ''}@{host}{port}"


def connection_arguments(options: DatabaseOptions, place: Path | None) -> dict[str, Any]:
    """What psycopg is told.

    Args:
        options: of the database.
        place: the folder of the embedded one's socket.
    """
    milliseconds = round(options.statement_timeout * 1000)
    common = {
        "application_name": "appraise",
        "connect_timeout": max(2, round(options.connect_timeout)),
        "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} -c timezone=UTC",
        # A network that went away is noticed within seconds, not hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": milliseconds,
    }
    if options.url is None:
        return {**common, "host": str(place), "user": cluster.USER, "dbname": cluster.DATABASE}
    url = _parsed(options.url)
    given = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    return {**common, "dbname": url.database, **{k: v for k, v in given.items() if v is not None}, **query}


def _parsed(url: str) -> Any:
    require_driver()
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsError(
            "APPRAISE_DATABASE_URL is not an address of a database",
            hint="it should look like postgresql://user:password@host:5432/database",
        ) from error

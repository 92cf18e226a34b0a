"""Where a database is, and what its driver is told to reach it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appraise.errors import SettingsError, StoreError
from appraise.store import cluster
from appraise.store.faults import require_driver

if TYPE_CHECKING:
    import psycopg

    from appraise.store.database import DatabaseOptions


def address_of(options: DatabaseOptions) -> str:
    """Where a database is, without a password."""
    if options.url is None:
        return f"in {options.folder}"
    given = _parsed(options.url)
    port = f":{given['port']}" if "port" in given else ""
    return f"{given.get('dbname') or given.get('user') or ''}@{given.get('host') or 'localhost'}{port}"


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
        # Rows are made of UTF-8 whatever the database keeps.
        "client_encoding": "UTF8",
        "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} -c timezone=UTC",
        # A network that went away is noticed within seconds, not hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": milliseconds,
    }
    if options.url is None:
        return {**common, "host": str(place), "user": cluster.USER, "dbname": cluster.DATABASE}
    return {**common, **_parsed(options.url)}


def check_encoding(connection: psycopg.Connection[Any], address: str) -> None:
    """Refuse a database that cannot hold every text.

    Raises:
        StoreError: its encoding is not UTF-8.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"the database {address} keeps its texts in {encoding}, which has no place for some of them",
            hint="give one that was made with ENCODING 'UTF8'",
        )


def _parsed(url: str) -> dict[str, str]:
    """What an address says, by the names of libpq; the name of a driver, as SQLAlchemy's addresses have it, is none."""
    require_driver()
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] in ("postgresql", "postgres"):
        # What it says of an address that it cannot read may repeat the password.
        with suppress(psycopg.ProgrammingError):
            given = {name: str(value) for name, value in conninfo_to_dict(f"postgresql://{rest}").items()}
            # One of each host, of which none need be said.
            if given.get("port", "").replace(",", "0").isdecimal() or "port" not in given:
                return given
    raise SettingsError(
        "APPRAISE_DATABASE_URL is not an address of a database",
        hint="it should look like postgresql://user:password@host:5432/database",
    )

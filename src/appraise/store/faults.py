"""What went wrong in the database, in words: errors of psycopg, SQLAlchemy and Alembic become StoreErrors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from appraise.errors import StoreError, StoreRevisionError, StoreUnavailableError

#: Classes and codes of SQLSTATE for what passes: lost connections, too many of them, a server that starts or stops,
#: deadlocks and serialization failures.
_PASSING = ("08", "53300", "57P0", "40")
_UPGRADE = "bring it up to date: appraise db upgrade"


@contextmanager
def store_errors(address: str) -> Iterator[None]:
    """Turn what the libraries raise into StoreErrors.

    Args:
        address: how the database is called in messages, without a password.
    """
    require_driver()
    import psycopg
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    try:
        yield
    except PoolTimeoutError as error:
        raise StoreUnavailableError(
            f"every connection to the database {address} is in use", hint="raise database.pool_size"
        ) from error
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise explained(error.orig, address) from error
        raise StoreError(f"the database {address} failed: {_line(error.orig or error)}") from error
    except psycopg.Error as error:
        raise explained(error, address) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database {address} cannot be used: {_line(error)}") from error


@contextmanager
def driver_errors(address: str) -> Iterator[None]:
    """The same for what uses psycopg alone, without SQLAlchemy's 15 MB."""
    require_driver()
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise explained(error, address) from error


def require_driver() -> None:
    """See that the libraries are there, which an installation that only serves may lack.

    Raises:
        StoreError: they are not.
    """
    if find_spec("psycopg") is None or find_spec("sqlalchemy") is None:
        raise StoreError(
            "there is no driver for PostgreSQL on this machine", hint="install it: pip install 'appraise[store]'"
        )


def explained(error: BaseException, address: str) -> StoreError:
    """The StoreError for one of psycopg's errors."""
    import psycopg

    code = getattr(error, "sqlstate", None)
    reason = _line(error)
    if code is None:
        return _connection(error, reason, address)
    if code == "25006":
        return StoreError(
            f"the database {address} is read-only",
            hint="it is a standby, or its disk is protected: give the address of the primary in APPRAISE_DATABASE_URL",
        )
    if code in ("53100", "58030"):
        return StoreError(f"the disk of the database {address} is full: {reason}", hint="make room, and try again")
    if code == "57014":
        return StoreUnavailableError(
            f"the database {address} took too long: {reason}",
            hint="raise database.statement_timeout, or see what holds it up: appraise db psql",
        )
    if code == "55P03":
        return StoreUnavailableError(f"the database {address} is busy: {reason}", hint="try again")
    if code in ("42P01", "42703"):
        return StoreRevisionError(f"the database {address} lacks a table or column: {reason}", hint=_UPGRADE)
    if code == "42501":
        return StoreError(
            f"the database {address} does not allow it: {reason}", hint="grant it to the user of APPRAISE_DATABASE_URL"
        )
    if code.startswith(_PASSING) or isinstance(error, psycopg.OperationalError):
        return StoreUnavailableError(f"the database {address} is away: {reason}", hint="it may be back soon: try again")
    return StoreError(f"the database {address} refuses: {reason}")


def _connection(error: BaseException, reason: str, address: str) -> StoreError:
    """Errors before there is a connection carry no code: what the server or the system said has to do."""
    wanted = "check user and password in APPRAISE_DATABASE_URL"
    if "password authentication failed" in reason or "no password supplied" in reason:
        return StoreError(f"the database {address} does not accept the user or the password", hint=wanted)
    if "does not exist" in reason and "FATAL" in reason:
        what = reason.rpartition("FATAL:")[2].strip()
        return StoreError(f"the database {address} cannot be opened: {what}", hint="make it: createdb, createuser")
    if "no pg_hba.conf entry" in reason:
        return StoreError(
            f"the database {address} does not let this machine in: {reason.rpartition('FATAL:')[2].strip()}",
            hint="allow it in the server's pg_hba.conf, or add ?sslmode=require to APPRAISE_DATABASE_URL",
        )
    hint = "check that it runs, and APPRAISE_DATABASE_URL"
    if "timeout" in reason:
        return StoreUnavailableError(f"the database {address} does not answer in time", hint=hint)
    if "resolve host" in reason:
        return StoreUnavailableError(f"the host of the database {address} is not known", hint=hint)
    plain = reason.rpartition(" failed: ")[2].removeprefix("FATAL:").strip() or type(error).__name__
    return StoreUnavailableError(f"the database {address} cannot be reached: {plain}", hint=hint)


def _line(error: BaseException) -> str:
    """The first line of what an error says; later ones repeat the statement, and with it what was written."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__

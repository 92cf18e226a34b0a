"""Whether the registry answers, asked without MLflow's library, which is larger than the server that wants to know."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from appraise.errors import RegistryError
from appraise.registry.mlflow_client import sqlite_file, without_password

_COUNT = "select count(*) from model_versions"
_SEARCH = "/api/2.0/mlflow/model-versions/search"


def sign_of_life(tracking_uri: str, *, seconds: float) -> str:
    """Ask where models are registered a question that only a registry in working order answers.

    Args:
        tracking_uri: a database or a tracking server.
        seconds: how long the answer may take.

    Returns:
        What it answered, as a phrase.

    Raises:
        RegistryError: it did not answer, or not as a registry does.
    """
    file = sqlite_file(tracking_uri)
    if file is not None:
        return _ask_file(file, seconds)
    if tracking_uri.startswith(("http://", "https://")):
        return _ask_server(tracking_uri, seconds)
    return _ask_database(tracking_uri, seconds)


def _ask_file(file: Path, seconds: float) -> str:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=seconds)) as connection:
            return _registered(connection.execute(_COUNT).fetchone()[0])
    except sqlite3.Error as error:
        raise RegistryError(f"the registry's database {file} does not answer: {error}") from error


def _ask_server(address: str, seconds: float) -> str:
    import httpx

    # The variables by which MLflow's own client is let in.
    token, user = os.environ.get("MLFLOW_TRACKING_TOKEN"), os.environ.get("MLFLOW_TRACKING_USERNAME")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user and not token else None
    try:
        url = f"{address.rstrip('/')}{_SEARCH}"
        response = httpx.get(url, params={"max_results": 1}, headers=headers, auth=auth, timeout=seconds)
        response.raise_for_status()
        found = response.json()
    except (httpx.HTTPError, ValueError) as error:
        said = without_password(str(error).partition("\n")[0]) or type(error).__name__
        raise RegistryError(f"the registry does not answer: {said}") from error
    if not isinstance(found, dict):
        raise RegistryError("what answers at the registry's address is no MLflow server")
    return "it searched its versions"


def _ask_database(address: str, seconds: float) -> str:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    wait = max(1, round(seconds))
    arguments: dict[str, object] = {"connect_timeout": wait}
    if address.startswith("postgresql"):
        arguments["options"] = f"-c statement_timeout={wait * 1000}"
    try:
        engine = create_engine(address, poolclass=NullPool, connect_args=arguments)
        with engine.connect() as connection:
            return _registered(connection.execute(text(_COUNT)).scalar_one())
    except (SQLAlchemyError, ImportError) as error:
        said = without_password(str(error).partition("\n")[0])
        raise RegistryError(f"the registry's database does not answer: {said}") from error


def _registered(count: int) -> str:
    return "1 version is registered" if count == 1 else f"{count} versions are registered"

"""The seam to MLflow: a quiet client, and its many failures as a RegistryError.

MLflow takes more than a second to import, so it is imported when the registry is first asked something.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from appraise.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
_CREDENTIALS = re.compile(r"://[^@/\s]*@")
_CHATTY = ("alembic", "botocore", "boto3", "urllib3")
_LONGEST = 300
# MLflow waits for up to four minutes for a server that is away, formats logs and draws bars of its own, and reports
# its use to its makers, unless its environment says otherwise. It reads the environment alone.
_ENVIRONMENT = {
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def connect(tracking_uri: str, *, s3_endpoint: str | None = None) -> MlflowClient:
    """A client of the tracking server or database at `tracking_uri`; nothing global is set but MLflow's environment.

    Raises:
        RegistryError: where MLflow is not installed, or the address cannot be used.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if s3_endpoint is not None:
        os.environ["MLFLOW_S3_ENDPOINT_URL"] = s3_endpoint
    for logger in _CHATTY:
        logging.getLogger(logger).setLevel(logging.WARNING)
    with registry_errors(tracking_uri):
        from mlflow import MlflowClient

        # Importing MLflow sets its logger's level. What it logs as an error, with a traceback, it raises as well.
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        file = sqlite_file(tracking_uri)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def sqlite_file(tracking_uri: str) -> Path | None:
    """The database file behind `tracking_uri`, or None where it is no plain path to a SQLite file."""
    path = tracking_uri.removeprefix(_SQLITE)
    return None if path == tracking_uri or path.startswith("file:") else Path(path)


def without_password(text: str) -> str:
    """A text as it may be shown, names and passwords within addresses left out."""
    return _CREDENTIALS.sub("://***@", text)


@contextmanager
def registry_errors(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow, its database driver and its artifact stores raise into a RegistryError."""
    try:
        yield
    except ImportError as error:
        raise RegistryError(
            f"the model registry needs {error.name or 'MLflow'}, which is not installed",
            hint="install what is missing: pip install 'appraise[train,s3]'",
        ) from error
    except _failures() as error:
        raise RegistryError(
            f"the model registry {without_password(tracking_uri)} does not answer as it should: {_summary(error)}",
            hint="see that it is running, may be written, and that APPRAISE_MLFLOW__TRACKING_URI is its address",
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    failures: list[type[Exception]] = [OSError]
    try:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        failures += [MlflowException, SQLAlchemyError]
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        failures += [Boto3Error, BotoCoreError, ClientError]
    except ImportError:
        pass
    return tuple(failures)


def _summary(error: Exception) -> str:
    """What an error says, without the statements that SQLAlchemy adds to it."""
    text = without_password(" ".join(str(error).partition("[SQL:")[0].split())) or type(error).__name__
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."

"""MLflow runs: what a training, a candidate or a tuning trial logs while it works."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from appraise.errors import RegistryError
from appraise.registry.mlflow_client import registry_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PARENT_TAG = "mlflow.parentRunId"
# The most that MLflow takes in one call.
_PARAMS_A_CALL = 100
_METRICS_A_CALL = 1000


class Run:
    """A run that is under way.

    Attributes:
        run_id: its id in MLflow.
        experiment_id: the experiment that it belongs to.
    """

    def __init__(self, client: MlflowClient, tracking_uri: str, *, run_id: str, experiment_id: str) -> None:
        self._client = client
        self._tracking_uri = tracking_uri
        self.run_id = run_id
        self.experiment_id = experiment_id

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log what the run was given; values are written as text, nested mappings under `outer.inner`."""
        from mlflow.entities import Param

        entries = [Param(key, str(value)) for key, value in _flatten(params)]
        with registry_errors(self._tracking_uri):
            for start in range(0, len(entries), _PARAMS_A_CALL):
                self._client.log_batch(self.run_id, params=entries[start : start + _PARAMS_A_CALL])

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log what came out; `step` numbers the points of a curve."""
        self._log_points((key, value, step) for key, value in metrics.items())

    def log_curve(self, key: str, steps: Iterable[int], values: Iterable[float]) -> None:
        """Log all points of a curve at once, which takes a hundredth of the time of one at a time."""
        self._log_points((key, value, step) for step, value in zip(steps, values, strict=True))

    def _log_points(self, points: Iterable[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, step) for key, value, step in points]
        with registry_errors(self._tracking_uri):
            for start in range(0, len(entries), _METRICS_A_CALL):
                self._client.log_batch(self.run_id, metrics=entries[start : start + _METRICS_A_CALL])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags on the run."""
        from mlflow.entities import RunTag

        with registry_errors(self._tracking_uri):
            self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        """Keep a file with the run, in a folder of its artifacts."""
        with registry_errors(self._tracking_uri):
            self._client.log_artifact(self.run_id, str(path), folder)

    def log_folder(self, path: Path, *, folder: str) -> str:
        """Keep a folder's files with the run, in a folder of its artifacts, and return that folder's address."""
        with registry_errors(self._tracking_uri):
            self._client.log_artifacts(self.run_id, str(path), folder)
            return f"{self._client.get_run(self.run_id).info.artifact_uri}/{folder}"

    @contextmanager
    def child(self, name: str, *, tags: Mapping[str, str] | None = None) -> Iterator[Run]:
        """A run nested in this one: a candidate, or a trial of a search."""
        with start_run(
            self._client,
            self._tracking_uri,
            experiment_id=self.experiment_id,
            name=name,
            tags={**(tags or {}), _PARENT_TAG: self.run_id},
        ) as run:
            yield run


@contextmanager
def start_run(
    client: MlflowClient, tracking_uri: str, *, experiment_id: str, name: str, tags: Mapping[str, str]
) -> Iterator[Run]:
    """A run that ends with the block: finished, failed by an exception, or killed by Ctrl-C."""
    with registry_errors(tracking_uri):
        run_id = client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id
    try:
        yield Run(client, tracking_uri, run_id=run_id, experiment_id=experiment_id)
    except BaseException as error:
        # What went wrong matters more than a registry that cannot be told.
        with suppress(RegistryError), registry_errors(tracking_uri):
            client.set_terminated(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    with registry_errors(tracking_uri):
        client.set_terminated(run_id, "FINISHED")


def _flatten(params: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

"""The composition root: the one place that builds registries and workspaces from settings."""

from __future__ import annotations

import os
from pathlib import Path

from appraise.jobs.workspace import Workspace
from appraise.registry.mlflow_registry import Registry
from appraise.settings import Settings


def build_registry(settings: Settings) -> Registry:
    """The model registry; it opens nothing before it is asked something."""
    home = settings.home.absolute()
    tracking_uri = settings.mlflow.tracking_uri or f"sqlite:///{home / 'mlflow.db'}"
    return Registry(
        tracking_uri,
        _artifact_root(settings, home, tracking_uri),
        home / "cache" / "models",
        s3_endpoint=settings.s3.endpoint,
    )


def build_workspace(settings: Settings) -> Workspace:
    """What every job is given."""
    return Workspace(
        home=settings.home.absolute(),
        registry=build_registry(settings),
        data_dir=settings.data_dir,
        memory_limit=settings.memory_limit,
        seed=settings.seed,
        quality=settings.train.quality,
        row_budget_us=settings.train.row_budget_us,
        threads=settings.train.threads or _processors(),
        recording_lag_days=settings.market.recording_lag_days,
        window_days=settings.market.window_days,
        s3_endpoint=settings.s3.endpoint,
    )


def _artifact_root(settings: Settings, home: Path, tracking_uri: str) -> str | None:
    root = settings.mlflow.artifact_root
    if root is None:
        # A server decides for itself where its artifacts are.
        return None if tracking_uri.startswith("http") else str(home / "mlflow-artifacts")
    return root if "://" in root else str(Path(root).expanduser().absolute())


def _processors() -> int:
    """Processors that this process may run on, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

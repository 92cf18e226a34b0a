"""Hyperparameters that tuning found, kept where the next training looks for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appraise.datasets.atomic import replacing
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.specfile import spec_hash
from appraise.errors import OutputError
from appraise.jobs.workspace import Workspace
from appraise.models.catalogue import TUNABLE


def tuned_path(workspace: Workspace, spec: DatasetSpec) -> Path:
    """Where the best hyperparameters of a dataset are kept; another spec has another file."""
    return workspace.tuning / f"{spec.name}-{spec_hash(spec)[:12]}.json"


def tuned_parameters(workspace: Workspace, spec: DatasetSpec) -> dict[str, dict[str, Any]]:
    """Hyperparameters by kind that tuning found for this spec; none where it was not tuned.

    Raises:
        OutputError: the file that keeps them is damaged.
    """
    path = tuned_path(workspace, spec)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {kind: dict(parameters) for kind, parameters in found.items() if kind in TUNABLE}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OutputError(
            f"the tuned hyperparameters in {path} cannot be read: {error}", hint="delete the file, or tune again"
        ) from error


def keep_tuned(workspace: Workspace, spec: DatasetSpec, kind: str, parameters: Mapping[str, Any]) -> None:
    """Keep the best hyperparameters of one kind beside those of the others. Raises OutputError."""
    found = {**tuned_parameters(workspace, spec), kind: dict(parameters)}
    with replacing(tuned_path(workspace, spec)) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

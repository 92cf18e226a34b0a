"""A predictor as the bundle that training would have made of it."""

import datetime as dt
import math
from pathlib import Path

from appraise.datasets.specfile import spec_hash, spec_to_dict
from appraise.registry.bundle import write_bundle
from appraise.registry.manifest import Manifest
from appraise.registry.version import FIRST
from appraise.serving.predictor import Predictor


def save(predictor: Predictor, folder: Path) -> Path:
    """Write version 1.0.0 of a model named as its dataset; returns the folder."""
    spec = predictor.spec
    last_sale = predictor.last_sale if math.isfinite(predictor.last_sale) else None
    manifest = Manifest(
        name=spec.name,
        version=FIRST,
        kind="catboost",
        created_at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        spec=spec_to_dict(spec),
        spec_hash=spec_hash(spec),
        metrics={},
        training_ranges={},
        git_commit=None,
        data_hash="0" * 64,
        libraries={},
        extra={"scale": predictor.scale, "last_sale": last_sale, "window_days": predictor.window_days},
    )
    write_bundle(folder, manifest=manifest, parts=predictor.parts())
    return folder

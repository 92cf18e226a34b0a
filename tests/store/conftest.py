"""Records and logs for the tests of the prediction log."""

import datetime as dt
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tests.waiting import until

from appraise.store.log import PredictionLog
from appraise.store.logplan import LogPlan
from appraise.store.records import Served, ServedInterval


def _served(number: int = 0, **changes: object) -> Served:
    """An estimate that was served; the number is its id."""
    fields = {
        "prediction_id": str(uuid.UUID(int=number)),
        "timestamp": dt.datetime(2026, 11, 1, tzinfo=dt.UTC).isoformat(timespec="milliseconds"),
        "model_name": "california",
        "model_version": "1.0.0",
        "prediction": 4.5,
        "prediction_interval": ServedInterval(4.0, 5.0, 0.9),
        "confidence_score": 0.9,
        "warnings": ("MedInc 8.3 lies outside",),
        "input_features": {"MedInc": 8.3, "HouseAge": 41},
        "processing_time_ms": 0.8,
        "alias": "champion",
        "currency": "USD",
        "price_unit": 100_000.0,
        **changes,
    }
    return Served(**fields)


@pytest.fixture(scope="session")
def served() -> Callable[..., Served]:
    return _served


@pytest.fixture(scope="session")
def write_log() -> Callable[..., None]:
    """Writes estimates to a log in a folder, and closes it."""

    def write(folder: Path, records: Iterable[Served | bytes], **plan: object) -> None:
        log = PredictionLog(LogPlan(folder, **plan))
        for record in records:
            if isinstance(record, bytes):
                log.append(record)
            else:
                log.append_all([record])
        log.flush()
        assert log.close() == 0

    return write


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """Waits until something holds."""
    return until

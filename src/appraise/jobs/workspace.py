"""`Workspace`: where a job keeps its state and what it may use, as plain values made from the settings."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appraise.datasets.prepare import Prepared, prepare
from appraise.datasets.rejects import write_rejects
from appraise.datasets.spec import DatasetSpec
from appraise.errors import DataError, OutputError
from appraise.registry.mlflow_registry import Registry

Quality = Literal["fast", "best"]

_SIMULATED = "simulate:"
_DATA_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Folders, registry and defaults that every job is given. Nothing is made on disk before it is needed.

    Attributes:
        home: the one folder that holds all state.
        registry: models and runs.
        data_dir: where data files are looked for by their dataset's name.
        memory_limit: bytes that loading data may take; None measures what the machine has.
        seed: seed of everything that is random.
        quality: which of the compared models is taken, as `FitOptions` has it.
        row_budget_us: the time that one estimate may take, microseconds.
        threads: threads that training may use.
        recording_lag_days: days until a sale is known to the market level.
        window_days: days of recent sales that the market level is the median of.
        s3_endpoint: address of an S3 service other than Amazon's.
    """

    home: Path
    registry: Registry
    data_dir: Path | None = None
    memory_limit: int | None = None
    seed: int = 0
    quality: Quality = "fast"
    row_budget_us: float = 250.0
    threads: int = 1
    recording_lag_days: int = 1
    window_days: int = 30
    s3_endpoint: str | None = None

    @property
    def cache(self) -> Path:
        """What can be fetched or made again: downloads, bundles."""
        return self.home / "cache"

    @property
    def reports(self) -> Path:
        """Evaluation reports, a folder for each dataset."""
        return self.home / "reports"

    @property
    def rejects(self) -> Path:
        """Rows that were dropped, with the reason of each, a file for each dataset."""
        return self.home / "rejects"

    def simulated(self, name: str) -> Path:
        """The made-up table of a dataset, where one was simulated."""
        return self.home / "data" / f"{name}.parquet"

    @property
    def tuning(self) -> Path:
        """Hyperparameter searches, a file for each dataset, so that a search can be resumed."""
        return self.home / "tuning"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for work that is under way, removed at the end whatever happens.

        It lies in `home`, so that what was made in it can be renamed into place.

        Raises:
            OutputError: where `home` cannot be written.
        """
        parent = self.home / "tmp"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=parent))
        except OSError as error:
            raise OutputError(
                f"the folder {self.home} cannot be written: {error.strerror or error}",
                hint="set APPRAISE_HOME to a folder that may be written",
            ) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def prepare(self, spec: DatasetSpec, data: str | None) -> Prepared:
        """Load, check, clean and split a dataset; the rows that were dropped are kept in a file of `rejects`.

        Raises:
            AppraiseError: as `datasets.prepare.prepare` and `data_for` do.
        """
        prepared = prepare(
            spec,
            data=self.data_for(spec, data),
            cache=self.cache,
            memory_limit=self.memory_limit,
            s3_endpoint=self.s3_endpoint,
        )
        write_rejects(prepared.rejects, self.rejects / f"{spec.name}.csv")
        return prepared

    def data_for(self, spec: DatasetSpec, data: str | None) -> str | None:
        """Where to load a dataset from.

        It is what the user said; or the file of the dataset's name in `data_dir`, where `california.csv` and
        `california_housing.csv` are both a file of `california`; or, for a simulated dataset, the table that was
        simulated here.

        Returns:
            A path or address, or None where the spec's own source is to be used.

        Raises:
            DataError: where `data_dir` is not a folder, or has several files of that name.
        """
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise DataError(
                f"the data folder {self.data_dir} does not exist",
                hint="set APPRAISE_DATA_DIR to a folder, or unset it",
            )
        if data is not None:
            inside = None if self.data_dir is None else self.data_dir / data
            return str(inside) if inside is not None and inside.exists() and not Path(data).exists() else data
        found = None if self.data_dir is None else _file_of(spec.name, self.data_dir)
        if found is None and spec.source is not None and spec.source.startswith(_SIMULATED):
            simulated = self.simulated(spec.source.removeprefix(_SIMULATED))
            found = simulated if simulated.exists() else None
        return None if found is None else str(found)


def _file_of(dataset: str, folder: Path) -> Path | None:
    found = [path for path in sorted(folder.iterdir()) if _is_of(path.name, dataset)]
    exact = [path for path in found if path.name.removeprefix(dataset) in _DATA_SUFFIXES]
    found = exact or found
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(
            f"the data folder {folder} has {len(found)} files of {dataset}: {names}",
            hint="say which one: --data FILE",
        )
    return found[0] if found else None


def _is_of(file_name: str, dataset: str) -> bool:
    rest = file_name.removeprefix(dataset)
    if rest == file_name or not rest.startswith((".", "_", "-")):
        return False
    return file_name.endswith(_DATA_SUFFIXES)

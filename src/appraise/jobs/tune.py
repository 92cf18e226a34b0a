"""Tune: search hyperparameters on validation rows, resumable, every trial an MLflow run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appraise.datasets.atomic import replacing
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.specfile import spec_hash
from appraise.errors import OutputError
from appraise.jobs.fitting import Fitting
from appraise.jobs.progress import Progress, Task
from appraise.jobs.train import TrainOptions, fit_options_of
from appraise.jobs.workspace import Workspace
from appraise.models.candidates import ERROR_METRIC
from appraise.models.catalogue import TUNABLE
from appraise.registry.runs import Run

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What a search found.

    Attributes:
        dataset: the dataset's name.
        kind: the model that was tuned.
        error_metric: what it was tuned by, on validation rows.
        trials: trials there are now, those of earlier searches included.
        ran: trials of this search.
        default_error: the error with the default hyperparameters.
        best_error: the least error.
        best: its hyperparameters.
        path: where they are kept, and where `train` finds them.
    """

    dataset: str
    kind: str
    error_metric: str
    trials: int
    ran: int
    default_error: float
    best_error: float
    best: dict[str, Any]
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "dataset": self.dataset,
            "kind": self.kind,
            "error_metric": self.error_metric,
            "trials": self.trials,
            "ran": self.ran,
            "default_error": self.default_error,
            "best_error": self.best_error,
            "best": self.best,
            "path": str(self.path),
        }


def tune(
    spec: DatasetSpec,
    *,
    workspace: Workspace,
    data: str | None,
    kind: str = "catboost",
    trials: int = 30,
    timeout: float | None = None,
    progress: Progress,
) -> TuneResult:
    """Search the hyperparameters of one kind of model.

    The search is kept in a file and goes on where it was left; the next `train` uses the best that was found.

    Args:
        spec: the dataset.
        workspace: where state is kept.
        data: where the data are.
        kind: one of `TUNABLE`.
        trials: how many trials to add.
        timeout: seconds after which no further trial begins.
        progress: who watches.

    Raises:
        DataError, FitError: the data cannot be read or fitted.
        OutputError: the search cannot be kept.
        RegistryError: the registry cannot be reached.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with progress.task("data") as task:
        task.note(spec.name)
        prepared = workspace.prepare(spec, data)
    frame, split = prepared.frame, prepared.split
    options = fit_options_of(workspace, TrainOptions())
    fitting = Fitting(spec, frame[split.train], frame[split.validation], options, progress)
    fitting.prepare()
    study = _study(workspace, f"{spec.name}-{kind}-{spec_hash(spec)[:12]}", seed=workspace.seed)
    before = len(study.trials)
    if not before:
        study.enqueue_trial(dict(_defaults(kind)))
    deadline = None if timeout is None else time.monotonic() + timeout
    metric = ERROR_METRIC[spec.objective]
    with (
        workspace.registry.run(spec.name, name=f"tune {kind}", tags={"appraise.job": "tune"}) as run,
        progress.task(f"trials of {kind}", total=trials) as task,
    ):
        for _ in range(trials):
            if deadline is not None and time.monotonic() >= deadline:
                break
            _run_trial(study, fitting, kind, run, metric, task)
        run.log_metrics({f"validation_{metric}": study.best_value})
        run.log_params({"kind": kind, **study.best_params})
    path = tuned_path(workspace, spec)
    best = {**TUNABLE[kind].defaults, **study.best_params}
    _keep(path, {**tuned_parameters(workspace, spec), kind: best})
    return TuneResult(
        dataset=spec.name,
        kind=kind,
        error_metric=metric,
        trials=len(study.trials),
        ran=len(study.trials) - before,
        default_error=float(study.trials[0].value or study.best_value),
        best_error=study.best_value,
        best=best,
        path=path,
    )


def _study(workspace: Workspace, name: str, *, seed: int) -> optuna.Study:
    import optuna

    try:
        workspace.tuning.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {workspace.tuning} cannot be written: {error.strerror or error}",
            hint="set APPRAISE_HOME to a folder that may be written",
        ) from error
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(workspace.tuning / f"{name}.jsonl"))
    )
    return optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True),
        load_if_exists=True,
    )


def _run_trial(study: optuna.Study, fitting: Fitting, kind: str, run: Run, metric: str, task: Task) -> None:
    import optuna

    trial = study.ask(_space(kind))
    task.note(f"trial {trial.number}")
    with run.child(f"trial {trial.number}", tags={"appraise.job": "trial"}) as child:
        child.log_params({"kind": kind, **trial.params})
        try:
            candidate = fitting.try_parameters(kind, trial.params)
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        child.log_metrics({f"validation_{metric}": candidate.error, "fit_seconds": candidate.fit_seconds})
    study.tell(trial, candidate.error)
    task.advance()


def _defaults(kind: str) -> Mapping[str, Any]:
    space = _space(kind)
    return {name: value for name, value in TUNABLE[kind].defaults.items() if name in space}


def _space(kind: str) -> dict[str, optuna.distributions.BaseDistribution]:
    """What is searched, in the library's own names."""
    from optuna.distributions import FloatDistribution, IntDistribution

    step = FloatDistribution(0.01, 0.15, log=True)
    match kind:
        case "catboost" | "catboost_deep":
            return {
                "learning_rate": step,
                "depth": IntDistribution(4, 8),
                "l2_leaf_reg": FloatDistribution(0.5, 30.0, log=True),
                "rsm": FloatDistribution(0.1, 0.8),
            }
        case "lightgbm":
            return {
                "learning_rate": step,
                "num_leaves": IntDistribution(8, 128, log=True),
                "min_child_samples": IntDistribution(5, 60, log=True),
                "subsample": FloatDistribution(0.5, 1.0),
                "colsample_bytree": FloatDistribution(0.1, 0.8),
                "reg_lambda": FloatDistribution(0.1, 30.0, log=True),
            }
        case _:
            return {
                "learning_rate": step,
                "max_depth": IntDistribution(3, 9),
                "min_child_weight": FloatDistribution(1.0, 30.0, log=True),
                "subsample": FloatDistribution(0.5, 1.0),
                "colsample_bytree": FloatDistribution(0.1, 0.8),
                "reg_lambda": FloatDistribution(0.1, 30.0, log=True),
            }


def tuned_path(workspace: Workspace, spec: DatasetSpec) -> Path:
    """Where the best hyperparameters of a dataset are kept; another spec has another file."""
    return workspace.tuning / f"{spec.name}-{spec_hash(spec)[:12]}.json"


def tuned_parameters(workspace: Workspace, spec: DatasetSpec) -> dict[str, dict[str, Any]]:
    """Hyperparameters by kind that tuning found for this spec; none where it was not tuned."""
    path = tuned_path(workspace, spec)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise OutputError(
            f"the tuned hyperparameters in {path} cannot be read: {error}", hint="delete the file, or tune again"
        ) from error
    return {kind: dict(parameters) for kind, parameters in found.items() if kind in TUNABLE}


def _keep(path: Path, parameters: Mapping[str, Mapping[str, Any]]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")

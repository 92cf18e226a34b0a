"""Tune: search hyperparameters on validation rows, resumable, every trial an MLflow run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appraise.datasets.spec import DatasetSpec
from appraise.datasets.specfile import spec_hash
from appraise.errors import OutputError
from appraise.jobs.fitting import Fitting
from appraise.jobs.progress import Progress, Task
from appraise.jobs.train import TrainOptions, fit_options_of
from appraise.jobs.tuned import keep_tuned, tuned_path
from appraise.jobs.workspace import Workspace
from appraise.models.candidates import ERROR_METRIC
from appraise.models.catalogue import TUNABLE
from appraise.registry.runs import Run

if TYPE_CHECKING:
    import optuna

#: Marks the trial of the default hyperparameters.
_DEFAULT = "default"


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
    earlier = len(_completed(study))
    if not earlier:
        study.enqueue_trial(dict(_defaults(kind)), user_attrs={_DEFAULT: True})
    deadline = None if timeout is None else time.monotonic() + timeout
    metric = ERROR_METRIC[spec.objective]
    with (
        workspace.registry.run(spec.name, name=f"tune {kind}", tags={"appraise.job": "tune"}) as run,
        progress.task(f"trials of {kind}", total=trials) as task,
    ):
        for number in range(trials):
            # There is always something to answer with: the first trial of all runs however little time there is.
            if deadline is not None and time.monotonic() >= deadline and (earlier or number):
                break
            _run_trial(study, fitting, kind, run, metric, task)
            # After each trial, so that an interruption loses nothing.
            keep_tuned(workspace, spec, kind, {**TUNABLE[kind].defaults, **study.best_params})
        run.log_metrics({f"validation_{metric}": study.best_value})
        run.log_params({"kind": kind, **study.best_params})
    completed = _completed(study)
    return TuneResult(
        dataset=spec.name,
        kind=kind,
        error_metric=metric,
        trials=len(completed),
        ran=len(completed) - earlier,
        default_error=next(float(trial.values[0]) for trial in completed if _DEFAULT in trial.user_attrs),
        best_error=study.best_value,
        best={**TUNABLE[kind].defaults, **study.best_params},
        path=tuned_path(workspace, spec),
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
    study = optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
    # A search that goes on would draw its first samples a second time from the same seed.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials), multivariate=True)
    return study


def _completed(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that came to an end; those that were interrupted tell nothing."""
    from optuna.trial import TrialState

    completed: list[optuna.trial.FrozenTrial] = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return completed


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

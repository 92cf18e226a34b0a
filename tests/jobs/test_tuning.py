"""Tuning: a search that can be left and taken up again, and whose best is what the next training uses."""

import dataclasses

import pytest

from appraise.errors import OutputError
from appraise.jobs import tune as tuning
from appraise.jobs.fitting import Fitting
from appraise.jobs.progress import SilentProgress
from appraise.jobs.tune import tune
from appraise.jobs.tuned import keep_tuned, tuned_parameters, tuned_path
from appraise.models.trees import LightGBM


@pytest.fixture(autouse=True)
def small(monkeypatch, quick_fitting):
    monkeypatch.setattr(LightGBM, "defaults", {**LightGBM.defaults, "n_estimators": 20, "learning_rate": 0.15})
    with quick_fitting("lightgbm"):
        yield


@pytest.fixture
def search(homes, workspace):
    def search(trials: int, **options):
        return tune(
            homes.spec,
            workspace=workspace,
            data=str(homes.data),
            kind="lightgbm",
            trials=trials,
            progress=SilentProgress(),
            **options,
        )

    return search


def trial_runs(workspace):
    client = workspace.registry._client
    runs = client.search_runs([client.get_experiment_by_name("homes").experiment_id])
    return [run for run in runs if "mlflow.parentRunId" in run.data.tags]


def test_a_search_goes_on_where_it_was_left(search, workspace, homes):
    first, second = search(2), search(2)
    assert (first.trials, first.ran) == (2, 2)
    assert (second.trials, second.ran) == (4, 2)
    assert second.default_error == first.default_error >= first.best_error >= second.best_error
    runs = trial_runs(workspace)
    assert {run.data.tags["mlflow.runName"] for run in runs} == {f"trial {number}" for number in range(4)}
    assert min(run.data.metrics["validation_mape"] for run in runs) == second.best_error
    # Drawn anew, not the same samples from the same seed.
    assert len({run.data.params["reg_lambda"] for run in runs}) == 4
    assert tuned_parameters(workspace, homes.spec) == {"lightgbm": second.best}
    assert {"num_leaves", "n_estimators"} <= set(second.best)


def test_an_interruption_keeps_what_was_found(search, workspace, homes, monkeypatch):
    try_parameters, tried = Fitting.try_parameters, []

    def interrupted(self, kind, parameters):
        tried.append(parameters)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return try_parameters(self, kind, parameters)

    monkeypatch.setattr(Fitting, "try_parameters", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(3)
    kept = tuned_parameters(workspace, homes.spec)["lightgbm"]
    assert kept.items() >= tried[0].items()
    again = search(1)
    assert (again.trials, again.ran) == (2, 1)


def test_an_interrupted_first_trial_is_made_up_for(search, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Fitting, "try_parameters", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search(1)
    result = search(1)
    assert (result.trials, result.ran) == (1, 1)
    assert result.default_error == result.best_error
    assert result.best == {**LightGBM.defaults}


def test_no_time_at_all_still_tries_the_defaults(search):
    result = search(5, timeout=0.0)
    assert (result.trials, result.best) == (1, {**LightGBM.defaults})
    assert search(5, timeout=0.0).ran == 0


def test_another_spec_or_kind_has_parameters_of_its_own(homes, workspace):
    keep_tuned(workspace, homes.spec, "lightgbm", {"num_leaves": 9})
    keep_tuned(workspace, homes.spec, "catboost", {"depth": 3})
    assert tuned_parameters(workspace, homes.spec) == {"lightgbm": {"num_leaves": 9}, "catboost": {"depth": 3}}
    other = dataclasses.replace(homes.spec, columns=homes.spec.columns[1:])
    assert tuned_parameters(workspace, other) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"catboost": 3}', "\x00"])
def test_a_damaged_file_is_named_with_what_to_do(homes, workspace, content):
    path = tuned_path(workspace, homes.spec)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(OutputError, match="cannot be read") as caught:
        tuned_parameters(workspace, homes.spec)
    assert "tune again" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_said_so(homes, workspace):
    workspace.tuning.write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        tuning._study(workspace, "homes", seed=0)

"""Training: what is chosen and by what, what is registered, and what cannot be trained on."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from appraise.datasets.presets import find_spec
from appraise.datasets.simulate import simulate_table
from appraise.datasets.spec import Column, DatasetSpec, RandomSplit
from appraise.errors import DataError, FitError
from appraise.jobs.fitted import FitOptions
from appraise.jobs.fitting import Fitting
from appraise.jobs.progress import SilentProgress
from appraise.jobs.train import TrainOptions, train
from appraise.models import candidates
from appraise.registry.mlflow_registry import Registry
from appraise.serving.predictor import Predictor

QUICK = {
    "catboost": {"iterations": 60, "learning_rate": 0.2, "depth": 4},
    "lightgbm": {"n_estimators": 60, "learning_rate": 0.2, "num_leaves": 8},
}


def fit(spec, frame, **options):
    """A fit of the first 300 rows that chooses by the next 100."""
    options = {"parameters": QUICK, **options}
    return Fitting(spec, frame[:300], frame[300:400], FitOptions(**options), SilentProgress())


@pytest.fixture(scope="module")
def home_sales() -> pl.DataFrame:
    return simulate_table("homes", rows=500)


@pytest.fixture
def write(tmp_path):
    def write(frame: pl.DataFrame) -> Path:
        path = tmp_path / "sales.parquet"
        frame.write_parquet(path)
        return path

    return write


# The choice


class TestTheChoice:
    @pytest.fixture(autouse=True)
    def kinds(self, quick_fitting, monkeypatch):
        with quick_fitting("linear", "decision_tree", "catboost"):
            times = {"linear": 20.0, "decision_tree": 30.0, "catboost": 200.0}
            monkeypatch.setattr(Fitting, "_row_time", lambda _self, model: times[model.kind])
            yield

    @pytest.fixture
    def errors(self, home_sales):
        fitted = fit(find_spec("homes"), home_sales, quality="best").run()
        return {one.kind: one.error for one in fitted.candidates}

    def test_it_is_the_best_within_the_budget(self, home_sales, errors):
        for budget, able in ((25, {"linear"}), (50, {"linear", "decision_tree"}), (500, set(errors))):
            chosen = fit(find_spec("homes"), home_sales, row_budget_us=budget).run().chosen
            assert chosen.kind == min(able, key=errors.__getitem__)

    @pytest.mark.parametrize(
        ("quality", "errors_of", "expected"),
        [
            # 0.9% more than the least is the noise of a split, 1.1% is not; of what is left the cheapest kind is taken.
            ("fast", {"catboost + ridge": 100.0, "catboost_deep": 100.9, "catboost": 100.9}, "catboost"),
            ("fast", {"catboost + ridge": 100.0, "catboost_deep": 100.9, "catboost": 101.1}, "catboost_deep"),
            ("fast", {"catboost + ridge": 100.0, "catboost_deep": 101.1, "catboost": 101.1}, "catboost + ridge"),
            ("fast", {"catboost + catboost_deep": 100.0, "catboost + ridge": 100.0}, "catboost + ridge"),
            ("best", {"catboost + ridge": 100.0, "catboost_deep": 100.9, "catboost": 100.9}, "catboost + ridge"),
        ],
    )
    def test_of_models_that_err_alike_the_cheapest_is_taken(self, home_sales, quality, errors_of, expected):
        fitting = fit(find_spec("homes"), home_sales, quality=quality)
        one = fitting.run().chosen
        # What was measured of a row's time has no say below the budget: it differs from run to run.
        candidates = [
            dataclasses.replace(one, kind=kind, error=error, row_us=200.0 - position)
            for position, (kind, error) in enumerate(errors_of.items())
        ]
        assert fitting._choose(candidates).kind == expected

    def test_best_asks_for_no_time(self, home_sales, errors):
        chosen = fit(find_spec("homes"), home_sales, row_budget_us=1, quality="best").run().chosen
        assert chosen.kind == min(errors, key=errors.__getitem__)

    def test_where_none_is_quick_enough_the_quickest_is_taken_and_that_is_said(self, home_sales):
        class Listener(SilentProgress):
            said: str = ""

            def message(self, text: str) -> None:
                self.said = text

        listener = Listener()
        options = FitOptions(row_budget_us=10)
        chosen = Fitting(find_spec("homes"), home_sales[:300], home_sales[300:400], options, listener).run().chosen
        assert chosen.kind == "linear"
        assert "no model answers within 10 us; taking the quickest, linear" in listener.said

    def test_candidates_come_best_first(self, home_sales):
        found = [one.error for one in fit(find_spec("homes"), home_sales).run().candidates]
        assert found == sorted(found)
        assert len(found) == 3


def test_a_blend_is_compared_and_keeps_within_the_budget(quick_fitting, home_sales, monkeypatch):
    with quick_fitting("ridge", "catboost", "lightgbm"):
        monkeypatch.setattr(Fitting, "_row_time", lambda _self, model: 10.0 + 40 * len(getattr(model, "parts", "1")))
        fitted = fit(find_spec("homes"), home_sales, row_budget_us=1000).run()
        assert any(" + " in one.kind for one in fitted.candidates)
        assert fitted.chosen is fitted.candidates[0]
        within = fit(find_spec("homes"), home_sales, row_budget_us=60).run()
        assert " + " not in within.chosen.kind


def test_nothing_is_chosen_on_the_holdout(homes, workspace, train_quickly, write):
    frame = homes.frame
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        run = Fitting.run
        patch.setattr(Fitting, "run", lambda self: seen.append(run(self)) or seen[-1])
        prepared = homes.workspace.prepare(homes.spec, str(homes.data))
        assert prepared.frame.height == frame.height
        price = frame["price"].to_numpy().copy()
        price[prepared.split.holdout] *= np.random.default_rng(0).uniform(0.5, 2.0, len(prepared.split.holdout))
        results = [
            train_quickly(homes.spec, workspace, write(data), TrainOptions(promote=False), "ridge", "catboost")
            for data in (frame, frame.with_columns(price=pl.Series(price)))
        ]
    assert results[0].entry.kind == results[1].entry.kind
    assert results[0].entry.error == results[1].entry.error
    columns = frame.select(column.name for column in homes.spec.inputs).to_dicts()
    first, second = (one.predictor.predict(columns) for one in seen)
    assert first.estimate.tolist() == second.estimate.tolist()
    assert first.upper.tolist() == second.upper.tolist()
    assert [one.holdout_error for one in results[0].candidates] != [one.holdout_error for one in results[1].candidates]


def test_the_same_seed_gives_the_same_model_to_the_bit(quick_fitting, home_sales):
    rows = home_sales[400:].select(column.name for column in find_spec("homes").inputs).to_dicts()
    with quick_fitting("catboost"):
        twice = [fit(find_spec("homes"), home_sales).run().predictor.predict(rows).estimate for _ in range(2)]
        other = fit(find_spec("homes"), home_sales, seed=7).run().predictor.predict(rows).estimate
    assert twice[0].tolist() == twice[1].tolist()
    assert twice[0].tolist() != other.tolist()


def test_kinds_that_would_take_too_long_are_left_out_and_named(home_sales, monkeypatch):
    monkeypatch.setattr(candidates, "FAST_KINDS", ("linear", "random_forest"))
    monkeypatch.setattr(candidates, "MOST_ROWS", {"random_forest": 299})
    fitted = fit(find_spec("homes"), home_sales).run()
    assert fitted.left_out == ("random_forest",)
    assert [one.kind for one in fitted.candidates] == ["linear"]


# Registration


def test_the_first_model_is_registered_and_described(bayside):
    result, entry = bayside.result, bayside.result.entry
    assert (str(entry.version), result.alias) == ("1.0.0", "champion")
    manifest = Predictor.load(bayside.workspace.registry.resolve("bayside")).manifest
    rows = manifest.extra["rows"]
    assert sum(rows.values()) == result.summary.rows_kept
    assert manifest.training_ranges["bedrooms"]["low"] >= 0
    assert 0.5 < manifest.metrics["coverage_90"] <= 1
    json.dumps(result.to_dict())


def test_again_worse_is_a_challenger_and_another_spec_a_major_version(homes, workspace, train_quickly):
    first = train_quickly(homes.spec, workspace, homes.data)
    worse = TrainOptions(parameters={"catboost": {"iterations": 2, "learning_rate": 0.05}})
    second = train_quickly(homes.spec, workspace, homes.data, worse)
    assert (str(first.entry.version), first.alias) == ("1.0.0", "champion")
    assert (str(second.entry.version), second.alias) == ("1.1.0", "challenger")
    assert "not as good" in second.reason
    assert workspace.registry.find("homes").version == first.entry.version
    bounded = {"age_years": {"minimum": -1.0}}
    columns = [dataclasses.replace(column, **bounded.get(column.name, {})) for column in homes.spec.columns]
    changed = dataclasses.replace(homes.spec, columns=tuple(columns))
    third = train_quickly(changed, workspace, homes.data)
    assert (str(third.entry.version), third.alias) == ("2.0.0", "champion")
    assert workspace.registry.find("homes", alias="challenger").version == second.entry.version


def test_every_candidate_is_a_run_beneath_the_trainings(bayside):
    client = bayside.workspace.registry._client
    experiment = client.get_experiment_by_name("bayside")
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == bayside.result.entry.run_id]
    assert {run.data.tags["mlflow.runName"] for run in children} == {one.kind for one in bayside.result.candidates}
    assert children[0].data.metrics["validation_mape"] == bayside.result.candidates[0].validation_error


def test_a_training_that_fails_leaves_the_models_as_they_were(homes, train_quickly, monkeypatch):
    def fail(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    before = homes.workspace.registry.list_models("homes")
    for target, name in ((Fitting, "_finish"), (Registry, "register")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, fail)
            with pytest.raises(KeyboardInterrupt):
                train_quickly(homes.spec, homes.workspace, homes.data)
    assert homes.workspace.registry.list_models("homes") == before
    assert list((homes.workspace.home / "tmp").iterdir()) == []


def test_a_real_ctrl_c_leaves_no_model_and_the_next_run_works(homes, tmp_path, train_quickly):
    """The interruption comes while candidates are compared, in a workspace that has nothing yet."""
    home = tmp_path / "home"
    command = [sys.executable, "-m", "appraise", "--home", str(home), "--log-level", "debug", "train", "homes"]
    command += ["--data", str(homes.data), "--threads", "1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line).get("task") == "candidates":
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert not list(home.rglob("*.npz"))
    assert not list(home.glob("tmp/*"))
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}", str(home / "artifacts"), home / "cache" / "models")
    again = train_quickly(homes.spec, dataclasses.replace(homes.workspace, home=home, registry=registry), homes.data)
    assert (str(again.entry.version), again.alias) == ("1.0.0", "champion")


# What cannot be trained on, and what can


def market(**columns: list[float]) -> tuple[DatasetSpec, pl.DataFrame]:
    names = [name for name in columns if name != "price"]
    spec = DatasetSpec(
        name="market",
        columns=(*(Column(name, "number", optional=True) for name in names), Column("price", "number", role="target")),
        split=RandomSplit(validation=0.25),
        objective="rmse",
    )
    return spec, pl.DataFrame(columns)


def made_up(rows: int, seed: int = 0) -> dict[str, list[float]]:
    random = np.random.default_rng(seed)
    area = random.uniform(40, 200, rows)
    return {"area": area.tolist(), "price": (area * 1000 + random.normal(0, 5000, rows)).tolist()}


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        ({"area": [80.0], "price": [1.0]}, FitError, "rows are left"),
        ({"area": list(range(200)), "price": [5.0] * 200}, DataError, "have the same price, 5"),
        (made_up(30), FitError, "of 30 rows are left"),
        (made_up(60), FitError, "validation rows are too few"),
        ({"area": [1.0, 2.0], "price": [None, None]}, DataError, "none of the 2 rows"),
    ],
    ids=["one row", "one distinct price", "30 rows", "60 rows", "no price"],
)
def test_what_cannot_be_trained_on_is_said_in_one_sentence(workspace, train_quickly, write, columns, error, said):
    spec, frame = market(**columns)
    with pytest.raises(error, match=said) as caught:
        train_quickly(spec, workspace, write(frame))
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert not workspace.registry.list_models()


def test_training_prices_that_are_all_the_same_are_refused(home_sales):
    frame = home_sales.with_columns(price=pl.when(pl.int_range(pl.len()) < 300).then(5e5).otherwise("price"))
    with pytest.raises(FitError, match="all 300 training rows have the same price, 500000") as caught:
        fit(find_spec("homes"), frame)
    assert caught.value.hint


def test_negative_prices_are_valued_on_the_linear_scale(workspace, train_quickly, write):
    columns = made_up(400)
    spec, frame = market(**{**columns, "price": [price - 120_000 for price in columns["price"]]})
    result = train_quickly(spec, workspace, write(frame))
    predictor = Predictor.load(workspace.registry.resolve("market"))
    assert predictor.scale == "linear"
    low, high = predictor.predict([{"area": 45.0}, {"area": 190.0}]).estimate
    assert low == pytest.approx(-75_000, abs=12_000)
    assert high == pytest.approx(70_000, abs=12_000)
    bounds = predictor.predict([{"area": 45.0}])
    assert bounds.lower[0] < bounds.estimate[0] < bounds.upper[0] < 0
    assert result.error_metric == "rmse"


def test_multiplied_prices_are_valued_as_logarithms(quick_fitting):
    random = np.random.default_rng(0)
    area = random.uniform(3, 8, 400)
    spec, frame = market(area=area.tolist(), price=np.exp(area + random.normal(0, 0.1, 400)).tolist())
    with quick_fitting("catboost"):
        fitted = fit(dataclasses.replace(spec, objective="relative"), frame).run()
    assert fitted.predictor.scale == "log"


def test_columns_without_values_or_without_variety_do_no_harm(workspace, train_quickly, write):
    columns = made_up(300)
    spec, frame = market(empty=[None] * 300, same=[1.0] * 300, huge=[1e300] * 299 + [-1e300], **columns)
    frame = frame.with_columns(pl.col("empty").cast(pl.Float64))
    train_quickly(spec, workspace, write(frame))
    predictor = Predictor.load(workspace.registry.resolve("market"))
    estimates = predictor.predict([{"area": 100.0}, {"area": 100.0, "empty": 3.0, "same": -5.0, "huge": 1e308}, {}])
    assert np.isfinite(estimates.estimate).all()
    assert (estimates.lower < estimates.upper).all()


def test_dates_that_are_missing_here_and_there_do_no_harm(quick_fitting):
    """With a random split a date may be missing; such a sale moves no level and is nobody's earlier sale."""
    spec = find_spec("bayside")
    columns = [
        dataclasses.replace(column, optional=True) if column.name == "sale_date" else column for column in spec.columns
    ]
    spec = dataclasses.replace(spec, columns=tuple(columns), split=RandomSplit())
    frame = simulate_table("bayside", rows=500)
    some = pl.when(pl.int_range(pl.len()) % 5 > 0).then("sale_date")
    for missing in (some, pl.lit(None, pl.Date)):
        with quick_fitting("catboost"):
            predictor = fit(spec, frame.with_columns(sale_date=missing)).run().predictor
        rows = frame[:20].select(column.name for column in spec.inputs).to_dicts()
        assert np.isfinite(predictor.predict(rows).upper).all()


def test_what_tuning_found_is_used_unless_something_else_is_said(homes, workspace, quick_fitting, train_quickly):
    from appraise.jobs.tuned import keep_tuned

    keep_tuned(workspace, homes.spec, "catboost", {"iterations": 7, "depth": 2})

    def parameters(options: TrainOptions) -> dict[str, object]:
        with quick_fitting("catboost"):
            train(homes.spec, workspace=workspace, data=str(homes.data), options=options, progress=SilentProgress())
        folder = workspace.registry.resolve("homes")
        return Predictor.load(folder).model.parameters

    found = parameters(TrainOptions(promote=True))
    assert (found["iterations"], found["depth"]) == (7, 2)
    said = parameters(TrainOptions(promote=True, parameters={"catboost": {"iterations": 9}}))
    assert (said["iterations"], said["depth"]) == (9, 6)

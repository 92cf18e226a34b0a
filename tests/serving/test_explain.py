"""Explanations name what a person knows of a home, and add up to the estimate to the last bit."""

import datetime as dt
import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from appraise.datasets.presets import find_spec
from appraise.datasets.simulate import simulate_table
from appraise.datasets.table import Table
from appraise.errors import RowError
from appraise.features.base import FitContext
from appraise.features.pipeline import FeaturePipeline
from appraise.features.vocabulary import Vocabulary
from appraise.jobs.fitted import FitOptions, encode, fit_context
from appraise.models import gaussian_process
from appraise.models.base import TrainingData
from appraise.models.blend import Blend
from appraise.models.contributions import contributions as model_contributions
from appraise.models.gaussian_process import GaussianProcess
from appraise.models.level import MarketLevel
from appraise.models.linear import RidgeRegression
from appraise.models.trees import CatBoost, DecisionTree
from appraise.serving import explain as explaining
from appraise.serving.explain import Explanation, Source, contributions, explain
from appraise.serving.predictor import Predictor
from appraise.serving.ranges import training_ranges
from appraise.serving.rows import RowChecker

LEVEL = 0.08


class NoIntervals:
    """Intervals without width, which explanations do not look at."""

    def scale(self, X, estimate):
        return np.ones(len(X))

    def quantiles(self, level, stale):
        return 0.0


def make_predictor(name, scale, model):
    """A predictor of a simulated market, and its training rows as requests."""
    spec = find_spec(name)
    frame = simulate_table(name, rows=500)
    vocabulary = Vocabulary().fit(spec, {column.name: frame[column.name].to_list() for column in spec.inputs})
    rows = encode(spec, vocabulary, frame)
    y = np.log(rows.prices) if scale == "log" else rows.prices
    pipeline = FeaturePipeline("fast")
    X = pipeline.fit_transform(rows.table, rows.prices, fit_context(spec, vocabulary, y, FitOptions()))
    days = None if spec.sale_date is None else rows.table.column(spec.sale_date.name)
    return Predictor(
        spec=spec,
        vocabulary=vocabulary,
        pipeline=pipeline,
        model=model.fit(TrainingData(pipeline.output_names_, X, y, X[:100], y[:100])),
        intervals=NoIntervals(),
        level=None if days is None else MarketLevel.of(days, np.full(len(days), LEVEL), window=3000, lag=1),
        scale=scale,
        ranges=training_ranges(vocabulary, rows.table),
        last_sale=math.nan if days is None else float(days.max()),
        window_days=3000,
        checker=RowChecker(spec),
    ), frame.select(column.name for column in spec.inputs).to_dicts()


def boosted():
    return CatBoost({"iterations": 40, "depth": 6, "learning_rate": 0.2})


@pytest.fixture(scope="module")
def bayside():
    return make_predictor("bayside", "log", boosted())


@pytest.fixture(scope="module")
def ridge():
    return make_predictor("bayside", "linear", RidgeRegression())


@pytest.fixture(scope="module")
def homes():
    return make_predictor("homes", "linear", DecisionTree())


def money(explanation: Explanation) -> dict[str, float]:
    return {entry.source.name: entry.money for entry in explanation.contributions}


def assert_adds_up(explanation: Explanation) -> None:
    total = explanation.base
    for entry in explanation.contributions:
        total += entry.money
    assert total == explanation.estimate
    assert math.fsum([explanation.base, *money(explanation).values()]) == explanation.estimate


@pytest.mark.parametrize("market", ["bayside", "ridge", "homes"])
def test_contributions_add_up_to_the_estimate_as_served(market, request):
    predictor, rows = request.getfixturevalue(market)
    optional = [column.name for column in predictor.spec.inputs if column.optional]
    for i, row in enumerate(rows[:40]):
        asked = {**row, **dict.fromkeys(optional[: i % 4])}
        explanation = contributions(predictor, asked)
        assert explanation.estimate == predictor.predict([asked]).estimate[0]
        assert_adds_up(explanation)
        sizes = [abs(value) for value in money(explanation).values()]
        assert sizes == sorted(sizes, reverse=True)


def test_every_input_column_is_there_and_coordinates_are_one(bayside):
    predictor, rows = bayside
    explanation = contributions(predictor, rows[0])
    inputs = {column.name for column in predictor.spec.inputs}
    assert set(money(explanation)) == inputs - {"latitude", "longitude"} | {
        "location", "comparable sales", "market level",
    }  # fmt: skip
    columns = {entry.source.name: entry.source.columns for entry in explanation.contributions}
    assert columns["location"] == ("latitude", "longitude")
    assert columns["comparable sales"] == columns["market level"] == ()
    assert columns["city"] == ("city",)


def test_features_are_led_back_to_the_columns_that_they_are_made_of(ridge):
    predictor, rows = ridge
    table = predictor.vocabulary.encode_rows(rows[:1])
    of_feature = dict(
        zip(
            predictor.pipeline.output_names_,
            model_contributions(predictor.model, predictor.pipeline.transform(table)).features[0],
            strict=True,
        )
    )
    names = {column.name for column in predictor.spec.inputs} - {"latitude", "longitude", "sale_date"}
    expected = dict.fromkeys((*names, "location", "sale_date", "comparable sales"), 0.0)
    for feature, value in of_feature.items():
        upper, per, lower = feature.partition("_per_")
        if feature in ("latitude", "longitude") or feature.startswith("axis_"):
            expected["location"] += value
        elif feature.startswith("sale_date"):
            expected["sale_date"] += value
        elif per:
            expected[upper] += value / 2
            expected[lower] += value / 2
        else:
            bare = feature.removeprefix("near_")
            owner = next((name for name in names if bare.startswith(name)), "comparable sales")
            expected[owner] += value
    found = money(contributions(predictor, rows[0]))
    del found["market level"]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert all(expected[name] for name in ("location", "sale_date", "comparable sales", "city", "view"))


def test_under_logarithms_money_is_the_log_contribution_times_the_logarithmic_mean(bayside):
    predictor, rows = bayside
    table = predictor.vocabulary.encode_rows(rows[250:251])
    explanation = contributions(predictor, rows[250])
    parts = model_contributions(predictor.model, predictor.pipeline.transform(table))
    assert explanation.base == pytest.approx(math.exp(parts.base))
    mean = (explanation.estimate - explanation.base) / math.log(explanation.estimate / explanation.base)
    level = predictor.level.at(table.column("sale_date"))[0]
    assert level > 0
    assert money(explanation)["market level"] == pytest.approx(mean * level, rel=1e-9)


def test_the_market_level_is_an_entry_of_its_own_on_the_linear_scale(ridge):
    predictor, rows = ridge
    row = {**rows[0], "sale_date": dt.date(2022, 12, 31)}
    without = replace(predictor, level=None).predict([row]).estimate[0]
    explanation = contributions(predictor, row)
    assert money(explanation)["market level"] == pytest.approx(explanation.estimate - without, rel=1e-9)
    assert money(explanation)["market level"] > 0
    assert "market level" not in money(contributions(replace(predictor, level=None), row))


def test_a_row_without_its_date_is_explained_as_it_is_valued(bayside):
    predictor, rows = bayside
    row = {name: value for name, value in rows[0].items() if name != "sale_date"}
    explanation = contributions(predictor, row)
    assert_adds_up(explanation)
    assert explanation == contributions(predictor, {**row, "sale_date": dt.datetime.now(tz=dt.UTC).date()})


def test_a_batch_is_explained_row_by_row(bayside):
    predictor, rows = bayside
    table = predictor.vocabulary.encode_rows(rows[:7])
    together = explain(predictor, table, predictor.value(table).estimate)
    assert together == tuple(contributions(predictor, row) for row in rows[:7])


def test_a_refused_row_is_not_explained(bayside):
    predictor, rows = bayside
    with pytest.raises(RowError, match="living_area"):
        contributions(predictor, {**rows[0], "living_area": -1.0})


def test_another_models_estimate_is_not_explained(bayside):
    predictor, rows = bayside
    table = predictor.vocabulary.encode_rows(rows[:1])
    estimate = predictor.value(table).estimate
    for wrong in (estimate * 1.001, estimate * np.nan, estimate * np.inf):
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="contributions add up to"):
            explain(predictor, table, wrong)


def test_a_gaussian_process_is_one_entry(monkeypatch, bayside):
    monkeypatch.setattr(gaussian_process, "_STEPS", 3)
    monkeypatch.setattr(gaussian_process, "_SAMPLE", 100)
    monkeypatch.setattr(gaussian_process, "_NEIGHBOURS", 16)
    predictor, rows = bayside
    X = predictor.pipeline.transform(predictor.vocabulary.encode_rows(rows[:200]))
    y = predictor.model.predict(X)
    process = GaussianProcess().fit(TrainingData(predictor.pipeline.output_names_, X, y, X[:20], y[:20]))
    blend = replace(predictor, model=Blend((predictor.model, process), np.array([0.6, 0.4])))
    explanation = contributions(blend, rows[0])
    assert_adds_up(explanation)
    assert money(explanation)["place and likeness"] != 0.0
    assert "place and likeness" not in money(contributions(predictor, rows[0]))


def test_sums_survive_json(bayside):
    predictor, rows = bayside
    explanation = contributions(predictor, rows[3])
    sent = json.loads(json.dumps([explanation.base, *money(explanation).values()]))
    assert sum(sent) == explanation.estimate


def test_numbers_of_any_size_add_up():
    generator = random.Random(0)  # noqa: S311
    for _ in range(3000):
        size = 10.0 ** generator.uniform(-9, 12)
        parts = [
            size * generator.gauss(0, 1) * 10.0 ** generator.uniform(-6, 0) for _ in range(generator.randint(1, 30))
        ]
        base = size * generator.gauss(0, 1)
        # As served: by another order of summation, and now and then far below what it is made of.
        if generator.random() < 0.3:
            parts.append(-math.fsum([base, *parts]) * (1 - 10.0 ** generator.uniform(-5, 0)))
        estimate = sum(reversed(parts), base)
        sources = [Source(f"column {i}") for i in range(len(parts))]
        explanation = explaining._adding_up(estimate, base, sources, parts)
        assert_adds_up(explanation)
        found = money(explanation)
        assert found.pop("rounding", 0.0) == pytest.approx(0.0, abs=1e-13 * size * len(parts))
        assert [found[source.name] for source in sources] == pytest.approx(parts, abs=1e-13 * size * len(parts))


def test_rounding_is_an_entry_only_where_nothing_else_can_hold_it():
    few = explaining._adding_up(0.1, 1000.7, [Source("size")], [0.1 - 1000.7])
    assert [entry.source.name for entry in few.contributions] == ["size", "rounding"]
    assert_adds_up(few)
    constant = explaining._adding_up(0.1, 0.1, [Source("size")], [0.0])
    assert constant == Explanation(0.1, 0.1, (explaining.Contribution(Source("size"), 0.0),))
    nothing = explaining._adding_up(0.0, 0.0, [Source("size")], [0.0])
    assert nothing.estimate == nothing.base == 0.0


def test_an_attribute_may_be_called_price():
    generator = np.random.default_rng(0)
    table = Table(("price", "lat", "lon"), generator.random((60, 3)))
    pipeline = FeaturePipeline("best")
    target = generator.random(60)
    pipeline.fit_transform(table, target, FitContext(target, latitude="lat", longitude="lon"))
    columns = explaining._columns_of_features(pipeline)
    assert len(columns) == len(pipeline.output_names_)
    of_price = [i for i, made_of in enumerate(columns) if made_of == ("price",)]
    # The attribute itself, its spread and rank, and two means at three sizes, which stand together.
    assert len(of_price) == 9
    assert of_price[1:] == list(range(of_price[1], of_price[1] + 8))

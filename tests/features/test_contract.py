"""What every transformation promises, asked of each in turn; a new one is asked without a line here."""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import appraise.features
from appraise.datasets.table import Table
from appraise.features.base import LARGEST, FitContext, Transformation
from appraise.features.comparables import Comparables
from appraise.features.pipeline import FeaturePipeline
from appraise.features.state import State
from appraise.registry.npz import pack_arrays, unpack_arrays

Market = Callable[..., tuple[Table, FitContext]]


def _through_disk(state: State) -> State:
    """The state as it comes back from a bundle: data as JSON text, arrays as an archive."""
    text = json.dumps(state.data, allow_nan=False)
    return State(json.loads(text), unpack_arrays(pack_arrays(state.arrays)))


class Subject:
    """A transformation under test."""

    def __init__(self, part: Transformation) -> None:
        self.part: Any = part

    def fit_transform(self, table: Table, context: FitContext) -> NDArray[np.float64]:
        return self.part.fit_transform(table, context)

    def transform(self, table: Table) -> NDArray[np.float64]:
        return self.part.transform(table)

    @property
    def names(self) -> tuple[str, ...]:
        return self.part.output_names_

    def states(self) -> list[State]:
        return [self.part.state()]

    def restored(self) -> Self:
        (state,) = map(_through_disk, self.states())
        return type(self)(type(self.part).from_state(state))


class WithPool(Subject):
    """Comparables, whose pool is saved apart."""

    def states(self) -> list[State]:
        return [self.part.state(), self.part.pool_state()]

    def restored(self) -> Self:
        state, pool = map(_through_disk, self.states())
        return type(self)(type(self.part).from_state(state).with_pool_state(pool))


class Pipeline(Subject):
    """All transformations in one."""

    def fit_transform(self, table: Table, context: FitContext) -> NDArray[np.float64]:
        return self.part.fit_transform(table, np.exp(context.target), context)

    def states(self) -> list[State]:
        pool = self.part.pool_state()
        return [self.part.state()] if pool is None else [self.part.state(), pool]

    def restored(self) -> Self:
        state, *pool = map(_through_disk, self.states())
        return type(self)(FeaturePipeline.from_state(state, pool[0] if pool else None))


def _transformations() -> Iterator[type[Transformation]]:
    for module in pkgutil.iter_modules(appraise.features.__path__, "appraise.features."):
        importlib.import_module(module.name)
    found = list(Transformation.__subclasses__())
    for cls in found:
        found += cls.__subclasses__()
        if not inspect.isabstract(cls):
            yield cls


SUBJECTS: dict[str, Callable[[], Subject]] = {
    cls.kind: lambda cls=cls: Subject(cls()) for cls in _transformations() if cls is not Comparables
} | {
    "comparables-fast": lambda: WithPool(Comparables("fast")),
    "comparables-best": lambda: WithPool(Comparables("best")),
    "pipeline": lambda: Pipeline(FeaturePipeline("fast")),
    "pipeline-alone": lambda: Pipeline(FeaturePipeline(None)),
}


@dataclass(frozen=True)
class Fitted:
    """A subject fitted on a market, with rows that it has not seen."""

    make: Callable[[], Subject]
    subject: Subject
    training: Table
    context: FitContext
    features: NDArray[np.float64]
    query: Table


@pytest.fixture(params=[(True, True), (True, False), (False, True), (False, False)],
                ids=["placed-dated", "placed", "dated", "plain"])  # fmt: skip
def shape(request: pytest.FixtureRequest) -> dict[str, bool]:
    return {"placed": request.param[0], "dated": request.param[1]}


@pytest.fixture(params=SUBJECTS, ids=str)
def fitted(request: pytest.FixtureRequest, shape: dict[str, bool], market: Market) -> Fitted:
    make = SUBJECTS[request.param]
    training, context = market(120, seed=1, **shape)
    subject = make()
    features = subject.fit_transform(training, context)
    return Fitted(make, subject, training, context, features, market(70, seed=2, **shape)[0])


def _without(table: Table, *gone: str) -> Table:
    kept = tuple(name for name in table.names if name not in gone)
    return Table(kept, np.ascontiguousarray(table.select(kept)))


def _filled(table: Table, value: float, *names: str) -> Table:
    values = table.values.copy()
    values[:, [table.names.index(name) for name in names]] = value
    return Table(table.names, values)


def _shuffled(table: Table) -> Table:
    names = tuple(sorted(table.names, key=lambda name: name[::-1]))
    assert names != table.names
    return Table(names, np.ascontiguousarray(table.select(names)))


def _assert_same(found: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    """Equal to the bit, NaN equal to NaN."""
    np.testing.assert_array_equal(found, expected)


def _assert_features(values: NDArray[np.float64], rows: int, subject: Subject) -> None:
    assert values.shape == (rows, len(subject.names))
    assert values.dtype == np.float64
    assert not (np.abs(values) > LARGEST).any()


def test_every_transformation_is_asked() -> None:
    kinds = {cls.kind for cls in _transformations()}
    assert len(kinds) == len(list(_transformations())), "two transformations share a kind"
    assert kinds - {"comparables"} <= SUBJECTS.keys()


def test_names_are_unique_and_one_for_each_column(fitted: Fitted) -> None:
    names = fitted.subject.names
    assert len(set(names)) == len(names)
    assert all(isinstance(name, str) and name for name in names)
    _assert_features(fitted.features, len(fitted.training), fitted.subject)
    _assert_features(fitted.subject.transform(fitted.query), len(fitted.query), fitted.subject)


def test_the_input_is_unchanged(fitted: Fitted) -> None:
    before, queried = fitted.training.values.copy(), fitted.query.values.copy()
    target = fitted.context.target.copy()
    fitted.make().fit_transform(fitted.training, fitted.context)
    found = fitted.subject.transform(fitted.query)
    found[:] = -1.0
    assert fitted.training.values.tobytes() == before.tobytes()
    assert fitted.query.values.tobytes() == queried.tobytes()
    assert fitted.context.target.tobytes() == target.tobytes()


def test_the_order_of_columns_does_not_matter(fitted: Fitted) -> None:
    _assert_same(fitted.subject.transform(_shuffled(fitted.query)), fitted.subject.transform(fitted.query))
    other = fitted.make()
    features = other.fit_transform(_shuffled(fitted.training), fitted.context)
    assert set(other.names) == set(fitted.subject.names)
    by_name = [other.names.index(name) for name in fitted.subject.names]
    _assert_same(features[:, by_name], fitted.features)


def test_unseen_levels_and_missing_values_have_features(fitted: Fitted) -> None:
    for value, names in ((-1.0, fitted.context.categories), (99.0, fitted.context.categories), (np.nan, ["area"]),
                         (np.nan, fitted.query.names)):  # fmt: skip
        odd = _filled(fitted.query, value, *names)
        _assert_features(fitted.subject.transform(odd), len(odd), fitted.subject)


def test_a_missing_column_counts_as_all_missing(fitted: Fitted) -> None:
    for name in fitted.query.names:
        _assert_same(
            fitted.subject.transform(_without(fitted.query, name)),
            fitted.subject.transform(_filled(fitted.query, np.nan, name)),
        )
    nothing = Table((), np.empty((3, 0)))
    _assert_features(fitted.subject.transform(nothing), 3, fitted.subject)


def test_a_column_that_training_did_not_have_is_not_read(fitted: Fitted) -> None:
    more = Table(("colour", *fitted.query.names), np.insert(fitted.query.values, 0, 7.0, axis=1))
    _assert_same(fitted.subject.transform(more), fitted.subject.transform(fitted.query))


def test_the_state_survives_the_disk_to_the_bit(fitted: Fitted) -> None:
    again = fitted.subject.restored()
    assert again.names == fitted.subject.names
    _assert_same(again.transform(fitted.query), fitted.subject.transform(fitted.query))
    for found, expected in zip(again.states(), fitted.subject.states(), strict=True):
        assert json.dumps(found.data) == json.dumps(expected.data)
        assert pack_arrays(found.arrays) == pack_arrays(expected.arrays)


def test_the_same_seed_gives_the_same_features(fitted: Fitted) -> None:
    other = fitted.make()
    _assert_same(other.fit_transform(fitted.training, fitted.context), fitted.features)
    _assert_same(other.transform(fitted.query), fitted.subject.transform(fitted.query))


def test_a_row_does_not_depend_on_the_rows_around_it(fitted: Fitted) -> None:
    batch = fitted.subject.transform(fitted.query)
    order = np.random.default_rng(3).permutation(len(fitted.query))
    _assert_same(fitted.subject.transform(fitted.query.rows(order)), batch[order])
    for row in range(len(fitted.query)):
        _assert_same(fitted.subject.transform(fitted.query.rows(slice(row, row + 1))), batch[row : row + 1])


def test_no_rows_have_no_features(fitted: Fitted) -> None:
    _assert_features(fitted.subject.transform(fitted.query.rows(slice(0, 0))), 0, fitted.subject)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_very_few_training_rows_are_enough(subject: str, rows: int, shape: dict[str, bool], market: Market) -> None:
    training, context = market(rows, seed=4, **shape)
    fitted = SUBJECTS[subject]()
    _assert_features(fitted.fit_transform(training, context), rows, fitted)
    query = market(5, seed=5, **shape)[0]
    _assert_features(fitted.transform(query), 5, fitted)


@pytest.mark.parametrize("gone", ["area", "rooms", "garage", "city", "lat", "sold"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_column_all_missing_in_training_is_survived(subject: str, gone: str, market: Market) -> None:
    training, context = market(40, seed=6)
    fitted = SUBJECTS[subject]()
    _assert_features(fitted.fit_transform(_filled(training, np.nan, gone), context), 40, fitted)
    query = market(5, seed=7)[0]
    found = fitted.transform(query)
    _assert_features(found, 5, fitted)
    _assert_same(fitted.restored().transform(query), found)


_VALUES = st.sampled_from([np.nan, 0.0, 1.0, -1.0, 0.1, 3.0, 1e-300, 1e12, -1e12, 1e38, 1e300]) | st.floats(-500, 500)
_DAYS = st.just(np.nan) | st.integers(-700_000, 2_900_000).map(float)
_CODES = st.sampled_from([np.nan, -1.0, 0.0, 1.0, 4.0])
_NAMES = ("a", "b", "lat", "lon", "sold", "level")


@st.composite
def _tables(draw: st.DrawFn, least: int = 0) -> Table:
    rows = draw(st.integers(least, 9))
    numbers = draw(hnp.arrays(np.float64, (rows, 4), elements=_VALUES, fill=st.nothing()))
    days = draw(hnp.arrays(np.float64, (rows, 1), elements=_DAYS, fill=st.nothing()))
    codes = draw(hnp.arrays(np.float64, (rows, 1), elements=_CODES))
    return Table(_NAMES, np.concatenate((numbers, days, codes), axis=1))


@pytest.mark.parametrize("subject", SUBJECTS)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_table_has_features(subject: str, data: st.DataObject) -> None:
    training, query = data.draw(_tables(least=1)), data.draw(_tables())
    target = data.draw(hnp.arrays(np.float64, len(training), elements=st.floats(-20, 20)))
    placed, dated = data.draw(st.booleans()), data.draw(st.booleans())
    context = FitContext(
        target=target, categories=("level",), frequency_encoded=("level",), target_encoded=("level",)
    )  # fmt: skip
    if placed:
        context = replace(context, latitude="lat", longitude="lon")
    if dated:
        context = replace(context, sale_date="sold")
    fitted = SUBJECTS[subject]()
    _assert_features(fitted.fit_transform(training, context), len(training), fitted)
    found = fitted.transform(query)
    _assert_features(found, len(query), fitted)
    _assert_same(fitted.restored().transform(query), found)
    for row in range(len(query)):
        _assert_same(fitted.transform(query.rows(slice(row, row + 1))), found[row : row + 1])

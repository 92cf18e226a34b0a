import datetime as dt

import numpy as np
import polars as pl
import pytest

from appraise.datasets.spec import Column, DatasetSpec, RandomSplit, TimeSplit
from appraise.datasets.splitting import Split, fold_of_blocks, regions, spatial_blocks, split
from appraise.errors import FitError

PRICE = Column("price", "number", "target")


def random_spec(**shares: float) -> DatasetSpec:
    return DatasetSpec("sales", (PRICE,), split=RandomSplit(**shares))


def rows(n: int) -> pl.DataFrame:
    return pl.DataFrame({"price": np.arange(n, dtype=np.float64)})


def test_the_random_split_is_the_protocol_of_the_papers():
    parts = split(random_spec(validation=0.16, holdout=0.20, seed=3), rows(20_640))
    order = np.random.RandomState(3).permutation(20_640)
    assert [len(parts.train), len(parts.validation), len(parts.holdout)] == [13_209, 3_303, 4_128]
    assert np.array_equal(np.concatenate([parts.train, parts.validation, parts.holdout]), order)
    assert parts.train.dtype == np.int64


def test_a_split_is_the_same_again_and_another_by_another_seed():
    first, again, other = (split(random_spec(seed=seed), rows(500)) for seed in (1, 1, 2))
    assert np.array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)


def dated(n: int) -> tuple[DatasetSpec, pl.DataFrame]:
    spec = DatasetSpec(
        "sales",
        (Column("sold", "date", "sale_date"), PRICE),
        split=TimeSplit(dt.date(2020, 1, 1), dt.date(2021, 1, 1)),
    )
    rng = np.random.default_rng(0)
    start = dt.date(2018, 1, 1).toordinal()
    days = [dt.date.fromordinal(start + int(day)) for day in rng.integers(0, 4 * 365, n - 3)]
    edges = [dt.date(2019, 12, 31), dt.date(2020, 1, 1), dt.date(2021, 1, 1)]
    return spec, rows(n).with_columns(sold=pl.Series([*days, *edges]))


def test_nothing_of_the_future_gets_into_training():
    spec, frame = dated(2_000)
    parts = split(spec, frame)
    dates = frame["sold"]
    assert dates[parts.train].max() == dt.date(2019, 12, 31)
    assert dates[parts.validation].min() == dt.date(2020, 1, 1)
    assert dates[parts.validation].max() < dt.date(2021, 1, 1)
    assert dates[parts.holdout].min() == dt.date(2021, 1, 1)


@pytest.mark.parametrize("make", [lambda: dated(900), lambda: (random_spec(), rows(900))])
def test_every_row_is_in_one_set(make):
    parts = split(*make())
    together = np.concatenate([parts.train, parts.validation, parts.holdout])
    assert np.array_equal(np.sort(together), np.arange(900))


@pytest.mark.parametrize("n", [1, 2, 30, 49])
def test_too_few_rows_are_refused(n):
    with pytest.raises(FitError, match=rf"of {n} rows are left to") as caught:
        split(random_spec(), rows(n))
    assert "more rows" in caught.value.hint


def test_dates_outside_the_split_are_named():
    spec, frame = dated(500)
    with pytest.raises(FitError, match=r"0 of .* rows are left to test") as caught:
        split(spec, frame.filter(pl.col("sold") < dt.date(2021, 1, 1)))
    assert "2020-12-" in caught.value.hint
    assert "holdout_from" in caught.value.hint


def test_a_split_by_time_needs_a_date():
    spec = DatasetSpec("sales", (PRICE,), split=TimeSplit(dt.date(2020, 1, 1), dt.date(2021, 1, 1)))
    with pytest.raises(FitError, match="no sale date"):
        split(spec, rows(100))


def test_a_split_without_some_rows_counts_anew():
    parts = Split(np.array([5, 0, 2]), np.array([1, 4]), np.array([3]))
    fewer = parts.without(np.array([0, 4]), 6)
    assert [part.tolist() for part in (fewer.train, fewer.validation, fewer.holdout)] == [[3, 1], [0], [2]]


def places(n: int = 3_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 38 + rng.normal(size=n) * 0.1, -122 + rng.gamma(2.0, 0.2, n)


@pytest.mark.parametrize("blocks", [1, 2, 5, 12])
def test_blocks_are_of_nearly_equal_size(blocks):
    codes = spatial_blocks(*places(), blocks=blocks)
    sizes = np.bincount(codes)
    assert len(sizes) == blocks
    assert sizes.max() <= 1.03 * sizes.min() + 1


def test_blocks_are_places_and_do_not_depend_on_the_order():
    latitude, longitude = places()
    codes = spatial_blocks(latitude, longitude)
    order = np.random.default_rng(1).permutation(len(latitude))
    assert np.array_equal(spatial_blocks(latitude[order], longitude[order]), codes[order])
    spread = np.mean([longitude[codes == code].std() for code in range(12)])
    assert spread < 0.6 * longitude.std()


def test_homes_of_one_building_are_in_one_block():
    latitude, longitude = (np.repeat(each, 40) for each in places(50))
    codes = spatial_blocks(latitude, longitude).reshape(50, 40)
    assert (codes == codes[:, :1]).all()


def test_one_place_is_one_block():
    assert spatial_blocks(np.full(100, 38.0), np.full(100, -122.0)).tolist() == [0] * 100


def test_unknown_places_are_in_no_block():
    latitude, longitude = places(200)
    latitude[7] = np.nan
    longitude[8] = np.inf
    codes = spatial_blocks(latitude, longitude)
    assert np.flatnonzero(codes < 0).tolist() == [7, 8]
    assert spatial_blocks(np.array([np.nan]), np.array([1.0])).tolist() == [-1]


def test_folds_hold_whole_blocks_and_are_balanced():
    codes = spatial_blocks(*places())
    codes[5] = -1
    folds = fold_of_blocks(codes, folds=4)
    assert folds[5] == -1
    assert all(len(np.unique(folds[codes == code])) == 1 for code in range(12))
    sizes = np.bincount(folds[folds >= 0])
    assert len(sizes) == 4
    assert sizes.max() < 1.05 * sizes.min()
    assert fold_of_blocks(np.array([-1, -1]), folds=3).tolist() == [-1, -1]


PLACE = (Column("latitude", "number", "latitude"), Column("longitude", "number", "longitude"))


def test_regions_are_the_specs_column():
    spec = DatasetSpec("sales", (Column("city", "category"), PRICE), region="city")
    labels, codes = regions(spec, pl.DataFrame({"city": ["b", None, "a", "b"], "price": [1.0] * 4}))
    assert labels == ["(missing)", "a", "b"]
    assert codes.tolist() == [2, 0, 1, 2]


def test_regions_are_blocks_where_there_is_no_column():
    latitude, longitude = places(600)
    frame = pl.DataFrame({"latitude": latitude, "longitude": longitude, "price": np.ones(600)})
    labels, codes = regions(
        DatasetSpec("sales", (*PLACE, PRICE)), frame.with_columns(pl.col("latitude").replace(latitude[0], None))
    )
    assert len(labels) == len(set(labels)) == 12
    assert labels[0].startswith("around 3")
    assert codes[0] == -1
    assert set(codes[1:]) == set(range(12))


def test_there_may_be_no_regions():
    labels, codes = regions(DatasetSpec("sales", (PRICE,)), rows(3))
    assert labels == []
    assert codes.tolist() == [-1, -1, -1]

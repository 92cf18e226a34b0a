"""The trend, and the season where it can be told from the trend."""

import datetime as dt

import numpy as np
import pytest

from appraise.datasets.table import Table, days_since_epoch
from appraise.features.base import FitContext
from appraise.features.dates import DateParts


def _fitted(first: dt.date, last: dt.date) -> DateParts:
    days = np.linspace(days_since_epoch(first), days_since_epoch(last), 50)
    return DateParts().fit(Table(("sold",), days[:, None]), FitContext(np.zeros(50), sale_date="sold"))


def _parts(parts: DateParts, *dates: dt.date) -> dict[str, np.ndarray]:
    days = np.array([[days_since_epoch(date)] for date in dates])
    return dict(zip(parts.output_names_, parts.transform(Table(("sold",), days)).T, strict=True))


@pytest.mark.parametrize(("last", "seasonal"), [
    (dt.date(2016, 12, 30), False), (dt.date(2016, 12, 31), False), (dt.date(2017, 1, 2), True),
    (dt.date(2024, 6, 1), True), (dt.date(2015, 1, 1), False),
])  # fmt: skip
def test_a_season_needs_two_years(last: dt.date, seasonal: bool) -> None:
    names = _fitted(dt.date(2015, 1, 1), last).output_names_
    assert names == (("sold_years", "sold_season_sin", "sold_season_cos") if seasonal else ("sold_years",))


def test_years_count_from_1970() -> None:
    parts = _parts(_fitted(dt.date(2015, 1, 1), dt.date(2015, 6, 1)), dt.date(1970, 1, 1), dt.date(2020, 1, 1))
    np.testing.assert_allclose(parts["sold_years"], [0.0, 50.0], atol=2e-3)


def test_the_season_comes_back_every_year() -> None:
    fitted = _fitted(dt.date(2010, 1, 1), dt.date(2020, 1, 1))
    julys = _parts(fitted, *(dt.date(year, 7, 2) for year in range(1960, 2030)))
    assert np.ptp(julys["sold_season_sin"]) < 0.05
    np.testing.assert_allclose(julys["sold_season_cos"], -1.0, atol=0.01)
    year = _parts(fitted, *(dt.date(2015, 1, 1) + dt.timedelta(day) for day in range(365)))
    np.testing.assert_allclose(np.hypot(year["sold_season_sin"], year["sold_season_cos"]), 1.0)


def test_missing_dates_neither_make_nor_break_a_season() -> None:
    days = np.array([[17000.0], [np.nan], [17000.0 + 3 * 366]])
    parts = DateParts().fit(Table(("sold",), days), FitContext(np.zeros(3), sale_date="sold"))
    assert parts.seasonal_
    assert np.isnan(parts.transform(Table(("sold",), days))[1]).all()


def test_a_dataset_without_dates_has_no_parts() -> None:
    table = Table(("area",), np.ones((4, 1)))
    parts = DateParts().fit(table, FitContext(np.zeros(4)))
    assert parts.output_names_ == ()
    assert parts.transform(table).shape == (4, 0)

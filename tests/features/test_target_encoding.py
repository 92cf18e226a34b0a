"""Categories as mean prices, and never a row's own price."""

from dataclasses import replace

import numpy as np
import pytest

from appraise.datasets.table import Table
from appraise.features.base import FitContext
from appraise.features.target_encoding import STRENGTH, TargetEncoding


def _towns(rows: int = 200, towns: int = 8, *, seed: int = 0) -> tuple[Table, FitContext]:
    random = np.random.default_rng(seed)
    code = random.integers(0, towns, rows).astype(float)
    target = code + random.normal(0.0, 0.1, rows)
    return Table(("town",), code[:, None]), FitContext(target, target_encoded=("town",), categories=("town",))


def test_a_level_is_its_mean_drawn_towards_the_overall_mean() -> None:
    table = Table(("town",), np.array([[0.0], [0.0], [1.0], [np.nan]]))
    encoding = TargetEncoding().fit(table, FitContext(np.array([1.0, 3.0, 8.0, 4.0]), target_encoded=("town",)))
    overall = 4.0
    first, second = (4.0 + STRENGTH * overall) / (2 + STRENGTH), (8.0 + STRENGTH * overall) / (1 + STRENGTH)
    found = encoding.transform(Table(("town",), np.array([[1.0], [0.0], [-1.0], [2.0], [np.nan]])))
    np.testing.assert_allclose(found[:, 0], [second, first, overall, overall, np.nan])


def test_a_level_of_many_sales_is_its_own_mean() -> None:
    table, context = _towns(5000, 2)
    found = TargetEncoding().fit(table, context).transform(Table(("town",), np.array([[0.0], [1.0]])))
    np.testing.assert_allclose(found[:, 0], [0.0, 1.0], atol=0.02)


@pytest.mark.parametrize("row", [0, 50, 199])
def test_a_rows_own_price_has_no_influence(row: int) -> None:
    table, context = _towns()
    before = TargetEncoding().fit_transform(table, context)
    target = context.target.copy()
    target[row] += 100.0
    after = TargetEncoding().fit_transform(table, replace(context, target=target))
    assert after[row].tobytes() == before[row].tobytes()
    # The rows of the other folds learn of it.
    assert 0.5 < (after != before).mean() < 1.0


def test_a_level_seen_once_is_unseen_by_its_own_row() -> None:
    table, context = _towns()
    alone = table.values.copy()
    alone[7] = 99.0
    found = TargetEncoding().fit_transform(Table(("town",), alone), context)[7, 0]
    target = np.append(np.delete(context.target, 7), context.target[7] + 50.0)
    assert abs(found - context.target.mean()) < 0.5
    assert abs(found - target.mean()) < 0.5


def test_noise_of_many_rare_levels_is_no_signal() -> None:
    random = np.random.default_rng(0)
    code, target = random.integers(0, 800, 2000).astype(float), random.normal(size=2000)
    context = FitContext(target, target_encoded=("town",))
    table = Table(("town",), code[:, None])
    out_of_fold = TargetEncoding().fit_transform(table, context)[:, 0]
    in_sample = TargetEncoding().fit(table, context).transform(table)[:, 0]
    assert abs(np.corrcoef(out_of_fold, target)[0, 1]) < 0.1
    assert np.corrcoef(in_sample, target)[0, 1] > 0.4


def test_the_seed_draws_the_folds() -> None:
    table, context = _towns()
    first = TargetEncoding().fit_transform(table, context)
    assert (TargetEncoding().fit_transform(table, replace(context, seed=1)) != first).any()


def test_without_categories_there_are_no_columns() -> None:
    table, context = _towns(10)
    encoding = TargetEncoding()
    assert encoding.fit_transform(table, replace(context, target_encoded=())).shape == (10, 0)
    assert encoding.transform(table).shape == (10, 0)

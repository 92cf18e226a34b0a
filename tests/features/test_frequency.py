"""Categories as how often they were seen."""

import numpy as np

from appraise.datasets.table import Table
from appraise.features.base import FitContext
from appraise.features.frequency import FrequencyEncoding


def _encoding() -> FrequencyEncoding:
    seen = np.array([[0.0, 2.0], [0.0, np.nan], [1.0, 2.0], [np.nan, 2.0]])
    return FrequencyEncoding().fit(
        Table(("zip", "agent"), seen), FitContext(np.zeros(4), frequency_encoded=("zip", "agent"))
    )


def test_counts_are_of_training_rows() -> None:
    asked = Table(("zip", "agent"), np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 2.0]]))
    np.testing.assert_allclose(_encoding().transform(asked), np.log1p([[2, 0], [1, 0], [2, 3]]))


def test_an_unseen_level_was_seen_never_and_a_missing_one_is_missing() -> None:
    asked = Table(("zip", "agent"), np.array([[-1.0, 3.0], [np.nan, -1.0], [2.0, np.nan]]))
    np.testing.assert_array_equal(_encoding().transform(asked), [[0.0, 0.0], [np.nan, 0.0], [0.0, np.nan]])


def test_a_column_without_any_level_in_training() -> None:
    table = Table(("zip",), np.full((3, 1), np.nan))
    encoding = FrequencyEncoding().fit(table, FitContext(np.zeros(3), frequency_encoded=("zip",)))
    asked = Table(("zip",), np.array([[0.0], [-1.0], [np.nan]]))
    np.testing.assert_array_equal(encoding.transform(asked)[:, 0], [0.0, 0.0, np.nan])

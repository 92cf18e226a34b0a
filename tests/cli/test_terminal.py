"""What results are written with."""

import pytest

from appraise.cli.terminal import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 records"), (1, "1 record"), (2, "2 records"), (2000, "2,000 records")]
)
def test_one_is_told_as_one(number, said):
    assert counted(number, "record") == said

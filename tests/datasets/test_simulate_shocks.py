import datetime as dt

import pytest

from appraise.datasets.simulate.shocks import (
    BrokenShock,
    LevelShock,
    MissingShock,
    MixShock,
    RegionShock,
    parse_shock,
)
from appraise.errors import SettingsError

DAY = dt.date(2022, 9, 1)

FORMS = [
    ("level:2022-09-01:-15%", LevelShock(DAY, -0.15)),
    ("region:2022-09-01:Mill Creek:+12%", RegionShock(DAY, "Mill Creek", 0.12)),
    ("mix:2022-09-01:flat:+30%", MixShock(DAY, "flat", 0.30)),
    ("broken:2022-09-01:living_area:x10.764", BrokenShock(DAY, "living_area", 10.764)),
    ("missing:2022-09-01:year_built:30%", MissingShock(DAY, "year_built", 0.30)),
]


@pytest.mark.parametrize(("text", "shock"), FORMS)
def test_text_and_shock_stand_for_each_other(text, shock):
    assert parse_shock(text) == shock
    assert str(shock) == text


def test_case_and_spaces_do_not_matter():
    assert parse_shock("region: 2022-09-01 : mill creek : 12%") == RegionShock(DAY, "Mill Creek", 0.12)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "no kind of shock", "choose one of"),
        ("levle:2022-09-01:-15%", "no kind of shock", "did you mean 'level'"),
        ("level:2022-09-01", "is written level:DATE:PERCENT", "for example"),
        ("level:2022-09-31:-15%", "is not a date", "YYYY-MM-DD"),
        ("level:2022-09-01:-15", "is not a percentage", "-15%"),
        ("level:2022-09-01:nan%", "is not a percentage", "-15%"),
        ("level:2022-09-01:-100%", "out of range", "between -99%"),
        ("region:2022-09-01:Mill Crek:+12%", "no city 'Mill Crek'", "did you mean 'Mill Creek'"),
        ("mix:2022-09-01:castle:+30%", "no home type 'castle'", "flat, townhouse, house"),
        ("mix:2022-09-01:flat:+130%", "out of range", "100%"),
        ("broken:2022-09-01:price:x2", "no numeric column 'price'", "choose one of"),
        ("broken:2022-09-01:living_area:10", "is not a factor", "x10.764"),
        ("missing:2022-09-01:living_aera:30%", "no column 'living_aera'", "did you mean 'living_area'"),
        ("missing:2022-09-01:view:-30%", "out of range", "between 0%"),
    ],
)
def test_what_cannot_be_read_is_named_with_a_way_out(text, message, hint):
    with pytest.raises(SettingsError, match=message) as caught:
        parse_shock(text)
    assert hint in (caught.value.hint or "")

"""What can go wrong in a market or in its data from a day on, each shock with a text form for the command line.

- `level:2022-09-01:-15%`: every price falls by 15%.
- `region:2022-09-01:Mill Creek:+12%`: the prices of one city rise by 12%.
- `mix:2022-09-01:flat:+30%`: flats gain 30 percentage points of all sales.
- `broken:2022-09-01:living_area:x10.764`: a column is recorded 10.764 times too large; x0 records zeros.
- `missing:2022-09-01:year_built:30%`: 30% of a column's values are lost.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

from appraise.datasets.simulate.geography import CITY_NAMES
from appraise.errors import SettingsError, did_you_mean

HOME_TYPES = ("flat", "townhouse", "house")
#: Columns that a broken source may record wrongly.
NUMERIC_COLUMNS = ("living_area", "lot_area", "bedrooms", "bathrooms", "year_built", "garage", "condition")
#: Columns whose values a broken source may lose.
LOSABLE_COLUMNS = (*NUMERIC_COLUMNS, "latitude", "longitude", "zip_code", "city", "home_type", "view")

#: How each kind is written, and an example.
_FORMS = {
    "level": ("level:DATE:PERCENT", "level:2022-09-01:-15%"),
    "region": ("region:DATE:CITY:PERCENT", "region:2022-09-01:Mill Creek:+12%"),
    "mix": ("mix:DATE:HOME_TYPE:PERCENT", "mix:2022-09-01:flat:+30%"),
    "broken": ("broken:DATE:COLUMN:xFACTOR", "broken:2022-09-01:living_area:x10.764"),
    "missing": ("missing:DATE:COLUMN:PERCENT", "missing:2022-09-01:year_built:30%"),
}
_PRICE_CHANGE = (-0.99, 9.0)


@dataclass(frozen=True, slots=True)
class LevelShock:
    """From `date` every price is multiplied by 1 + `change`."""

    date: dt.date
    change: float

    def __str__(self) -> str:
        return f"level:{self.date}:{_percent(self.change)}"


@dataclass(frozen=True, slots=True)
class RegionShock:
    """From `date` the prices of `city` are multiplied by 1 + `change`."""

    date: dt.date
    city: str
    change: float

    def __str__(self) -> str:
        return f"region:{self.date}:{self.city}:{_percent(self.change)}"


@dataclass(frozen=True, slots=True)
class MixShock:
    """From `date` the share of `home_type` among all sales changes by `change` (0.30: 30 percentage points)."""

    date: dt.date
    home_type: str
    change: float

    def __str__(self) -> str:
        return f"mix:{self.date}:{self.home_type}:{_percent(self.change)}"


@dataclass(frozen=True, slots=True)
class BrokenShock:
    """From `date` a column is recorded as `factor` times its value; the homes and their prices stay as they are."""

    date: dt.date
    column: str
    factor: float

    def __str__(self) -> str:
        return f"broken:{self.date}:{self.column}:x{self.factor:.12g}"


@dataclass(frozen=True, slots=True)
class MissingShock:
    """From `date` the share `share` of a column's values is lost."""

    date: dt.date
    column: str
    share: float

    def __str__(self) -> str:
        return f"missing:{self.date}:{self.column}:{100 * self.share:.12g}%"


Shock = LevelShock | RegionShock | MixShock | BrokenShock | MissingShock


def parse_shock(text: str) -> Shock:
    """The shock that `text` stands for.

    Raises:
        SettingsError: the text is not one of the forms above, or names a day, city, home type or column that the
            market does not have.
    """
    kind, *parts = (part.strip() for part in text.split(":"))
    if kind not in _FORMS:
        raise _unreadable(text, f"{kind!r} is no kind of shock", hint=_hint(kind, list(_FORMS)))
    form, example = _FORMS[kind]
    if len(parts) != form.count(":"):
        raise _unreadable(text, f"a {kind} shock is written {form}", hint=f"for example {example}")
    date = _date(text, parts[0])
    match kind:
        case "level":
            return LevelShock(date, _share(text, parts[1], _PRICE_CHANGE))
        case "region":
            return RegionShock(date, _one_of(text, parts[1], CITY_NAMES, "city"), _share(text, parts[2], _PRICE_CHANGE))
        case "mix":
            home_type = _one_of(text, parts[1], HOME_TYPES, "home type")
            return MixShock(date, home_type, _share(text, parts[2], (-1.0, 1.0)))
        case "broken":
            column = _one_of(text, parts[1], NUMERIC_COLUMNS, "numeric column")
            return BrokenShock(date, column, _factor(text, parts[2]))
        case _:
            column = _one_of(text, parts[1], LOSABLE_COLUMNS, "column")
            return MissingShock(date, column, _share(text, parts[2], (0.0, 1.0)))


def _percent(change: float) -> str:
    return f"{100 * change:+.12g}%"


def _date(text: str, part: str) -> dt.date:
    try:
        return dt.date.fromisoformat(part)
    except ValueError:
        raise _unreadable(text, f"{part!r} is not a date", hint="write the date as YYYY-MM-DD") from None


def _share(text: str, part: str, bounds: tuple[float, float]) -> float:
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?%", part):
        raise _unreadable(text, f"{part!r} is not a percentage", hint="write it like -15% or +12%")
    share = float(part[:-1]) / 100
    least, most = bounds
    if not least <= share <= most:
        raise _unreadable(text, f"{part} is out of range", hint=f"give between {100 * least:g}% and {100 * most:g}%")
    return share


def _factor(text: str, part: str) -> float:
    if not re.fullmatch(r"x\d+(\.\d+)?", part):
        raise _unreadable(text, f"{part!r} is not a factor", hint="write it like x10.764; x0 records zeros")
    return float(part[1:])


def _one_of(text: str, part: str, known: Sequence[str], what: str) -> str:
    for name in known:
        if name.lower() == part.lower():
            return name
    raise _unreadable(text, f"the bay has no {what} {part!r}", hint=_hint(part, known))


def _hint(part: str, known: Sequence[str]) -> str:
    return did_you_mean(part, known) or f"choose one of {', '.join(known)}"


def _unreadable(text: str, why: str, *, hint: str) -> SettingsError:
    return SettingsError(f"the shock {text!r} cannot be read: {why}", hint=hint)

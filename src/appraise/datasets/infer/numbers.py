"""How a file writes its numbers: the decimal mark, the thousands separator, and what stands behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from appraise.datasets.cells import CURRENCY
from appraise.datasets.infer import naming
from appraise.datasets.infer.journal import Journal
from appraise.datasets.spec import CsvFormat

_SPACES = "[\u00a0\u2007\u202f\u2009]"
_CORE = (
    rf"(?i)^[(+\-−]*\s*(?:{CURRENCY})?\s*[+\-−]?\s*(\d[\d.,' ]*)\s*(?:{CURRENCY}|%|[a-z][a-z.]{{0,5}} ?[²2]?)?\)?-*$"
)
_GROUP = r"^[1-9]\d{0,2}"
_PATTERNS = {
    "comma group": rf"{_GROUP}(?:,\d{{2,3}})*,\d{{3}}\.\d+$|{_GROUP}(?:,\d{{2,3}})+,\d{{3}}$",
    "comma group?": rf"{_GROUP},\d{{3}}$",
    "point group": rf"{_GROUP}(?:\.\d{{3}})+,\d+$|{_GROUP}(?:\.\d{{3}}){{2,}}$",
    "point group?": rf"{_GROUP}\.\d{{3}}$",
    "space group": rf"{_GROUP}(?: \d{{3}})+(?:[.,]\d+)?$",
    "apostrophe group": rf"{_GROUP}(?:'\d{{3}})+(?:[.,]\d+)?$",
    "comma decimal": r"^\d[\d.' ]*,\d+$",
    "point decimal": r"^\d[\d,' ]*\.\d+$",
}
_ENOUGH = 0.9
_DAY_FIRST_WITH_POINTS = r"^\s*(?:0?[1-9]|[12]\d|3[01])\.(?:0?[1-9]|1[0-2])\.(?:\d{4}|\d{2})(?:\s.*)?$"
_UNITS = (
    r"%|m|km|mi|miles?|ft|m2|m²|qm|sqm|sq\.? ?m|sf|ft2|ft²|sqft|sq\.? ?ft|ha|acres?|ares?|years?|yrs?|months?|days?|min"
    r"|rooms?|beds?|bds?|brs?|bedrooms?|baths?|ba|bathrooms?|zimmer|pièces?"
)
_SUFFIX = rf"(?i)^[+-]?\d[\d.,' ]*\s*({_UNITS})\.?$"


@dataclass(frozen=True, slots=True)
class _Evidence:
    """How many cells are written in each way; those that may be either are not counted as decimal."""

    counts: dict[str, int]

    def of(self, pattern: str) -> int:
        return self.counts[pattern]


def number_format(csv: CsvFormat, samples: Sequence[pl.Series], prices: pl.Series, journal: Journal) -> CsvFormat:
    """`csv` with the decimal mark and the thousands separator that the cells show.

    Args:
        csv: how the file is written otherwise.
        samples: present cells of each column, under the column's name.
        prices: the present cells of the target, all of them.
        journal: is told what was decided and why.
    """
    cores = [core for core in map(_cores, samples) if core is not None]
    if not cores:
        return csv
    found = _count(pl.concat(cores))
    decimal_comma = found.of("comma decimal") > found.of("point decimal")
    if not decimal_comma and found.of("point group") and not found.of("point decimal"):
        decimal_comma = True  # 1.250.000 and no fraction anywhere
    # 250.000 is a price or a fraction: nothing in the number itself tells.
    open_points = not decimal_comma and found.of("point group?") > 0
    sign = _continental_sign(csv, samples) if open_points and _grouped_by_points(prices) else None
    against = _decimal_sign(found, samples)
    if sign is not None and against is None:
        journal.say(
            "[csv]",
            "a point sets off thousands, and a comma is the decimal mark",
            f"every price with a point has three digits behind it, and {sign}; if the points are decimal marks, set "
            "decimal_comma = false and delete thousands",
            check=True,
        )
        return replace(csv, decimal_comma=True, thousands=".")
    thousands = _thousands(found, decimal_comma=decimal_comma)
    if decimal_comma:
        journal.say("[csv]", "numbers have a decimal comma", f"{found.of('comma decimal'):,} cells are written so")
    if thousands is not None:
        shown = {" ": "a space", "'": "an apostrophe", ",": "a comma", ".": "a point"}[thousands]
        journal.say("[csv]", f"thousands are set off by {shown}", "groups of three digits are written so")
    if open_points and (_grouped_by_points(prices) or (thousands is None and not found.of("point decimal"))):
        which = "price" if _grouped_by_points(prices) else "number"
        said = f", though {against}" if sign is not None else ""
        journal.say(
            "[csv]",
            "a point is read as the decimal mark",
            f"every {which} with a point has three digits behind it, which could also be thousands{said}: "
            'if so, set decimal_comma = true and thousands = "."',
            check=True,
        )
    return replace(csv, decimal_comma=decimal_comma, thousands=thousands)


def unit_suffix(sample: pl.Series) -> str | None:
    """The text that stands behind the numbers of nearly every cell ("m2", "%"), if there is one."""
    suffixes = sample.str.strip_chars().str.extract(_SUFFIX, 1).drop_nulls()
    if suffixes.len() < _ENOUGH * sample.len() or not suffixes.len():
        return None
    commonest = str(suffixes.mode().sort()[0])
    if (suffixes == commonest).sum() < _ENOUGH * sample.len() or re.fullmatch(f"(?i){CURRENCY}", commonest):
        return None
    return commonest.rstrip(".")


def _cores(sample: pl.Series) -> pl.Series | None:
    """The digits and marks of the cells, where nearly all cells are numbers."""
    text = sample.str.replace_all(_SPACES, " ").str.replace_all("[’`´]", "'")
    cores = text.str.extract(_CORE, 1).str.strip_chars(" .,'")
    return cores.drop_nulls() if sample.len() and cores.null_count() <= (1 - _ENOUGH) * sample.len() else None


def _count(cores: pl.Series) -> _Evidence:
    counts = {name: int(cores.str.contains(pattern).sum()) for name, pattern in _PATTERNS.items()}
    counts["comma decimal"] -= counts["comma group?"]
    counts["point decimal"] -= counts["point group?"]
    return _Evidence(counts)


def _grouped_by_points(prices: pl.Series) -> bool:
    """Whether points in prices stand as they do before thousands: three digits behind each, and none left out."""
    cores = _cores(prices)
    if cores is None:
        return False
    pointed = cores.str.contains(".", literal=True)
    grouped = cores.str.contains(_PATTERNS["point group?"])
    small = cores.str.contains(r"^\d{1,3}$")
    return bool(pointed.any() and (grouped | small).all())


def _continental_sign(csv: CsvFormat, samples: Sequence[pl.Series]) -> str | None:
    """What besides its numbers says that a file was written where a comma is the decimal mark."""
    for sample in samples:
        if sample.len() and sample.str.contains(_DAY_FIRST_WITH_POINTS).sum() > _ENOUGH * sample.len():
            return f"the dates of {sample.name} are written as {sample[0].strip()[:20]!r}"
    return (
        "fields are separated by a semicolon, as where the comma is the decimal mark" if csv.separator == ";" else None
    )


def _decimal_sign(found: _Evidence, samples: Sequence[pl.Series]) -> str | None:
    """What says that points are decimal marks nevertheless."""
    if found.of("point decimal"):
        return "other numbers have decimal points"
    if found.of("comma group"):
        return "commas set off thousands"
    for sample in samples:
        placed = naming.says_latitude(sample.name) or naming.says_longitude(sample.name)
        if placed and sample.str.contains(r"^[+-]?\d{1,3}\.\d{3}$").any():
            return f"the degrees of {sample.name} have decimal points"
    return None


def _thousands(found: _Evidence, *, decimal_comma: bool) -> str | None:
    counts = {" ": found.of("space group"), "'": found.of("apostrophe group")}
    if not decimal_comma:
        counts[","] = found.of("comma group") + found.of("comma group?")
    elif not found.of("point decimal"):
        counts["."] = found.of("point group") + found.of("point group?")
    mark = max(counts, key=lambda key: counts[key])
    return mark if counts[mark] else None

"""How a file writes its numbers: the decimal mark, the thousands separator, and what stands behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from appraise.datasets.cells import CURRENCY
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


def number_format(csv: CsvFormat, samples: Sequence[pl.Series], journal: Journal) -> CsvFormat:
    """`csv` with the decimal mark and the thousands separator that the cells of the samples show."""
    cores = [core for core in map(_cores, samples) if core is not None]
    if not cores:
        return csv
    found = _count(pl.concat(cores))
    decimal_comma = found.of("comma decimal") > found.of("point decimal")
    if not decimal_comma and found.of("point group") and not found.of("point decimal"):
        decimal_comma = True  # 1.250.000 and no fraction anywhere
    thousands = _thousands(found, decimal_comma=decimal_comma)
    if decimal_comma:
        journal.say("[csv]", "numbers have a decimal comma", f"{found.of('comma decimal'):,} cells are written so")
    if thousands is not None:
        shown = {" ": "a space", "'": "an apostrophe", ",": "a comma", ".": "a point"}[thousands]
        journal.say("[csv]", f"thousands are set off by {shown}", "groups of three digits are written so")
    elif found.of("point group?") and not found.of("point decimal"):
        journal.say(
            "[csv]",
            "a point is read as the decimal mark",
            "every number with a point has three digits behind it, which could also be thousands: "
            'if so, set decimal_comma = true and thousands = "."',
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


def _thousands(found: _Evidence, *, decimal_comma: bool) -> str | None:
    counts = {" ": found.of("space group"), "'": found.of("apostrophe group")}
    if not decimal_comma:
        counts[","] = found.of("comma group") + found.of("comma group?")
    elif not found.of("point decimal"):
        counts["."] = found.of("point group") + found.of("point group?")
    mark = max(counts, key=lambda key: counts[key])
    return mark if counts[mark] else None

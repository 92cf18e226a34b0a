"""The currency of the prices, where the file names it."""

from __future__ import annotations

import polars as pl

from appraise.datasets.infer import naming
from appraise.datasets.infer.journal import Journal

_CODES = naming.vocabulary("""
    USD EUR GBP AUD CAD NZD CHF JPY CNY INR BRL SEK NOK DKK PLN CZK HUF RON RUB TRY ILS ZAR SGD HKD KRW MXN AED
""")
_SIGNS = {
    "US$": "USD",
    "AU$": "AUD",
    "A$": "AUD",
    "CA$": "CAD",
    "C$": "CAD",
    "NZ$": "NZD",
    "R$": "BRL",
    "HK$": "HKD",
    "S$": "SGD",
    "€": "EUR",
    "£": "GBP",
    "₹": "INR",
    "₽": "RUB",
    "₩": "KRW",
    "₺": "TRY",
    "₪": "ILS",
    "zł": "PLN",
    "Kč": "CZK",
    "$": "USD",
}
_SAMPLE = 1_000
_MOST = 0.5


def currency_of(name: str, cells: pl.Series, journal: Journal) -> str | None:
    """The ISO 4217 code that the header or most cells of a price column carry."""
    for code in _CODES:
        if code.lower() in naming.words(name):
            journal.say("[dataset]", f"prices are in {code}", f"the header {name!r} says so")
            return code
    sample = cells.drop_nulls().head(_SAMPLE)
    for sign, code in [*((code, code) for code in _CODES), *_SIGNS.items()]:
        if sample.str.contains(sign, literal=True).sum() > _MOST * sample.len():
            doubt = "; other dollars are written so too" if sign == "$" else ""
            journal.say("[dataset]", f"prices are in {code}", f"the cells carry {sign}{doubt}")
            return code
    return None

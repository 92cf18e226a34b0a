"""How figures are written for people, the same in the text and in the page."""

from __future__ import annotations

import math

from appraise.evaluation.metrics import Measured, Metric, Standing

UNDEFINED = "n/a"

#: What a standing is called.
STANDING_WORDS: dict[Standing, str] = {"within": "within", "unsure": "unsure", "outside": "outside"}

#: A standing where there is no room for a word.
STANDING_MARKS: dict[Standing, str] = {"within": "", "unsure": "?", "outside": "!"}


def price(value: float, digits: int = 4) -> str:
    """An amount: whole from 1,000 on, else to that many significant digits."""
    if not math.isfinite(value):
        return UNDEFINED
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:z#.{digits}g}"


def percent(value: float, digits: int = 1) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:z.{digits}f}%" if math.isfinite(value) else UNDEFINED


def figure(metric: Metric, value: float) -> str:
    """A metric's value."""
    if metric.unit == "price":
        return price(value, metric.digits)
    if metric.unit == "fraction":
        return percent(value, metric.digits)
    return f"{value:z.{metric.digits}f}" if math.isfinite(value) else UNDEFINED


def interval(metric: Metric, measured: Measured) -> str:
    """Both ends of a figure's interval, or an empty text where it has none."""
    if not (math.isfinite(measured.low) and math.isfinite(measured.high)):
        return ""
    return f"{figure(metric, measured.low)} to {figure(metric, measured.high)}"


def acceptable(metric: Metric) -> str:
    """The acceptable range, or an empty text where there is none."""
    if metric.acceptable is None:
        return ""
    low, high = metric.acceptable
    if not math.isfinite(low):
        return f"at most {high:g}"
    decimals = 0 if max(abs(low), abs(high)) >= 5 else 2
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def seconds(value: float) -> str:
    """A duration: "0.3 s", "42 s", "3.1 min"."""
    if not math.isfinite(value):
        return UNDEFINED
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 100 else f"{value / 60:.1f} min"


def microseconds(value: float | None) -> str:
    """The time of one row: "180 µs", "1.20 ms"."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{value:,.0f} µs" if value < 1000 else f"{value / 1000:,.2f} ms"


def size(value: int) -> str:
    """A file size in decimal units: "850 B", "1.2 MB"."""
    if value < 1000:
        return f"{value} B"
    return f"{value / 1e3:.1f} kB" if value < 1e6 else f"{value / 1e6:.1f} MB"


def label(text: str, most: int = 40) -> str:
    """A name that comes from data, fit for a line: control characters replaced, cut where it is long."""
    clean = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def change(ours: float, theirs: float) -> str:
    """How much lower or higher one error is than another."""
    if not (math.isfinite(ours) and math.isfinite(theirs)) or theirs <= 0.0:
        return UNDEFINED
    share = ours / theirs - 1.0
    return f"{abs(100 * share):.1f}% {'lower' if share < 0 else 'higher'}"

"""What every figure of the page shares: colours, axes and the way data become JSON for plotly.js.

Figures are plain JSON-able values, so that making a report loads no plotting library: plotly.js draws them in the
reader's browser. Colours are CSS variables (`var(--accent)`): the page's script puts in the values of the scheme at
hand, light or dark, and draws again when it changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appraise.evaluation import display

INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--grid)"
ACCENT, SECOND, BAND = "var(--accent)", "var(--second)", "var(--band)"
OVER, EVEN, UNDER = "var(--over)", "var(--even)", "var(--under)"

#: Points of a scatter plot, at most: more make the page heavy and hide each other.
MAX_POINTS = 5_000

#: Groups in one plot, at most; tables hold them all.
MAX_GROUPS = 25

_LABEL_LENGTH = 26

#: Amounts that differ by less than this factor get more marks on a logarithmic axis.
_ONE_DECADE = 12.0

#: How axes write fractions: as percentages, without zeros that say nothing.
PERCENT_TICKS = ".2~%"

Trace = dict[str, Any]
Layout = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the page.

    Attributes:
        key: unique on the page, fit for an element's id.
        title: its heading.
        caption: one sentence that says how to read it.
        traces, layout: what plotly.js is given.
        height: in CSS pixels.
        wide: whether it takes the full width of a large screen.
    """

    key: str
    title: str
    caption: str
    traces: list[Trace]
    layout: Layout
    height: int = 340
    wide: bool = False

    def to_json(self) -> dict[str, Any]:
        """The argument of `Plotly.react`."""
        base: Layout = {
            "autosize": True,
            "height": self.height,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": MUTED},
            "margin": margin(),
            "hovermode": "closest",
            "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": GRID, "font": {"color": INK}},
            "showlegend": False,
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        }
        return {"data": self.traces, "layout": base | self.layout}


def margin(*, left: int = 62, right: int = 14, top: int = 14) -> dict[str, int]:
    """Room around a plot, in CSS pixels. It is fixed: plotly's own fitting flickers on narrow screens."""
    return {"l": left, "r": right, "t": top, "b": 48}


def label_margin(labels: list[str]) -> dict[str, int]:
    """Room for the names of groups on the left."""
    longest = max((len(display.label(label, _LABEL_LENGTH)) for label in labels), default=0)
    return margin(left=18 + round(6.2 * longest))


def axis(title: str, **options: Any) -> dict[str, Any]:
    """An axis with a quiet grid; `options` are plotly's."""
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
    } | options


def group_axis(title: str, labels: list[str], *, most: int = MAX_GROUPS, **options: Any) -> dict[str, Any]:
    """An axis of named groups at 0, 1, 2, ...; of more than `most`, every second, third, ... is named."""
    every = math.ceil(len(labels) / most)
    return axis(
        title,
        tickmode="array",
        tickvals=list(range(0, len(labels), every)),
        ticktext=[safe(label) for label in labels[::every]],
        tickfont={"size": 11},
        **options,
    )


#: Characters that plotly.js reads as entities, tags and formulas in every text.
_SPECIAL = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def safe(text: str, most: int = _LABEL_LENGTH) -> str:
    """A name that comes from data, shortened and escaped for plotly.js."""
    return display.label(text, most).translate(_SPECIAL)


def numbers(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Floats to that many significant digits, None where not finite, which JSON cannot say."""
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


def sample(rows: int, most: int = MAX_POINTS) -> NDArray[np.int64]:
    """Positions of all rows, or of a fixed random choice of `most` of them, in order."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def sampled_note(rows: int, most: int = MAX_POINTS) -> str:
    """What to say where `sample` leaves rows out."""
    return f" Shown are {most:,} of {rows:,} sales, chosen at random." if rows > most else ""


def line(
    x: Iterable[float], y: Iterable[float], color: str, *, dash: str = "solid", width: float = 2, name: str = ""
) -> Trace:
    """A line without markers."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": numbers(x),
        "y": numbers(y),
        "line": {"color": color, "width": width, "dash": dash},
        "name": safe(name),
        "hoverinfo": "skip",
    }


def band(orientation: str, low: float, high: float) -> dict[str, Any]:
    """A shape: the acceptable range from `low` to `high` on one axis ("x" or "y"), across the whole plot."""
    other = "y" if orientation == "x" else "x"
    return {
        "type": "rect",
        "layer": "below",
        "fillcolor": BAND,
        "line": {"width": 0},
        f"{orientation}0": low,
        f"{orientation}1": high,
        f"{other}ref": "paper",
        f"{other}0": 0,
        f"{other}1": 1,
    }


def rule(orientation: str, at: float, *, color: str = MUTED, dash: str = "dot") -> dict[str, Any]:
    """A shape: a line at one value of an axis ("x" or "y"), across the whole plot."""
    other = "y" if orientation == "x" else "x"
    return {
        "type": "line",
        "line": {"color": color, "width": 1.2, "dash": dash},
        f"{orientation}0": at,
        f"{orientation}1": at,
        f"{other}ref": "paper",
        f"{other}0": 0,
        f"{other}1": 1,
    }


def amount_axis(title: str, values: NDArray[np.float64], *, logarithmic: bool) -> dict[str, Any]:
    """An axis of amounts; a logarithmic one is marked at 1, 2 and 5 of each power of ten within the values.

    Where these would be too few, between values of about one power of ten, there are more.
    """
    if not logarithmic:
        return axis(title)
    powers = range(math.floor(math.log10(values.min())), math.ceil(math.log10(values.max())) + 1)
    digits = (1, 2, 5) if values.max() > _ONE_DECADE * values.min() else (1, 1.5, 2, 3, 4, 5, 6, 8)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    inside = [tick for tick in ticks if 0.8 * values.min() <= tick <= 1.25 * values.max()]
    return axis(title, type="log", tickmode="array", tickvals=inside, ticktext=[_short(tick) for tick in inside])


def _short(amount: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if amount >= size:
            return f"{amount / size:g}{letter}"
    return f"{amount:g}"


def wants_log(values: NDArray[np.float64]) -> bool:
    """Whether amounts are so spread out that a logarithmic axis shows them better."""
    if values.min() <= 0.0:
        return False
    low, high = np.quantile(values, [0.01, 0.99])
    return bool(high > 8.0 * low)

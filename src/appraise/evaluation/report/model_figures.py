"""Figures of models: the frontier of candidates, importances, learning curves, splits."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from appraise.evaluation import display
from appraise.evaluation.evaluation import SPLIT_TITLES, Candidate, Evaluation, Importance, LearningCurve
from appraise.evaluation.metrics import METRICS
from appraise.evaluation.report.figure import (
    ACCENT,
    INK,
    MUTED,
    PERCENT_TICKS,
    Figure,
    Trace,
    amount_axis,
    axis,
    group_axis,
    label_margin,
    line,
    margin,
    numbers,
    rule,
    safe,
)

_MAX_IMPORTANCES = 20

#: Told apart by readers who confuse red and green (Okabe and Ito).
_LINE_COLORS = ("var(--line-1)", "var(--line-2)", "var(--line-3)", "var(--line-4)", MUTED)

#: The learning curves are shown up to so many times their last validation errors: the first rounds are far above.
_LEARNING_TOP = 1.5


def frontier(evaluation: Evaluation) -> Figure | None:
    """Candidates by validation error and single-row time; None where no time was measured."""
    timed = _timed(evaluation.candidates)
    if not timed:
        return None
    metric, budget = METRICS[evaluation.error_metric], evaluation.row_budget_microseconds
    best = _undominated(timed)
    return Figure(
        key="frontier",
        title="Error against time",
        caption="Each point is one trained model: lower is more accurate, further left is faster; no other beats those "
        "on the line in both, and the filled one was chosen."
        f"{' The dotted line is the time budget.' if budget else ''}",
        traces=[
            line([time for time, _ in best], [one.validation_error for _, one in best], MUTED, width=1.2),
            {
                "type": "scatter",
                "mode": "markers+text",
                "x": numbers(time for time, _ in timed),
                "y": numbers(one.validation_error for _, one in timed),
                "text": [safe(one.kind, 18) for _, one in timed],
                "textposition": _label_sides(timed, best),
                "textfont": {"color": MUTED, "size": 11},
                "marker": {
                    "size": 11,
                    "color": [ACCENT if one.chosen else "rgba(0,0,0,0)" for _, one in timed],
                    "line": {"width": 2, "color": ACCENT},
                },
                "cliponaxis": False,
                "customdata": [
                    f"{safe(one.kind)}<br>{display.figure(metric, one.validation_error)}, {display.microseconds(time)}"
                    for time, one in timed
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            },
        ],
        layout={
            "margin": margin(right=30, top=24),
            "xaxis": amount_axis("Time of one row (µs)", np.array([time for time, _ in timed]), logarithmic=True),
            "yaxis": axis(f"Validation {metric.title}", tickformat=PERCENT_TICKS if metric.unit == "fraction" else ""),
            "shapes": [rule("x", budget, color=INK)] if budget else [],
        },
        height=420,
        wide=True,
    )


def _timed(candidates: Iterable[Candidate]) -> list[tuple[float, Candidate]]:
    """Candidates with their row time, fastest first; without those that have none or no error."""
    timed = [
        (time, one)
        for one in candidates
        if (time := one.row_microseconds) is not None and time > 0.0 and math.isfinite(one.validation_error)
    ]
    return sorted(timed, key=lambda pair: pair[0])


def _undominated(timed: Iterable[tuple[float, Candidate]]) -> list[tuple[float, Candidate]]:
    """Those that are more accurate than all that are faster."""
    best: list[tuple[float, Candidate]] = []
    for time, one in timed:
        if not best or one.validation_error < best[-1][1].validation_error:
            best.append((time, one))
    return best


def _label_sides(timed: list[tuple[float, Candidate]], best: list[tuple[float, Candidate]]) -> list[str]:
    """Where the names stand: under the points on the line, above the others, left and right in turn."""
    sides = []
    above = 0
    for pair in timed:
        sides.append("bottom center" if pair in best else ("top left", "top right")[above % 2])
        above += pair not in best
    return sides


def importances(features: tuple[Importance, ...]) -> Figure:
    """The features that carry most of the model's decisions."""
    shown = sorted(features, key=lambda one: -one.share)[:_MAX_IMPORTANCES]
    more = f" Shown are the first {_MAX_IMPORTANCES} of {len(features)}." if len(features) > len(shown) else ""
    return Figure(
        key="importances",
        title="What the model looks at",
        caption=f"How much of the model's decisions rests on each feature; it says nothing of cause and effect.{more}",
        traces=[
            {
                "type": "bar",
                "orientation": "h",
                "x": numbers(one.share for one in shown),
                "y": list(range(len(shown))),
                "marker": {"color": ACCENT},
                "customdata": [safe(one.feature, 60) for one in shown],
                "hovertemplate": "%{customdata}<br>%{x:.1%}<extra></extra>",
            }
        ],
        layout={
            "bargap": 0.35,
            "margin": label_margin([one.feature for one in shown]),
            "xaxis": axis("Share", tickformat=PERCENT_TICKS),
            "yaxis": group_axis("", [one.feature for one in shown], range=[len(shown) - 0.5, -0.5]),
        },
        height=110 + 24 * len(shown),
    )


def learning(metric: str, curves: list[LearningCurve], position: int) -> Figure:
    """Training and validation error by iteration, for the curves of one metric."""
    traces = []
    for curve, color in zip(curves, _LINE_COLORS, strict=False):
        if curve.train:
            traces.append(_named_at_its_end(line(curve.iterations, curve.train, color, dash="dot"), curve.kind))
        traces.append(line(curve.iterations, curve.validation, color, name=curve.kind))
    errors = [error for curve in curves for error in (*curve.train, *curve.validation)]
    top = _LEARNING_TOP * max(curve.validation[-1] for curve in curves)
    best = [
        rule("x", curve.best_iteration, color=color)
        for curve, color in zip(curves, _LINE_COLORS, strict=False)
        if curve.best_iteration is not None
    ]
    stops = " The upright lines are where training was stopped." if best else ""
    return Figure(
        key=f"learning-{position}",
        title="Learning",
        caption="Error after each round of training, on rows it learns from (dotted) and on those kept aside (solid): "
        f"where the second no longer falls, more rounds only learn by heart. The first rounds lie above.{stops}",
        traces=traces,
        layout={
            "showlegend": True,
            "margin": margin(top=60, right=80),
            "xaxis": axis("Rounds", range=[0, max(curve.iterations[-1] for curve in curves)]),
            "yaxis": axis(safe(metric, 40), range=[0.95 * min(errors), min(top, max(errors))]),
            "shapes": best,
        },
        height=400,
    )


def _named_at_its_end(trace: Trace, name: str) -> Trace:
    """A line that is called by its name where it ends, and is left out of the legend."""
    blank = [""] * (len(trace["x"]) - 1)
    return trace | {
        "mode": "lines+text",
        "text": [*blank, safe(name, 14)],
        "textposition": "middle right",
        "textfont": {"color": trace["line"]["color"], "size": 11},
        "cliponaxis": False,
        "showlegend": False,
    }


def splits_side_by_side(evaluation: Evaluation) -> Figure:
    """The error of each split with its interval."""
    metric = METRICS[evaluation.error_metric]
    figures = [split.metrics[metric.key] for split in evaluation.splits.values()]
    names = [SPLIT_TITLES.get(name, name) for name in evaluation.splits]
    return Figure(
        key="splits",
        title=f"{metric.title} by way of holding out",
        caption=f"{metric.meaning} The same kind of model on rows held out in different ways, with 95% intervals: new "
        "places and later times are usually harder than homes among known sales.",
        traces=[
            {
                "type": "scatter",
                "mode": "markers",
                "x": numbers(one.value for one in figures),
                "y": list(range(len(figures))),
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": numbers(one.high - one.value for one in figures),
                    "arrayminus": numbers(one.value - one.low for one in figures),
                    "color": ACCENT,
                    "thickness": 1.6,
                    "width": 0,
                },
                "marker": {"color": ACCENT, "size": 10},
                "customdata": [
                    f"{safe(name)}: {display.figure(metric, one.value)}"
                    for name, one in zip(names, figures, strict=True)
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        ],
        layout={
            "margin": label_margin(names),
            "xaxis": axis(metric.title, tickformat=PERCENT_TICKS if metric.unit == "fraction" else ""),
            "yaxis": group_axis("", names, range=[len(names) - 0.5, -0.5]),
        },
        height=130 + 44 * len(names),
        wide=True,
    )

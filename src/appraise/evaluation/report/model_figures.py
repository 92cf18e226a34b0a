"""Figures of models: the frontier of candidates, importances, learning curves, splits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from appraise.evaluation import display
from appraise.evaluation.evaluation import SPLIT_TITLES, Candidate, Evaluation, Importance, LearningCurve
from appraise.evaluation.metrics import METRICS
from appraise.evaluation.report.figure import (
    ACCENT,
    INK,
    MUTED,
    PERCENT_TICKS,
    SECOND,
    Figure,
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

_LINE_COLORS = (ACCENT, SECOND, "var(--over)", "var(--under)", MUTED)


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
                "text": [safe(one.kind, 18) if one.chosen or (time, one) in best else "" for time, one in timed],
                "textposition": [_label_side(position, timed) for position in range(len(timed))],
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
            "xaxis": axis("Time of one row (µs)", type="log", dtick=1),
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


def _label_side(position: int, timed: Sequence[tuple[float, Candidate]]) -> str:
    """The side of a point on which its name does not meet the point nearest in time."""
    here, one = timed[position]
    others = [*timed[:position], *timed[position + 1 :]]
    if not others:
        return "top center"
    _, nearest = min(others, key=lambda pair: abs(math.log(pair[0] / here)))
    return "top center" if one.validation_error > nearest.validation_error else "bottom center"


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
            trained = line(curve.iterations, curve.train, color, dash="dot", width=1.4, name=f"{curve.kind}, training")
            traces.append(trained)
        traces.append(line(curve.iterations, curve.validation, color, name=f"{curve.kind}, validation"))
    best = [
        rule("x", curve.best_iteration, color=color)
        for curve, color in zip(curves, _LINE_COLORS, strict=False)
        if curve.best_iteration is not None
    ]
    stops = " The upright lines are where training was stopped." if best else ""
    return Figure(
        key=f"learning-{position}",
        title="Learning",
        caption="Error after each round of training, on the rows it learns from (dotted) and on rows kept aside: where "
        f"the second no longer falls, more rounds only learn by heart.{stops}",
        traces=traces,
        layout={
            "showlegend": True,
            "margin": margin(top=60),
            "xaxis": axis("Rounds"),
            "yaxis": axis(safe(metric, 40)),
            "shapes": best,
        },
        height=400,
    )


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

"""Figures of groups of sales: error, level and coverage by decile, region and time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from appraise.evaluation import display
from appraise.evaluation.evaluation import SPLIT_TITLES, SplitResult
from appraise.evaluation.groups import MISSING
from appraise.evaluation.intervals import CHANCE_LEVEL, MIN_JUDGED_ROWS
from appraise.evaluation.metrics import METRICS
from appraise.evaluation.report.figure import (
    ACCENT,
    BAND,
    MAX_GROUPS,
    MUTED,
    PERCENT_TICKS,
    SECOND,
    Figure,
    Layout,
    Trace,
    axis,
    band,
    group_axis,
    label_margin,
    line,
    margin,
    numbers,
    rule,
    safe,
)
from appraise.evaluation.slices import Slice, SliceTable

_DECILES = "Decile, cheapest to dearest"


def metric_by_group(split: SplitResult, table: SliceTable, key: str) -> Figure:
    """A metric of each group with its interval, and that of all sales as a dotted line."""
    metric = METRICS[key]
    shown = (
        table.slices
        if table.ordered
        else sorted(table.slices[:MAX_GROUPS], key=lambda one: _last_if_undefined(-one.metrics[key].value))
    )
    figures = [one.metrics[key] for one in shown]
    trace = _points(shown, [one.value for one in figures], upright=table.ordered)
    trace[f"error_{'y' if table.ordered else 'x'}"] = {
        "type": "data",
        "symmetric": False,
        "array": numbers(one.high - one.value for one in figures),
        "arrayminus": numbers(one.value - one.low for one in figures),
        "color": ACCENT,
        "thickness": 1.4,
        "width": 0,
    }
    direction = "y" if table.ordered else "x"
    shapes = [rule(direction, split.metrics[key].value)]
    accepted = ""
    if metric.acceptable is not None:
        shapes.append(band(direction, *metric.acceptable))
        accepted = f"; the shaded range, {display.acceptable(metric)}, is acceptable"
    ticks = PERCENT_TICKS if metric.unit == "fraction" else ""
    return Figure(
        key=f"{key.replace('_', '-')}-by-{table.key.replace('_', '-')}",
        title=f"{metric.title} by {table.title[0].lower()}{table.title[1:]}",
        caption=f"{metric.meaning} The dotted line is that of all sales, the bars hold the true figure in 95 of 100 "
        f"cases{accepted}.{_left_out(table)}",
        traces=[trace],
        layout=_layout(table, shown, metric.title, shapes, {"tickformat": ticks}),
        height=_height(table, shown),
        wide=not table.ordered,
    )


def coverage_by_group(table: SliceTable, level: float) -> Figure:
    """Observed coverage of each group beside the nominal one and what chance allows."""
    shown = [one for one in table.slices if level in one.coverage]
    if not table.ordered:
        shown = sorted(shown[:MAX_GROUPS], key=lambda one: one.coverage[level].observed)
    covered = [one.coverage[level] for one in shown]
    trace = _points(shown, [one.observed for one in covered], upright=table.ordered)
    trace["marker"]["symbol"] = ["circle" if one.judged else "circle-open" for one in covered]
    positions: list[float] = list(range(len(shown)))
    widths = [one.chance_high - one.chance_low for one in covered]
    lows = [one.chance_low for one in covered]
    chance: Trace = {"type": "bar", "marker": {"color": BAND}, "hoverinfo": "skip", "width": 0.7}
    chance |= (
        {"x": positions, "y": numbers(widths), "base": numbers(lows)}
        if table.ordered
        else {"orientation": "h", "y": positions, "x": numbers(widths), "base": numbers(lows)}
    )
    lowest = min([*(one.observed for one in covered), *lows])
    direction = "y" if table.ordered else "x"
    return Figure(
        key=f"coverage-by-{table.key.replace('_', '-')}",
        title=f"Coverage by {table.title[0].lower()}{table.title[1:]}",
        caption=f"Share of the prices inside their {display.percent(level, 0)} interval: within the shaded bar is what "
        f"chance allows in {100 * CHANCE_LEVEL:.0f} of 100 groups; hollow points have fewer than {MIN_JUDGED_ROWS} "
        f"sales and are not judged.{_left_out(table)}",
        traces=[chance, trace],
        layout=_layout(
            table,
            shown,
            "Share inside",
            [rule(direction, level)],
            {"tickformat": PERCENT_TICKS, "range": [round(max(0.0, lowest - 0.03), 3), 1.005]},
        ),
        height=_height(table, shown),
        wide=not table.ordered,
    )


def coverage_curve(split: SplitResult) -> Figure:
    """Observed over nominal coverage."""
    covered = list(split.intervals.values())
    levels = [one.level for one in covered]
    floor = max(0.0, min([*levels, *(one.observed for one in covered)]) - 0.05)
    return Figure(
        key="coverage",
        title="Do the intervals hold what they promise?",
        caption="An interval that promises 90% should hold 90% of the prices: points on the line do, and the shaded "
        f"bars say how far chance alone moves them in {100 * CHANCE_LEVEL:.0f} of 100 cases.",
        traces=[
            line([floor, 1.0], [floor, 1.0], MUTED, dash="dot", width=1.2),
            {
                "type": "scatter",
                "mode": "markers",
                "x": numbers(levels),
                "y": numbers(levels),
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": numbers(one.chance_high - one.level for one in covered),
                    "arrayminus": numbers(one.level - one.chance_low for one in covered),
                    "color": BAND,
                    "thickness": 14,
                    "width": 0,
                },
                "marker": {"color": MUTED, "size": 1},
                "hoverinfo": "skip",
            },
            {
                "type": "scatter",
                "mode": "markers+text",
                "x": numbers(levels),
                "y": numbers(one.observed for one in covered),
                "text": [display.percent(one.observed) for one in covered],
                "textposition": "bottom right",
                "textfont": {"color": MUTED},
                "marker": {"color": ACCENT, "size": 10},
                "cliponaxis": False,
                "hovertemplate": "promised %{x:.0%}<br>observed %{y:.1%}<extra></extra>",
            },
        ],
        layout={
            "xaxis": axis("Promised", tickmode="array", tickvals=levels, tickformat=PERCENT_TICKS, range=[floor, 1.0]),
            "yaxis": axis("Observed", tickformat=PERCENT_TICKS, range=[floor, 1.0]),
        },
        height=360,
    )


def metric_over_time(splits: Mapping[str, SplitResult], period: str, key: str) -> Figure:
    """A metric by quarter or month for each split that has dates: the frozen model beside the one that goes on."""
    metric = METRICS[key]
    tables = {name: table for name, split in splits.items() if (table := split.slices_by(period)) is not None}
    labels = sorted({one.label for table in tables.values() for one in table.slices} - {MISSING})
    traces = []
    for (name, table), color in zip(tables.items(), (ACCENT, SECOND, MUTED), strict=False):
        dated = [one for one in table.slices if one.label in labels]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": SPLIT_TITLES.get(name, safe(name)),
                "x": [labels.index(one.label) for one in dated],
                "y": numbers(one.metrics[key].value for one in dated),
                "line": {"color": color, "width": 2},
                "marker": {"color": color, "size": 7},
                "customdata": [f"{one.label}, {one.rows:,} sales" for one in dated],
                "hovertemplate": "%{customdata}<br>%{y}",
            }
        )
    shapes = [] if metric.acceptable is None else [band("y", *metric.acceptable)]
    accepted = f" The shaded range, {display.acceptable(metric)}, is acceptable." if shapes else ""
    both = (
        " The frozen model (holdout) never learns of later sales; in the walk-forward each estimate knows the sales "
        "that were recorded before it."
        if "walk_forward" in tables
        else ""
    )
    return Figure(
        key=f"{key.replace('_', '-')}-over-time",
        title=f"{metric.title} by {period} of sale",
        caption=f"{metric.meaning}{accepted}{both}",
        traces=traces,
        layout={
            "showlegend": len(traces) > 1,
            "margin": margin(top=34),
            "xaxis": group_axis(f"{period.capitalize()} of sale", labels, most=6, tickangle=0),
            "yaxis": axis(metric.title, tickformat=PERCENT_TICKS if metric.unit == "fraction" else ".2f"),
            "shapes": shapes,
        },
    )


def _points(shown: Sequence[Slice], values: list[float], *, upright: bool) -> Trace:
    positions, heights = list(range(len(shown))), numbers(values)
    value = "y" if upright else "x"
    return {
        "type": "scatter",
        "mode": "markers",
        "x": positions if upright else heights,
        "y": heights if upright else positions,
        "marker": {"color": ACCENT, "size": 8},
        "customdata": [f"{safe(one.label, 60)}, {one.rows:,} sales" for one in shown],
        "hovertemplate": f"%{{customdata}}<br>%{{{value}}}<extra></extra>",
    }


def _layout(
    table: SliceTable,
    shown: Sequence[Slice],
    title: str,
    shapes: list[dict[str, object]],
    options: Mapping[str, object],
) -> Layout:
    labels = [one.label for one in shown]
    if table.ordered:
        name = _DECILES if "decile" in table.key else table.title
        return {"xaxis": group_axis(name, labels), "yaxis": axis(title, **options), "shapes": shapes}
    return {
        "margin": label_margin(labels),
        "xaxis": axis(title, **options),
        "yaxis": group_axis("", labels, range=[len(labels) - 0.5, -0.5]),
        "shapes": shapes,
    }


def _height(table: SliceTable, shown: Sequence[Slice]) -> int:
    return 340 if table.ordered else 110 + 26 * len(shown)


def _last_if_undefined(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _left_out(table: SliceTable) -> str:
    placed = any(one.label.startswith("around ") for one in table.slices)
    middle = " Regions are called by the latitude and longitude of their middle." if placed else ""
    return f"{middle}{_more(table)}"


def _more(table: SliceTable) -> str:
    if table.ordered or len(table.slices) <= MAX_GROUPS:
        return ""
    return f" Shown are the {MAX_GROUPS} largest of {len(table.slices)}; the table below has them all."

"""Figures of single sales: estimate beside price, ratios, errors in space."""

from __future__ import annotations

import numpy as np

from appraise.evaluation.evaluation import SplitResult
from appraise.evaluation.report.figure import (
    ACCENT,
    EVEN,
    MUTED,
    OVER,
    UNDER,
    Figure,
    amount_axis,
    axis,
    band,
    line,
    margin,
    numbers,
    rule,
    sample,
    sampled_note,
    wants_log,
)

#: Ratios beyond these are counted in the last bar on either side.
_RATIO_LIMITS = (0.5, 1.5)

_RATIO_BARS = 50

#: Errors beyond this share of the price take the strongest colour of the map.
_MAP_LIMIT = 0.4


def predicted_against_actual(split: SplitResult, unit: str) -> Figure:
    """Each sale as a point, estimate over price."""
    rows = split.predictions
    chosen = sample(len(rows))
    prices, estimates = rows.actual[chosen], rows.estimate[chosen]
    logarithmic = wants_log(np.concatenate([rows.actual, rows.estimate]))
    ends = np.array([prices.min(), prices.max()])
    both = np.concatenate([prices, estimates])
    of = f" ({unit})" if unit else ""
    return Figure(
        key="predicted",
        title="Estimates beside prices",
        caption="Each point is one sale: on the solid line the estimate equals the price, between the dotted lines it "
        f"is within 20% of it.{sampled_note(len(rows))}",
        traces=[
            {
                "type": "scatter",
                "mode": "markers",
                "x": numbers(prices),
                "y": numbers(estimates),
                "marker": {"color": ACCENT, "size": 4, "opacity": 0.35},
                "hovertemplate": "price %{x}<br>estimate %{y}<extra></extra>",
            },
            line(ends, ends, MUTED),
            line(ends, 1.2 * ends, MUTED, dash="dot", width=1),
            line(ends, 0.8 * ends, MUTED, dash="dot", width=1),
        ],
        layout={
            "xaxis": amount_axis(f"Sale price{of}", both, logarithmic=logarithmic),
            "yaxis": amount_axis(f"Estimate{of}", both, logarithmic=logarithmic),
        },
        height=400,
    )


def calibration(split: SplitResult, unit: str) -> Figure:
    """Mean price over mean estimate, in bins of similar estimate."""
    bins = split.calibration
    estimates = np.array([one.estimate for one in bins])
    prices = np.array([one.actual for one in bins])
    logarithmic = wants_log(np.concatenate([estimates, prices]))
    ends = np.array([estimates.min(), estimates.max()])
    of = f" ({unit})" if unit else ""
    return Figure(
        key="calibration",
        title="Calibration",
        caption="Sales of similar estimate are taken together: on the line they sold, on average, for what was "
        "estimated; the bars say how far chance may move the average.",
        traces=[
            line(ends, ends, MUTED),
            {
                "type": "scatter",
                "mode": "markers",
                "x": numbers(estimates),
                "y": numbers(prices),
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": numbers(one.high - one.actual for one in bins),
                    "arrayminus": numbers(one.actual - one.low for one in bins),
                    "color": ACCENT,
                    "thickness": 1.2,
                    "width": 0,
                },
                "marker": {"color": ACCENT, "size": 7},
                "customdata": [one.rows for one in bins],
                "hovertemplate": "mean estimate %{x}<br>mean price %{y}<br>%{customdata} sales<extra></extra>",
            },
        ],
        layout={
            "xaxis": amount_axis(f"Mean estimate{of}", estimates, logarithmic=logarithmic),
            "yaxis": amount_axis(f"Mean price{of}", prices, logarithmic=logarithmic),
        },
        height=400,
    )


def ratio_histogram(split: SplitResult) -> Figure:
    """How the ratios of estimate to price are spread."""
    ratio = split.predictions.estimate / split.predictions.actual
    low, high = _RATIO_LIMITS
    counts, edges = np.histogram(np.clip(ratio, low, high), bins=_RATIO_BARS, range=_RATIO_LIMITS)
    beyond = int(((ratio < low) | (ratio > high)).sum())
    tail = f" The outermost bars hold the {beyond:,} sales beyond." if beyond else ""
    return Figure(
        key="ratios",
        title="Ratios of estimate to price",
        caption="1 is an estimate that hits the price; the shaded range, 0.90 to 1.10, is within 10% of it, and the "
        f"dotted line is the middle one of all ratios.{tail}",
        traces=[
            {
                "type": "bar",
                "x": numbers((edges[:-1] + edges[1:]) / 2),
                "y": counts.tolist(),
                "marker": {"color": ACCENT},
                "hovertemplate": "ratio %{x:.2f}<br>%{y} sales<extra></extra>",
            }
        ],
        layout={
            "bargap": 0.08,
            "xaxis": axis("Estimate / price"),
            "yaxis": axis("Sales"),
            "shapes": [band("x", 0.9, 1.1), rule("x", float(np.median(ratio)))],
        },
    )


def error_map(split: SplitResult) -> Figure | None:
    """Relative errors where the homes stand; None without coordinates."""
    rows = split.predictions
    if rows.latitude is None or rows.longitude is None:
        return None
    placed = np.flatnonzero(np.isfinite(rows.latitude) & np.isfinite(rows.longitude))
    if placed.size == 0:
        return None
    chosen = placed[sample(placed.size)]
    latitude, longitude = rows.latitude[chosen], rows.longitude[chosen]
    error = (rows.estimate[chosen] - rows.actual[chosen]) / rows.actual[chosen]
    # A degree of longitude is shorter than one of latitude by the cosine: this keeps the shape of the land.
    stretch = 1.0 / max(0.05, float(np.cos(np.radians(np.median(latitude)))))
    return Figure(
        key="map",
        title="Errors on the map",
        caption="Each point is one sale at its place, coloured by how far the estimate is above or below the price: "
        f"patches of one colour are areas that are valued too high or too low.{sampled_note(int(placed.size))}",
        traces=[
            {
                "type": "scatter",
                "mode": "markers",
                "x": numbers(longitude, 7),
                "y": numbers(latitude, 7),
                "marker": {
                    "size": 5,
                    "opacity": 0.75,
                    "color": numbers(error, 3),
                    "cmin": -_MAP_LIMIT,
                    "cmax": _MAP_LIMIT,
                    "colorscale": [[0, UNDER], [0.5, EVEN], [1, OVER]],
                    "colorbar": {
                        "orientation": "h",
                        "thickness": 10,
                        "outlinewidth": 0,
                        "len": 0.8,
                        "y": 1.02,
                        "yanchor": "bottom",
                        "tickvals": [-_MAP_LIMIT, -_MAP_LIMIT / 2, 0, _MAP_LIMIT / 2, _MAP_LIMIT],
                        "ticktext": ["−40%", "−20%", "0%", "+20%", "+40%"],
                    },
                },
                "hovertemplate": "%{y:.4f}, %{x:.4f}<br>error %{marker.color:.1%}<extra></extra>",
            }
        ],
        layout={
            "margin": margin(top=48),
            "xaxis": axis("Longitude", constrain="domain"),
            "yaxis": axis("Latitude", scaleanchor="x", scaleratio=round(stretch, 4), constrain="domain"),
        },
        height=460,
    )

"""What an evaluation comes to, in sentences that begin with what failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from appraise.evaluation import display
from appraise.evaluation.intervals import Coverage
from appraise.evaluation.metrics import METRICS, Measured, standings

if TYPE_CHECKING:
    from appraise.evaluation.evaluation import SplitResult

#: The figures of a ratio study. The significance of VEI is a test of VEI and is not counted beside it.
RATIO_STUDY_KEYS = ("median_ratio", "cod", "prd", "prb", "mki", "vei")

#: Level whose coverage is told first.
HEADLINE_LEVEL = 0.90

#: Where the sales of a split were, seen from the model; other splits are called by their names.
_PLACES: Mapping[str, str] = {
    "holdout": "On the holdout",
    "walk_forward": "Walking forward",
    "spatial": "In areas without training sales (spatial blocks)",
    "time": "On later sales (out of time)",
}


def verdict(splits: Mapping[str, SplitResult], headline: str) -> tuple[str, ...]:
    """One sentence on the headline's ratio study, then one on each split where something is outside its range.

    Args:
        splits: results by name.
        headline: the name of the split that speaks for the model.

    Returns:
        the sentences; none where no figure has a range and nothing is outside what chance allows.
    """
    first = [_ratio_study(splits[headline].metrics), _headline_coverage(splits[headline].intervals)]
    others = [_elsewhere(name, split) for name, split in splits.items() if name != headline]
    return tuple(sentence for sentence in (*first, *others) if sentence)


def _ratio_study(metrics: Mapping[str, Measured]) -> str:
    standing = {key: word for key, word in standings(metrics).items() if key in RATIO_STUDY_KEYS and word is not None}
    if not standing:
        return ""
    outside, unsure = (
        [
            f"{METRICS[key].title} {display.figure(METRICS[key], metrics[key].value)}"
            for key in standing
            if standing[key] == word
        ]
        for word in ("outside", "unsure")
    )
    doubt = f"{', '.join(unsure)} {_are(len(unsure))} outside by no more than chance allows." if unsure else ""
    if outside:
        their = "its range" if len(outside) == 1 else "their ranges"
        said = f"{len(outside)} of {len(standing)} IAAO figures {_are(len(outside))} outside {their}: "
        return f"{said}{', '.join(outside)}.{doubt and ' '}{doubt}"
    if unsure:
        return f"No IAAO figure of {len(standing)} is outside its range for certain; {doubt}"
    return f"All {len(standing)} IAAO figures are within their ranges."


def _headline_coverage(intervals: Mapping[float, Coverage]) -> str:
    missed = _missed(intervals)
    return "" if missed is None else f"{_coverage(missed)}."


def _elsewhere(name: str, split: SplitResult) -> str:
    standing = [word for key, word in standings(split.metrics).items() if key in RATIO_STUDY_KEYS and word]
    outside, missed = standing.count("outside"), _missed(split.intervals)
    said = [f"{outside} of {len(standing)} IAAO figures {_are(outside)} outside"] if outside else []
    said += [] if missed is None else [_coverage(missed)]
    return f"{_PLACES.get(name, display.label(name))} {' and '.join(said)}." if said else ""


def _missed(intervals: Mapping[float, Coverage]) -> Coverage | None:
    """The coverage to tell of those that chance does not explain."""
    missed = [one for one in intervals.values() if not one.within_chance]
    return min(missed, key=lambda one: abs(one.level - HEADLINE_LEVEL), default=None)


def _coverage(one: Coverage) -> str:
    low, high = display.percent(one.chance_low), display.percent(one.chance_high)
    level = display.percent(one.level, 0)
    return f"{level} intervals hold {display.percent(one.observed)} of prices (chance allows {low} to {high})"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"

"""The tables of the page: every figure that the plots draw, and more, for readers and for screen readers."""

from __future__ import annotations

import math

from appraise.evaluation import display
from appraise.evaluation.evaluation import SPLIT_TITLES, Evaluation, SplitResult
from appraise.evaluation.metrics import METRICS, standings
from appraise.evaluation.point_errors import share_within_fsd
from appraise.evaluation.provenance import Provenance, moment
from appraise.evaluation.report.markup import Content, Html, badge, escape, table
from appraise.evaluation.slices import SliceTable

_NAME_LENGTH = 60

#: Metrics of the table of a slice, so that it stays readable.
_SLICE_COLUMNS = ("mdape", "ppe10", "ppe20", "bias", "median_ratio", "cod")


def title_of(split: str) -> str:
    """A split's name for people."""
    return SPLIT_TITLES.get(split, display.label(split))


def metrics_table(split: SplitResult) -> Html:
    """Every metric of a split with interval, acceptable range and standing."""
    standing = standings(split.metrics)
    rows: list[list[Content]] = [
        [
            Html(f'{escape(METRICS[key].title)}<span class="meaning">{escape(_meaning(split, key))}</span>'),
            display.figure(METRICS[key], measured.value),
            badge(standing[key]),
            display.interval(METRICS[key], measured),
            display.acceptable(METRICS[key]),
        ]
        for key, measured in split.metrics.items()
    ]
    return table(["Metric", "Value", "Standing", "95% interval", "Acceptable"], rows)


def _meaning(split: SplitResult, key: str) -> str:
    """What a figure says; of the FSD also how much of the sales it holds, for that follows from no formula."""
    meaning, value = METRICS[key].meaning, split.metrics[key].value
    if key != "fsd" or not math.isfinite(value):
        return meaning
    share = share_within_fsd(split.predictions.actual, split.predictions.estimate, value)
    return (
        f"{meaning} {display.percent(share)} of these sales lie this close to the estimate; of normal errors 68% would."
    )


def candidates_table(evaluation: Evaluation) -> Html:
    """What was trained and compared, best validation error first."""
    metric = METRICS[evaluation.error_metric]
    rows = [
        [
            display.label(one.kind, _NAME_LENGTH),
            display.figure(metric, one.validation_error),
            "" if one.holdout_error is None else display.figure(metric, one.holdout_error),
            display.microseconds(one.row_microseconds),
            display.seconds(one.fit_seconds),
            display.size(one.size_bytes),
            "chosen" if one.chosen else "" if one.within_budget else "over the time budget",
        ]
        for one in evaluation.ranked
    ]
    chosen = next((position for position, one in enumerate(evaluation.ranked) if one.chosen), None)
    errors = f"Validation {metric.title}", f"Holdout {metric.title}"
    headers = ["Model", *errors, "One row", "Training", "Model size", ""]
    return table(headers, rows, chosen=chosen)


def splits_table(evaluation: Evaluation) -> Html:
    """Every metric, a column for each split."""
    splits = evaluation.splits
    standing = [standings(split.metrics) for split in splits.values()]
    rows: list[list[Content]] = [["Sales", *(f"{split.rows:,}" for split in splits.values())]]
    for key, metric in METRICS.items():
        cells: list[Content] = []
        for split, words in zip(splits.values(), standing, strict=True):
            measured = split.metrics.get(key)
            shown = "" if measured is None else display.figure(metric, measured.value)
            cells.append(Html(f"{badge(words.get(key)).text} {escape(shown)}"))
        rows.append([metric.title, *cells])
    return table(["Metric", *(title_of(name) for name in splits)], rows)


def baselines_table(evaluation: Evaluation) -> Html:
    """Other models on the same sales, beside ours, in the metric that candidates are compared by."""
    metric = METRICS[evaluation.error_metric]
    rows = []
    for one in evaluation.baselines:
        split = evaluation.splits.get(one.split)
        if split is not None and metric.key in one.metrics:
            theirs, ours = one.metrics[metric.key], split.metrics[metric.key].value
            rows.append(
                [
                    display.label(one.name, _NAME_LENGTH),
                    title_of(one.split),
                    display.figure(metric, theirs),
                    display.figure(metric, ours),
                    display.change(ours, theirs),
                ]
            )
    return table(["Other model", "Split", f"Its {metric.title}", "Ours", "Ours is"], rows)


def provenance_table(found: Provenance) -> Html:
    """What the model was made from."""
    rows = {
        "Trained": moment(found.trained_at),
        "Rows": ", ".join(f"{count:,} {part}" for part, count in found.rows.items()),
        "Split": found.split,
        "Bundle (SHA-256 of its manifest)": found.digest,
        "Data (hash)": found.data_hash or "not known",
        "Spec (hash)": found.spec_hash,
        "Commit": found.git_commit or "trained outside a repository",
        "Libraries": ", ".join(f"{name} {version}" for name, version in found.libraries.items()),
    }
    cells = [(name, Html(f'<span class="value">{escape(value)}</span>')) for name, value in rows.items()]
    return table(["Origin", ""], cells)


def ranges_table(found: Provenance) -> Html:
    """What was seen of each number in training."""
    rows = [
        (display.label(name, _NAME_LENGTH), f"{low:,.6g}", f"{high:,.6g}") for name, (low, high) in found.ranges.items()
    ]
    return table(["Seen in training", "Least", "Greatest"], rows)


def coverage_table(evaluation: Evaluation) -> Html:
    """Coverage and width by split and level."""
    rows: list[list[Content]] = [
        [
            title_of(name),
            display.percent(level, 0),
            display.percent(one.observed),
            badge(one.standing),
            f"{display.percent(one.chance_low)} to {display.percent(one.chance_high)}",
            display.price(one.mean_width),
        ]
        for name, split in evaluation.splits.items()
        for level, one in split.intervals.items()
    ]
    return table(["Split", "Promised", "Observed", "Standing", "Chance allows", "Mean width"], rows)


def slice_table(sliced: SliceTable, level: float) -> Html:
    """Every group of one cut."""
    rows = []
    for one in sliced.slices:
        covered = one.coverage.get(level)
        rows.append(
            [
                display.label(one.label, _NAME_LENGTH),
                f"{one.rows:,}",
                *(display.figure(METRICS[key], one.metrics[key].value) for key in _SLICE_COLUMNS),
                "" if covered is None else display.percent(covered.observed),
            ]
        )
    metrics = [METRICS[key].title for key in _SLICE_COLUMNS]
    return table(["Group", "Sales", *metrics, f"Inside {display.percent(level, 0)}"], rows)

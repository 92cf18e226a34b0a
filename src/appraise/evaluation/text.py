"""The evaluation as text for a terminal, a pipe or a log: the same figures as the page, without the plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appraise.evaluation import display
from appraise.evaluation.evaluation import SPLIT_TITLES, Candidate, Evaluation, SplitResult
from appraise.evaluation.intervals import MIN_JUDGED_ROWS, level_key
from appraise.evaluation.metrics import METRICS, Standing, standings
from appraise.evaluation.slices import Slice

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

_STYLES: dict[Standing, str] = {"within": "green", "unsure": "yellow", "outside": "bold red"}

#: Level whose coverage is looked up group by group.
_GROUP_LEVEL = 0.90


def render_text(evaluation: Evaluation) -> Group:
    """A rich renderable: candidates, metrics with intervals and acceptable ranges, other splits, coverage.

    It reads well without colour, and names that come from data are never read as markup.
    """
    from rich.console import Group
    from rich.text import Text

    model = evaluation.model
    dataset = "" if evaluation.dataset == model.name else f"{evaluation.dataset}: "
    parts: list[Text | Table] = [
        Text(display.label(f"{dataset}{model.name} {model.version} ({model.kind})", 120), "bold")
    ]
    parts += [Text(sentence) for sentence in evaluation.verdict]
    if evaluation.unit:
        parts.append(Text(f"Prices and errors in {evaluation.unit}."))
    if evaluation.candidates:
        parts.append(
            candidates_table(
                evaluation.ranked,
                error_metric=evaluation.error_metric,
                row_budget_microseconds=evaluation.row_budget_microseconds,
            )
        )
    parts += [*_metrics(evaluation), Text("VEI is from the IAAO exposure draft of May 2026, not yet adopted.")]
    if len(evaluation.splits) > 1:
        parts += [_splits(evaluation), Text("! outside its acceptable range, ? unsure.")]
    if any(split.intervals for split in evaluation.splits.values()):
        parts.append(_coverage(evaluation))
        parts += [Text(f"\n{line}") for line in _worst_groups(evaluation.headline)]
    if evaluation.baselines:
        parts.append(_baselines(evaluation))
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    """A plain table whose first column holds names and the others figures."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right")
    return table


def _add(table: Table, *cells: str, style: str | None = None) -> None:
    from rich.text import Text

    table.add_row(*(Text(display.label(cell)) for cell in cells), style=style)


def candidates_table(
    candidates: Sequence[Candidate], *, error_metric: str, row_budget_microseconds: float | None
) -> Table:
    """The candidates in the order given, as a rich table.

    Args:
        candidates: what was compared.
        error_metric: key of the metric they were compared by.
        row_budget_microseconds: the row-time budget, if there was one.
    """
    metric = METRICS[error_metric]
    title = f"Candidates by validation {metric.title}"
    if row_budget_microseconds is not None:
        title += f", within {display.microseconds(row_budget_microseconds)} a row"
    table = _table(title, "", "validation", "holdout", "a row", "fit", "model size", "")
    for one in candidates:
        _add(
            table,
            one.kind,
            display.figure(metric, one.validation_error),
            "" if one.holdout_error is None else display.figure(metric, one.holdout_error),
            display.microseconds(one.row_microseconds),
            display.seconds(one.fit_seconds),
            display.size(one.size_bytes),
            "chosen" if one.chosen else "" if one.within_budget else "too slow",
            style="bold" if one.chosen else None,
        )
    return table


def _metrics(evaluation: Evaluation) -> list[Text | Table]:
    from rich.text import Text

    name, split = evaluation.headline_name, evaluation.headline
    table = _table(
        f"{SPLIT_TITLES.get(name, name)}, {split.rows:,} sales", "", "value", "95% interval", "acceptable", ""
    )
    standing = standings(split.metrics)
    for key, measured in split.metrics.items():
        metric, word = METRICS[key], standing[key]
        table.add_row(
            metric.title,
            display.figure(metric, measured.value),
            display.interval(metric, measured),
            display.acceptable(metric),
            Text(display.STANDING_WORDS[word], _STYLES[word]) if word is not None else "",
        )
    if not split.note:
        return [table]
    # Not as the table's caption, which would be folded to the table's width.
    return [table, Text(display.label(split.note, 400), "italic")]


def _splits(evaluation: Evaluation) -> Table:
    from rich.text import Text

    # A mark has a column of its own, so that figures with and without one stand under each other.
    table = _table(
        "Side by side", "", *(head for name in evaluation.splits for head in (SPLIT_TITLES.get(name, name), ""))
    )
    _add(table, "Sales", *(cell for split in evaluation.splits.values() for cell in (f"{split.rows:,}", "")))
    standing = [standings(split.metrics) for split in evaluation.splits.values()]
    for key, metric in METRICS.items():
        cells: list[Text] = []
        for split, words in zip(evaluation.splits.values(), standing, strict=True):
            measured, word = split.metrics.get(key), words.get(key)
            cells.append(Text("" if measured is None else display.figure(metric, measured.value)))
            cells.append(Text(display.STANDING_MARKS[word], _STYLES[word]) if word is not None else Text())
        table.add_row(metric.title, *cells)
    return table


def _coverage(evaluation: Evaluation) -> Table:
    from rich.text import Text

    table = _table(
        "Intervals: share of the prices inside", "", "promised", "observed", "chance allows", "mean width", ""
    )
    for name, split in evaluation.splits.items():
        for level, one in split.intervals.items():
            table.add_row(
                Text(display.label(SPLIT_TITLES.get(name, name))),
                display.percent(level, 0 if len(level_key(level)) == 4 else 1),
                display.percent(one.observed),
                f"{display.percent(one.chance_low)} to {display.percent(one.chance_high)}",
                display.price(one.mean_width),
                Text(display.STANDING_WORDS[one.standing], _STYLES[one.standing]),
            )
    return table


def _worst_groups(split: SplitResult) -> list[str]:
    """A sentence on the least covered decile and region among those that have rows enough to judge."""
    sentences = []
    for key, noun in (("estimate_decile", "decile of the estimate"), ("region", "region")):
        table = split.slices_by(key)
        judged = [
            (one, one.coverage[_GROUP_LEVEL])
            for one in (table.slices if table is not None else ())
            if _GROUP_LEVEL in one.coverage and one.coverage[_GROUP_LEVEL].judged
        ]
        if judged:
            worst, covered = min(judged, key=lambda pair: pair[1].observed)
            sentences.append(
                f"90% intervals, least covered {noun} of at least {MIN_JUDGED_ROWS} sales: "
                f"{_name(worst)}, {display.percent(covered.observed)} of {covered.rows:,}."
            )
    return sentences


def _name(one: Slice) -> str:
    return f"number {one.label}" if one.label.isdigit() else display.label(one.label)


def _baselines(evaluation: Evaluation) -> Table:
    metric = METRICS[evaluation.error_metric]
    table = _table(f"Beside other models, {metric.title}", "", "rows", "theirs", "ours", "ours is")
    for one in evaluation.baselines:
        split = evaluation.splits.get(one.split)
        if split is None or metric.key not in one.metrics:
            continue
        theirs, ours = one.metrics[metric.key], split.metrics[metric.key].value
        _add(
            table,
            one.name,
            SPLIT_TITLES.get(one.split, one.split),
            display.figure(metric, theirs),
            display.figure(metric, ours),
            display.change(ours, theirs),
        )
    return table

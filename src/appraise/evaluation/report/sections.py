"""The sections of the page, in order: which figure and which table says what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from appraise.evaluation import display
from appraise.evaluation.evaluation import Evaluation, SplitResult
from appraise.evaluation.provenance import capped_share
from appraise.evaluation.report import estimate_figures, group_figures, model_figures, tables
from appraise.evaluation.report.figure import Figure
from appraise.evaluation.report.markup import Html, Section, details, escape, paragraph, section

_NO_APPRAISAL = """\
An estimate is what a model makes of sales like those it learned from. It is no appraisal of one home, and must not \
alone decide on a loan, a tax or a price: look at its interval and its comparable sales."""

#: Level whose coverage is shown group by group.
GROUP_LEVEL = 0.90

#: Splits whose errors are followed over time.
_TIMED_SPLITS = ("holdout", "walk_forward", "time")


@dataclass(frozen=True, slots=True)
class Gallery:
    """The figures that the sections have hung up; the page's script draws them into their places."""

    figures: list[Figure] = field(default_factory=list)

    def hang(self, *figures: Figure | None) -> Html:
        """Places for the figures that there are."""
        shown = _levelled([figure for figure in figures if figure is not None])
        self.figures.extend(shown)
        return Html(f'<div class="figures">{"".join(map(_place, shown))}</div>')


def _levelled(figures: list[Figure]) -> list[Figure]:
    """The figures, those that stand beside each other equally high, so that no card is half empty."""
    levelled, left = list(figures), None
    for position, figure in enumerate(figures):
        if figure.wide or left is None:
            left = None if figure.wide else position
            continue
        height = max(figures[left].height, figure.height)
        levelled[left], levelled[position] = replace(figures[left], height=height), replace(figure, height=height)
        left = None
    return levelled


def _place(figure: Figure) -> str:
    css, caption = ' class="wide"' if figure.wide else "", escape(figure.caption)
    return (
        f"<figure{css}><h3>{escape(figure.title)}</h3>"
        f'<div class="plot" id="plot-{figure.key}" role="img" aria-label="{caption}" '
        f'style="min-height:{figure.height}px"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def sections(evaluation: Evaluation, gallery: Gallery) -> Iterator[Section]:
    """The sections that the evaluation has something for; their figures go into the gallery."""
    split = evaluation.headline
    yield section(
        "metrics",
        "All figures",
        "Each with the interval that holds the true figure in 95 of 100 cases, and what the IAAO accepts.",
        tables.metrics_table(split),
    )
    yield section(
        "estimates",
        "Estimates and prices",
        "How close the estimates are to what was paid, sale by sale and on average.",
        gallery.hang(
            estimate_figures.predicted_against_actual(split, evaluation.unit),
            estimate_figures.calibration(split, evaluation.unit),
        ),
    )
    yield _errors(split, gallery)
    yield _ratios(split, gallery)
    if split.intervals:
        yield _intervals(evaluation, gallery)
    yield from _time(evaluation, gallery)
    yield _splits(evaluation, gallery)
    if evaluation.candidates:
        yield section(
            "candidates",
            "What was compared",
            "Models are chosen on validation rows and by time, never on the holdout.",
            gallery.hang(model_figures.frontier(evaluation)),
            tables.candidates_table(evaluation),
        )
    yield from _inside(evaluation, gallery)
    yield _origin(evaluation)
    yield section(
        "slices",
        "Group by group",
        "Small groups swing by chance: read them with their number of sales.",
        *(
            details(f"{display.label(table.title, 60)} ({len(table.slices)})", tables.slice_table(table, GROUP_LEVEL))
            for table in split.slices
        ),
    )


def _errors(split: SplitResult, gallery: Gallery) -> Section:
    return section(
        "errors",
        "Where the errors are",
        "A good average can hide a part of the market that is estimated badly.",
        gallery.hang(estimate_figures.error_map(split), *_by_group(split, "mdape")),
    )


def _ratios(split: SplitResult, gallery: Gallery) -> Section:
    return section(
        "ratios",
        "Level and fairness",
        "The ratio study of the IAAO: whether homes are valued at the same share of their price, dear or cheap, here "
        "or there.",
        gallery.hang(estimate_figures.ratio_histogram(split), *_by_group(split, "median_ratio")),
    )


def _by_group(split: SplitResult, key: str) -> Iterator[Figure]:
    for table in map(split.slices_by, ("estimate_decile", "region")):
        if table is not None:
            yield group_figures.metric_by_group(split, table, key)


def _intervals(evaluation: Evaluation, gallery: Gallery) -> Section:
    split = evaluation.headline
    groups = [split.slices_by(key) for key in ("estimate_decile", "region")] if GROUP_LEVEL in split.intervals else []
    return section(
        "intervals",
        "Intervals",
        "Each estimate comes with a range; here is whether the prices lie in it as often as promised.",
        gallery.hang(
            group_figures.coverage_curve(split),
            *(group_figures.coverage_by_group(table, GROUP_LEVEL) for table in groups if table is not None),
        ),
        tables.coverage_table(evaluation),
    )


def _time(evaluation: Evaluation, gallery: Gallery) -> Iterator[Section]:
    timed = {name: split for name, split in evaluation.splits.items() if name in _TIMED_SPLITS}
    for period in ("month", "quarter"):
        dated = {name: split for name, split in timed.items() if split.slices_by(period) is not None}
        if not dated:
            continue
        beside = "walk_forward" in dated and len(dated) > 1
        yield section(
            "time",
            "Frozen and walking forward" if beside else "Over time",
            "Markets move: what it changes to go on learning from each sale, beside a model that is frozen."
            if beside
            else "Markets move, and estimates age: whether errors and level drift.",
            gallery.hang(*(group_figures.metric_over_time(dated, period, key) for key in ("mdape", "median_ratio"))),
        )
        return


def _splits(evaluation: Evaluation, gallery: Gallery) -> Section:
    parts = []
    if len(evaluation.splits) > 1:
        parts.append(gallery.hang(model_figures.splits_side_by_side(evaluation)))
    parts.append(tables.splits_table(evaluation))
    parts += [
        paragraph(f"{tables.title_of(name)}: {display.label(split.note, 400)}")
        for name, split in evaluation.splits.items()
        if split.note
    ]
    if evaluation.baselines:
        parts += [paragraph("Other models on the same sales:"), tables.baselines_table(evaluation)]
    return section(
        "splits",
        "Splits side by side",
        "An honest score says which sales the model was kept from: homes at random, whole areas, or later times.",
        *parts,
    )


def _origin(evaluation: Evaluation) -> Section:
    prices, unit = evaluation.headline.predictions.actual, evaluation.unit
    limits = [_NO_APPRAISAL]
    share = capped_share(prices)
    if share:
        limits.append(
            f"Prices end at {display.price(float(prices.max()))}{unit and f' ({unit})'}: {display.percent(share)} of "
            "the sales held out have exactly that, which looks like a cap. What such homes were worth is not known, so "
            "that the model must not value dearer ones, and errors there say little."
        )
    found = evaluation.provenance
    if found is not None and found.ranges:
        limits.append(
            "Beyond the ranges below nothing was learned: an estimate there carries a warning and needs a look."
        )
    parts = [tables.provenance_table(found)] if found is not None else []
    parts += [paragraph(limit) for limit in limits]
    parts += [tables.ranges_table(found)] if found is not None and found.ranges else []
    return section("origin", "Origin and limits", "What the model was made from, and what it is not for.", *parts)


def _inside(evaluation: Evaluation, gallery: Gallery) -> Iterator[Section]:
    figures = [model_figures.importances(evaluation.importances)] if evaluation.importances else []
    metrics = dict.fromkeys(curve.metric for curve in evaluation.learning)
    figures += [
        model_figures.learning(metric, [curve for curve in evaluation.learning if curve.metric == metric], position)
        for position, metric in enumerate(metrics)
    ]
    if figures:
        yield section("model", "Inside the model", "What it looks at, and how it learned.", gallery.hang(*figures))

"""Why an estimate is what it is: contributions in money, by input column, that add up to the estimate as served.

What is reported and why is in `docs/explanations.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.errors import RowError
from appraise.features.base import Transformation
from appraise.features.comparables import Comparables
from appraise.features.dates import DateParts
from appraise.features.geometry import RotatedCoordinates
from appraise.features.pipeline import FeaturePipeline
from appraise.features.ratios import Ratios
from appraise.features.target_encoding import TargetEncoding
from appraise.models.contributions import contributions as model_contributions
from appraise.serving.predictor import Predictor

LOCATION = "location"
COMPARABLE_SALES = "comparable sales"
MARKET_LEVEL = "market level"
PLACE_AND_LIKENESS = "place and likeness"
ROUNDING = "rounding"

#: Contributions that miss the estimate by more than this share explain another estimate.
_TOLERANCE = 1e-6

#: Bits that contributions are kept to, so that adding a few hundred of them never rounds.
_BITS = 50


@dataclass(frozen=True, slots=True)
class Source:
    """What a contribution comes from.

    Attributes:
        name: an input column, or `location`, `comparable sales`, `market level`, `place and likeness`, `rounding`.
        columns: the input columns that it is made of; none where it is made of known sales.
    """

    name: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one source adds to an estimate.

    Attributes:
        source: what it comes from.
        money: in the target's unit, negative where it lowers the estimate.
    """

    source: Source
    money: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """An estimate and what it is made of, in the target's unit.

    Starting from `base` and adding the contributions in their order gives `estimate` to the last bit, in double
    precision as in exact arithmetic.

    Attributes:
        estimate: as it was served.
        base: what the model says of a home that it knows nothing of.
        contributions: largest first.
    """

    estimate: float
    base: float
    contributions: tuple[Contribution, ...]


def contributions(predictor: Predictor, row: Mapping[str, Any]) -> Explanation:
    """Value one row and explain the estimate.

    Raises:
        RowError: the row is refused, every refused field named.
    """
    problems = predictor.checker.problems([row])
    if problems:
        raise RowError(tuple(problems), hint="correct these fields")
    table = predictor.dated(predictor.vocabulary.encode_rows([row]))
    return explain(predictor, table, predictor.value(table).estimate)[0]


def explain(predictor: Predictor, table: Table, estimate: NDArray[np.float64]) -> tuple[Explanation, ...]:
    """Explain estimates that the predictor made of encoded rows.

    Args:
        predictor: the one that made them.
        table: n rows, as for `Predictor.value`.
        estimate: (n,) as served, in the target's unit.

    Raises:
        ValueError: an estimate that is not the predictor's of that row.
    """
    table = predictor.dated(table)
    features = predictor.pipeline.transform(table)
    parts = model_contributions(predictor.model, features)
    sources, share = _sources(predictor)
    # Not a matrix product, whose last bit depends on how many rows there are.
    columns = [(parts.features[:, :, None] * share).sum(axis=1)]
    if parts.likeness.any():
        sources.append(Source(PLACE_AND_LIKENESS))
        columns.append(parts.likeness[:, None])
    if predictor.level is not None:
        centre = parts.base + parts.features.sum(axis=1) + parts.likeness
        sources.append(Source(MARKET_LEVEL))
        columns.append(predictor.level_shift(table, centre)[:, None])
    money = np.concatenate(columns, axis=1)
    base = parts.base
    if predictor.scale == "log":
        base = math.exp(base)
        money *= _logarithmic_mean(estimate, base)[:, None]
    return tuple(
        _adding_up(float(served), base, sources, row.tolist()) for served, row in zip(estimate, money, strict=True)
    )


def _logarithmic_mean(a: NDArray[np.float64], b: float) -> NDArray[np.float64]:
    """(a - b) / (log a - log b), and b where they are equal: what a unit of log price is worth between the two."""
    distance = np.log(a / b)
    equal = distance == 0.0
    distance[equal] = 1.0
    return np.where(equal, b, b * np.expm1(distance) / distance)


def _adding_up(estimate: float, base: float, sources: Sequence[Source], money: Sequence[float]) -> Explanation:
    """The explanation whose numbers are rounded so that they add up to the estimate.

    All numbers become multiples of one power of two, small enough to change nothing that anyone sees and large enough
    that no partial sum is rounded. The bits of the estimate below it go into the smallest contribution, which is added
    last. Only where every contribution is far larger than the estimate itself can none of them hold those bits: then
    they are a contribution of their own.
    """
    size = math.fsum([abs(estimate), abs(base), *map(abs, money)])
    gap = estimate - math.fsum([base, *money])
    if not (math.isfinite(size) and abs(gap) <= _TOLERANCE * size):
        raise ValueError(f"an estimate of {estimate} for a row whose contributions add up to {estimate - gap}")
    unit = math.ldexp(1.0, max(math.frexp(size)[1] - _BITS, -1022))
    entries = [Contribution(source, round(part / unit) * unit) for source, part in zip(sources, money, strict=True)]
    entries.sort(key=lambda entry: -abs(entry.money))
    last = max((i for i, entry in enumerate(entries) if entry.money), default=None)
    if last is None:
        return Explanation(estimate, estimate, tuple(entries))
    base = round(base / unit) * unit
    rest = math.fsum([estimate, -base, *(-entry.money for entry in entries)])
    smallest = entries[last]
    entries[last] = Contribution(smallest.source, smallest.money + rest)
    # `fsum` is zero only where the exact sum is.
    if math.fsum([base, *(entry.money for entry in entries), -estimate]) != 0.0:
        entries[last] = smallest
        entries.append(Contribution(Source(ROUNDING), rest))
    return Explanation(estimate, base, tuple(entries))


def _sources(predictor: Predictor) -> tuple[list[Source], NDArray[np.float64]]:
    """The sources of the model's features, and each feature's share in each source, shape (p, sources)."""
    spec = predictor.spec
    by_column = {name: Source(name, (name,)) for name in predictor.vocabulary.names_}
    if spec.latitude is not None and spec.longitude is not None:
        place = (spec.latitude.name, spec.longitude.name)
        by_column.update(dict.fromkeys(place, Source(LOCATION, place)))
    sales = Source(COMPARABLE_SALES)
    made_of = [[by_column[name] for name in columns] or [sales] for columns in _columns_of_features(predictor.pipeline)]
    sources = list(dict.fromkeys(by_column.values()))
    if predictor.pipeline.comparables_ is not None:
        sources.append(sales)
    position = {source: i for i, source in enumerate(sources)}
    share = np.zeros((len(made_of), len(sources)))
    for feature, origins in enumerate(made_of):
        for source in origins:
            share[feature, position[source]] += 1.0 / len(origins)
    return sources, share


def _columns_of_features(pipeline: FeaturePipeline) -> list[tuple[str, ...]]:
    """The input columns that each feature is made of; none for what known sales say."""
    found: list[tuple[str, ...]] = []
    for part in pipeline.parts_:
        found += _columns_of_outputs(part)
    if pipeline.comparables_ is not None:
        found += _columns_of_comparables(pipeline.comparables_, _encoded_columns(pipeline))
    return found


def _columns_of_outputs(part: Transformation) -> list[tuple[str, ...]]:
    match part:
        case Ratios():
            return list(combinations(part.input_names_, 2))
        case RotatedCoordinates() | DateParts():
            return [part.input_names_] * len(part.output_names_)
        case _:
            return [(name,) for name, _ in zip(part.input_names_, part.output_names_, strict=True)]


def _encoded_columns(pipeline: FeaturePipeline) -> dict[str, str]:
    """The category of each encoding that comparables take for an attribute."""
    return {
        output: name
        for part in pipeline.parts_
        if isinstance(part, TargetEncoding)
        for name, output in zip(part.input_names_, part.output_names_, strict=True)
    }


def _columns_of_comparables(comparables: Comparables, encoded: Mapping[str, str]) -> list[tuple[str, ...]]:
    """How a home differs from its neighbourhood belongs to the attribute that differs; the rest is known sales."""
    context = {
        f"{metric.name}_{attribute}_{ending}": encoded.get(attribute, attribute)
        for metric in comparables.metrics_
        if metric.context_sizes
        for attribute in comparables.attributes_
        for ending in (
            "spread",
            "rank",
            *(f"{kind}_{size}" for size in metric.context_sizes for kind in ("minus_mean", "mean")),
        )
    }
    found: list[tuple[str, ...]] = []
    # From the last to the first: should an attribute be called "price", a metric's own "price_spread" comes before it.
    for output in reversed(comparables.output_names_):
        attribute = context.pop(output, None)
        found.append(() if attribute is None else (attribute,))
    return found[::-1]

"""How honest intervals are where little is known: in areas that no sale was seen of, and with inputs taken away.

    python benchmarks/distance.py                       # california: areas of 5, 20 and 60 km left out
    python benchmarks/distance.py --dataset bayside --radii 1 3 8
    python benchmarks/distance.py --dataset melbourne --data-dir DATA --radii 1 3 6

For each radius, homes within so many kilometres of randomly chosen ones are left out of training and calibration alike,
and then valued. `as-calibrated` is the same model with the intervals of ordinary homes; `widened` is what is served.
Marked rows are those that the rule widens or does not vouch for; of the others the two are the same to the bit. The
sets of inputs that are taken away are other ones than those that training looks at.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _report import Figure, parser, say, show
from numpy.typing import NDArray

from appraise.datasets.infer import infer_spec
from appraise.datasets.prepare import Prepared, prepare
from appraise.datasets.presets import find_spec
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import Table
from appraise.jobs import fitting
from appraise.jobs.fitted import FitOptions, Rows, encode
from appraise.jobs.fitting import Fitting
from appraise.jobs.progress import SilentProgress
from appraise.serving.predictor import Predictor

_KM_PER_DEGREE = 111.2

#: Homes whose surroundings are left out where there is room for them.
_TRIED = 300

#: Sets of inputs that are taken away, and what their choice is seeded by.
_SETS = 40
_SEED = 20_261_121


@dataclass(frozen=True, slots=True)
class Valued:
    """n rows by the same model with two kinds of intervals.

    Attributes:
        inside, inside_before: (n,) whether the price lies in the served interval, and in that of ordinary homes.
        marked: (n,) whether the rule widens the interval or does not vouch for the estimate.
        useless: (n,) whether it does not vouch for it.
        error, naive: (n,) absolute errors of the estimate, and of the median price.
        fsd, fsd_before: (n,) forecast standard deviations.
    """

    inside: NDArray[np.bool_]
    inside_before: NDArray[np.bool_]
    marked: NDArray[np.bool_]
    useless: NDArray[np.bool_]
    error: NDArray[np.float64]
    naive: NDArray[np.float64]
    fsd: NDArray[np.float64]
    fsd_before: NDArray[np.float64]


def main() -> None:
    """Run it."""
    arguments = parser(__doc__)
    arguments.add_argument("--dataset", choices=("california", "melbourne", "bayside"), default="california")
    arguments.add_argument("--radii", type=float, nargs="+", default=[5.0, 20.0, 60.0], metavar="KM")
    arguments.add_argument("--share", type=float, default=0.2, help="the largest share of homes that is left out")
    arguments.add_argument("--seed", type=int, default=1, help="of the choice of areas")
    arguments.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--data-dir", type=Path, default=os.environ.get("APPRAISE_DATA_DIR"))
    chosen = arguments.parse_args()
    # The default is a CatBoost model (decision 15); the other candidates would only take time.
    fitting.candidate_kinds = lambda _quality, _rows: (("catboost",), ())  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        spec, prepared = rows_of(chosen.dataset, chosen.data_dir, Path(folder))
        predictor = fit(spec, prepared, np.zeros(prepared.frame.height, np.bool_), chosen.threads)
        holdout = encode(spec, predictor.vocabulary, prepared.frame[prepared.split.holdout])
        figures = told(f"{spec.name}-holdout", value(predictor, holdout.table, holdout.prices))
        figures += told(f"{spec.name}-inputs-taken", masked(predictor, holdout))
        for radius in chosen.radii:
            left_out = discs(spec, prepared, radius, chosen.share, chosen.seed)
            figures += without_areas(spec, prepared, left_out, radius, chosen.threads)
    show(figures, as_json=chosen.json)


def rows_of(name: str, directory: Path | None, folder: Path) -> tuple[DatasetSpec, Prepared]:
    """The spec and the prepared rows of a dataset."""
    data = (
        None if directory is None else Path(directory) / f"{name}_{'housing' if name == 'california' else 'sales'}.csv"
    )
    if name == "melbourne":
        if data is None:
            raise SystemExit("melbourne needs --data-dir, a folder with melbourne_sales.csv")
        spec = infer_spec(data, target="Price", name="melbourne").spec
    else:
        spec = find_spec(name)
    made = name == "bayside"
    return spec, prepare(spec, data=None if made else data, cache=folder, memory_limit=None)


def fit(spec: DatasetSpec, prepared: Prepared, left_out: NDArray[np.bool_], threads: int) -> Predictor:
    """A predictor of training and validation rows that are not left out."""
    train, validation = (part[~left_out[part]] for part in (prepared.split.train, prepared.split.validation))
    frame, options = prepared.frame, FitOptions(threads=threads)
    return Fitting(spec, frame[train], frame[validation], options, SilentProgress()).run().predictor


def discs(spec: DatasetSpec, prepared: Prepared, radius: float, share: float, seed: int) -> NDArray[np.bool_]:
    """Which rows lie within the radius, in km, of randomly chosen ones: as many of these as the share has room for."""
    assert spec.latitude is not None  # noqa: S101  all three datasets have places
    assert spec.longitude is not None  # noqa: S101
    latitude, longitude = (
        prepared.frame[column.name].cast(float).to_numpy() for column in (spec.latitude, spec.longitude)
    )
    north, east = latitude * _KM_PER_DEGREE, longitude * _KM_PER_DEGREE * np.cos(np.radians(np.nanmedian(latitude)))
    chosen = np.zeros(len(north), np.bool_)
    for centre in np.random.default_rng(seed).permutation(np.flatnonzero(~np.isnan(north)))[:_TRIED]:
        more = chosen | (np.hypot(north - north[centre], east - east[centre]) <= radius)
        if more.mean() <= share:
            chosen = more
    return chosen


def without_areas(
    spec: DatasetSpec, prepared: Prepared, left_out: NDArray[np.bool_], radius: float, threads: int
) -> list[Figure]:
    """Coverage in areas that neither training nor calibration saw."""
    predictor = fit(spec, prepared, left_out, threads)
    # Of dated data only sales that the model has not lived through.
    tested = left_out.copy()
    if spec.sale_date is not None:
        tested[prepared.split.train] = False
    rows = encode(spec, predictor.vocabulary, prepared.frame[np.flatnonzero(tested)])
    say(f"areas of {radius:g} km: {len(rows):,} homes, {left_out.mean():.0%} of all left out")
    return told(f"{spec.name}-without-{radius:g}-km", value(predictor, rows.table, rows.prices))


def masked(predictor: Predictor, rows: Rows) -> Valued:
    """Random rows of the holdout, each set of them without a random set of inputs."""
    random = np.random.default_rng(_SEED)
    names, spec = predictor.vocabulary.names_, predictor.spec
    able = np.array([spec.sale_date is None or name != spec.sale_date.name for name in names])
    tables, prices = [], []
    for _ in range(_SETS):
        chosen = random.choice(len(rows), min(len(rows), 200), replace=False)
        taken = able & (random.uniform(size=len(names)) < random.uniform())
        values = np.where(taken, predictor.vocabulary.nothing(), rows.table.values[chosen])
        tables.append(Table(rows.table.names, values))
        prices.append(rows.prices[chosen])
    return value(predictor, Table.stack(tables), np.concatenate(prices))


def value(predictor: Predictor, table: Table, prices: NDArray[np.float64]) -> Valued:
    """Value rows with both kinds of intervals."""
    served = predictor.value(table)
    before = replace(predictor, support=None).value(table)
    if not np.array_equal(served.estimate, before.estimate):
        raise SystemExit("the estimates differ")
    median = float(np.median(predictor.pipeline.comparables_.pool_.prices)) if predictor.pipeline.comparables_ else 0.0
    return Valued(
        inside=(served.lower <= prices) & (prices <= served.upper),
        inside_before=(before.lower <= prices) & (prices <= before.upper),
        marked=served.fsd != before.fsd,
        useless=served.confidence == 0.0,
        error=np.abs(served.estimate - prices),
        naive=np.abs(median - prices),
        fsd=served.fsd,
        fsd_before=before.fsd,
    )


def told(name: str, found: Valued) -> list[Figure]:
    """What came of rows, in figures."""
    marked, vouched = found.marked, found.marked & ~found.useless
    figures = [
        Figure(f"{name}-coverage-90-as-calibrated", float(found.inside_before.mean()), "share"),
        Figure(f"appraise/{name}-coverage-90-widened", float(found.inside.mean()), "share"),
        Figure(f"appraise/{name}-marked", float(marked.mean()), "share"),
    ]
    if vouched.any():
        figures += [
            Figure(f"{name}-marked-coverage-90-as-calibrated", float(found.inside_before[vouched].mean()), "share"),
            Figure(f"appraise/{name}-marked-coverage-90-widened", float(found.inside[vouched].mean()), "share"),
            Figure(f"{name}-marked-confidence-as-calibrated", float(np.mean(1 - found.fsd_before[vouched])), "score"),
            Figure(f"appraise/{name}-marked-confidence", float(np.mean(1 - found.fsd[vouched])), "score"),
        ]
    if found.useless.any():
        useless = found.useless
        figures += [
            Figure(f"appraise/{name}-not-vouched-for", float(useless.mean()), "share"),
            Figure(
                f"{name}-not-vouched-for-coverage-90-as-calibrated", float(found.inside_before[useless].mean()), "share"
            ),
            Figure(f"appraise/{name}-not-vouched-for-coverage-90", float(found.inside[useless].mean()), "share"),
            Figure(
                f"{name}-not-vouched-for-error-over-that-of-the-median",
                float(found.error[useless].mean() / found.naive[useless].mean()),
                "ratio",
            ),
        ]
    return figures


if __name__ == "__main__":
    main()

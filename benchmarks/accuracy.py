"""Accuracy beside plain models on the same rows.

    python benchmarks/accuracy.py                       # California, seeds 0-4, the default model
    python benchmarks/accuracy.py --quality best
    python benchmarks/accuracy.py --dataset melbourne   # out of time: frozen, and walking forward
    python benchmarks/accuracy.py --dataset bayside     # a simulated market: with and without the market level
    python benchmarks/accuracy.py --dataset bayside --shock level:2022-08-01:-15%

California follows the protocol of the tabular papers: `RandomState(seed).permutation`, 64/16/20, RMSE in 100,000 USD.
Plain models see the columns as they are: no comparables, no engineered features, early stopping on the validation rows.
The data come from `--data-dir`, else from `APPRAISE_DATA_DIR`, else California is fetched by scikit-learn.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from _report import Figure, held_against, parser, say, show
from numpy.typing import NDArray

from appraise.datasets.infer import infer_spec
from appraise.datasets.prepare import Prepared, prepare
from appraise.datasets.presets import find_spec
from appraise.datasets.simulate import DEFAULT_ROWS, parse_shock, simulate_market
from appraise.datasets.spec import DatasetSpec, RandomSplit
from appraise.evaluation.point_errors import mdape
from appraise.jobs.fitted import Fit, FitOptions, Rows, encode
from appraise.jobs.fitting import Fitting
from appraise.jobs.progress import SilentProgress
from appraise.models.base import Model, TrainingData, root_mean_square
from appraise.models.linear import LinearRegression
from appraise.models.trees import CatBoost, LightGBM, RandomForest, XGBoost

#: Plain models: whole columns, steps small enough that early stopping decides.
PLAIN: dict[str, Callable[[], Model]] = {
    "catboost": lambda: CatBoost({"learning_rate": 0.05, "depth": 6, "rsm": 1.0, "iterations": 4000}),
    "lightgbm": lambda: LightGBM({"colsample_bytree": 1.0, "n_estimators": 4000}),
    "xgboost": lambda: XGBoost({"colsample_bytree": 1.0, "n_estimators": 4000}),
    "random-forest": lambda: RandomForest({"n_estimators": 300, "min_samples_leaf": 1, "max_features": 0.5}),
    "linear": LinearRegression,
}


def main() -> None:
    """Run it."""
    arguments = parser(__doc__)
    arguments.add_argument("--dataset", choices=("california", "melbourne", "bayside"), default="california")
    arguments.add_argument("--quality", choices=("fast", "best"), default="fast")
    arguments.add_argument("--seeds", type=int, default=5, help="how many splits of california, from seed 0")
    arguments.add_argument("--only-ours", action="store_true", help="leave the plain models of california out")
    arguments.add_argument("--shock", action="append", default=[], help="a shock to bayside, as `appraise simulate`'s")
    arguments.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--data-dir", type=Path, default=os.environ.get("APPRAISE_DATA_DIR"))
    chosen = arguments.parse_args()
    directory = None if chosen.data_dir is None else Path(chosen.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.dataset == "california":
            figures = california(
                directory, Path(folder), chosen.quality, chosen.seeds, chosen.threads, {} if chosen.only_ours else PLAIN
            )
        else:
            spec, data = dated(chosen.dataset, directory, Path(folder), chosen.shock)
            figures = out_of_time(spec, data, Path(folder), chosen.quality, chosen.threads)
    show(figures, as_json=chosen.json)


def california(
    directory: Path | None,
    cache: Path,
    quality: str,
    seeds: int,
    threads: int,
    plain_models: dict[str, Callable[[], Model]],
) -> list[Figure]:
    """Mean RMSE over seeds, and mean coverage and width of the 90% intervals."""
    preset = find_spec("california")
    data = None if directory is None else directory / "california_housing.csv"
    errors: dict[str, list[float]] = {}
    coverage, width, split_width, seconds = [], [], [], []
    for seed in range(seeds):
        spec = replace(preset, split=RandomSplit(validation=0.16, holdout=0.20, seed=seed))
        prepared = prepare(spec, data=data, cache=cache, memory_limit=None)
        for name, make in plain_models.items():
            errors.setdefault(name, []).append(rmse_of_plain(spec, prepared, make(), threads))
        started = time.perf_counter()
        fit, holdout = ours(spec, prepared, quality, threads)
        seconds.append(time.perf_counter() - started)
        estimates = fit.predictor.predict_columns(holdout.columns, level=0.9)
        errors.setdefault("appraise/california", []).append(root_mean_square(estimates.estimate - holdout.prices))
        coverage.append(float(np.mean((estimates.lower <= holdout.prices) & (holdout.prices <= estimates.upper))))
        width.append(float(np.mean(estimates.upper - estimates.lower)))
        split_width.append(split_conformal_width(spec, prepared, fit))
        say(f"seed {seed}: {fit.chosen.kind} " + "  ".join(f"{name} {rows[-1]:.4f}" for name, rows in errors.items()))
    own = Figure("appraise/california", float(np.mean(errors.pop("appraise/california"))), "RMSE")
    compared = [own]
    if "catboost" in errors:
        plain = Figure("catboost", float(np.mean(errors.pop("catboost"))), "RMSE")
        others = [held_against(name, float(np.mean(values)), "RMSE", plain) for name, values in errors.items()]
        compared = [held_against(own.name, own.value, own.unit, plain), plain, *others]
    naive = Figure("split-conformal-width", float(np.mean(split_width)), "100,000 USD")
    return [
        *compared,
        Figure("appraise/california-coverage-90", float(np.mean(coverage)), "share"),
        held_against("appraise/california-width-90", float(np.mean(width)), "100,000 USD", naive),
        naive,
        Figure("appraise/california-fit", float(np.mean(seconds)), "s"),
    ]


def ours(spec: DatasetSpec, prepared: Prepared, quality: str, threads: int) -> tuple[Fit, Rows]:
    """Our fit, and the encoded holdout."""
    frame, split = prepared.frame, prepared.split
    options = FitOptions(quality=quality, threads=threads)
    fit = Fitting(spec, frame[split.train], frame[split.validation], options, SilentProgress()).run()
    return fit, encode(spec, fit.predictor.vocabulary, frame[split.holdout])


def split_conformal_width(spec: DatasetSpec, prepared: Prepared, fit: Fit) -> float:
    """Width of the 90% interval of the same model by split conformal prediction on the absolute residual."""
    validation = encode(spec, fit.predictor.vocabulary, prepared.frame[prepared.split.validation])
    residuals = np.abs(fit.chosen.validation - fit.predictor.to_scale(validation.prices))
    rank = int(np.ceil((len(residuals) + 1) * 0.9))
    return 2.0 * float(np.sort(residuals)[rank - 1])


def rmse_of_plain(spec: DatasetSpec, prepared: Prepared, model: Model, threads: int) -> float:
    """RMSE on the holdout of a model of the columns as they are."""
    train, validation, holdout = plain_rows(spec, prepared)
    model.fit(TrainingData(("",) * train[0].shape[1], *train, *validation, threads=threads))
    return root_mean_square(model.predict(holdout[0]) - holdout[1])


Part = tuple[NDArray[np.float64], NDArray[np.float64]]


def plain_rows(spec: DatasetSpec, prepared: Prepared) -> tuple[Part, Part, Part]:
    """Features as they are (categories as codes) and prices of the three sets."""
    fitting = Fitting(
        spec,
        prepared.frame[prepared.split.train],
        prepared.frame[prepared.split.validation],
        FitOptions(),
        SilentProgress(),
    )
    holdout = encode(spec, fitting.vocabulary, prepared.frame[prepared.split.holdout])
    parts = (fitting.train, fitting.validation, holdout)
    return tuple((part.table.values, part.prices) for part in parts)  # type: ignore[return-value]


def dated(name: str, directory: Path | None, folder: Path, shocks: list[str]) -> tuple[DatasetSpec, Path | None]:
    """The spec and the data of a dated dataset: inferred for Melbourne, the preset for the simulated market."""
    if name == "bayside":
        if not shocks:
            return find_spec("bayside"), None
        path = folder / "shocked.parquet"
        made = simulate_market(DEFAULT_ROWS["bayside"], seed=0, shocks=[parse_shock(text) for text in shocks])
        made.write_parquet(path)
        return find_spec("bayside"), path
    if directory is None:
        raise SystemExit("melbourne needs --data-dir, a folder with melbourne_sales.csv")
    path = directory / "melbourne_sales.csv"
    return infer_spec(path, target="Price", name="melbourne").spec, path


def out_of_time(spec: DatasetSpec, data: Path | None, cache: Path, quality: str, threads: int) -> list[Figure]:
    """MdAPE on the newest sales: plain LightGBM, ours frozen, ours walking forward, and without the market level."""
    prepared = prepare(spec, data=data, cache=cache, memory_limit=None)
    train, validation, (X, actual) = plain_rows(spec, prepared)
    plain = LightGBM({"n_estimators": 500, "learning_rate": 0.05, "colsample_bytree": 1.0, "subsample": 1.0})
    known = np.concatenate((train[0], validation[0])), np.log(np.concatenate((train[1], validation[1])))
    plain.grow(TrainingData((), *known, X[:0], actual[:0], threads=threads), *known, iterations=500)
    reference = Figure("lightgbm", mdape(actual, np.exp(plain.predict(X))), "MdAPE")
    fit, holdout = ours(spec, prepared, quality, threads)
    name = f"appraise/{spec.name}"
    live = fit.predictor.with_sales(holdout.columns, holdout.prices)
    figures = []
    for label, predictor in (("frozen", fit.predictor), ("walk-forward", live)):
        estimates = predictor.predict_columns(holdout.columns, level=0.9)
        inside = (estimates.lower <= holdout.prices) & (holdout.prices <= estimates.upper)
        figures += [
            held_against(f"{name}-{label}", mdape(holdout.prices, estimates.estimate), "MdAPE", reference),
            Figure(f"{name}-{label}-coverage-90", float(inside.mean()), "share"),
        ]
    if live.level is not None:
        without = replace(live, level=None).predict_columns(holdout.columns)
        bare = Figure(f"{name}-walk-forward-no-level", mdape(holdout.prices, without.estimate), "MdAPE")
        levelled = mdape(holdout.prices, live.predict_columns(holdout.columns).estimate)
        figures += [bare, held_against(f"{name}-level", levelled, "MdAPE", bare)]
    return [*figures, reference]


if __name__ == "__main__":
    main()

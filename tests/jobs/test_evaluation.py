"""Evaluation: every split that the data allow, and no sale that was not known on the day."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from appraise.datasets.spec import RandomSplit
from appraise.errors import BundleError
from appraise.jobs.evaluate import evaluate
from appraise.jobs.progress import SilentProgress
from appraise.registry.bundle import read_manifest


def run(trained, data=None, **options):
    return evaluate(
        options.pop("spec", trained.spec),
        workspace=options.pop("workspace", trained.workspace),
        data=str(data or trained.data),
        progress=SilentProgress(),
        **options,
    )


@pytest.fixture(scope="module")
def of_bayside(bayside):
    return run(bayside)


def test_dated_data_are_valued_frozen_walking_forward_and_by_map(of_bayside, bayside):
    assert list(of_bayside.splits) == ["holdout", "walk_forward", "spatial"]
    document = of_bayside.to_dict()
    assert document["model"]["version"] == "1.0.0"
    holdout, walk = (document["splits"][name] for name in ("holdout", "walk_forward"))
    assert holdout["rows"] == walk["rows"]
    assert holdout["rows"] + document["splits"]["spatial"]["rows"] == bayside.result.summary.rows_kept
    assert holdout["metrics"]["mdape"]["value"] != walk["metrics"]["mdape"]["value"]
    assert of_bayside.baselines[0].name == "plain LightGBM"


def test_the_evaluation_says_what_the_model_was_made_from(of_bayside, bayside):
    manifest = read_manifest(bayside.workspace.registry.resolve(bayside.spec.name))
    found = of_bayside.provenance
    assert (found.data_hash, found.spec_hash) == (manifest.data_hash, manifest.spec_hash)
    assert found.rows["holdout"] == of_bayside.splits["holdout"].rows
    assert str(bayside.spec.split.holdout_from) in found.split
    assert len(found.digest) == 64
    assert all(low <= high for low, high in found.ranges.values())


def test_undated_data_without_places_have_a_holdout_alone(homes):
    assert list(run(homes).splits) == ["holdout"]


def test_dated_data_that_are_split_at_random_have_an_out_of_time_score(bayside, workspace, train_quickly):
    spec = dataclasses.replace(bayside.spec, split=RandomSplit())
    train_quickly(spec, workspace, bayside.data)
    splits = run(bayside, spec=spec, workspace=workspace).splits
    assert list(splits) == ["holdout", "spatial", "time"]
    assert splits["time"].rows == pytest.approx(200, abs=15)


def test_the_frozen_score_knows_no_price_of_the_holdout(bayside, of_bayside, tmp_path):
    held = pl.col("sale_date") >= bayside.spec.split.holdout_from
    doubled = bayside.frame.with_columns(pl.when(held).then(pl.col("price") * 2).otherwise("price").alias("price"))
    doubled.write_parquet(tmp_path / "doubled.parquet")
    splits = run(bayside, tmp_path / "doubled.parquet").splits
    ratio = of_bayside.splits["holdout"].metrics["median_ratio"].value
    assert splits["holdout"].metrics["median_ratio"].value == pytest.approx(ratio / 2)
    # Walking forward it hears of the new prices, day by day.
    assert splits["walk_forward"].metrics["median_ratio"].value > 1.02 * ratio / 2


def test_a_model_of_another_spec_is_refused_with_what_to_do(homes):
    columns = [dataclasses.replace(column, minimum=0.5) if column.minimum else column for column in homes.spec.columns]
    changed = dataclasses.replace(homes.spec, columns=tuple(columns))
    with pytest.raises(BundleError, match="trained for another spec") as caught:
        run(homes, spec=changed)
    assert "appraise train" in caught.value.hint


def test_a_bundle_that_was_altered_in_the_cache_is_not_used(homes):
    folder = homes.workspace.registry.resolve("homes")
    file = folder / "model.npz"
    whole = file.read_bytes()
    mode = file.stat().st_mode
    file.chmod(0o644)
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    file.chmod(mode)
    # Fetched anew from the registry.
    assert np.isfinite(run(homes).splits["holdout"].metrics["rmse"].value)
    assert (homes.workspace.registry.resolve("homes") / "model.npz").read_bytes() == whole

"""Runs, versions and aliases, and what a server starts from when the registry is away."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appraise.errors import BundleError, OutputError, RegistryError, UnknownModelError
from appraise.registry.bundle import read_bundle, read_manifest
from appraise.registry.entries import Registration
from appraise.registry.mlflow_registry import Registry
from appraise.registry.version import Version

Make = Callable[..., Path]


@pytest.fixture
def train(registry: Registry, make_bundle: Make) -> Callable[..., Registration]:
    """Registers a model as a training does."""

    def train(
        error: float = 0.4, *, promote: bool | None = None, metric: str = "rmse", **manifest: str
    ) -> Registration:
        spec_hash = manifest.get("spec_hash", "a" * 64)
        name = manifest.get("name", "homes")
        version = registry.next_version(name, spec_hash=spec_hash)
        folder = make_bundle(**{"spec_hash": spec_hash, "version": version, **manifest})
        with registry.run(name, name="training") as run:
            return registry.register(folder, run=run, metric=metric, error=error, promote=promote)

    return train


def _aliases(registry: Registry) -> dict[str, tuple[str, ...]]:
    return {str(entry.version): entry.aliases for entry in registry.list_models("homes")}


def test_the_first_model_is_the_champion(registry, train):
    done = train()
    assert (done.alias, str(done.entry.version)) == ("champion", "1.0.0")
    assert "first" in done.reason
    assert read_manifest(registry.resolve("homes")).version == Version(1, 0, 0)


def test_a_better_or_equal_model_is_promoted_and_a_worse_one_challenges(registry, train):
    train(0.4)
    assert train(0.5).alias == "challenger"
    assert train(0.4).alias == "champion"
    worst = train(0.6)
    assert worst.alias == "challenger"
    assert "0.6" in worst.reason
    assert "1.2.0 has 0.4" in worst.reason
    assert _aliases(registry) == {"1.3.0": ("challenger",), "1.2.0": ("champion",), "1.1.0": (), "1.0.0": ()}


def test_what_differs_by_rounding_is_equal(registry, train):
    train(0.4)
    assert train(0.4 + 1e-15).alias == "champion"
    assert train(0.4 + 1e-6).alias == "challenger"


def test_an_error_that_is_not_a_number_never_promotes(registry, train):
    train(0.4)
    assert train(float("nan")).alias == "challenger"


def test_a_person_decides_against_the_errors(registry, train):
    train(0.4)
    assert train(0.5, promote=True).alias == "champion"
    assert train(0.1, promote=False).alias == "challenger"


def test_a_changed_spec_raises_the_major_number_and_is_promoted(registry, train):
    train(0.4)
    train(0.4)
    done = train(0.9, spec_hash="b" * 64)
    assert (str(done.entry.version), done.alias) == ("2.0.0", "champion")
    assert "spec changed" in done.reason


def test_errors_of_different_metrics_are_not_compared(registry, train):
    train(0.4, metric="rmse")
    assert train(0.9, metric="mdape").alias == "champion"


def test_former_champions_stay_resolvable_by_version(registry, train):
    for error in (0.4, 0.3, 0.2):
        train(error)
    assert read_manifest(registry.resolve("homes", version=Version(1, 0, 0))).version == Version(1, 0, 0)
    assert read_manifest(registry.resolve("homes")).version == Version(1, 2, 0)


def test_a_recalibration_raises_the_patch_number(registry, train):
    train()
    assert str(registry.next_version("homes", spec_hash="a" * 64, change="calibration")) == "1.0.1"


def test_the_same_version_is_not_registered_twice(registry, train):
    train()
    with pytest.raises(RegistryError, match=r"has a homes 1\.0\.0 already"):
        train(version=Version(1, 0, 0))


def test_a_damaged_bundle_is_not_registered(registry, make_bundle):
    folder = make_bundle()
    (folder / "pool.npz").write_bytes(b"")
    with registry.run("homes", name="training") as run, pytest.raises(BundleError):
        registry.register(folder, run=run, metric="rmse", error=0.4)
    assert registry.list_models() == ()


def test_models_are_listed_by_name_then_newest_first(registry, train):
    for _ in range(11):
        train()
    train(name="garden")
    listed = [(entry.name, str(entry.version)) for entry in registry.list_models()]
    assert listed == [("garden", "1.0.0"), *(("homes", f"1.{minor}.0") for minor in range(10, -1, -1))]


def test_unknown_names_versions_and_aliases_say_what_there_is(registry, train):
    train()
    train(0.9)
    with pytest.raises(UnknownModelError, match=r"no model named 'home'; there are models named homes"):
        registry.resolve("home")
    with pytest.raises(UnknownModelError, match=r"homes has no version 9\.9\.9") as caught:
        registry.resolve("homes", version=Version(9, 9, 9))
    assert caught.value.hint == "there are 2: 1.1.0 challenger, 1.0.0 champion"
    with pytest.raises(UnknownModelError, match="homes has no alias 'shadow'"):
        registry.resolve("homes", alias="shadow")


@pytest.mark.parametrize("name", ["../../etc", "a b", "homes' OR name != '", "", "Homes"])
def test_names_that_are_none_never_reach_the_registry_or_the_disk(registry, train, name):
    train()
    with pytest.raises(UnknownModelError):
        registry.resolve(name)


def test_what_others_registered_is_left_alone(registry, train):
    train()
    registry._client.create_registered_model("other")
    registry._client.create_model_version("other", source="elsewhere")
    registry._client.create_model_version("homes", source="elsewhere")
    assert [str(entry.version) for entry in registry.list_models()] == ["1.0.0"]


def test_asking_makes_no_store(tmp_path):
    registry = Registry(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}", str(tmp_path / "artifacts"), tmp_path / "cache")
    assert registry.list_models() == ()
    with pytest.raises(UnknownModelError, match="no model named 'homes'") as caught:
        registry.resolve("homes")
    assert caught.value.hint == "train it first: appraise train homes"
    assert list(tmp_path.iterdir()) == []


# Runs


def test_a_run_keeps_params_metrics_tags_and_files_and_nests_its_trials(registry, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>")
    with registry.run("homes", name="training", tags={"git": "abc"}) as run:
        run.log_params({"quality": "fast", "catboost": {"depth": 6}, **{f"p{i}": i for i in range(150)}})
        run.log_metrics({"rmse": 0.4, "undefined": float("nan")})
        run.log_file(report, folder="report")
        with run.child("trial 1") as trial:
            for step in range(3):
                trial.log_metrics({"rmse": 1.0 / (step + 1)}, step=step)
            trial.log_curve("validation", range(2500), (1.0 / (step + 1) for step in range(2500)))
    client = registry._client
    kept = client.get_run(run.run_id)
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "training"
    assert kept.data.params["catboost.depth"] == "6"
    assert len(kept.data.params) == 152
    assert kept.data.metrics["rmse"] == 0.4
    assert kept.data.tags["git"] == "abc"
    assert [file.path for file in client.list_artifacts(run.run_id, "report")] == ["report/report.html"]
    assert client.get_run(trial.run_id).data.tags["mlflow.parentRunId"] == run.run_id
    assert [point.value for point in client.get_metric_history(trial.run_id, "rmse")] == [1.0, 0.5, 1 / 3]
    assert len(client.get_metric_history(trial.run_id, "validation")) == 2500


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "KILLED"), (ValueError(), "FAILED")], ids=repr)
def test_a_run_that_is_broken_off_says_how(registry, error, status):
    with pytest.raises(type(error)), registry.run("homes", name="training") as run:
        raise error
    assert registry._client.get_run(run.run_id).info.status == status


def test_the_mlflow_command_finds_runs_and_models(registry, train, tmp_path):
    train()
    script = (
        "import mlflow, sys; mlflow.set_tracking_uri(sys.argv[1]); "
        "print(mlflow.search_runs(experiment_names=['homes'], output_format='list')[0].info.status, "
        "mlflow.MlflowClient().get_model_version_by_alias('homes', 'champion').tags['appraise.version'])"
    )
    command = [sys.executable, "-c", script, registry.tracking_uri]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["FINISHED", "1.0.0"]


# The cache, and what is away or broken


def _at(registry: Registry, tmp_path: Path) -> Path:
    return tmp_path / "home" / "cache"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry at a server that nobody runs, with the cache of the one that was used before."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return Registry(f"http://127.0.0.1:{_free_port()}", None, tmp_path / "home" / "cache")


def test_a_server_that_is_away_is_said_so_with_its_address(away):
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:\d+ does not answer") as caught:
        away.resolve("homes")
    assert not isinstance(caught.value, UnknownModelError)
    assert "APPRAISE_MLFLOW__TRACKING_URI" in caught.value.hint
    with pytest.raises(RegistryError), away.run("homes", name="training"):
        pytest.fail("the run should not have begun")


def test_a_model_starts_from_the_cache_when_the_registry_is_away(registry, train, away, caplog):
    train(0.4)
    train(0.5)
    for alias in ("champion", "challenger"):
        registry.resolve("homes", alias=alias)
    assert read_manifest(away.resolve("homes")).version == Version(1, 0, 0)
    assert read_manifest(away.resolve("homes", alias="challenger")).version == Version(1, 1, 0)
    assert read_manifest(away.resolve("homes", version=Version(1, 1, 0))).version == Version(1, 1, 0)
    assert "registry is away" in caplog.text
    with pytest.raises(RegistryError, match="does not answer"):
        away.resolve("garden")


def test_a_bundle_is_fetched_once(registry, train, tmp_path):
    train()
    first = registry.resolve("homes")
    shutil.rmtree(tmp_path / "home" / "artifacts")
    assert registry.resolve("homes") == first


def test_a_cached_bundle_that_was_damaged_is_fetched_again_and_that_is_logged(registry, train, caplog):
    train()
    folder = registry.resolve("homes")
    with (folder / "pool.npz").open("ab") as file:
        file.write(b"garbage")
    assert read_bundle(registry.resolve("homes")).manifest.version == Version(1, 0, 0)
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert warning.getMessage() == "a cached bundle is damaged and has to be fetched again"
    assert f"{folder} is damaged: pool.npz" in warning.appraise_fields["reason"]


def test_artifacts_that_are_gone_or_exchanged_are_noticed(registry, train, tmp_path):
    train()
    artifacts = next((tmp_path / "home" / "artifacts").rglob("manifest.json")).parent
    original = {path: path.read_bytes() for path in artifacts.iterdir()}
    (artifacts / "pool.npz").write_bytes(b"exchanged")
    with pytest.raises(BundleError, match="is damaged"):
        registry.resolve("homes")
    for path, data in original.items():
        path.write_bytes(data)
    document = original[artifacts / "manifest.json"].replace(b"catboost", b"evilboost", 1)
    (artifacts / "manifest.json").write_bytes(document)
    with pytest.raises(BundleError, match="is damaged"):
        registry.resolve("homes")
    shutil.rmtree(artifacts)
    with pytest.raises(RegistryError, match=r"homes 1\.0\.0 cannot be fetched"):
        registry.resolve("homes")
    assert not list((tmp_path / "home" / "cache" / "homes").iterdir())


def test_a_store_that_is_no_database_is_said_so(tmp_path):
    store = tmp_path / "mlflow.db"
    store.write_text("this is not a database" * 100)
    registry = Registry(f"sqlite:///{store}", str(tmp_path), tmp_path / "cache")
    with pytest.raises(RegistryError, match="does not answer as it should"):
        registry.list_models()


def test_a_store_that_may_not_be_written_is_said_so(registry, train, tmp_path, monkeypatch):
    # MLflow takes what follows `sqlite:///` for a path, and makes its folder in the working one.
    monkeypatch.chdir(tmp_path)
    train()
    store = tmp_path / "home" / "mlflow.db"
    read_only = Registry(f"sqlite:///file:{store}?mode=ro&uri=true", str(tmp_path), tmp_path / "cache")
    assert [str(entry.version) for entry in read_only.list_models()] == ["1.0.0"]
    with pytest.raises(RegistryError, match="readonly database"), read_only.run("homes", name="training"):
        pytest.fail("the run should not have begun")


def test_a_password_in_the_address_is_not_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry(f"http://me:secret@127.0.0.1:{_free_port()}", None, tmp_path)
    with pytest.raises(RegistryError) as caught:
        registry.list_models()
    assert "secret" not in caught.value.message


def test_a_cache_that_cannot_be_written_is_said_so(registry, train, tmp_path):
    train()
    (tmp_path / "home" / "cache").write_text("in the way")
    with pytest.raises(OutputError, match=r"cache .* cannot be written"):
        registry.resolve("homes")

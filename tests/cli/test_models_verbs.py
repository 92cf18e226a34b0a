"""`models list` and `models show`."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from appraise.features.state import State
from appraise.registry.bundle import write_bundle
from appraise.registry.manifest import Manifest
from appraise.registry.mlflow_registry import Registry


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a model in the default registry, the first of them the champion."""
    home = tmp_path_factory.mktemp("home")
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}", str(home / "mlflow-artifacts"), home / "cache" / "models")
    for error in (0.25, 0.5):
        manifest = Manifest(
            name="homes",
            version=registry.next_version("homes", spec_hash="a"),
            kind="catboost",
            created_at=dt.datetime.now(dt.UTC),
            spec={},
            spec_hash="a",
            metrics={"validation": {"rmse": error}},
            training_ranges={},
            git_commit="abc",
            data_hash=None,
            libraries={"numpy": np.__version__},
            extra={},
        )
        bundle = home / f"bundle-{error}"
        write_bundle(bundle, manifest=manifest, parts={"pool": State({}, {"x": np.zeros(1000)})})
        with registry.run("homes", name="training") as run:
            registry.register(bundle, run=run, metric="rmse", error=error)
    return home


@pytest.fixture
def registered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPRAISE_HOME", str(home))


def test_without_models_the_list_is_empty_and_says_what_to_do(appraise, folder):
    assert "appraise train" in appraise("models", "list").out
    assert appraise("models", "list", "--json").json == {"models": []}
    assert list(folder.iterdir()) == []


def test_models_are_listed_and_shown(appraise, registered):
    listed = appraise("models", "list", "--json").json["models"]
    assert [(model["version"], model["aliases"], model["error"]) for model in listed] == [
        ("1.1.0", ["challenger"], 0.5),
        ("1.0.0", ["champion"], 0.25),
    ]
    text = appraise("models", "list", "homes").out
    assert [line.split()[:3] for line in text.splitlines()[1:]] == [
        ["homes", "1.1.0", "challenger"],
        ["homes", "1.0.0", "champion"],
    ]
    shown = appraise("models", "show", "homes", "--json").json
    assert (shown["version"], shown["git_commit"]) == ("1.0.0", "abc")
    assert shown["metrics"] == {"validation": {"rmse": 0.25}}
    assert shown["size_bytes"] == sum(shown["files"].values()) > 8000
    assert (Path(shown["folder"]) / "manifest.json").exists()
    assert "1.1.0" in appraise("models", "show", "homes", "--alias", "challenger").out
    assert "1.1.0" in appraise("models", "show", "homes", "--version", "1.1.0").out


def test_unknown_models_are_answered_with_those_there_are(appraise, registered):
    ended = appraise("models", "show", "homes", "--version", "3.0.0")
    assert ended.code == 7
    assert "homes has no version 3.0.0" in ended.err
    assert "1.1.0 challenger, 1.0.0 champion" in ended.err
    for verb in ("list", "show"):
        ended = appraise("models", verb, "house")
        assert ended.code == 7
        assert "no model named 'house'; there are models named homes" in ended.err


def test_what_goes_to_a_file_has_no_blanks_at_the_ends_of_lines(registered, appraise):
    for args in (("models", "list"), ("models", "show", "homes")):
        lines = appraise(*args).out.split("\n")
        assert len(lines) > 3
        assert lines[-1] == ""
        assert lines == [line.rstrip() for line in lines]

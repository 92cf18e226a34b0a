"""Where jobs find data, and what they leave behind."""

import dataclasses
from pathlib import Path

import pytest

from appraise.datasets.presets import find_spec
from appraise.errors import DataError, OutputError
from appraise.jobs.workspace import Workspace
from appraise.registry.mlflow_registry import Registry


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    home = tmp_path / "home"
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}", None, home / "cache")
    return Workspace(home=home, registry=registry, data_dir=tmp_path / "data")


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def test_scratch_is_gone_whatever_happens(workspace):
    with pytest.raises(IsADirectoryError), workspace.scratch() as folder:
        folder.write_text("half")
    assert not folder.exists()
    assert folder.is_relative_to(workspace.home)


def test_a_home_that_cannot_be_made_is_said_so(workspace):
    workspace.home.write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written") as caught, workspace.scratch():
        pytest.fail("there is no folder")
    assert "APPRAISE_HOME" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["california.csv", "california.csv.gz", "california_housing.csv", "california-2.parquet"]
)
def test_the_file_of_the_datasets_name_is_found(workspace, data_dir, name):
    for other in ("californian.csv", "california.txt", "california_housing.csv.bak", "homes.csv", "my_california.csv"):
        (data_dir / other).touch()
    assert workspace.data_for(find_spec("california"), None) is None
    (data_dir / name).touch()
    assert workspace.data_for(find_spec("california"), None) == str(data_dir / name)


def test_the_exact_name_is_preferred_and_several_others_are_a_question(workspace, data_dir):
    (data_dir / "california_a.csv").touch()
    (data_dir / "california_b.csv").touch()
    with pytest.raises(DataError, match=r"2 files of california: california_a\.csv, california_b\.csv") as caught:
        workspace.data_for(find_spec("california"), None)
    assert caught.value.hint == "say which one: --data FILE"
    (data_dir / "california.parquet").touch()
    assert workspace.data_for(find_spec("california"), None) == str(data_dir / "california.parquet")


def test_what_was_said_comes_first(workspace, data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = find_spec("california")
    (data_dir / "california.csv").touch()
    assert workspace.data_for(spec, "nowhere.csv") == "nowhere.csv"
    assert workspace.data_for(spec, "california.csv") == str(data_dir / "california.csv")
    (tmp_path / "california.csv").touch()
    assert workspace.data_for(spec, "california.csv") == "california.csv"


def test_a_data_folder_that_is_not_there_is_said_so(workspace, tmp_path):
    elsewhere = dataclasses.replace(workspace, data_dir=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"data folder .* does not exist"):
        elsewhere.data_for(find_spec("california"), None)


def test_a_simulated_table_serves_its_dataset_alone(workspace):
    bayside = find_spec("bayside")
    assert workspace.data_for(bayside, None) is None
    table = workspace.simulated("bayside")
    table.parent.mkdir(parents=True)
    table.touch()
    assert workspace.data_for(bayside, None) == str(table)
    assert workspace.data_for(find_spec("homes"), None) is None
    assert workspace.data_for(dataclasses.replace(bayside, source="elsewhere.csv"), None) is None

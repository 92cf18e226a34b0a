"""A flag beats the environment, the environment beats the file; a wrong setting is named with its place."""

from pathlib import Path

import pytest

from appraise.errors import SettingsError
from appraise.settings import all_settings, load_settings, unknown_variables


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own, and no settings in the environment."""
    for setting in all_settings():
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(folder: Path, text: str) -> None:
    (folder / "appraise.toml").write_text(text)


def test_without_anything_the_defaults_hold():
    settings = load_settings()
    assert settings.home == Path(".appraise")
    assert settings.train.row_budget_us == 250
    assert settings.market.window_days == 30


def test_each_source_beats_the_one_below_it(folder, monkeypatch):
    _write(folder, 'seed = 1\n[train]\nquality = "best"\nthreads = 1\nrow_budget_us = 1\n')
    monkeypatch.setenv("APPRAISE_TRAIN__THREADS", "2")
    monkeypatch.setenv("APPRAISE_TRAIN__ROW_BUDGET_US", "2")
    settings = load_settings({"train.row_budget_us": 3, "seed": None})
    assert settings.train.quality == "best"
    assert settings.train.threads == 2
    assert settings.train.row_budget_us == 3
    assert settings.seed == 1


def test_an_empty_variable_is_not_given(monkeypatch):
    monkeypatch.setenv("APPRAISE_HOME", "")
    assert load_settings().home == Path(".appraise")


def test_sizes_and_home_folders_are_understood(monkeypatch):
    monkeypatch.setenv("APPRAISE_MEMORY_LIMIT", "1.5GiB")
    monkeypatch.setenv("APPRAISE_HOME", "~/state")
    assert load_settings().memory_limit == 3 * 2**29
    assert load_settings().home == Path.home() / "state"


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().train.threads = 3


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("APPRAISE_TRAIN__QUALITY", "fastest", "'fast' or 'best'"),
        ("APPRAISE_TRAIN__THREADS", "0", "greater than or equal to 1"),
        ("APPRAISE_TRAIN__THREADS", "many", "a whole number"),
        ("APPRAISE_TRAIN__ROW_BUDGET_US", "nan", "."),
        ("APPRAISE_SEED", "-1", "greater than or equal to 0"),
        ("APPRAISE_MEMORY_LIMIT", "lots", "such as 4GiB"),
        ("APPRAISE_LOG__LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("APPRAISE_MLFLOW__TRACKING_URI", "file:///mlruns", r"sqlite:///FILE"),
        ("APPRAISE_MLFLOW__ARTIFACT_ROOT", "ftp://files", "a folder or an s3:// address"),
        ("APPRAISE_S3__ENDPOINT", "localhost:9000", "an http:// or https:// address"),
        ("APPRAISE_TRAIN", "3", "a section"),
    ],
)
def test_a_wrong_variable_is_named_with_what_came_and_what_is_allowed(monkeypatch, variable, value, allowed):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=rf"{variable} is '?{value}'?, but it should be .*{allowed}") as caught:
        load_settings()
    assert "docs/settings.md" in caught.value.hint


def test_a_wrong_flag_is_named_as_it_was_typed():
    with pytest.raises(SettingsError, match="--row-budget-us is -1, but"):
        load_settings({"train.row_budget_us": -1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 'x'", "seed in appraise.toml is 'x', but it should be a whole number"),
        ("[train]\nqualty = 'best'", "train.qualty in appraise.toml is not a setting"),
        ("train = 3", "train in appraise.toml is 3"),
        ("seed = ", "appraise.toml is not TOML"),
        ("seed = '\xff'", "appraise.toml cannot be read"),
    ],
)
def test_a_wrong_file_is_named_with_the_place_in_it(folder, text, message):
    (folder / "appraise.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=message):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value", "form"),
    [
        ("APPRAISE_KAFKA__OPTIONS", "not json secret", "object"),
        ("APPRAISE_SERVE__CORS_ORIGINS", "https://secret.example.org", "array"),
        ("APPRAISE_KAFKA", "secret", "object"),
    ],
)
def test_a_variable_that_is_not_json_is_named_with_what_it_should_be(monkeypatch, variable, value, form):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"{variable} is not JSON, but it should be an {form} such as") as caught:
        load_settings()
    assert "secret" not in caught.value.message, "it may be one"


def test_a_misspelt_setting_is_answered_with_the_one_that_was_meant(folder, monkeypatch):
    _write(folder, "[market]\nwindow_day = 3")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.hint == "did you mean market.window_days?"
    _write(folder, "")
    monkeypatch.setenv("APPRAISE_TRAIN__QALITY", "best")
    with pytest.raises(SettingsError, match="APPRAISE_TRAIN__QALITY is not a setting") as caught:
        load_settings()
    assert caught.value.hint == "did you mean APPRAISE_TRAIN__QUALITY?"


def test_unknown_variables_are_told_apart_from_settings(monkeypatch):
    monkeypatch.setenv("APPRAISE_DATADIR", "x")
    monkeypatch.setenv("APPRAISE_PORT_8000_TCP_PROTO", "tcp")
    monkeypatch.setenv("APPRAISE_HOME", "x")
    load_settings()
    assert unknown_variables() == (("APPRAISE_DATADIR", "APPRAISE_DATA_DIR"), ("APPRAISE_PORT_8000_TCP_PROTO", None))


def test_a_password_in_a_wrong_address_is_not_shown(monkeypatch):
    monkeypatch.setenv("APPRAISE_MLFLOW__TRACKING_URI", "ftp://me:secret@host/db")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "secret" not in caught.value.message

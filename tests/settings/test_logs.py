"""Logs are one JSON object a line where a program reads them, and text where a person does."""

import json
import logging
from collections.abc import Iterator

import pytest

from appraise import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Take away what `configure` did to this process."""
    root, ours = logging.getLogger(), logging.getLogger("appraise")
    handlers, level, our_level = list(root.handlers), root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(capture=False)


def test_an_event_is_one_json_object_with_its_fields(capsys):
    logs.configure(level="info", format="auto")
    logs.get_logger("appraise.test").info("model loaded", name="homes", module="x", args=[1], seconds=0.5)
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "model loaded"
    assert (line["name"], line["module"], line["args"], line["seconds"]) == ("homes", "x", [1], 0.5)
    assert (line["level"], line["logger"]) == ("info", "appraise.test")
    assert line["timestamp"].endswith("Z")


def test_percent_signs_are_left_alone(capsys):
    logs.configure(level="info", format="json")
    logs.get_logger("appraise.test").info("50% of %s", note="{}")
    assert json.loads(capsys.readouterr().err)["event"] == "50% of %s"


def test_text_is_for_people(capsys):
    logs.configure(level="info", format="text")
    logs.get_logger("appraise.test").warning("careful", rows=3)
    err = capsys.readouterr().err
    assert "careful" in err
    assert "rows=3" in err
    assert not err.startswith("{")


def test_the_level_holds_for_us_and_others_must_warn_at_least(capsys):
    logs.configure(level="debug", format="json")
    logs.get_logger("appraise.test").debug("ours")
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("%d problems", 3)
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["ours", "3 problems"]
    logs.configure(level="error", format="json")
    logs.get_logger("appraise.test").warning("ours")
    logging.getLogger("some.library").warning("theirs")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_shows_no_values(capsys, style):
    logs.configure(level="info", format=style)
    password = "hunter" + "2"
    try:
        int(password[0])
    except ValueError:
        logs.get_logger("appraise.test").exception("failed")
    err = capsys.readouterr().err
    assert "ValueError: invalid literal" in err
    assert password not in err


def test_configuring_twice_says_things_once(capsys):
    for _ in range(2):
        logs.configure(level="info", format="json")
    logs.get_logger("appraise.test").info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_program_that_uses_the_library_gets_ordinary_log_records(caplog):
    logs.get_logger("appraise.test").warning("careful", rows=3)
    assert caplog.messages == ["careful"]

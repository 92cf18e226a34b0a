from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from appraise.evaluation import display
from appraise.evaluation.evaluation import Evaluation
from appraise.evaluation.metrics import METRICS, Measured
from appraise.evaluation.text import render_text


def text_of(evaluation: Evaluation, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(render_text(evaluation))
    return stream.getvalue()


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_figures_stand_with_interval_range_and_standing(evaluation: Evaluation) -> None:
    text = text_of(evaluation)
    measured = evaluation.splits["holdout"].metrics["cod"]
    line = line_of(text, "COD")
    assert f"{measured.value:.2f}" in line
    assert f"{measured.low:.2f} to {measured.high:.2f}" in line
    assert "5 to 15" in line
    assert line.rstrip().endswith("within")
    assert "exposure draft" in text


def test_every_split_candidate_and_baseline_is_named(evaluation: Evaluation) -> None:
    text = text_of(evaluation)
    for name in (
        "Holdout",
        "Walk-forward",
        "Spatial blocks",
        "catboost",
        "blend",
        "plain LightGBM",
        "within 250 µs a row",
    ):
        assert name in text
    assert line_of(text, "catboost").rstrip().endswith("chosen")
    assert line_of(text, "blend").rstrip().endswith("too slow")
    assert "n/a" in line_of(text, "untimed")
    assert "gone" not in text


def test_candidates_are_ranked_with_undefined_errors_last(evaluation: Evaluation) -> None:
    assert [one.kind for one in evaluation.ranked] == ["blend", "catboost", "untimed", "linear", "broken"]
    lines = text_of(evaluation).splitlines()
    places = [next(i for i, line in enumerate(lines) if line.startswith(one.kind)) for one in evaluation.ranked]
    assert places == sorted(places)


def test_names_from_data_are_neither_markup_nor_terminal_control(evaluation: Evaluation) -> None:
    text = text_of(evaluation, width=200)
    assert "\x1b" not in text
    assert "homes <b>" in text
    worst = min(
        evaluation.headline.slices_by("region").slices,  # type: ignore[union-attr]
        key=lambda one: one.coverage[0.9].observed,
    )
    assert display.label(worst.label) in text


def test_what_failed_stands_before_every_figure_and_beside_each(evaluation: Evaluation) -> None:
    text = text_of(evaluation, width=400)
    assert evaluation.verdict
    assert text.index(evaluation.verdict[0]) < text.index("Candidates by")
    beside = text[text.index("Side by side") :]
    marked = {line.split()[0] for line in beside.split("Intervals:")[0].splitlines() if "!" in line}
    words = evaluation.to_dict()["splits"].values()
    outside = {key for split in words for key, one in split["metrics"].items() if one["standing"] == "outside"}
    assert outside
    assert {"COD", "PRD", "PRB", "MKI"} & marked == {key.upper() for key in outside} & {"COD", "PRD", "PRB", "MKI"}
    coverage = [line for line in beside.splitlines() if line.startswith("Holdout") and "% to " in line]
    assert len(coverage) == 3
    assert all(line.rstrip().endswith(("within", "outside")) for line in coverage)


def test_text_fits_eighty_columns(evaluation: Evaluation) -> None:
    assert max(map(len, text_of(evaluation).splitlines())) <= 80


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("rmse", 182_344.4, "182,344"),
        ("rmse", 0.38, "0.3800"),
        ("mdape", 0.09231, "9.23%"),
        ("ppe10", 0.5, "50.0%"),
        ("vei", -0.0001, "0.00"),
        ("r2", math.nan, "n/a"),
        ("mae", math.inf, "n/a"),
    ],
)
def test_figures_are_written_in_their_unit(key: str, value: float, shown: str) -> None:
    assert display.figure(METRICS[key], value) == shown


def test_ranges_durations_and_sizes_are_written_short() -> None:
    assert display.acceptable(METRICS["vei_significance"]) == "at most 10"
    assert display.acceptable(METRICS["prb"]) == "-0.05 to 0.05"
    assert display.acceptable(METRICS["rmse"]) == ""
    assert display.interval(METRICS["cod"], Measured(12.0)) == ""
    assert [display.seconds(value) for value in (0.31, 42.0, 150.0)] == ["0.3 s", "42 s", "2.5 min"]
    assert [display.microseconds(value) for value in (None, 140.0, 1650.0)] == ["n/a", "140 µs", "1.65 ms"]
    assert [display.size(value) for value in (850, 90_000, 9_300_000)] == ["850 B", "90.0 kB", "9.3 MB"]
    assert display.change(0.09, 0.10) == "10.0% lower"
    assert display.change(0.11, 0.10) == "10.0% higher"
    assert display.label("a\x1b[31m\n" + "b" * 60, 12) == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}bbbb…"

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from appraise.evaluation.evaluation import Candidate, Evaluation, LearningCurve, ModelCard
from appraise.evaluation.report import render_html
from appraise.evaluation.report.figure import MAX_POINTS, amount_axis, sample
from appraise.evaluation.splits import evaluate_split


class Page(HTMLParser):
    """The elements of a page, and the text outside scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.elements if "id" in attributes]


@pytest.fixture(scope="module")
def source(evaluation: Evaluation) -> str:
    return render_html(evaluation)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def figure_text(source: str) -> str:
    found = re.search(r'<script type="application/json" id="figure-data">(.*?)</script>', source, re.DOTALL)
    assert found
    return found[1]


def figures_of(source: str) -> dict[str, dict]:
    return json.loads(figure_text(source))


def test_every_section_and_plot_is_there_once(page: Page, source: str) -> None:
    ids = page.ids()
    assert len(ids) == len(set(ids))
    assert {
        "metrics", "estimates", "errors", "ratios", "intervals", "time", "splits", "candidates", "model", "origin",
        "slices",
    } <= set(ids)  # fmt: skip
    plots = {
        "predicted", "calibration", "map", "mdape-by-estimate-decile", "mdape-by-region", "ratios",
        "median-ratio-by-estimate-decile", "median-ratio-by-region", "coverage", "coverage-by-estimate-decile",
        "coverage-by-region", "mdape-over-time", "median-ratio-over-time", "splits", "frontier", "importances",
        "learning-0",
    }  # fmt: skip
    assert figures_of(source).keys() == plots
    assert {f"plot-{plot}" for plot in plots} <= set(ids)


def test_every_plot_is_explained_in_words(page: Page) -> None:
    captions = [attributes["aria-label"] for _, attributes in page.elements if attributes.get("class") == "plot"]
    assert len(captions) == 17
    assert all(caption and caption.rstrip().endswith(".") and len(caption) > 40 for caption in captions)


def test_plotly_accepts_every_figure(source: str) -> None:
    import plotly.graph_objects as go

    for figure in figures_of(source).values():
        go.Figure(figure)  # raises ValueError for a property that plotly does not know


def test_page_needs_nothing_from_outside(page: Page) -> None:
    for tag, attributes in page.elements:
        assert "src" not in attributes, tag
        assert not str(attributes.get("href", "")).startswith(("http", "//")), tag
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.elements
    assert page.text.count("plotly.js v") <= 1


def test_policy_allows_the_two_scripts_of_the_page_by_hash_and_no_network(page: Page, source: str) -> None:
    policy = next(
        attributes["content"] or ""
        for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    scripts = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy


def test_hostile_names_stay_text(page: Page, source: str) -> None:
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 3
    assert "img" not in tags
    assert "b" not in tags
    assert "i" not in tags
    assert "<i>type</i>" in page.text
    figures = json.dumps(figures_of(source))
    assert "<script" not in figures
    assert "&lt;script" in figures
    assert "\x1b" not in source


def test_figure_data_cannot_close_their_element() -> None:
    bare = Evaluation(
        "tiny", ModelCard("tiny", "0.1.0", "linear"), {"holdout": evaluate_split([5.0], [4.0], resamples=5)}
    )
    escaped = render_html(bare)
    assert "&" not in figure_text(escaped)
    assert "<" not in figure_text(escaped)
    assert "\\u003cbr\\u003e" in figure_text(escaped), "hover texts hold line breaks, which must be escaped in the page"


def test_names_in_plots_cannot_become_templates(source: str) -> None:
    for figure in figures_of(source).values():
        for trace in figure["data"]:
            assert "curly" not in trace.get("hovertemplate", "")


def test_large_scatters_hold_a_fixed_sample_and_say_so(source: str, page: Page) -> None:
    assert len(figures_of(source)["predicted"]["data"][0]["x"]) == MAX_POINTS
    assert len(figures_of(source)["map"]["data"][0]["x"]) == MAX_POINTS
    assert page.text.count("Shown are 5,000 of 6,000 sales, chosen at random.") == 2
    assert sample(6000).tolist() == sample(6000).tolist()


def test_headline_gives_every_figure_of_the_ratio_study_and_the_worst_coverage(
    page: Page, evaluation: Evaluation
) -> None:
    tiles = [attributes for _, attributes in page.elements if attributes.get("class") == "tile"]
    assert len(tiles) == 1 + 2 + 6
    split = evaluation.headline
    worst = min(one.intervals[0.9].observed for one in evaluation.splits.values() if one is not split)
    assert f"{100 * worst:.1f}%" in page.text
    for title in ("PRD", "PRB", "MKI", "VEI"):
        assert title in page.text
    assert f"{100 * split.metrics['mdape'].value:.2f}%" in page.text
    assert f"{100 * split.intervals[0.9].observed:.1f}%" in page.text
    assert "acceptable 0.90 to 1.10" in page.text


def test_the_verdict_stands_on_top_and_says_how_bad_it_is(page: Page, source: str, evaluation: Evaluation) -> None:
    assert all(sentence in page.text for sentence in evaluation.verdict)
    assert source.index('class="verdict outside"') < source.index('class="tiles"')


def test_splits_and_intervals_carry_their_standing(source: str) -> None:
    for start in ("Splits side by side</h2>", "Intervals</h2>"):
        section = source[source.index(start) :].split("</section>", maxsplit=1)[0]
        assert "badge outside" in section or "badge within" in section, start


def test_the_page_says_what_the_model_was_made_from_and_where_its_knowledge_ends(page: Page) -> None:
    for said in (
        "20 November 2026, 07:30 UTC", "12,000 train", "0f" * 32, "ab" * 32, "catboost 1.2.10", "1,250",
        "By chance with seed 0.", "trained outside a repository", "Made by Appraise on 21 November 2026, 09:40 UTC",
    ):  # fmt: skip
        assert said in page.text, said
    assert "looks like a cap" not in page.text


def test_prices_that_end_at_a_wall_are_said_to(evaluation: Evaluation) -> None:
    prices = [min(1.0 + n / 100, 5.0) for n in range(500)]
    walled = replace(evaluation, splits={"holdout": evaluate_split(prices, prices, resamples=0)})
    assert walled.to_dict()["capped_share"] == 0.2
    assert "Prices end at 5.000 (AUD): 20.0% of the sales" in Page(render_html(walled)).text
    assert evaluation.to_dict()["capped_share"] == 0.0


def test_what_the_fsd_holds_is_measured(page: Page, evaluation: Evaluation) -> None:
    rows = evaluation.headline.predictions
    reach = evaluation.headline.metrics["fsd"].value
    share = (abs(rows.actual - rows.estimate) <= reach * rows.estimate).mean()
    assert f"{100 * share:.1f}% of these sales lie this close" in page.text
    assert "two sales in three" not in page.text


def test_equal_evaluations_give_equal_pages_of_about_five_megabytes(evaluation: Evaluation, source: str) -> None:
    assert render_html(evaluation) == source
    assert len(source.encode()) < 5_500_000


def test_an_evaluation_of_almost_nothing_still_makes_a_page() -> None:
    bare = Evaluation(
        "tiny", ModelCard("tiny", "0.1.0", "linear"), {"holdout": evaluate_split([5.0], [4.0], resamples=5)}
    )
    page = Page(render_html(bare))
    assert "n/a" in page.text
    assert {"map", "coverage", "frontier", "candidates", "model", "time"}.isdisjoint(page.ids())


def test_rows_without_a_place_leave_the_map_out_and_placed_ones_stay(evaluation: Evaluation) -> None:
    nowhere = evaluate_split(
        [5.0, 6.0], [4.0, 6.0], latitude=[float("nan")] * 2, longitude=[float("nan")] * 2, resamples=5
    )
    somewhere = evaluate_split([5.0, 6.0], [4.0, 6.0], latitude=[float("nan"), 3.0], longitude=[1.0, 2.0], resamples=5)
    assert "map" not in figures_of(render_html(replace(evaluation, splits={"holdout": nowhere})))
    assert figures_of(render_html(replace(evaluation, splits={"holdout": somewhere})))["map"]["data"][0]["x"] == [2.0]


def test_frontier_joins_the_models_that_no_other_beats(source: str) -> None:
    joined, points = figures_of(source)["frontier"]["data"]
    assert joined["x"] == [40.0, 140.0, 1650.0]
    assert points["text"] == ["linear", "catboost", "blend"]
    assert points["marker"]["color"].count("var(--accent)") == 1


def test_every_candidate_of_the_frontier_is_named_and_its_axis_has_several_marks(evaluation: Evaluation) -> None:
    near = [
        Candidate(kind, error, None, 1.0, 10, time, within_budget=True, chosen=kind == "b")
        for kind, error, time in (("a", 0.40, 90.0), ("b", 0.38, 105.0), ("c", 0.39, 116.0), ("d", 0.39, 123.0))
    ]
    figure = figures_of(render_html(replace(evaluation, candidates=tuple(near))))["frontier"]
    points = figure["data"][1]
    assert points["text"] == ["a", "b", "c", "d"]
    assert len(set(points["textposition"][2:])) == 2, "two that are dominated do not write over each other"
    assert len(figure["layout"]["xaxis"]["tickvals"]) >= 3


def test_learning_curves_are_told_apart_by_colour_and_by_name(evaluation: Evaluation) -> None:
    rounds, falling = (1, 50, 100), (1.0, 0.4, 0.3)
    curves = tuple(LearningCurve(kind, "RMSE", rounds, falling, falling) for kind in "abcd")
    figure = figures_of(render_html(replace(evaluation, learning=curves)))["learning-0"]
    solid = [trace for trace in figure["data"] if trace["line"]["dash"] == "solid"]
    dotted = [trace for trace in figure["data"] if trace["line"]["dash"] == "dot"]
    assert len({trace["line"]["color"] for trace in solid}) == 4
    assert [trace["text"][-1] for trace in dotted] == list("abcd")
    assert figure["layout"]["yaxis"]["range"][1] < 0.5


def test_regions_stand_in_the_order_of_what_is_shown(source: str) -> None:
    errors = figures_of(source)["mdape-by-region"]["data"][0]["x"]
    assert errors == sorted(errors, reverse=True)
    covered = figures_of(source)["coverage-by-region"]["data"][1]["x"]
    assert covered == sorted(covered)


def test_plots_beside_each_other_are_equally_high(source: str) -> None:
    figures = figures_of(source)
    assert figures["map"]["layout"]["height"] == figures["mdape-by-estimate-decile"]["layout"]["height"]
    assert figures["importances"]["layout"]["height"] == figures["learning-0"]["layout"]["height"]


def test_negative_estimates_do_not_get_a_logarithmic_axis(evaluation: Evaluation) -> None:
    split = evaluate_split([1.0, 10.0, 100.0] * 10, [-1.0, 10.0, 100.0] * 10, resamples=5)
    figure = figures_of(render_html(replace(evaluation, splits={"holdout": split})))["predicted"]
    assert figure["layout"]["yaxis"].get("type") != "log"


def test_logarithmic_axes_are_marked_at_round_amounts() -> None:
    import numpy as np

    axis = amount_axis("Price", np.array([180_000.0, 2_400_000.0]), logarithmic=True)
    assert axis["ticktext"] == ["200k", "500k", "1M", "2M"]

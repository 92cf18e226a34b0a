"""The page in a real browser, on a phone: drawn whole, quiet, offline and no wider than the screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from appraise.evaluation.evaluation import Evaluation
from appraise.evaluation.report import render_html


@dataclass
class Visit:
    """A page, and what it said and asked for."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.wait_until_drawn()

    def wait_until_drawn(self, scheme: str = "light") -> None:
        self.page.wait_for_selector(f'html[data-drawn="{scheme}"]', state="attached", timeout=60_000)


@pytest.fixture(scope="module")
def address(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_html(evaluation), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def phone(browser: Browser, address: str) -> Visit:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, color_scheme="light"
    )
    visit = Visit(context.new_page())
    visit.open(address)
    return visit


def test_every_plot_of_every_section_is_drawn(phone: Visit) -> None:
    sizes = phone.page.eval_on_selector_all(
        ".plot",
        "plots => plots.map(plot => [plot.id, plot.querySelector('svg.main-svg')?.getBoundingClientRect().height ?? 0,"
        " plot.querySelectorAll('.trace, .shapelayer path').length])",
    )
    assert len(sizes) == 17
    for name, height, marks in sizes:
        assert height > 100, name
        assert marks > 0, name


def test_page_is_quiet_and_asks_for_nothing(phone: Visit, address: str) -> None:
    assert phone.messages == []
    assert [url for url in phone.requests if not url.startswith("data:")] == [address]


def test_hostile_names_are_shown_and_never_run(phone: Visit) -> None:
    assert phone.page.evaluate("window.hacked === undefined")
    assert phone.page.locator("img").count() == 0
    assert "<script>window.hacked" in phone.page.locator("#plot-importances").inner_text()
    assert "{curly} %{x} $x$" in phone.page.locator("#plot-mdape-by-region").inner_text()


def test_nothing_is_wider_than_a_phone(phone: Visit) -> None:
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    rights = phone.page.eval_on_selector_all(
        "section > *, figure, .tile, .plot svg.main-svg", "all => all.map(one => one.getBoundingClientRect().right)"
    )
    assert max(rights) <= 390


def test_groups_open_to_tables_that_scroll_within_the_page(phone: Visit) -> None:
    phone.page.locator("#slices summary").first.click()
    table = phone.page.locator("#slices details[open] .scroll").first
    assert table.is_visible()
    assert table.evaluate("one => one.scrollWidth > one.clientWidth")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_plots_follow_the_colour_scheme(phone: Visit) -> None:
    ink = "document.querySelector('#plot-predicted .xtitle').style.fill"
    light = phone.page.evaluate(ink)
    phone.page.emulate_media(color_scheme="dark")
    phone.wait_until_drawn("dark")
    assert phone.page.evaluate(ink) != light
    assert phone.messages == []

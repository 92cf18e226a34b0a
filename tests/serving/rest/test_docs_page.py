"""/docs in a real browser: offline, and a home can be valued on it."""

import json
from urllib.parse import urlsplit

from playwright.sync_api import expect


def test_a_home_is_valued_on_the_page_without_a_network(server, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1200, "height": 1600})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/docs")
    operation = page.locator(".opblock", has=page.locator(".opblock-summary-path[data-path='/predict']"))
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table")
    expect(answer.locator("tr.response td.response-col_status").first).to_contain_text("200", timeout=60_000)
    body = json.loads(answer.locator(".highlight-code code").first.inner_text())
    assert body["model_name"] == "california"
    assert body["prediction"] > 0
    page.screenshot(path=tmp_path / "docs.png", full_page=True)
    assert said == []
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    assert "/predict" in {urlsplit(url).path for url in asked}

"""The evaluation as one self-contained HTML page: nothing is fetched, so that it can be mailed, archived and kept.

plotly.js is part of the page (4.8 MB of its 5): the wheel of plotly brings one bundle. A content security policy allows
the page's own two scripts by their hashes and nothing else, no network included; with every name that comes from data
escaped, a hostile column name has two walls before it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from importlib import resources

from appraise.evaluation import display
from appraise.evaluation.evaluation import Evaluation, SplitResult
from appraise.evaluation.intervals import Coverage
from appraise.evaluation.metrics import METRICS, Standing, standings
from appraise.evaluation.provenance import moment
from appraise.evaluation.report.figure import Figure
from appraise.evaluation.report.markup import badge, escape, navigation
from appraise.evaluation.report.sections import GROUP_LEVEL, Gallery, sections
from appraise.evaluation.report.tables import title_of
from appraise.evaluation.verdict import RATIO_STUDY_KEYS

#: Metrics of the headline, after the one that candidates are compared by; coverage stands between the two parts.
_HEADLINE_KEYS = ("mdape",)

_FOOTER = """\
Intervals of figures are 95% percentile bootstrap intervals over sales; those of groups are rank intervals of the
median. Acceptable ranges are those of the IAAO Standard on Ratio Studies for homes; VEI is from its exposure draft of
May 2026, which is not yet adopted. “Unsure” is a figure outside its range whose interval reaches it (for PRB, reaches
-0.10 to 0.10, which is what the standard refuses beyond)."""


def render_html(evaluation: Evaluation) -> str:
    """The page, about 5 MB; equal evaluations give equal pages."""
    gallery = Gallery()
    parts = list(sections(evaluation, gallery))
    main = "".join(part.render() for part in parts)
    body = f"{_header(evaluation, navigation(parts))}<main>{main}</main>{_footer(evaluation)}"
    title = display.label(f"{_name(evaluation)}: evaluation", 120)
    return _document(escape(title), body, gallery.figures)


def _header(evaluation: Evaluation, links: str) -> str:
    model, split = evaluation.model, evaluation.headline
    facts = [f"Dataset {evaluation.dataset}", f"model {model.kind}", f"{split.rows:,} sales held out"]
    facts += [f"prices in {evaluation.unit}"] if evaluation.unit else []
    return (
        f"<header><h1>{escape(display.label(_name(evaluation), 80))}</h1>"
        f'<p class="subtitle">{escape(display.label(", ".join(facts), 200))}</p>'
        f'<p class="summary">{escape(_summary(split))}</p>{_verdict(evaluation)}'
        f'<div class="tiles">{"".join(_tiles(evaluation))}</div>{links}</header>'
    )


def _name(evaluation: Evaluation) -> str:
    return f"{evaluation.model.name} {evaluation.model.version}"


def _verdict(evaluation: Evaluation) -> str:
    """What it comes to, set off by the worst standing of any split."""
    words = [word for split in evaluation.splits.values() for word in standings(split.metrics).values()]
    words += [one.standing for split in evaluation.splits.values() for one in split.intervals.values()]
    worst = next((word for word in ("outside", "unsure", "within") if word in words), None)
    if worst is None or not evaluation.verdict:
        return ""
    return f'<div class="verdict {worst}">{"".join(f"<p>{escape(one)}</p>" for one in evaluation.verdict)}</div>'


def _summary(split: SplitResult) -> str:
    middle, near = split.metrics["mdape"].value, split.metrics["ppe10"].value
    return (
        f"Half of the estimates lie within {display.percent(middle)} of the price and {display.percent(near)} of all "
        f"estimates within 10%, on {split.rows:,} sales that the model had not seen."
    )


def _tiles(evaluation: Evaluation) -> Iterator[str]:
    """The error, coverage where it was measured best and worst, and every figure of the ratio study."""
    split = evaluation.headline
    for key in dict.fromkeys((evaluation.error_metric, *_HEADLINE_KEYS)):
        yield _metric_tile(evaluation, key)
    covered = split.intervals.get(GROUP_LEVEL)
    if covered is not None:
        yield _coverage_tile(evaluation, f"{display.percent(GROUP_LEVEL, 0)} coverage", covered)
    others = [
        (name, one.intervals[GROUP_LEVEL])
        for name, one in evaluation.splits.items()
        if one is not split and GROUP_LEVEL in one.intervals
    ]
    if others:
        name, least = min(others, key=lambda pair: pair[1].observed)
        yield _coverage_tile(evaluation, f"{display.percent(GROUP_LEVEL, 0)}, {title_of(name).lower()}", least)
    for key in RATIO_STUDY_KEYS:
        yield _metric_tile(evaluation, key)


def _metric_tile(evaluation: Evaluation, key: str) -> str:
    metric, measured = METRICS[key], evaluation.headline.metrics[key]
    accepted = display.acceptable(metric)
    unit = f"{evaluation.unit}, " if metric.unit == "price" and evaluation.unit else ""
    return _tile(
        metric.title,
        display.figure(metric, measured.value),
        display.interval(metric, measured),
        f"acceptable {accepted}" if accepted else f"{unit}{metric.better} is better",
        standings(evaluation.headline.metrics)[key],
    )


def _coverage_tile(evaluation: Evaluation, title: str, covered: Coverage) -> str:
    low, high = display.percent(covered.chance_low), display.percent(covered.chance_high)
    return _tile(
        title,
        display.percent(covered.observed),
        f"mean width {display.price(covered.mean_width)} {evaluation.unit}".rstrip(),
        f"chance allows {low} to {high}",
        covered.standing,
    )


def _tile(title: str, value: str, interval: str, accepted: str, standing: Standing | None) -> str:
    return (
        f'<div class="tile"><h3>{escape(title)}</h3><strong>{escape(value)}</strong>'
        f"<span>{escape(interval)}</span><span>{escape(accepted)}</span>{badge(standing).text}</div>"
    )


def _footer(evaluation: Evaluation) -> str:
    made = f" on {escape(moment(evaluation.created))}" if evaluation.created else ""
    return f"<footer><p>{_FOOTER}</p><p>Made by Appraise{made}.</p></footer>"


def _document(title: str, body: str, figures: list[Figure]) -> str:
    from plotly.offline import get_plotlyjs

    plotly, script = get_plotlyjs(), _asset("report.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(plotly)} {_hash(script)}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
        )
    )
    data = json.dumps({figure.key: figure.to_json() for figure in figures}, allow_nan=False, separators=(",", ":"))
    # Without these characters no text can close the element that holds it.
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{_asset("report.css")}</style>
</head>
<body>
{body}
<noscript><p>The plots need JavaScript; the tables hold all figures.</p></noscript>
<script type="application/json" id="figure-data">{data}</script>
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """A script's hash as a content security policy writes it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"

"""The little HTML that the page is made of. Whatever is not markup of this module is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appraise.evaluation.metrics import Standing


@dataclass(frozen=True, slots=True)
class Html:
    """Markup that is safe as it stands."""

    text: str


Content = str | Html


def escape(content: Content) -> str:
    """Content as markup."""
    return content.text if isinstance(content, Html) else html.escape(content)


def badge(standing: Standing | None) -> Html:
    """A figure's standing against its acceptable range, said by a word and a sign and not by colour alone."""
    if standing is None:
        return Html("")
    sign = {"within": "✓", "unsure": "~", "outside": "✗"}[standing]
    return Html(f'<span class="badge {standing}">{sign} {standing}</span>')


def table(headers: Sequence[str], rows: Iterable[Sequence[Content]], *, chosen: int | None = None) -> Html:
    """A table that scrolls sideways where the screen is narrow.

    Args:
        headers: names of the columns; the first column holds names, the others figures.
        rows: cells, one for each header.
        chosen: position of the row to set off.
    """
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = []
    for position, cells in enumerate(rows):
        name, *figures = (escape(cell) for cell in cells)
        row = f'<th scope="row">{name}</th>' + "".join(f"<td>{cell}</td>" for cell in figures)
        body.append(f'<tr class="chosen">{row}</tr>' if position == chosen else f"<tr>{row}</tr>")
    return Html(
        '<div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page.

    Attributes:
        key: its element's id.
        title: its heading.
        lead: one paragraph under it.
        parts: whatever follows.
    """

    key: str
    title: str
    lead: str
    parts: tuple[Html, ...]

    def render(self) -> str:
        """The section as markup."""
        body = "".join(part.text for part in self.parts)
        return (
            f'<section id="{self.key}"><h2>{escape(self.title)}</h2><p class="lead">{escape(self.lead)}</p>'
            f"{body}</section>"
        )


def section(key: str, title: str, lead: str, *parts: Html) -> Section:
    """A section of those parts."""
    return Section(key, title, lead, parts)


def navigation(sections: Iterable[Section]) -> str:
    """Links to the sections."""
    links = (f'<a href="#{one.key}">{escape(one.title)}</a>' for one in sections)
    return f"<nav>{''.join(links)}</nav>"


def details(summary: str, *parts: Html) -> Html:
    """Parts that the reader opens."""
    return Html(f"<details><summary>{escape(summary)}</summary>{''.join(part.text for part in parts)}</details>")


def paragraph(text: str) -> Html:
    """A paragraph."""
    return Html(f"<p>{escape(text)}</p>")

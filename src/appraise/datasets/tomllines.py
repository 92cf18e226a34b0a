"""On which line of a TOML document each key stands: what `tomllib` knows and does not tell."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any

#: The place of a value: keys of tables, and positions in arrays.
KeyPath = tuple[str | int, ...]

_PIECE = re.compile(
    r"""
    \"{3}(?:\\.|[^\\])*?\"{3,5}      # multi-line strings may end in up to two more quotes
    | '{3}.*?'{3,5}
    | "(?:\\.|[^"\\\n])*"
    | '[^'\n]*'
    | \#[^\n]*
    | [\[\]{}\n]
    | [^\[\]{}\n"'\#]+
    """,
    re.VERBOSE | re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every table and key of a valid TOML document.

    A key of an inline table or of an array that runs over several lines gets the line where its statement starts.
    """
    lines: dict[KeyPath, int] = {}
    counts: Counter[KeyPath] = Counter()
    table: KeyPath = ()
    for line, statement in _statements(text):
        content = tomllib.loads(statement)
        if statement.startswith("["):
            table = _table_path(content, counts, repeated=statement.startswith("[["))
            lines.setdefault(table, line)
        else:
            for path in _paths(content):
                lines.setdefault(table + path, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Every table header and key-value pair, with the line where it starts."""
    line, start, depth = 1, 1, 0
    parts: list[str] = []
    for match in _PIECE.finditer(text):
        piece = match.group()
        if piece == "\n" and depth == 0:
            statement = "".join(parts).strip()
            if statement:
                yield start, statement
            parts = []
            start = line + 1
        elif not piece.startswith("#"):
            parts.append(piece)
            depth += (piece in "[{") - (piece in "]}")
        line += piece.count("\n")
    statement = "".join(parts).strip()
    if statement:
        yield start, statement


def _table_path(header: dict[str, Any], counts: Counter[KeyPath], *, repeated: bool) -> KeyPath:
    """The path of a table header; within an array of tables it is that of the array's last table."""
    path: KeyPath = ()
    content: Any = header
    while content:
        if isinstance(content, list):
            content = content[0]
            continue
        key = next(iter(content))
        content = content[key]
        path += (key,)
        if repeated and content == [{}]:
            counts[path] += 1
            return (*path, counts[path] - 1)
        if counts[path]:
            path += (counts[path] - 1,)
    return path


def _paths(content: Any) -> Iterator[KeyPath]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (key,)
        for path in _paths(value):
            yield (key, *path)

"""The line of every key."""

from __future__ import annotations

from appraise.datasets.tomllines import key_lines

DOCUMENT = '''# a comment with [brackets] and "quotes"
name = "x" # c [
"quoted.key" = 'a#b'
a.b.c = 1

[csv]
missing = [ "a", # one
  "]", """x
y""",
]
multi = """
# no comment
k = 1
"""
after = 2
[[columns]]
name = "q"
minimum = 0
[[columns]] # two
name = 'r'
inline = {x = 1, y = [1, {z = 2}]}
[columns.sub]
k = 1
[[columns]]
name = "z"
'''


def test_every_key_has_the_line_of_its_statement() -> None:
    lines = key_lines(DOCUMENT)
    expected = {
        ("name",): 2,
        ("quoted.key",): 3,
        ("a", "b", "c"): 4,
        ("csv",): 6,
        ("csv", "missing"): 7,
        ("csv", "multi"): 11,
        ("csv", "after"): 15,
        ("columns", 0): 16,
        ("columns", 0, "minimum"): 18,
        ("columns", 1): 19,
        ("columns", 1, "inline", "y", 1, "z"): 21,
        ("columns", 1, "sub", "k"): 23,
        ("columns", 2, "name"): 25,
    }
    assert {path: lines[path] for path in expected} == expected
    assert ("csv", "k") not in lines

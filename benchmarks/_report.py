"""What every benchmark prints: a table for people, or a JSON list of name, value, unit, against, ratio."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured; ours begin with `appraise/`.
        value: the figure.
        unit: its unit.
        against: the name of the figure that it is held against, measured in the same run; None for a reference.
        ratio: value over that figure's value.
    """

    name: str
    value: float
    unit: str
    against: str | None = None
    ratio: float | None = None


def held_against(name: str, value: float, unit: str, other: Figure) -> Figure:
    """A figure with its ratio to another one."""
    return Figure(name, value, unit, other.name, value / other.value)


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks take."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print one JSON list and nothing else on stdout")
    return made


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def show(figures: list[Figure], *, as_json: bool) -> None:
    """Print the figures."""
    if as_json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
        return
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        ratio = "" if figure.ratio is None else f"   {figure.ratio:8.3f} x {figure.against}"
        print(f"{figure.name:{width}}  {figure.value:14,.4f} {figure.unit}{ratio}")

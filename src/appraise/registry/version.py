"""Semantic versions of models: what a new number says about the model behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

#: What sets a new model apart from the one before: a changed spec (major), a retrained model (minor), a
#: recalibration of the same model (patch).
Change = Literal["spec", "model", "calibration"]

_PATTERN = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A semantic version, `major.minor.patch`, ordered by number."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """The version written in `text`.

        Raises:
            ValueError: where it is not three numbers joined by dots, without leading zeros.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a version of the form major.minor.patch, such as 1.4.0")
        major, minor, patch = map(int, match.groups())
        return cls(major, minor, patch)

    def bump(self, change: Change) -> Version:
        """The version that follows this one after the change."""
        match change:
            case "spec":
                return Version(self.major + 1, 0, 0)
            case "model":
                return Version(self.major, self.minor + 1, 0)
            case "calibration":
                return Version(self.major, self.minor, self.patch + 1)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


#: The version of the first model of a name.
FIRST = Version(1, 0, 0)

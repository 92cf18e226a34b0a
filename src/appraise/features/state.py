"""`State`: what a fitted part turns into and comes back from, with no pickle anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class State:
    """JSON data and named arrays.

    Attributes:
        data: what JSON can hold; floats survive because JSON writes the shortest text that reads back equal.
        arrays: numeric or fixed-width text arrays, never of objects. Names may hold slashes.
    """

    data: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def join(cls, parts: Mapping[str, State]) -> State:
        """One state that holds the parts under their names."""
        return cls(
            data={name: part.data for name, part in parts.items()},
            arrays={f"{name}/{key}": array for name, part in parts.items() for key, array in part.arrays.items()},
        )

    def part(self, name: str) -> State:
        """The part of that name; raises KeyError."""
        prefix = f"{name}/"
        return State(
            data=self.data[name],
            arrays={key.removeprefix(prefix): array for key, array in self.arrays.items() if key.startswith(prefix)},
        )

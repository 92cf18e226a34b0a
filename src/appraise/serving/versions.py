"""What is known of the versions that can be served, before any of them is loaded.

Apart from the models in memory, because the process that asks the registry needs none of what a model computes with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appraise.errors import UnknownModelError, did_you_mean

DEFAULT_ALIAS = "champion"


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version that can be served.

    Attributes:
        name: the model.
        version: its semantic version.
        aliases: the aliases that name it.
        digest: SHA-256 of its bundle's manifest.
        folder: its bundle, or None where it was not fetched yet.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    digest: str
    folder: Path | None


class ModelSource(Protocol):
    """Where models come from."""

    def remembered(self, names: tuple[str, ...]) -> tuple[KnownVersion, ...]:
        """What can be served without asking the registry; of every model where no name is given."""

    def ask(self, names: tuple[str, ...]) -> tuple[KnownVersion, ...]:
        """Every version that the registry has, the bundles of those with an alias fetched."""

    def fetch(self, known: KnownVersion) -> Path:
        """The bundle of a version."""

    def close(self) -> None:
        """Give up what is being asked."""


def cached(source: ModelSource, names: tuple[str, ...], default: str | None) -> tuple[KnownVersion, ...]:
    """The champions that can be served without asking the registry; none where one that is needed is not among them.

    Args:
        source: where models come from.
        names: the models to serve; every one where empty.
        default: the model of `/predict`, where it was chosen.
    """
    remembered = source.remembered(names)
    needed = {*names, *filter(None, [default])}
    return remembered if needed <= {known.name for known in remembered} else ()


def default_of(known: Iterable[str], names: tuple[str, ...], default: str | None) -> str | None:
    """The model of `/predict`: the one that was chosen, the first that was named, or the only one.

    Raises:
        UnknownModelError: the one that was chosen is not there.
    """
    served = list(known)
    if default is not None and default not in served:
        raise UnknownModelError(
            f"there is no model named {default!r} to be the default",
            hint=did_you_mean(default, served) or f"there are {', '.join(served)}",
        )
    chosen = default or next(iter(names), None)
    return served[0] if chosen is None and len(served) == 1 else chosen

"""How the service in the background was started: what a later start keeps of it, and what it changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from appraise.jobs.background import Background, Running

#: What stands for a value that is not to be read in a record.
HIDDEN = "sha256:"
_NOTHING: tuple[Any, ...] = (None, False, [], {}, "")


@dataclass(frozen=True, slots=True)
class Start:
    """How a service is started.

    Attributes:
        flags: what was given on the command line, by the option's name.
        settings: every setting in force, by its key; of what may be secret a digest.
        default: the model of `/predict`, which stays so when others come.
    """

    flags: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    default: str | None = None

    @classmethod
    def of(cls, service: Running | None) -> Start:
        """How one was started; nothing is known of none."""
        details = {} if service is None else service.details
        return cls(details.get("flags", {}), details.get("settings", {}), details.get("default"))

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        return {"flags": dict(self.flags), "settings": dict(self.settings), "default": self.default}


def service_at(home: Path) -> Background:
    """The service of a home, which may run or not."""
    return Background(home / "service", "service")


def told_by(output: Path) -> dict[str, Any] | None:
    """What a service said of itself when it took requests, or why it did not; None while that is not whole."""
    try:
        told: dict[str, Any] = msgspec.json.decode(output.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return None
    return told


def serves_at(port: int, told: Mapping[str, Any] | None) -> bool:
    """Whether a service said that it has this port."""
    return told is not None and "url" in told and urlsplit(told["url"]).port == port


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs between two starts, each as a phrase: `port 8123 -> 8000`, `batch_inputs removed`."""
    found = tuple(_differences(before, after)) if before else ()
    return found or ("settings changed",)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*after, *before)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        name = key.removeprefix("serve.")
        if new in _NOTHING:
            yield f"{name} removed"
        elif str(new).startswith(HIDDEN):
            yield f"{name} {'set' if old in _NOTHING else 'changed'}"
        elif new is True:
            yield f"{name} set"
        else:
            yield f"{name} {_shown(new)}" if old in _NOTHING else f"{name} {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

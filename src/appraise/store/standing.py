"""How a database stands, and how its terminal is called, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """What is known of a database.

    Attributes:
        address: where it is, without a password.
        embedded: whether it is the embedded one.
        running: whether it answers; where it does not, what follows is None.
        version: PostgreSQL's version.
        revision: that of its tables, None where there are none.
        expected: the revision that this version of Appraise knows.
        latency_ms: how long a question takes.
        size_bytes: what its files take.
    """

    address: str
    embedded: bool
    running: bool
    expected: str
    version: str | None = None
    revision: str | None = None
    latency_ms: float | None = None
    size_bytes: int | None = None

    @property
    def up_to_date(self) -> bool:
        """Whether the tables are those that this version knows."""
        return self.running and self.revision == self.expected

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "address": self.address,
            "embedded": self.embedded,
            "running": self.running,
            "version": self.version,
            "revision": self.revision,
            "expected_revision": self.expected,
            "up_to_date": self.up_to_date,
            "latency_ms": self.latency_ms,
            "size_bytes": self.size_bytes,
        }


@dataclass(frozen=True, slots=True)
class PsqlCall:
    """How PostgreSQL's own terminal is called.

    Attributes:
        arguments: the program and its arguments, without a password.
        environment: what must be set besides; a password is here, where other users of the machine do not see it.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]

    def to_dict(self) -> dict[str, object]:
        """What may be shown of it."""
        return {"arguments": list(self.arguments), "environment": dict.fromkeys(self.environment, "***")}

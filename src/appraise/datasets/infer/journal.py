"""The record of what inference decided, and why."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that was decided.

    Attributes:
        column: the column's name; or "[csv]", "[split]", "[cleaning]", "[rules]" or "[dataset]" for what is not of
            one column.
        decision: what was decided, as a phrase.
        reason: what in the file led to it, as a phrase.
        check: whether the file leaves it open, so that a person must look.
    """

    column: str
    decision: str
    reason: str
    check: bool = False

    def __str__(self) -> str:
        return f"{'CHECK THIS: ' if self.check else ''}{self.decision}: {self.reason}"


@dataclass(slots=True)
class Journal:
    """Decisions, in the order in which they were made."""

    decisions: list[Decision] = field(default_factory=list)

    def say(self, column: str, decision: str, reason: str, *, check: bool = False) -> None:
        self.decisions.append(Decision(column, decision, reason, check))

"""What the registry knows of a model version, and which version the aliases should name."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from appraise.registry.version import Version

#: `champion` answers requests; `challenger` is the newest model that did not beat it.
Alias = Literal["champion", "challenger"]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One version of a registered model.

    Attributes:
        name: the model's name, which is its dataset's.
        version: its semantic version.
        aliases: the aliases that name it now.
        kind: what the model is ("catboost", "blend").
        created_at: when it was registered, UTC.
        spec_hash: the spec that it was trained for.
        digest: SHA-256 of its bundle's manifest.
        metric: the error that it was chosen by ("rmse").
        error: that error on its validation rows.
        run_id: the MLflow run that made it.
        registry_version: its number in MLflow.
    """

    name: str
    version: Version
    aliases: tuple[str, ...]
    kind: str
    created_at: dt.datetime
    spec_hash: str
    digest: str
    metric: str
    error: float
    run_id: str
    registry_version: str

    def to_dict(self) -> dict[str, object]:
        """The entry as JSON."""
        return {
            "name": self.name,
            "version": str(self.version),
            "aliases": list(self.aliases),
            "kind": self.kind,
            "created_at": self.created_at.isoformat(),
            "metric": self.metric,
            "error": self.error,
            "digest": self.digest,
            "run_id": self.run_id,
        }


#: The share of an error by which two trainings of the same model may differ.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Registration:
    """A model that was registered, the alias it was given, and why, in one sentence."""

    entry: ModelEntry
    alias: Alias
    reason: str


def choose_alias(
    champion: ModelEntry | None, *, spec_hash: str, metric: str, error: float, promote: bool | None
) -> tuple[Alias, str]:
    """The alias of a newly trained model, and the reason.

    Errors are compared only where they mean the same: the same spec and the same metric. An equal error promotes
    the newer model, which is what a person who has just trained it expects to use. Errors are equal that differ by
    rounding, as where the same data are added up by another number of threads.

    Args:
        champion: the champion so far.
        spec_hash: the spec that the new model was trained for.
        metric: the error that it was chosen by.
        error: its value on the validation rows.
        promote: what the user asked for; None leaves it to the errors.
    """
    if promote is not None:
        return ("champion", "promotion was asked for") if promote else ("challenger", "promotion was not wanted")
    if champion is None:
        return "champion", "it is the first model of its name"
    if champion.spec_hash != spec_hash or champion.metric != metric:
        return "champion", f"the spec changed, and the champion {champion.version} was trained for the former one"
    scores = f"validation {metric} {error:.5g}, champion {champion.version} has {champion.error:.5g}"
    if error <= champion.error * (1.0 + _ROUNDING):
        return "champion", f"it is at least as good ({scores})"
    return "challenger", f"it is not as good ({scores})"

"""Stored features by hand: put some, see some."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from appraise.datasets.constraints import shown
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.specfile import spec_from_dict
from appraise.errors import DataError, did_you_mean
from appraise.registry.bundle import read_manifest
from appraise.registry.mlflow_registry import Registry
from appraise.serving.rows import RowChecker
from appraise.store.database import Database
from appraise.store.features import (
    FeatureEvent,
    StoredValue,
    Value,
    all_features,
    check_event,
    name_problem,
    write_features,
)

_TEXTS = ("category", "text", "identifier", "date")


@dataclass(frozen=True, slots=True)
class Put:
    """What was stored.

    Attributes:
        user_id: whose it is.
        at: since when it holds.
        values: features by name.
        changed: how many of them are new or differ from what was stored of that time.
        unknown: what to say of those that no model here has as an input.
    """

    user_id: str
    at: dt.datetime
    values: dict[str, Value]
    changed: int
    unknown: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "user_id": self.user_id,
            "at": self.at.isoformat(),
            "values": self.values,
            "changed": self.changed,
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, slots=True)
class UserFeatures:
    """The latest features of a user as of a moment."""

    user_id: str
    as_of: dt.datetime
    values: dict[str, StoredValue]

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "user_id": self.user_id,
            "as_of": self.as_of.isoformat(),
            "features": {
                name: {"value": one.value, "timestamp": one.timestamp.isoformat()} for name, one in self.values.items()
            },
        }


def put_features(
    database: Database,
    user_id: str,
    pairs: Iterable[str],
    *,
    at: dt.datetime | None = None,
    spec: DatasetSpec | None = None,
    registry: Registry | None = None,
) -> Put:
    """Store features of one user.

    Args:
        database: where.
        user_id: whose they are.
        pairs: `NAME=VALUE` each.
        at: since when they hold; now where not given.
        spec: a dataset whose inputs they must be; without one a value is a number or a truth where it looks like
            one, and a text otherwise.
        registry: whose models are looked at for inputs of these names, where no dataset is given.

    Raises:
        DataError: what was given cannot be stored; nothing was.
        StoreError: the database cannot be written.
    """
    moment = at or dt.datetime.now(tz=dt.UTC)
    values = dict(_parsed(pair, spec) for pair in pairs)
    if spec is not None:
        _check(values, spec)
    events = [check_event(FeatureEvent(user_id, name, value, moment)) for name, value in values.items()]
    with database:
        database.check()
        with database.connect() as connection:
            changed = write_features(connection, events)
    unknown = () if registry is None or spec is not None else tuple(_unknown(values, registry))
    return Put(user_id, moment, values, changed, unknown)


def show_features(database: Database, user_id: str, *, at: dt.datetime | None = None) -> UserFeatures:
    """The latest features of a user, as of a moment or now.

    Raises:
        DataError: nothing is stored of the user.
        StoreError: the database cannot be read.
    """
    problem = name_problem(user_id)
    if problem is not None:
        raise DataError(f"a user {problem}, received {shown(user_id)}")
    moment = at or dt.datetime.now(tz=dt.UTC)
    with database:
        database.check()
        with database.dedicated() as connection:
            found = all_features(connection, user_id, as_of=moment)
    if not found.known:
        raise DataError(
            f"nothing is stored of the user {user_id!r}",
            hint=f"store something: appraise features put {user_id} NAME=VALUE",
        )
    return UserFeatures(user_id, moment, dict(sorted(found.values.items())))


def _parsed(pair: str, spec: DatasetSpec | None) -> tuple[str, Value]:
    name, equals, text = pair.partition("=")
    if not equals or not name:
        raise DataError(f"a feature is given as NAME=VALUE, received {shown(pair)}", hint="such as MedInc=8.3")
    column = None if spec is None else next((one for one in spec.inputs if one.name == name), None)
    if spec is not None and column is None:
        known = [one.name for one in spec.inputs]
        hint = did_you_mean(name, known) or f"its inputs are {', '.join(known)}"
        raise DataError(f"{spec.name} has no input {name!r}", hint=hint)
    if column is not None and column.kind in _TEXTS:
        return name, text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return name, text
    return name, value if isinstance(value, bool | int | float | str) else text


def _check(values: dict[str, Value], spec: DatasetSpec) -> None:
    """See that a model of this dataset could use the values; what else a row needs is no matter here."""
    wrong = [one for one in RowChecker(spec).problems([values]) if one.field in values]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        first = f"{wrong[0].field}: {wrong[0].constraint}, received {wrong[0].received}"
        raise DataError(first + more, hint="nothing was stored")


def _unknown(names: Iterable[str], registry: Registry) -> Iterator[str]:
    """A sentence for each name that is no input of a model which was fetched or served here."""
    folders = filter(None, map(registry.cached, registry.cached_names()))
    specs = [spec_from_dict(read_manifest(folder).spec) for folder in folders]
    inputs = {column.name for spec in specs for column in spec.inputs}
    for name in names if specs else ():
        if name not in inputs:
            meant = did_you_mean(name, sorted(inputs))
            yield f"no model here has an input {name!r}" + ("" if meant is None else f"; {meant}")

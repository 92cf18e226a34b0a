"""Rows that name a user, whose stored features fill what they leave out, and rows whose values come by position.

A field that is absent or null is left out. What the request gives beats what is stored.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from appraise.datasets.constraints import shown
from appraise.datasets.spec import DatasetSpec
from appraise.errors import Problem, RowError
from appraise.store.features import Found, StoredValue, name_problem

USER = "user_id"
POSITIONAL = "features_for_prediction"

#: Where a value came from.
Origin = Literal["request", "store", "nowhere"]


@dataclass(frozen=True, slots=True)
class FeatureAges:
    """How old a stored feature may be.

    Attributes:
        warn: from here on its use is warned of.
        refuse: from here on it is not used.
    """

    warn: dt.timedelta = dt.timedelta(days=30)
    refuse: dt.timedelta = dt.timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Asked:
    """A row as it was sent.

    Attributes:
        row: its values by field.
        user_id: whose stored features count, None where nobody is named.
        missing: inputs that it leaves out and that may be stored.
    """

    row: Mapping[str, Any]
    user_id: str | None
    missing: tuple[str, ...]

    @property
    def question(self) -> tuple[str, tuple[str, ...]] | None:
        """What must be looked up, if anything."""
        return None if self.user_id is None or not self.missing else (self.user_id, self.missing)


@dataclass(frozen=True, slots=True)
class Completed:
    """A row with its stored features, ready to be checked.

    Attributes:
        row: values by field.
        user_id: whose stored features count, None where nobody is named.
        origins: where the value of each input came from.
        times: since when each stored value holds.
        warnings: stored values that are old.
    """

    row: dict[str, Any]
    user_id: str | None = None
    origins: Mapping[str, Origin] = field(default_factory=dict)
    times: Mapping[str, dt.datetime] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def blamed(self, problems: Iterable[Problem]) -> list[Problem]:
        """Problems of the row, those of stored values saying so."""
        return [
            replace(one, constraint=f"{one.constraint}, and what is stored for this user is not")
            if self.origins.get(one.field or "") == "store"
            else one
            for one in problems
        ]


def is_asked(spec: DatasetSpec, row: Mapping[str, Any]) -> bool:
    """Whether a row is one of these; a dataset may have a column of its own that is called `user_id`."""
    return POSITIONAL in row or (USER in row and all(column.name != USER for column in spec.columns))


def read_asked(spec: DatasetSpec, row: Mapping[str, Any], *, position: int = 0) -> Asked:
    """Read a row for which `is_asked` holds.

    Args:
        spec: the dataset.
        row: what was sent.
        position: the row's place in what was sent, for errors.

    Raises:
        RowError: a user that cannot be one, too few or too many values by position, or values by name beside them.
    """
    given = dict(row)
    own = {column.name for column in spec.columns}
    problems = []
    user = None
    if USER not in own and USER in given:
        user = given.pop(USER)
        problem = name_problem(user)
        if problem is not None:
            problems.append(Problem(position, USER, problem, shown(user)))
    if POSITIONAL in given:
        values = given.pop(POSITIONAL)
        names = [column.name for column in spec.inputs]
        if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != len(names):
            received = f"{len(values)} values" if isinstance(values, list) else shown(values)
            wanted = f"must be an array of {len(names)} values, in this order: {', '.join(names)}"
            problems.append(Problem(position, POSITIONAL, wanted, received))
        else:
            problems += [
                Problem(position, name, f"cannot be given beside {POSITIONAL}, which has it", shown(value))
                for name, value in given.items()
                if name in names
            ]
            given |= dict(zip(names, values, strict=True))
    if problems:
        raise RowError(tuple(problems), hint="correct these fields")
    missing = (column.name for column in spec.inputs if column.role != "sale_date" and given.get(column.name) is None)
    return Asked(given, user, tuple(missing))


def complete(
    spec: DatasetSpec, asked: Asked, found: Found | None, *, ages: FeatureAges, position: int = 0
) -> Completed:
    """Fill a row with what is stored.

    Args:
        spec: the dataset.
        asked: the row as it was sent.
        found: what is stored of its user; None where nothing had to be looked up.
        ages: how old a stored feature may be.
        position: the row's place in what was sent, for errors.

    Raises:
        RowError: the user is not known, or what the model needs is not stored, or too old.
    """
    stored = {} if found is None else found.values
    if found is not None and not found.known:
        problem = Problem(position, USER, "must be a user whose features are stored", shown(found.user_id))
        raise RowError((problem,), hint="store some first, or send every field")
    row = dict(asked.row)
    origins: dict[str, Origin] = {}
    times: dict[str, dt.datetime] = {}
    warnings: list[str] = []
    problems: list[Problem] = []
    for column in spec.inputs:
        name = column.name
        value = stored.get(name)
        needed = not column.optional and column.role != "sale_date"
        if row.get(name) is not None:
            origins[name] = "request"
        elif value is None:
            origins[name] = "nowhere"
            if needed and found is not None:
                received = "null" if name in row else "nothing"
                problems.append(Problem(position, name, "must be sent, or be stored for this user", received))
        elif found is not None and found.as_of - value.timestamp >= ages.refuse:
            origins[name] = "nowhere"
            if needed:
                limit = f"must be sent, or be stored for this user since less than {_days(ages.refuse)}"
                problems.append(Problem(position, name, limit, _dated(value, found.as_of)))
            else:
                warnings.append(f"{name} is not used: what is stored is {_dated(value, found.as_of)}")
        else:
            row[name], origins[name], times[name] = value.value, "store", value.timestamp
            if found is not None and found.as_of - value.timestamp >= ages.warn:
                warnings.append(f"{name} comes from the store, where it is {_dated(value, found.as_of)}")
    if problems:
        raise RowError(tuple(problems), hint="send these fields, or store them again")
    order = [*(column.name for column in spec.inputs), *row]
    return Completed({name: row[name] for name in order if name in row}, asked.user_id, origins, times, tuple(warnings))


def _dated(value: StoredValue, as_of: dt.datetime) -> str:
    return f"{shown(value.value)} of {value.timestamp:%Y-%m-%d}, {_days(as_of - value.timestamp)} old"


def _days(age: dt.timedelta) -> str:
    days = age / dt.timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else f"{age / dt.timedelta(hours=1):.0f} hours"

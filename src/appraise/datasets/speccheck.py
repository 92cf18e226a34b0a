"""Whether a spec makes sense as a whole: roles, bounds, rules, split."""

from __future__ import annotations

import re
from collections.abc import Iterator

from appraise.datasets.spec import Column, DatasetSpec, RandomSplit, Role, TimeSplit
from appraise.datasets.specparse import Places
from appraise.datasets.tomllines import KeyPath
from appraise.errors import SpecError, did_you_mean

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")
_CURRENCY = re.compile(r"[A-Z]{3}")
_SINGLE_ROLES: tuple[Role, ...] = ("target", "sale_date", "latitude", "longitude")
_ROLE_KINDS: dict[Role, tuple[str, ...]] = {
    "target": ("number", "integer"),
    "sale_date": ("date",),
    "latitude": ("number",),
    "longitude": ("number",),
    "feature": ("number", "integer", "boolean", "category", "date"),
}
#: Keys of a column that say something about one kind alone.
_KEY_KINDS: dict[str, tuple[str, ...]] = {
    "minimum": ("number", "integer"),
    "maximum": ("number", "integer"),
    "levels": ("category",),
    "encoding": ("category",),
    "date_format": ("date",),
    "true_values": ("boolean",),
    "false_values": ("boolean",),
}
_DEGREES: dict[Role, float] = {"latitude": 90.0, "longitude": 180.0}


def check_spec(spec: DatasetSpec, places: Places | None = None) -> None:
    """Raises SpecError, with the line at fault where it is known, for the first thing that makes no sense."""
    for error in _errors(spec, places or Places(spec.path)):
        raise error


def _errors(spec: DatasetSpec, places: Places) -> Iterator[SpecError]:
    yield from _dataset_errors(spec, places)
    for position, column in enumerate(spec.columns):
        for key, message, hint in _column_problems(column):
            yield places.error(("columns", position, key), f"column {column.name!r}: {message}", hint)
    yield from _name_errors(spec, places)
    yield from _role_errors(spec, places)
    yield from _reference_errors(spec, places)
    yield from _rule_errors(spec, places)
    yield from _split_errors(spec, places)


def _dataset_errors(spec: DatasetSpec, places: Places) -> Iterator[SpecError]:
    if not _SLUG.fullmatch(spec.name):
        yield places.error(
            ("name",),
            f"the name {spec.name!r} cannot be used",
            "use lower-case letters, digits, - and _, beginning with a letter or a digit",
        )
    if spec.currency is not None and not _CURRENCY.fullmatch(spec.currency):
        yield places.error(("currency",), f"{spec.currency!r} is not a currency code", 'write currency = "USD"')
    if spec.price_unit <= 0:
        yield places.error(("price_unit",), f"price_unit must be above 0, not {spec.price_unit:g}", None)
    csv = spec.csv
    for key, character in (("separator", csv.separator), ("quote", csv.quote), ("thousands", csv.thousands)):
        if character is not None and (len(character) != 1 or not character.isascii() or character in "\r\n"):
            yield places.error(("csv", key), f"{key} must be one ASCII character, not {character!r}", None)
    if csv.separator == csv.quote:
        yield places.error(("csv", "quote"), f"{csv.quote!r} cannot be both separator and quote", None)
    if csv.thousands is not None and csv.thousands in ("," if csv.decimal_comma else "."):
        yield places.error(
            ("csv", "thousands"),
            f"{csv.thousands!r} cannot be both the decimal and the thousands separator",
            "set decimal_comma to say which of the two it is",
        )


def _column_problems(column: Column) -> Iterator[tuple[str, str, str | None]]:
    """Key at fault, message and hint."""
    for key in ("name", "source"):
        text = getattr(column, key)
        if text is not None and text != text.strip():
            yield key, f"{key} has white space around it", "headers are read without it: write it without"
    kinds = _ROLE_KINDS.get(column.role)
    if kinds and column.kind not in kinds:
        yield (
            "role",
            f"a column of the kind {column.kind!r} cannot have the role {column.role!r}",
            f"the kind must be {' or '.join(kinds)}, or the role another (ignored, id)",
        )
    for key, kinds in _KEY_KINDS.items():
        if getattr(column, key) not in (None, (), "auto") and column.kind not in kinds:
            yield key, f"{key} means nothing for the kind {column.kind!r}", f"it belongs to {' and '.join(kinds)}"
    yield from _bound_problems(column)
    yield from _word_problems(column)


def _bound_problems(column: Column) -> Iterator[tuple[str, str, str | None]]:
    if column.minimum is not None and column.maximum is not None and column.minimum > column.maximum:
        yield "minimum", f"minimum {column.minimum:g} is above maximum {column.maximum:g}", "exchange the two"
    limit = _DEGREES.get(column.role)
    for key, bound in (("minimum", column.minimum), ("maximum", column.maximum)):
        if limit is not None and bound is not None and abs(bound) > limit:
            yield key, f"a {column.role} of {bound:g} degrees does not exist", f"stay within -{limit:g} and {limit:g}"


def _word_problems(column: Column) -> Iterator[tuple[str, str, str | None]]:
    if column.levels is not None and (not column.levels or len(set(column.levels)) < len(column.levels)):
        yield "levels", "levels must name at least one level, each once", "leave it out to accept any level"
    both = {text.lower() for text in column.true_values} & {text.lower() for text in column.false_values}
    if both:
        yield "false_values", f"{min(both)!r} is among both true_values and false_values", "leave it in one of them"
    if column.date_format is not None and not re.search(r"%[YyFDGcx]", column.date_format):
        yield "date_format", f"{column.date_format!r} has no year", 'write it as in "%d/%m/%Y"'


def _name_errors(spec: DatasetSpec, places: Places) -> Iterator[SpecError]:
    for key in ("name", "header"):
        seen: dict[str, int] = {}
        for position, column in enumerate(spec.columns):
            text = getattr(column, key)
            if text in seen:
                what = "named" if key == "name" else "read from the header"
                path: KeyPath = ("columns", position, "source" if key == "header" and column.source else "name")
                yield places.error(path, f"two columns are {what} {text!r}", "rename or remove one of them")
            seen[text] = position


def _role_errors(spec: DatasetSpec, places: Places) -> Iterator[SpecError]:
    positions: dict[Role, list[int]] = {role: [] for role in _SINGLE_ROLES}
    for position, column in enumerate(spec.columns):
        if column.role in positions:
            positions[column.role].append(position)
    for role, found in positions.items():
        if len(found) > 1:
            first, second = (spec.columns[position].name for position in found[:2])
            yield places.error(
                ("columns", found[1], "role"),
                f"two columns have the role {role!r}: {first!r} and {second!r}",
                'give one of them the role "feature" or "ignored"',
            )
    if not positions["target"]:
        yield places.error((), "no column has the role 'target'", 'give the column of prices role = "target"')
    pairs: tuple[tuple[Role, Role], ...] = (("latitude", "longitude"), ("longitude", "latitude"))
    for role, other in pairs:
        if positions[role] and not positions[other]:
            yield places.error(
                ("columns", positions[role][0], "role"),
                f"there is a {role} and no {other}",
                f'give the column of the {other} role = "{other}", or this one role = "feature"',
            )
    if not spec.inputs:
        yield places.error((), "no column is left for a model to learn from", 'give at least one role = "feature"')


def _reference_errors(spec: DatasetSpec, places: Places) -> Iterator[SpecError]:
    columns = {column.name: column for column in spec.columns}
    references: list[tuple[KeyPath, tuple[str, ...], bool]] = [
        (("region",), () if spec.region is None else (spec.region,), True),
        (("cleaning", "city_columns"), spec.cleaning.city_columns, True),
        (("cleaning", "near_duplicate_columns"), spec.cleaning.near_duplicate_columns, False),
    ]
    for path, name, category in ((path, name, category) for path, names, category in references for name in names):
        if name not in columns:
            yield places.error(path, f"{path[-1]} names {name!r}, which is no column", did_you_mean(name, columns))
        elif category and columns[name].kind != "category":
            yield places.error(
                path,
                f"{path[-1]} names {name!r}, which is of the kind {columns[name].kind!r}",
                "it must be a column of the kind category",
            )
    mads = spec.cleaning.outlier_log_mads
    if mads is not None and mads <= 0:
        yield places.error(("cleaning", "outlier_log_mads"), f"outlier_log_mads must be above 0, not {mads:g}", None)


def _rule_errors(spec: DatasetSpec, places: Places) -> Iterator[SpecError]:
    columns = {column.name: column for column in spec.columns}
    for position, rule in enumerate(spec.rules):
        for key in ("left", "right"):
            operand = getattr(rule, key)
            if not isinstance(operand, str):
                continue
            path: KeyPath = ("rules", position, key)
            if operand not in columns:
                yield places.error(
                    path, f"the rule names {operand!r}, which is no column", did_you_mean(operand, columns)
                )
                return
            column = columns[operand]
            if column.kind not in ("number", "integer", "date"):
                yield places.error(path, f"the rule compares {operand!r}, which is of the kind {column.kind!r}", None)
            if not column.is_input and column.role != "target":
                yield places.error(
                    path,
                    f"the rule names {operand!r}, whose role is {column.role!r}",
                    "rules can only speak of columns that the model reads, and of the target",
                )
        left = columns[rule.left].kind == "date"
        right = isinstance(rule.right, str) and columns[rule.right].kind == "date"
        if left != right:
            yield places.error(("rules", position, "right"), "the rule compares a date with a number", None)


def _split_errors(spec: DatasetSpec, places: Places) -> Iterator[SpecError]:
    match spec.split:
        case TimeSplit(train_before=train_before, holdout_from=holdout_from):
            if spec.sale_date is None:
                yield places.error(
                    ("split", "by"),
                    "the split is by time and no column has the role 'sale_date'",
                    'give the date of sale role = "sale_date", or write by = "random"',
                )
            if train_before >= holdout_from:
                yield places.error(
                    ("split", "holdout_from"),
                    f"holdout_from {holdout_from} is not after train_before {train_before}",
                    "the rows between the two dates validate: leave some time for them",
                )
        case RandomSplit(validation=validation, holdout=holdout, seed=seed):
            for key, share in (("validation", validation), ("holdout", holdout)):
                if not 0 < share < 1:
                    yield places.error(("split", key), f"{key} must be a share between 0 and 1, not {share:g}", None)
            if validation + holdout >= 1:
                yield places.error(
                    ("split", "holdout"),
                    f"validation {validation:g} and holdout {holdout:g} leave no row to train on",
                    "their sum must be below 1",
                )
            if not 0 <= seed < 2**32:
                yield places.error(("split", "seed"), f"seed must lie between 0 and {2**32 - 1}, not {seed}", None)

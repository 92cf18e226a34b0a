"""What kind of values each column holds."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import polars as pl

from appraise.datasets.cells import parse_column
from appraise.datasets.infer import naming
from appraise.datasets.infer.dates import looks_like_dates, read_dates
from appraise.datasets.infer.journal import Journal
from appraise.datasets.infer.numbers import unit_suffix
from appraise.datasets.spec import Column, CsvFormat

SAMPLE = 20_000
#: A column is of a kind if this share of its cells can be read as that kind.
_ENOUGH = 0.95
_BOOLEANS = (
    ({"true", "t"}, {"false", "f"}),
    ({"yes", "y"}, {"no", "n"}),
    ({"on"}, {"off"}),
    ({"ja", "j"}, {"nein", "nee", "nej", "n"}),
    ({"oui", "o"}, {"non", "n"}),
    ({"si", "sí", "sì", "s"}, {"no", "n"}),
    ({"sim", "s"}, {"não", "nao", "n"}),
    ({"tak", "t"}, {"nie", "n"}),
    ({"ano", "a"}, {"ne", "n"}),
    ({"да"}, {"нет"}),
    ({"wahr"}, {"falsch"}),
    ({"vrai"}, {"faux"}),
)
_ENGLISH = 2
_COUNT_RANGE = 200
_MANY_LEVELS = 20
_ROWS_A_LEVEL = 10
_LONG_TEXT = 60


@dataclass(frozen=True, slots=True)
class Profile:
    """One column: its draft and its values.

    Attributes:
        column: the draft.
        text: the cells.
        values: what they stand for, under the canonical dtype of the column's kind.
        distinct: how many different values are present.
        present: how many cells are.
    """

    column: Column
    text: pl.Series
    values: pl.Series
    distinct: int
    present: int

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.column.kind in ("number", "integer")

    def having(self, **changes: object) -> Profile:
        """The profile with another draft."""
        return replace(self, column=replace(self.column, **changes))  # type: ignore[arg-type]


def profile(
    name: str, text: pl.Series, csv: CsvFormat, journal: Journal, today: dt.date, *, is_target: bool = False
) -> Profile:
    """The kind of a column, from all of its cells (String, null where missing); a target is a number or nothing."""
    present = text.drop_nulls()
    draft = Column(name, "text", optional=present.len() < text.len())
    distinct = present.n_unique()
    if not present.len():
        journal.say(name, "ignored", "every value is missing")
        return Profile(replace(draft, role="ignored", reason="every value is missing"), text, text, 0, 0)
    column = (
        _amount(draft, _sampled(present), csv, journal) or draft
        if is_target
        else _typed(draft, present, distinct, csv, journal, today)
    )
    values, unreadable = parse_column(text, column, csv)
    refused = text.filter(unreadable)
    if refused.len():
        journal.say(
            name,
            f"{refused.len():,} {'cell' if refused.len() == 1 else 'cells'} cannot be read as {column.kind}",
            f"for example {refused[0]!r}; the rows will be refused",
        )
    return Profile(column, text, values, distinct, present.len())


def _typed(
    draft: Column, present: pl.Series, distinct: int, csv: CsvFormat, journal: Journal, today: dt.date
) -> Column:
    sample = _sampled(present)
    return (
        _constant(draft, present, distinct, journal)
        or _boolean(draft, present, distinct, journal)
        or _date(draft, present, sample, journal, today)
        or _number(draft, present, sample, csv, journal)
        or _text(draft, sample, distinct, present.len(), journal)
    )


def _constant(draft: Column, present: pl.Series, distinct: int, journal: Journal) -> Column | None:
    if distinct > 1 or draft.optional:
        return None
    reason = f"every row says {present[0][:40]!r}"
    journal.say(draft.name, "ignored", reason)
    return replace(draft, kind="category", role="ignored", reason=reason)


def _boolean(draft: Column, present: pl.Series, distinct: int, journal: Journal) -> Column | None:
    if not 2 <= distinct <= 6:
        return None
    spelt = sorted(present.unique().to_list())
    found = {text.lower() for text in spelt}
    if found <= {"0", "1", "0.0", "1.0"}:
        return None if naming.says(draft.name, naming.COUNT) else replace(draft, kind="boolean")
    for language, (true, false) in enumerate(_BOOLEANS):
        if found <= true | false and found & true and found & false:
            journal.say(draft.name, "true or false", f"the cells say {', '.join(spelt)}")
            if language < _ENGLISH:
                return replace(draft, kind="boolean")
            return replace(
                draft,
                kind="boolean",
                true_values=tuple(sorted(found & true)),
                false_values=tuple(sorted(found & false)),
            )
    return None


def _date(draft: Column, present: pl.Series, sample: pl.Series, journal: Journal, today: dt.date) -> Column | None:
    if not looks_like_dates(sample):
        return None
    reading = read_dates(present.unique(maintain_order=True), today)
    if reading is not None:
        journal.say(
            draft.name, f"dates, written {reading.date_format or 'YYYY-MM-DD'}", reading.reason, check=reading.check
        )
        return replace(draft, kind="date", date_format=reading.date_format)
    if sample.str.contains(r"^\d+$").all():
        return None
    reason = "its dates are not all written in one way"
    journal.say(draft.name, "ignored", reason)
    return replace(draft, role="ignored", reason=reason)


def _number(draft: Column, present: pl.Series, sample: pl.Series, csv: CsvFormat, journal: Journal) -> Column | None:
    number = _amount(draft, sample, csv, journal)
    if number is None:
        return None
    values = parse_column(sample, number, csv)[0]
    if not (values == values.round(0)).drop_nulls().all():
        return number
    if _identifies(draft.name, present) or (number.unit is None and _counts_rows(values, present)):
        return replace(draft, kind="identifier")
    if _is_code(draft.name, sample):
        journal.say(draft.name, "a category", "its numbers are codes, not amounts")
        return _encoded(replace(draft, kind="category"), present.n_unique(), present.len(), journal)
    return replace(number, kind="integer") if _is_count(draft.name, values) else number


def _amount(draft: Column, sample: pl.Series, csv: CsvFormat, journal: Journal) -> Column | None:
    unit = unit_suffix(sample)
    number = replace(draft, kind="number", unit=unit or unit_of_name(draft.name))
    if parse_column(sample, number, csv)[1].sum() > (1 - _ENOUGH) * sample.len():
        return None
    if unit is not None:
        journal.say(draft.name, f"numbers in {unit}", "the unit stands behind them")
    return number


def _sampled(present: pl.Series) -> pl.Series:
    return present.gather_every(max(1, present.len() // SAMPLE))


def _is_code(name: str, sample: pl.Series) -> bool:
    if sample.str.contains(r"^0\d").any() and sample.str.contains(r"^\d+$").all():
        return True
    if naming.says(name, naming.POSTAL):
        return True
    last = naming.words(name)[-1:]
    amount = naming.says(name, naming.COUNT + naming.DISTANCE + naming.AMOUNT + naming.MONEY)
    return bool(last) and (last[0] in naming.CODE or (last[0] in naming.ZONES and not amount))


def _identifies(name: str, present: pl.Series) -> bool:
    return naming.says(name, naming.IDENTIFIER) and present.n_unique() > present.len() / 2


def _counts_rows(sample: pl.Series, present: pl.Series) -> bool:
    """Whether the numbers count the rows, as those of an exported index do."""
    first = present.head(_MANY_LEVELS + 1).cast(pl.Float64, strict=False)
    by_one = first.len() > _MANY_LEVELS and bool((first.diff().drop_nulls() == 1).all())
    return by_one and sample.diff().drop_nulls().n_unique() == 1


def _is_count(name: str, values: pl.Series) -> bool:
    """Whole numbers that stay whole: counts and years, but not areas, prices and distances that happen to be whole."""
    if naming.says(name, naming.AREA + naming.PRICE + naming.MONEY + naming.DISTANCE):
        return naming.says(name, ["count", "rooms", "bedrooms", "bathrooms", "floors"])
    if naming.says(name, naming.COUNT + naming.YEAR):
        return True
    low, high = values.min(), values.max()
    return isinstance(low, float) and isinstance(high, float) and high - low <= _COUNT_RANGE


def _text(draft: Column, sample: pl.Series, distinct: int, present: int, journal: Journal) -> Column:
    words = sample.str.count_matches(r"\S+").mean()
    length = sample.str.len_chars().mean()
    several_words = isinstance(words, float) and words > 1.5
    long = isinstance(length, float) and length > _LONG_TEXT
    telling = naming.says(draft.name, naming.FREE_TEXT + naming.IDENTIFIER)
    many = distinct > present / 2 and (distinct > _MANY_LEVELS or telling)
    if long or (many and (several_words or not naming.says(draft.name, naming.IDENTIFIER))):
        if many and not several_words and not long and sample.str.contains(r"\d").mean() == 1.0:
            return replace(draft, kind="identifier")
        reason = f"free text: {distinct:,} different values in {present:,} rows"
        journal.say(draft.name, "ignored", reason)
        return replace(draft, kind="text", role="ignored", reason=reason)
    if many:
        return replace(draft, kind="identifier")
    return _encoded(replace(draft, kind="category"), distinct, present, journal)


def _encoded(column: Column, levels: int, present: int, journal: Journal) -> Column:
    if levels <= _MANY_LEVELS:
        return column
    if present >= _ROWS_A_LEVEL * levels:
        journal.say(column.name, "target encoding", f"{levels:,} levels with {present / levels:.0f} rows each")
        return replace(column, encoding="target")
    journal.say(
        column.name,
        "frequency encoding",
        f"{levels:,} levels with {present / levels:.1f} rows each are too thin for more",
    )
    return replace(column, encoding="frequency")


def unit_of_name(name: str) -> str | None:
    """The unit that a name ends with or holds in brackets: `area_sqft`, `Area (m2)`."""
    units = {"sqft": "sq ft", "ft2": "sq ft", "sqm": "m2", "m2": "m2", "km": "km", "miles": "miles"}
    own = naming.words(name)
    return next((unit for word, unit in units.items() if word in own), None)

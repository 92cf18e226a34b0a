"""From the text of a cell to the value that it stands for, a column at a time."""

from __future__ import annotations

import re

import polars as pl

from appraise.datasets.spec import Column, CsvFormat, Kind

DTYPES: dict[Kind, type[pl.DataType]] = {
    "number": pl.Float64,
    "integer": pl.Int64,
    "boolean": pl.Boolean,
    "category": pl.String,
    "identifier": pl.String,
    "text": pl.String,
    "date": pl.Date,
}

TRUE_VALUES = ("true", "t", "yes", "y", "1", "1.0")
FALSE_VALUES = ("false", "f", "no", "n", "0", "0.0")

#: Currency signs and codes that may stand before or behind a price.
CURRENCY = (
    r"(?:(?:US|AU|CA|NZ|HK|SG|A|C|R|S)?\$|[€£¥₹₽₩₺₫฿₪₴₦₱₡₲₸﷼]|Rs\.?|kr\.?|zł|Kč|Ft|lei|Fr\.?|SFr\.?"
    r"|USD|EUR|GBP|AUD|CAD|NZD|CHF|JPY|CNY|RMB|INR|BRL|SEK|NOK|DKK|PLN|CZK|HUF|RON|RUB|TRY|ILS|ZAR|SGD|HKD|KRW|MXN|AED)"
)
_OLDEST_YEAR = 1000
_WHOLE = 2.0**63


def parse_column(values: pl.Series, column: Column, csv: CsvFormat) -> tuple[pl.Series, pl.Series]:
    """The values that a column's cells stand for.

    Numbers may carry a currency sign or code, a percent sign, the column's unit, the file's thousands separator, and
    brackets for a minus. Dates follow the column's format, ISO 8601 without one; a time of day is cut off. An
    infinity, a date that does not exist and a fraction in an integer column cannot be read.

    Args:
        values: the cells, usually of dtype String; typed values (of a Parquet file) are taken as they are.
        column: what they are.
        csv: how numbers are written.

    Returns:
        the values under the canonical dtype of the column's kind, null where missing or unreadable; and a Boolean
        mask, true where a cell is present and cannot be read.
    """
    if values.dtype != pl.String:
        values = _as_text(values, column)
    match column.kind:
        case "number":
            typed = _numbers(values, column, csv)
        case "integer":
            typed = _integers(values, column, csv)
        case "boolean":
            typed = _booleans(values, column)
        case "date":
            typed = _dates(values, column.date_format)
        case "category":
            typed = _stripped(values).str.replace(r"^(-?\d+)\.0+$", "$1")
        case _:
            typed = _stripped(values)
    present = _stripped(values).is_not_null()
    return typed.alias(column.name), (present & typed.is_null()).alias(column.name)


def _as_text(values: pl.Series, column: Column) -> pl.Series:
    if column.kind == "date" and values.dtype.is_temporal():
        return values.dt.strftime(column.date_format or "%Y-%m-%d")
    if column.kind == "boolean" and values.dtype == pl.Boolean and column.true_values and column.false_values:
        words = {True: column.true_values[0], False: column.false_values[0]}
        return values.replace_strict(words, default=None, return_dtype=pl.String)
    if values.dtype.is_float():
        values = values.fill_nan(None)
    return values.cast(pl.String, strict=False)


def _stripped(values: pl.Series) -> pl.Series:
    text = values.str.strip_chars()
    return text.set(text == "", None)


def _fill(values: pl.Series, parsed: pl.Series, rest: pl.Series) -> pl.Series:
    """`parsed`, with `rest` for the cells that are present but not parsed, in order."""
    gaps = (values.is_not_null() & parsed.is_null()).arg_true()
    return parsed.scatter(gaps, rest) if gaps.len() else parsed


def _numbers(values: pl.Series, column: Column, csv: CsvFormat) -> pl.Series:
    if csv.thousands == ".":  # 1.234 would pass for a fraction
        return _finite(_plain(values, column, csv).cast(pl.Float64, strict=False))
    parsed = values.cast(pl.Float64, strict=False)
    gaps = values.filter(values.is_not_null() & parsed.is_null())
    if gaps.len():
        parsed = _fill(values, parsed, _plain(gaps, column, csv).cast(pl.Float64, strict=False))
    return _finite(parsed)


def _integers(values: pl.Series, column: Column, csv: CsvFormat) -> pl.Series:
    parsed = values.cast(pl.Int64, strict=False)
    gaps = values.filter(values.is_not_null() & parsed.is_null())
    if not gaps.len():
        return parsed
    numbers = _numbers(gaps, column, csv)
    whole = (numbers == numbers.round(0)) & (numbers.abs() < _WHOLE)
    return _fill(values, parsed, numbers.set(~whole.fill_null(value=False), None).cast(pl.Int64))


def _finite(numbers: pl.Series) -> pl.Series:
    return numbers.set(~numbers.is_finite().fill_null(value=True), None)


def _plain(values: pl.Series, column: Column, csv: CsvFormat) -> pl.Series:
    """Numbers as people write them, rewritten as a program reads them; text that is no number stays no number."""
    cell = pl.col("cell")
    cell = cell.str.replace_all("[\u00a0\u2007\u202f\u2009]", " ").str.replace_all("[’`´]", "'")
    cell = cell.str.replace_all("[−–]", "-").str.strip_chars()
    cell = cell.str.replace(r"^\((.*)\)$", "-$1").str.replace(r"[.,]-+$", "")
    cell = cell.str.replace(rf"(?i)^([+-]?)\s*{CURRENCY}\s*", "$1").str.replace(rf"(?i)\s*{CURRENCY}$", "")
    cell = cell.str.replace(r"\s*%$", "")
    if column.unit:
        cell = cell.str.replace(rf"(?i)\s*{re.escape(column.unit)}\.?$", "")
    point = "," if csv.decimal_comma else r"\."
    if csv.thousands:
        mark = re.escape(csv.thousands)
        grouped = cell.str.contains(rf"^[+-]?\d{{1,3}}(?:{mark}\d{{2,3}})*{mark}\d{{3}}(?:{point}\d*)?$")
        cell = pl.when(grouped).then(cell.str.replace_all(csv.thousands, "", literal=True)).otherwise(cell)
    if csv.decimal_comma:
        cell = cell.str.replace(r"^([+-]?\d*),(\d*)$", "$1.$2")
    return pl.DataFrame({"cell": values}).select(cell).to_series()


def _booleans(values: pl.Series, column: Column) -> pl.Series:
    true = column.true_values or (TRUE_VALUES if not column.false_values else ())
    false = column.false_values or (FALSE_VALUES if not column.true_values else ())
    meaning = {word.strip().lower(): False for word in false} | {word.strip().lower(): True for word in true}
    return values.str.strip_chars().str.to_lowercase().replace_strict(meaning, default=None, return_dtype=pl.Boolean)


def _dates(values: pl.Series, date_format: str | None) -> pl.Series:
    if date_format is None:
        days = values.str.extract(r"^\s*(\d{4}-\d{2}-\d{2})(?:[T ].*)?\s*$", 1).str.to_date("%Y-%m-%d", strict=False)
    elif re.search(r"%[deDFjx]", date_format):
        days = values.str.strip_chars().str.to_date(date_format, strict=False)
    elif re.search(r"%[mbBh]", date_format):
        days = (values.str.strip_chars() + " 1").str.to_date(f"{date_format} %d", strict=False)
    else:
        days = (values.str.strip_chars() + " 1 1").str.to_date(f"{date_format} %m %d", strict=False)
    return days.set((days.dt.year() < _OLDEST_YEAR).fill_null(value=False), None)

"""How the file is written: separators, encodings, quotes, decimal marks, thousands, dates, booleans."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from appraise.datasets.cells import parse_column
from appraise.datasets.csvread import read_text_columns
from appraise.datasets.infer import Inference, infer_spec
from appraise.datasets.infer.dates import read_dates
from appraise.datasets.infer.sniffing import sniff
from appraise.datasets.spec import TimeSplit

ROWS = 120
PRICES = [90_000 + 13_777 * n for n in range(ROWS)]
AREAS = [40 + 1.37 * ((n * 37) % ROWS) for n in range(ROWS)]


def infer(
    tmp_path: Path, table: dict[str, Sequence[object]], separator: str = ",", encoding: str = "utf-8"
) -> Inference:
    """Inference on a table that is written as it stands, quoted where needed; the price is added."""
    table = {"price": PRICES, "area": AREAS, **table}
    rows = [table.keys(), *zip(*table.values(), strict=True)]
    lines = [separator.join(_quoted("" if cell is None else str(cell), separator) for cell in row) for row in rows]
    path = tmp_path / "sales.csv"
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return infer_spec(path, target="price")


def _quoted(cell: str, separator: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if separator in cell or '"' in cell else cell


def values(inference: Inference, name: str) -> list[object]:
    """The values that the inferred spec reads from the file."""
    spec = inference.spec
    column = spec.column(name)
    cells = read_text_columns(Path(str(spec.source)), spec.csv, columns=[column.header])[column.header]
    read, unreadable = parse_column(cells, column, spec.csv)
    assert not unreadable.any(), cells.filter(unreadable)
    return read.to_list()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(tmp_path: Path, separator: str) -> None:
    town = ["Aix, en Provence", "a;b", "c|d"] * (ROWS // 3)
    inference = infer(tmp_path, {"town": town}, separator)
    assert inference.spec.csv.separator == separator
    assert values(inference, "town") == town


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp1252", "cp1252"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, named: str) -> None:
    town = ["Zürich", "Genève", "Bâle"] * (ROWS // 3)
    inference = infer(tmp_path, {"town": town}, encoding=encoding)
    assert inference.spec.csv.encoding == named
    assert inference.spec.columns[0].name == "price"
    assert values(inference, "town") == town


def test_an_accent_far_down_the_file_decides_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 500_000 + b"3,\xe9\n")
    assert sniff(path).encoding == "cp1252"
    path.write_bytes(b"a,b\n1,\x81\xe9\n")
    assert sniff(path).encoding == "latin-1"


def test_single_quotes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("'town','price'\n" + "".join(f"'A, {n}','{n}'\n" for n in range(50)))
    assert sniff(path).quote == "'"


@pytest.mark.parametrize(
    ("write", "separator", "decimal_comma", "thousands"),
    [
        (lambda n: f"{n:,.2f}", ",", False, ","),
        (lambda n: f"${n:,.0f}", ",", False, ","),
        (lambda n: f"USD {n:,.0f}", ";", False, ","),
        (lambda n: f"{n:,.2f}".translate(str.maketrans(",.", ".,")), ";", True, "."),
        (lambda n: f"{n:,.2f} €".translate(str.maketrans(",.", ".,")), ";", True, "."),
        (lambda n: f"{n:,.0f}".replace(",", "."), ";", True, "."),
        (lambda n: f"{n:,.2f}".translate(str.maketrans(",.", " ,")), ";", True, " "),
        (lambda n: f"{n:,.0f}".replace(",", "\u202f"), ",", False, " "),
        (lambda n: f"CHF {n:,.2f}".replace(",", "'"), ",", False, "'"),
        (lambda n: f"{n:,.2f}".replace(",", "’"), ",", False, "'"),
        (lambda n: f"{n:.2f}".replace(".", ","), ";", True, None),
        (lambda n: f"{n:.2f}", ";", False, None),
        (lambda n: f"₹{str(n)[:-5]},{str(n)[-5:-3]},{str(n)[-3:]}" if n >= 1e5 else f"₹{n:,}", ",", False, ","),
    ],
)
def test_numbers(tmp_path: Path, write, separator: str, *, decimal_comma: bool, thousands: str | None) -> None:
    table = {"price": [write(price) for price in PRICES]}
    if decimal_comma:
        table["area"] = [f"{area:.2f}".replace(".", ",") for area in AREAS]
    inference = infer(tmp_path, table, separator)
    assert (inference.spec.csv.decimal_comma, inference.spec.csv.thousands) == (decimal_comma, thousands)
    assert values(inference, "price") == PRICES
    assert values(inference, "area") == pytest.approx(AREAS, abs=0.01)


def test_points_that_can_only_set_off_thousands(tmp_path: Path) -> None:
    inference = infer(
        tmp_path, {"price": [f"{p:,}".replace(",", ".") for p in PRICES], "area": [int(a) for a in AREAS]}
    )
    assert (inference.spec.csv.decimal_comma, inference.spec.csv.thousands) == (True, ".")
    assert values(inference, "price") == PRICES


def test_three_digits_behind_every_point_are_a_fraction_and_said_to_be_doubtful(tmp_path: Path) -> None:
    areas = [f"{1 + (n * 37) % ROWS * 0.007:.3f}" for n in range(ROWS)]
    inference = infer(tmp_path, {"area": areas})
    assert values(inference, "area") == [float(area) for area in areas]
    assert "could also be thousands" in inference.notes["[csv]"]


GROUPED = [f"€ {price:,}".replace(",", ".") for price in range(90_000, 90_000 + 7_577 * ROWS, 7_577)]
SMALLER = [f"€ {150 + 5 * n}.{(n * 7) % 1000:03}" for n in range(ROWS)]
DAYS = [f"{1 + n % 28:02}.{1 + n % 12:02}.{2020 + n % 3}" for n in range(ROWS)]
THOUSANDS = [float(price[2:].replace(".", "")) for price in SMALLER]


def checked(inference: Inference) -> list[str]:
    """What a person is asked to look at in how the file is written."""
    return [each.decision for each in inference.decisions if each.check and each.column == "[csv]"]


@pytest.mark.parametrize(
    ("separator", "table", "because"),
    [
        (";", {"sold": DAYS}, "28.01.2020"),
        (";", {}, "semicolon"),
        (",", {"sold": DAYS}, "dates of sold"),
        ("\t", {"sold": [f"{day} 14:30" for day in DAYS]}, "dates of sold"),
    ],
)
def test_points_in_prices_are_thousands_where_the_file_is_continental(
    tmp_path: Path, separator: str, table: dict[str, Sequence[object]], because: str
) -> None:
    areas = [int(area) for area in AREAS]
    inference = infer(tmp_path, {"price": SMALLER, "area": areas, **table}, separator)
    assert values(inference, "price") == THOUSANDS
    assert values(inference, "area") == areas
    assert checked(inference) == ["a point sets off thousands, and a comma is the decimal mark"]
    assert because.replace("28.01.2020", "01.01.2020") in inference.notes["[csv]"]
    assert "decimal_comma = false" in inference.notes["[csv]"]


@pytest.mark.parametrize(
    ("separator", "table"),
    [
        (",", {}),  # no other sign
        (",", {"sold": [day.replace(".", "/") for day in DAYS]}),
        (",", {"sold": ["2020.05.17", *DAYS[1:20], *["2021-01-01"] * (ROWS - 20)]}),
        (";", {"sold": DAYS, "area": [f"{area:.2f}" for area in AREAS]}),  # decimal points elsewhere
        (";", {"sold": DAYS, "latitude": [f"{48 + n / 1000:.3f}" for n in range(1, ROWS + 1)]}),
    ],
)
def test_points_in_prices_that_may_be_either_are_a_decision_to_check(
    tmp_path: Path, separator: str, table: dict[str, Sequence[object]]
) -> None:
    inference = infer(tmp_path, {"price": SMALLER, "area": [int(area) for area in AREAS], **table}, separator)
    assert values(inference, "price") == [float(price[2:]) for price in SMALLER]
    assert checked(inference) == ["a point is read as the decimal mark"]
    assert "CHECK THIS" in inference.notes["[csv]"]


def test_prices_of_which_one_is_no_group_of_thousands_are_fractions(tmp_path: Path) -> None:
    for odd in ("€ 1250", "€ 99.5", "€ 0.500"):
        inference = infer(tmp_path, {"price": [odd, *SMALLER[1:]], "area": [int(a) for a in AREAS], "sold": DAYS}, ";")
        assert values(inference, "price")[1:] == [float(price[2:]) for price in SMALLER[1:]], odd


def test_mixed_marks_of_millions_and_thousands_need_no_second_look(tmp_path: Path) -> None:
    inference = infer(tmp_path, {"price": GROUPED, "area": [f"{a:.1f}".replace(".", ",") for a in AREAS]}, ";")
    assert values(inference, "price")[:2] == [90_000.0, 97_577.0]
    assert checked(inference) == []


def test_a_small_price_and_a_missing_one_stand_among_thousands(tmp_path: Path) -> None:
    prices = ["€ 950", "auf Anfrage", *SMALLER[2:]]
    inference = infer(tmp_path, {"price": prices, "area": [int(a) for a in AREAS], "sold": DAYS}, ";")
    spec = inference.spec
    assert (spec.csv.decimal_comma, spec.csv.thousands) == (True, ".")


def test_percent_signs_units_and_brackets(tmp_path: Path) -> None:
    inference = infer(
        tmp_path,
        {
            "tax_rate": [f"{n % 30}.5%" for n in range(ROWS)],
            "plot": [f"{100 + n} m²" for n in range(ROWS)],
            "balance": [f"({n})" if n % 2 else str(n) for n in range(ROWS)],
        },
    )
    assert inference.spec.column("tax_rate").unit == "%"
    assert inference.spec.column("plot").unit == "m²"
    assert values(inference, "tax_rate")[:2] == [0.5, 1.5]
    assert values(inference, "plot")[:2] == [100.0, 101.0]
    assert values(inference, "balance")[:4] == [0, -1, 2, -3]


@pytest.mark.parametrize(
    ("words", "true", "false"),
    [
        (["yes", "no"], (), ()),
        (["Y", "N"], (), ()),
        (["TRUE", "FALSE"], (), ()),
        (["t", "f"], (), ()),
        (["1", "0"], (), ()),
        (["Yes", "no", "y"], (), ()),
        (["Ja", "Nein"], ("ja",), ("nein",)),
        (["oui", "non"], ("oui",), ("non",)),
        (["sí", "no"], ("sí",), ("no",)),
    ],
)
def test_booleans(tmp_path: Path, words: list[str], true: tuple[str, ...], false: tuple[str, ...]) -> None:
    cells = [words[n % len(words)] for n in range(ROWS)]
    inference = infer(tmp_path, {"sea_view": cells})
    column = inference.spec.column("sea_view")
    assert (column.kind, column.true_values, column.false_values) == ("boolean", true, false)
    assert values(inference, "sea_view")[:2] == [True, False]


DAYS = [dt.date(2019, 1, 3) + dt.timedelta(5 * n) for n in range(ROWS)]


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ("%Y-%m-%d", None),
        ("%Y-%m-%dT%H:%M:%SZ", None),
        ("%Y-%m-%d %H:%M:%S", None),
        ("%d/%m/%Y", "%d/%m/%Y"),
        ("%m/%d/%Y", "%m/%d/%Y"),
        ("%d.%m.%Y", "%d.%m.%Y"),
        ("%d-%m-%y", "%d-%m-%y"),
        ("%m/%d/%y", "%m/%d/%y"),
        ("%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M"),
        ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M:%S %p"),
        ("%Y/%m/%d", "%Y/%m/%d"),
        ("%Y%m%d", "%Y%m%d"),
        ("%Y%m%dT%H%M%S", "%Y%m%dT%H%M%S"),
        ("%B-%d-%Y", "%B-%d-%Y"),
        ("%d %b %Y", "%d %b %Y"),
        ("%d-%b-%y", "%d-%b-%y"),
        ("%b %d, %Y", "%b %d, %Y"),
        ("%B %d, %Y", "%B %d, %Y"),
        ("%d %B %Y", "%d %B %Y"),
        ("%A, %d %B %Y", "%A, %d %B %Y"),
    ],
)
def test_dates(tmp_path: Path, form: str, named: str | None) -> None:
    inference = infer(tmp_path, {"date_sold": [day.strftime(form) for day in DAYS]})
    column = inference.spec.column("date_sold")
    assert (column.kind, column.role, column.date_format) == ("date", "sale_date", named)
    assert values(inference, "date_sold") == DAYS
    assert isinstance(inference.spec.split, TimeSplit)


@pytest.mark.parametrize(("form", "named"), [("%Y-%m", "%Y-%m"), ("%m/%Y", "%m/%Y"), ("%b %Y", "%b %Y")])
def test_months(tmp_path: Path, form: str, named: str) -> None:
    inference = infer(tmp_path, {"month": [day.strftime(form) for day in DAYS]})
    assert inference.spec.column("month").date_format == named
    assert values(inference, "month") == [day.replace(day=1) for day in DAYS]


def test_one_cell_in_the_whole_column_settles_day_and_month(tmp_path: Path) -> None:
    cells = [f"{1 + n % 12:02d}/{1 + n % 11:02d}/2019" for n in range(ROWS)]
    cells[-1] = "03/13/2019"
    inference = infer(tmp_path, {"date_sold": cells})
    assert inference.spec.column("date_sold").date_format == "%m/%d/%Y"
    assert "'03/13/2019' cannot be read otherwise" in inference.notes["date_sold"]


def test_where_day_and_month_cannot_be_told_apart_it_says_so(tmp_path: Path) -> None:
    cells = [f"{1 + n % 12:02d}/{1 + n % 11:02d}/2019" for n in range(ROWS)]
    inference = infer(tmp_path, {"date_sold": cells})
    assert inference.spec.column("date_sold").date_format == "%d/%m/%Y"
    assert "cannot be told apart" in inference.notes["date_sold"]
    assert '"%m/%d/%Y"' in inference.notes["date_sold"]


def test_dates_in_the_future_tell_day_from_month() -> None:
    cells = pl.Series([f"0{1 + n % 9}/0{1 + n % 7}/2019" for n in range(60)] + ["02/09/2020"])
    reading = read_dates(cells.unique(maintain_order=True), today=dt.date(2020, 3, 1))
    assert reading is not None
    assert reading.date_format == "%m/%d/%Y"
    assert "otherwise dates would lie in the future" in reading.reason


def test_dates_in_several_ways_are_not_guessed(tmp_path: Path) -> None:
    cells = [day.strftime("%d.%m.%Y" if n % 2 else "%Y/%m/%d") for n, day in enumerate(DAYS)]
    inference = infer(tmp_path, {"date_sold": cells})
    column = inference.spec.column("date_sold")
    assert (column.role, column.reason) == ("ignored", "its dates are not all written in one way")


def test_the_right_date_is_the_date_of_sale(tmp_path: Path) -> None:
    inference = infer(
        tmp_path,
        {
            "built": [day.replace(year=1990).isoformat() for day in DAYS],
            "listing_date": [(day - dt.timedelta(30)).isoformat() for day in DAYS],
            "closing_date": [day.isoformat() for day in DAYS],
            "updated_at": [(day + dt.timedelta(400)).isoformat() for day in DAYS],
        },
    )
    roles = {column.name: column.role for column in inference.spec.columns if column.kind == "date"}
    assert roles == {
        "built": "feature",
        "listing_date": "feature",
        "closing_date": "sale_date",
        "updated_at": "ignored",
    }
    assert "mostly later than closing_date" in (inference.spec.column("updated_at").reason or "")


def test_a_split_by_time_is_cut_on_whole_days_at_64_and_80_percent(tmp_path: Path) -> None:
    days = [DAYS[n // 6 * 6] for n in range(ROWS)]
    split = infer(tmp_path, {"sold": [day.isoformat() for day in days]}).spec.split
    assert isinstance(split, TimeSplit)
    assert np.mean([day < split.train_before for day in days]) == pytest.approx(0.64, abs=0.03)
    assert np.mean([day >= split.holdout_from for day in days]) == pytest.approx(0.20, abs=0.03)
    assert {split.train_before, split.holdout_from} <= set(days)


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        ([DAYS[0]] * ROWS, "no date of sale"),
        ([DAYS[n % 2] for n in range(ROWS)], "within 5 days are too few"),
        ([DAYS[0]] * (ROWS - 4) + DAYS[-4:], "too many sales fall on too few days"),
    ],
)
def test_a_split_by_chance_where_time_will_not_do(tmp_path: Path, days: list[dt.date], reason: str) -> None:
    inference = infer(tmp_path, {"sold": [day.isoformat() for day in days]})
    assert not isinstance(inference.spec.split, TimeSplit)
    assert reason in inference.notes["[split]"]


def test_sales_dated_in_the_future_are_counted_and_do_not_move_the_split(tmp_path: Path) -> None:
    cells = [day.isoformat() for day in DAYS]
    cells[7] = "2999-01-01"
    inference = infer(tmp_path, {"sold": cells})
    assert "1 row will be refused: they are dated in the future" in inference.notes["sold"]
    assert isinstance(inference.spec.split, TimeSplit)
    assert inference.spec.split.holdout_from.year < 2999

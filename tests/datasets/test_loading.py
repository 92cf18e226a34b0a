import datetime as dt
import math
from pathlib import Path

import polars as pl
import pytest

from appraise.datasets.loading import Loaded, load
from appraise.datasets.spec import Column, CsvFormat, DatasetSpec
from appraise.errors import DataError

SPEC = DatasetSpec(
    "sales",
    (
        Column("sold", "date", "sale_date"),
        Column("area", "number", unit="m2"),
        Column("rooms", "integer", optional=True),
        Column("kind", "category"),
        Column("garden", "boolean", optional=True),
        Column("note", "text", "ignored"),
        Column("price", "number", "target", source="Sale price"),
    ),
)
HEADER = "sold,area,rooms,kind,garden,note,Sale price"
ROWS = ["2020-01-01,80,3,flat,yes,corner,250000", "2020-02-01,120.5,,house,no,,410000"]


@pytest.fixture
def read(tmp_path: Path):
    """Loads lines of CSV, or a file, folder or glob that is there."""

    def load_it(*lines: str, spec: DatasetSpec = SPEC, data: Path | str | None = None, **options: object) -> Loaded:
        if data is None:
            data = tmp_path / "sales.csv"
            data.write_text("\n".join(lines) + "\n" if lines else "")
        options.setdefault("memory_limit", None)
        return load(spec, data=data, cache=tmp_path / "cache", **options)

    return load_it


def test_rows_come_under_canonical_names_and_dtypes(read):
    frame = read(HEADER, *ROWS).frame
    assert frame.schema == {
        "sold": pl.Date,
        "area": pl.Float64,
        "rooms": pl.Int64,
        "kind": pl.String,
        "garden": pl.Boolean,
        "note": pl.String,
        "price": pl.Float64,
    }
    assert frame.row(0) == (dt.date(2020, 1, 1), 80.0, 3, "flat", True, "corner", 250_000.0)
    assert frame.row(1) == (dt.date(2020, 2, 1), 120.5, None, "house", False, None, 410_000.0)


def test_columns_may_stand_in_any_order_and_others_are_named_and_left_out(read):
    lines = ["Sale price,agent,kind,area,sold,rooms,garden,note", "1,Smith,flat,80,2020-01-01,3,,"]
    loaded = read(*lines)
    assert loaded.frame.columns == [column.name for column in SPEC.columns]
    assert loaded.notes == ("columns that the spec does not name are left out: agent",)


def test_unreadable_cells_set_their_row_aside_with_the_reason(read):
    loaded = read(
        HEADER,
        "2020-01-01,eighty,3,flat,yes,,1",
        "2020-02-30,80,3,flat,yes,,2",
        "2020-01-01,80,3.5,flat,perhaps,,3",
        "2020-01-01,inf,3,flat,yes,,4",
        "2020-01-01,80,3,flat,yes,,1e400",
        "2020-01-01,80,3,flat,yes,,6",
    )
    assert loaded.frame["price"].to_list() == [6.0]
    assert loaded.rows.position.tolist() == [5]
    assert loaded.rows.rejected.select("position", "reason").rows() == [
        (0, "area must be a number, received 'eighty'"),
        (1, "sold must be a date written YYYY-MM-DD, received '2020-02-30'"),
        (2, "rooms must be a whole number, received '3.5'; garden must be true or false, received 'perhaps'"),
        (3, "area must be a number, received 'inf'"),
        (4, "price must be a number, received '1e400'"),
    ]


def test_unreadable_cells_of_columns_that_no_model_sees_do_not_matter(read):
    spec = DatasetSpec("sales", (Column("code", "integer", "id"), Column("price", "number", "target")))
    assert read("code,price", "A-1,5", spec=spec).frame.rows() == [(None, 5.0)]


def test_nan_is_a_missing_value(read):
    assert read(HEADER, "2020-01-01,80,NaN,flat,,,1").frame["rooms"].to_list() == [None]


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        ([], "is empty", "column names"),
        ([HEADER], "a header and no rows", "one line for each sale"),
        ([HEADER, *ROWS, "2020-01-01,80"], r"sales\.csv:4: the row has 2 fields where the header has 7", "quoted"),
        ([HEADER + ",area", "1"], "two columns named 'area'", "rename"),
        (["sold,area,rooms,kind,garden,note", "x"], "no column 'Sale price', the target", "its columns are sold, area"),
        (
            ["sold,area,rooms,kind,note,SalePrice", "x"],
            "no column 'Sale price', the target",
            "did you mean 'SalePrice'",
        ),
        (["sold,aera,kind,Sale price", "x"], "no column 'area'", "did you mean 'aera'"),
        (["x,Sale price", "1,2"], "no column 'sold', 'area', 'kind'", "its columns are x, Sale price"),
        (["sold,area,Rooms,kind,Sale price", "x"], "no column 'rooms'", "did you mean 'Rooms'"),
    ],
)
def test_files_that_do_not_fit_are_refused_whole(read, lines, message, hint):
    with pytest.raises(DataError, match=message) as caught:
        read(*lines)
    assert hint in caught.value.hint


def test_optional_columns_may_be_absent_and_are_named(read):
    loaded = read("sold,area,kind,Sale price", "2020-01-01,80,flat,1")
    assert loaded.frame["rooms"].to_list() == [None]
    assert loaded.notes == ("columns that the file does not have are taken as missing: rooms, garden",)


def test_the_target_may_be_absent_where_it_is_not_needed(read):
    loaded = read("sold,area,rooms,kind,garden", "2020-01-01,80,3,flat,no", target_needed=False)
    assert loaded.frame["price"].to_list() == [None]


def test_a_spec_says_how_the_file_is_written(read):
    spec = DatasetSpec("sales", SPEC.columns, csv=CsvFormat(separator=";", decimal_comma=True, thousands="."))
    assert read(HEADER.replace(",", ";"), "2020-01-01;80,5;;flat;;;1.250.000", spec=spec).frame.row(0)[1::5] == (
        80.5,
        1_250_000.0,
    )


def parquet(path: Path, **columns: object) -> Path:
    usual = {
        "sold": [dt.datetime(2020, 1, 1, 15, 30)],
        "area": pl.Series([80], dtype=pl.Int32),
        "rooms": [3.0],
        "kind": pl.Series(["flat"], dtype=pl.Categorical),
        "garden": [True],
        "note": [None],
        "Sale price": pl.Series([250_000], dtype=pl.Decimal(12, 2)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({**usual, **columns}).write_parquet(path)
    return path


def test_parquet_is_the_same_as_text(read, tmp_path):
    frame = read(data=parquet(tmp_path / "sales.parquet")).frame
    assert frame.schema == read(HEADER, *ROWS).frame.schema
    assert frame.row(0) == (dt.date(2020, 1, 1), 80.0, 3, "flat", True, None, 250_000.0)


def test_parquet_is_known_by_its_first_bytes(read, tmp_path):
    assert read(data=parquet(tmp_path / "sales.csv")).frame.height == 1


def test_nan_and_infinities_in_parquet(read, tmp_path):
    path = parquet(
        tmp_path / "sales.parquet",
        area=[math.nan, math.inf, 80.0],
        **{
            name: [value] * 3
            for name, value in (
                ("sold", dt.date(2020, 1, 1)),
                ("rooms", 3),
                ("kind", "flat"),
                ("garden", True),
                ("note", ""),
            )
        },
        **{"Sale price": [1.0, 2.0, 3.0]},
    )
    loaded = read(data=path)
    assert loaded.frame["area"].to_list() == [None, 80.0]
    assert loaded.rows.rejected["reason"].to_list() == ["area must be a number, received inf"]


def test_a_folder_is_one_table_and_rows_keep_their_place(read, tmp_path):
    folder = tmp_path / "sales"
    parquet(folder / "2020.parquet")
    parquet(folder / "2021.parquet", area=[math.inf])
    parquet(folder / "2022.parquet", rooms=pl.Series([4], dtype=pl.Int16))
    loaded = read(data=folder)
    assert loaded.frame["rooms"].to_list() == [3, 4]
    assert loaded.rows.position.tolist() == [0, 2]
    assert loaded.rows.rejected["position"].to_list() == [1]
    assert read(data=f"{folder}/202[12].parquet").frame.height == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:200], "not a whole Parquet file"),
        (lambda data: b"PAR1" + bytes(len(data)), "not a whole Parquet file"),
        (lambda data: b"\x01\x00\x9f" + data[4:], "is not a Parquet file"),
    ],
)
def test_a_damaged_parquet_file_is_named(read, tmp_path, damage, message):
    path = parquet(tmp_path / "sales.parquet")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        read(data=path)
    assert caught.value.hint


def test_lists_in_a_column_are_refused(read, tmp_path):
    with pytest.raises(DataError, match=r"the column 'area' .* holds List"):
        read(data=parquet(tmp_path / "sales.parquet", area=[[80.0]]))


def test_parquet_without_rows_is_refused(read, tmp_path):
    path = tmp_path / "sales.parquet"
    pl.read_parquet(parquet(path)).clear().write_parquet(path)
    with pytest.raises(DataError, match="has no rows"):
        read(data=path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_would_not_fit_into_memory_is_refused_before_it_is_read(read, tmp_path, kind):
    rows = 20_000
    path = tmp_path / f"sales.{kind}"
    if kind == "csv":
        path.write_text("\n".join([HEADER, *(ROWS * (rows // 2))]) + "\n")
    else:
        pl.read_parquet(parquet(path)).select(pl.all().repeat_by(rows).explode()).write_parquet(path)
    assert read(data=path, memory_limit=64 << 20).frame.height == rows
    with pytest.raises(DataError, match=r"takes about .* 1.0 MiB is allowed") as caught:
        read(data=path, memory_limit=1 << 20)
    assert "APPRAISE_MEMORY_LIMIT" in caught.value.hint


def test_only_the_specs_columns_count_for_memory(read):
    filler = ",".join("x" * 20 for _ in range(30))
    names = ",".join(f"extra{place}" for place in range(30))
    lines = [f"{HEADER},{names}", *[f"{row},{filler}" for row in ROWS * 500]]
    assert read(*lines, memory_limit=2_000_000).frame.height == 1000


def test_a_file_that_is_not_there(read, tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read(data=tmp_path / "nothing.csv")

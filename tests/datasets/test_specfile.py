"""Specs as files: what is written is read, and what is wrong is said with its line."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appraise.datasets.spec import (
    Cleaning,
    Column,
    CsvFormat,
    DatasetSpec,
    RandomSplit,
    Rule,
    TimeSplit,
)
from appraise.datasets.specfile import read_spec, spec_from_dict, spec_hash, spec_to_dict, write_spec
from appraise.errors import OutputError, SpecError

GOOD = """\
name = "sales"
currency = "EUR"
region = "city"

[split]
by = "time"
train_before = 2020-01-01
holdout_from = 2021-01-01

[[columns]]
name = "price"
kind = "number"
role = "target"

[[columns]]
name = "sold"
kind = "date"
role = "sale_date"

[[columns]]
name = "lat"
kind = "number"
role = "latitude"
minimum = -90
maximum = 90

[[columns]]
name = "lon"
kind = "number"
role = "longitude"

[[columns]]
name = "city"
kind = "category"
role = "feature"

[[columns]]
name = "rooms"
kind = "integer"
role = "feature"

[[rules]]
left = "rooms"
operator = ">="
right = 1
message = "A home has a room."
"""


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    return tmp_path / "sales.toml"


def line_of(text: str, needle: str) -> int:
    return text[: text.index(needle)].count("\n") + 1


def test_a_spec_is_read(spec_file: Path) -> None:
    spec_file.write_text(GOOD)
    spec = read_spec(spec_file)
    assert spec.path == str(spec_file)
    assert spec.target.name == "price"
    assert spec.split == TimeSplit(dt.date(2020, 1, 1), dt.date(2021, 1, 1))
    assert spec.rules == (Rule("rooms", ">=", 1.0, "A home has a room."),)
    assert [column.name for column in spec.inputs] == ["sold", "lat", "lon", "city", "rooms"]


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ('kind = "number"\nrole = "target"', 'kidn = "number"\nrole = "target"', "unknown key 'kidn'", "'kind'"),
        ('currency = "EUR"', 'curency = "EUR"', "unknown key 'curency'", "'currency'"),
        ('currency = "EUR"', "currency = 3", "currency must be text in quotes, not 3", None),
        ('currency = "EUR"', 'currency = "euro"', "'euro' is not a currency code", "USD"),
        ('name = "sales"', 'name = "My Sales"', "the name 'My Sales' cannot be used", "lower-case"),
        ('region = "city"', 'region = "citty"', "region names 'citty', which is no column", "'city'"),
        ('region = "city"', 'region = "rooms"', "region names 'rooms', which is of the kind 'integer'", "category"),
        ("minimum = -90", 'minimum = "low"', "minimum must be a finite number, not 'low'", None),
        ("minimum = -90", "minimum = nan", "minimum must be a finite number, not nan", None),
        ("minimum = -90", "minimum = 91", "minimum 91 is above maximum 90", "exchange"),
        ("maximum = 90", "maximum = 91", "a latitude of 91 degrees does not exist", "within"),
        ('kind = "integer"', 'kind = "interger"', "kind cannot be 'interger'", "'integer'"),
        ('kind = "integer"', "kind = true", "kind must be text in quotes, not true", None),
        ('role = "longitude"', 'role = "feature"', "there is a latitude and no longitude", "longitude"),
        ('role = "longitude"', 'role = "target"', "two columns have the role 'target': 'price' and 'lon'", "feature"),
        ('name = "lon"', 'name = "lat"', "two columns are named 'lat'", "rename"),
        (
            'kind = "category"',
            'kind = "category"\nminimum = 0',
            "minimum means nothing for the kind 'category'",
            "number",
        ),
        ('kind = "date"', 'kind = "text"', "a column of the kind 'text' cannot have the role 'sale_date'", "date"),
        ('kind = "category"', 'kind = "category"\nlevels = []', "levels must name at least one level", "leave it out"),
        ('left = "rooms"', 'left = "room"', "the rule names 'room', which is no column", "'rooms'"),
        ("right = 1", 'right = "sold"', "the rule compares a date with a number", None),
        ("right = 1", 'right = "city"', "the rule compares 'city', which is of the kind 'category'", None),
        ('operator = ">="', 'operator = "=<"', "operator cannot be '=<'", "<="),
        ("train_before = 2020-01-01", 'train_before = "2020-13-01"', "train_before must be a date", None),
        ("train_before = 2020-01-01", "train_before = 2020-01-01T00:00:00", "train_before must be a date", None),
        ("holdout_from = 2021-01-01", "holdout_from = 2020-01-01", "is not after train_before", "validate"),
        ("holdout_from = 2021-01-01", "seed = 1", 'seed does not belong to a split by = "time"', "remove"),
        ("holdout_from = 2021-01-01\n", "", "holdout_from is missing in [split]", "2022-01-01"),
        ('by = "time"', 'by = "tme"', "by cannot be 'tme'", "'time'"),
        ('message = "A home has a room."', "", "message is missing in [rules]", "message"),
        (
            'role = "sale_date"',
            'role = "feature"',
            "the split is by time and no column has the role 'sale_date'",
            "random",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    spec_file: Path, old: str, new: str, message: str, hint: str | None
) -> None:
    assert GOOD.count(old) >= 1
    spec_file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        read_spec(spec_file)
    error = caught.value
    assert message in error.message
    assert error.path == str(spec_file)
    assert error.line is not None
    assert error.message.startswith(f"{spec_file}:{error.line}: ")
    if hint is not None:
        assert hint in (error.hint or "")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("minimum = -90", "minimum = 91", "minimum = 91"),
        ('name = "lon"', 'name = "lat"', 'name = "lat"\nkind = "number"\nrole = "longitude"'),
        ('left = "rooms"', 'left = "room"', 'left = "room"'),
        ('currency = "EUR"', 'curency = "EUR"', "curency"),
        ("holdout_from = 2021-01-01\n", "", "[split]"),
        ('role = "longitude"', 'role = "feature"', 'role = "latitude"'),
    ],
)
def test_the_line_is_the_right_one(spec_file: Path, old: str, new: str, line: str) -> None:
    text = GOOD.replace(old, new, 1)
    spec_file.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_spec(spec_file)
    assert caught.value.line == line_of(text, line)


def test_windows_line_ends_and_a_byte_order_mark_do_not_shift_the_line(spec_file: Path) -> None:
    text = GOOD.replace("minimum = -90", "minimum = 91")
    spec_file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    with pytest.raises(SpecError) as caught:
        read_spec(spec_file)
    assert caught.value.line == line_of(text, "minimum")


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ('name = "x"\nkind = number\n', "this is not TOML", 2),
        ('name = "x"\nname = "y"\n', "this is not TOML", 2),
        ('name = "x\n', "this is not TOML", 1),
        ("x = " + "[" * 5000, "nested too deeply", None),
        ('name = "x"\ncolumns = 3\n', "columns must be a list of tables", 2),
        ('name = "x"\ncolumns = [1]\n', "columns must be a table, not 1", 2),
        ('name = "x"\n', "no column has the role 'target'", None),
        ("", "name is missing", None),
        ('name = "x"\n[[columns]]\nname = "p"\nkind = "number"\nrole = "target"\n', "no column is left", None),
    ],
)
def test_a_file_that_is_no_spec(spec_file: Path, text: str, message: str, line: int | None) -> None:
    spec_file.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        read_spec(spec_file)
    assert caught.value.line == line


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no spec"):
        read_spec(tmp_path / "none.toml")
    with pytest.raises(SpecError, match="is a folder"):
        read_spec(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "x"\ntitle = "\xe9"\n')
    with pytest.raises(SpecError, match="not UTF-8") as caught:
        read_spec(tmp_path / "latin.toml")
    assert caught.value.line == 2
    (tmp_path / "sales.csv").write_bytes(b"x" * 2_000_000)
    with pytest.raises(SpecError, match="too large") as caught:
        read_spec(tmp_path / "sales.csv")
    assert "appraise init sales.csv" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": RandomSplit(validation=0.5, holdout=0.5)}, "leave no row to train on"),
        ({"split": RandomSplit(validation=0.0)}, "validation must be a share between 0 and 1"),
        ({"split": RandomSplit(seed=-1)}, "seed must lie between"),
        ({"price_unit": 0.0}, "price_unit must be above 0"),
        ({"csv": CsvFormat(separator="ab")}, "separator must be one ASCII character"),
        ({"csv": CsvFormat(thousands=".")}, "cannot be both the decimal and the thousands separator"),
        ({"csv": CsvFormat(separator='"')}, "cannot be both separator and quote"),
        ({"cleaning": Cleaning(outlier_log_mads=0.0)}, "outlier_log_mads must be above 0"),
        ({"cleaning": Cleaning(near_duplicate_columns=("adress",))}, "which is no column"),
        ({"cleaning": Cleaning(city_columns=("rooms",))}, "which is of the kind 'integer'"),
    ],
)
def test_a_spec_that_makes_no_sense_is_not_written(spec_file: Path, changes: dict[str, object], message: str) -> None:
    spec = DatasetSpec("x", (Column("price", "number", "target"), Column("rooms", "integer")))
    with pytest.raises(SpecError, match=message):
        write_spec(replace(spec, **changes), spec_file)
    assert not spec_file.exists()


def test_notes_become_comments_beside_what_they_explain(spec_file: Path) -> None:
    spec = DatasetSpec("x", (Column("price", "number", "target"), Column("rooms", "integer")))
    note = "so\nand " + "so " * 60
    write_spec(spec, spec_file, notes={"rooms": note, "[split]": "no dates", "[dataset]": "made by hand"})
    lines = spec_file.read_text().splitlines()
    assert lines[0] == "# made by hand"
    assert lines[lines.index("[split]") - 1] == "# no dates"
    table = lines.index('name = "rooms"') - 1
    assert lines[table - 1].startswith("# so")
    assert max(map(len, lines)) <= 120
    assert read_spec(spec_file) == spec


def test_a_spec_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    spec = DatasetSpec("x", (Column("price", "number", "target"), Column("rooms", "integer")))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        write_spec(spec, tmp_path / "file" / "x.toml")
    assert caught.value.hint
    folder = tmp_path / "sales.toml"
    folder.mkdir()
    with pytest.raises(OutputError):
        write_spec(spec, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sales.toml"]


def test_the_hash_changes_with_the_meaning_and_with_nothing_else(spec_file: Path) -> None:
    spec_file.write_text(GOOD)
    spec = read_spec(spec_file)
    rooms = spec.column("rooms")
    words = replace(rooms, description="Rooms.", example=3)
    told = replace(
        spec,
        path=None,
        title="Sales",
        source="elsewhere.csv",
        columns=tuple(words if column is rooms else column for column in spec.columns),
    )
    assert spec_hash(told) == spec_hash(spec)
    assert len(spec_hash(spec)) == 64
    for changed in (
        replace(spec, objective="rmse"),
        replace(spec, split=RandomSplit()),
        replace(spec, columns=(*spec.columns, Column("more", "number"))),
        replace(spec, columns=tuple(replace(c, optional=True) if c is rooms else c for c in spec.columns)),
        replace(spec, columns=spec.columns[::-1]),
    ):
        assert spec_hash(changed) != spec_hash(spec)


def test_a_dictionary_of_the_wrong_shape_is_refused_without_a_line() -> None:
    with pytest.raises(SpecError, match="name is missing") as caught:
        spec_from_dict({})
    assert caught.value.line is None


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).map(str.strip).filter(bool)
BOUNDS = st.none() | st.floats(-1e9, 1e9) | st.integers(-1000, 1000)
WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=3, unique=True).map(tuple)
RULES = (Rule("rooms", "<=", "price", "m"), Rule("rooms", ">", 0.5, "n"))
FORMATS = (CsvFormat(), CsvFormat(";", "'", True, ".", "cp1252", ("-", "n/a")), CsvFormat("\t"))
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    kind = draw(st.sampled_from(["number", "integer", "boolean", "category", "date", "identifier", "text"]))
    low, high = draw(BOUNDS), draw(BOUNDS)
    if low is not None and high is not None and low > high:
        low, high = high, low
    numeric = kind in ("number", "integer")
    words = draw(st.lists(st.sampled_from(["ja", "nein", "si", "no"]), unique=True, max_size=4))
    return Column(
        name=name,
        kind=kind,
        role=draw(st.sampled_from(["id", "ignored", "leak"] + ["feature"] * (kind not in ("identifier", "text")))),
        source=draw(st.none() | st.just(f"{name}_source")),
        unit=draw(TEXTS),
        description=draw(TEXTS),
        optional=draw(st.booleans()),
        minimum=low if numeric else None,
        maximum=high if numeric else None,
        levels=(draw(WORDS) or None) if kind == "category" else None,
        encoding=draw(st.sampled_from(["auto", "frequency", "target"])) if kind == "category" else "auto",
        date_format=draw(st.sampled_from([None, "%d/%m/%Y"])) if kind == "date" else None,
        true_values=tuple(words[:2]) if kind == "boolean" else (),
        false_values=tuple(words[2:]) if kind == "boolean" else (),
        example=draw(st.none() | st.text(max_size=5) | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9)),
        reason=draw(TEXTS),
    )


@st.composite
def specs(draw: st.DrawFn) -> DatasetSpec:
    reserved = {"price", "sold", "rooms"}
    names = draw(st.lists(NAMES.filter(lambda name: name not in reserved), unique=True, max_size=4))
    extra = [draw(columns(name)) for name in names]
    fixed = (Column("price", "number", "target"), Column("sold", "date", "sale_date"), Column("rooms", "integer"))
    categories = [column.name for column in extra if column.kind == "category"]
    days = draw(st.lists(st.dates(), min_size=2, max_size=2, unique=True).map(sorted))
    return DatasetSpec(
        name=draw(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,9}", fullmatch=True)),
        columns=(*fixed, *extra),
        title=draw(TEXTS),
        description=draw(TEXTS),
        rules=tuple(draw(st.lists(st.sampled_from(RULES), max_size=2))),
        split=draw(st.sampled_from([TimeSplit(*days), RandomSplit(), RandomSplit(0.1, 0.25, 7)])),
        csv=draw(st.sampled_from(FORMATS)),
        cleaning=Cleaning(
            city_columns=tuple(categories),
            drop_duplicates=draw(st.booleans()),
            near_duplicate_columns=tuple(names),
            outlier_log_mads=draw(st.none() | st.floats(0.5, 20)),
        ),
        currency=draw(st.sampled_from([None, "USD", "EUR"])),
        price_unit=draw(st.sampled_from([1.0, 100_000.0, 0.01])),
        objective=draw(st.sampled_from(["rmse", "relative"])),
        region=draw(st.sampled_from([None, *categories])),
        source=draw(st.sampled_from([None, "a.csv", "s3://b/c"])),
    )


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs(), note=st.text(max_size=200))
def test_what_is_written_is_read(tmp_path: Path, spec: DatasetSpec, note: str) -> None:
    path = tmp_path / "spec.toml"
    write_spec(spec, path, notes=dict.fromkeys([column.name for column in spec.columns] + ["[csv]", "[split]"], note))
    assert read_spec(path) == spec
    assert spec_from_dict(json.loads(json.dumps(spec_to_dict(spec)))) == spec
    assert spec_hash(read_spec(path)) == spec_hash(spec)

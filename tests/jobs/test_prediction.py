"""Predicting a file: every row that came is there, in its order, with an estimate or the reason why not."""

import types

import polars as pl
import pytest

from appraise.errors import DataError, OutputError, SpecError, UnknownModelError
from appraise.jobs.predict import find_dataset, predict_file
from appraise.jobs.progress import SilentProgress
from appraise.serving.batch.layout import ADDED
from appraise.serving.predictor import Predictor


@pytest.fixture
def predict(homes, tmp_path):
    def predict(frame: pl.DataFrame | bytes, *, output: str = "out.parquet", **options):
        source = tmp_path / "in.csv"
        if isinstance(frame, bytes):
            source.write_bytes(frame)
        else:
            frame.write_csv(source)
        target = tmp_path / output
        result = predict_file(
            homes.spec,
            workspace=homes.workspace,
            input=str(source),
            output=target,
            progress=SilentProgress(),
            **options,
        )
        return result, pl.read_parquet(target) if target.suffix == ".parquet" else None

    return predict


@pytest.fixture
def rows(homes) -> pl.DataFrame:
    return homes.frame.drop("price")[:12]


def test_rows_without_price_are_valued_as_the_predictor_values_them(predict, rows, homes):
    result, out = predict(rows, level=0.8)
    assert (result.rows, result.valued, result.model_version) == (12, 12, "1.0.0")
    predictor = Predictor.load(homes.workspace.registry.resolve("homes"))
    estimates = predictor.predict(rows.to_dicts(), level=0.8)
    assert out["estimate"].to_list() == estimates.estimate.tolist()
    assert out["lower"].to_list() == estimates.lower.tolist()
    assert out["confidence"].to_list() == estimates.confidence.tolist()
    assert out["confidence_grade"].to_list() == list(estimates.grades)
    assert out.columns == [*rows.columns, *ADDED.names]


def test_hostile_rows_stay_in_their_place_and_say_why(predict, rows):
    text = rows.with_columns(pl.all().cast(pl.String))
    bad = ["-5", "nan", "inf", "1e999", "three", ""]
    for position, value in enumerate(bad):
        cell = pl.when(pl.int_range(pl.len()) == 2 * position).then(pl.lit(value)).otherwise("square_feet")
        text = text.with_columns(cell.alias("square_feet"))
    result, out = predict(text)
    assert (result.rows, result.valued) == (12, 6)
    assert result.to_dict()["refused"] == 6
    refused = out[::2]
    assert refused["estimate"].null_count() == 6
    assert all("square_feet" in reason for reason in refused["error"])
    assert out[1::2]["error"].null_count() == 6
    assert out[1::2]["estimate"].null_count() == 0
    assert out["age_years"].cast(pl.Float64).to_list() == rows["age_years"].cast(pl.Float64).to_list()


def test_where_no_row_can_be_valued_each_says_why(predict, rows):
    result, out = predict(rows.with_columns(square_feet=pl.lit(-1.0)))
    assert (result.rows, result.valued) == (12, 0)
    assert out["error"].null_count() == 0
    assert out["estimate"].dtype == pl.Float64


def test_equal_rows_are_all_valued(predict, rows):
    result, out = predict(pl.concat([rows[:1]] * 3))
    assert result.valued == 3
    assert out["estimate"].n_unique() == 1


def test_columns_called_like_what_is_added_are_kept_apart(predict, rows):
    named = rows.with_columns(estimate=pl.lit("mine"), error=pl.lit("none"), **{"estimate (column)": pl.lit("too")})
    _, out = predict(named)
    assert out["estimate"].dtype == pl.Float64
    assert out["estimate (column) (column)"].to_list() == ["mine"] * 12
    assert out["estimate (column)"].to_list() == ["too"] * 12
    assert out["error (column)"].to_list() == ["none"] * 12


def test_columns_that_the_spec_does_not_name_are_kept(predict, rows):
    _, out = predict(rows.with_columns(listing=pl.lit("A-") + pl.int_range(pl.len()).cast(pl.String)))
    assert out["listing"].to_list() == [f"A-{place}" for place in range(12)]


def test_a_file_with_semicolons_and_decimal_commas_is_read_as_one(predict, rows, homes):
    text = rows.write_csv(separator=";").replace(".", ",")
    result, out = predict(text.encode())
    assert result.valued == 12
    assert out["estimate"].to_list() == predict(rows)[1]["estimate"].to_list()


def test_a_row_with_too_many_fields_stays_in_its_place_and_says_why(predict, rows):
    lines = rows.write_csv().splitlines()
    lines[3] += ",1"
    result, out = predict("\n".join(lines).encode())
    assert (result.rows, result.valued) == (12, 11)
    assert out["error"][2].startswith("the row has 6 fields where the header has 5: ")
    assert out["error"].null_count() == 11


def test_text_stays_as_it_is_in_a_text_file(predict, rows, tmp_path):
    lines = rows.write_csv().splitlines()
    lines[1] = lines[1].replace(lines[1].split(",")[0], '"1,250.0"', 1)
    predict("\n".join(lines).encode(), output="out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith('"1,250.0",')


def test_cells_that_stand_for_no_value_stay_as_they_came_in_a_text_file(predict, rows, tmp_path):
    lines = rows.with_columns(extra=pl.lit(" N/A ")).write_csv().splitlines()
    lines[1] = "NaN," + lines[1].split(",", 1)[1]
    lines[2] = "," + lines[2].split(",", 1)[1]
    result, _ = predict("\n".join(lines).encode(), output="out.csv")
    written = (tmp_path / "out.csv").read_text().splitlines()
    assert [line.split(",")[: len(rows.columns) + 1] for line in written] == [line.split(",") for line in lines]
    assert result.valued == 10


def test_warnings_are_told(predict, rows):
    _, out = predict(rows.with_columns(square_feet=pl.lit(45_000.0)))
    assert all("square_feet 45000 lies outside the values seen in training" in warning for warning in out["warnings"])


def test_estimates_that_are_not_vouched_for_are_counted(predict, rows, monkeypatch):
    # Without places none of these homes is beyond everything: what would have the grade low has none here.
    monkeypatch.setattr("appraise.serving.estimates._LEAST_SCORES", (0.70, 0.70, 0.85))
    strange = {
        "square_feet": 49_000.0,
        "bedrooms": 40,
        "bathrooms": 40.0,
        "age_years": 900.0,
        "distance_to_city": 900.0,
    }
    changed = [pl.lit(value).cast(rows.schema[name]).alias(name) for name, value in strange.items()]
    result, out = predict(pl.concat((rows, rows.with_columns(changed))))
    grades = out["confidence_grade"].to_list()
    assert result.unusable == result.to_dict()["unusable"] == 12
    assert "none" not in grades[:12]
    assert set(grades[12:]) == {"none"}
    assert all("unlike any sale: " in warning for warning in out["warnings"][12:])


@pytest.mark.parametrize("content", [b"", b"square_feet\n", b"a,b\n1,2\n"], ids=["empty", "header", "other columns"])
def test_a_file_of_no_homes_is_refused_and_what_was_there_stays(predict, tmp_path, content):
    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(DataError) as caught:
        predict(content, output="out.csv")
    assert caught.value.hint
    assert (tmp_path / "out.csv").read_text() == "before"


def test_an_output_of_another_type_is_refused_before_any_work(homes, tmp_path):
    with pytest.raises(OutputError, match="not a file type"):
        predict_file(
            homes.spec,
            workspace=homes.workspace,
            input="nowhere.csv",
            output=tmp_path / "out.xlsx",
            progress=SilentProgress(),
        )


def test_an_alias_that_is_not_there_is_named(predict, rows):
    with pytest.raises(UnknownModelError, match="challengers"):
        predict(rows, alias="challengers")


@pytest.mark.parametrize("link", [None, "symbolic", "hard", "folder"])
def test_what_is_read_is_never_overwritten(homes, rows, tmp_path, link):
    folder = tmp_path / "read"
    folder.mkdir()
    source = folder / "in.csv"
    rows.write_csv(source)
    before, output, read = source.read_bytes(), source, source
    if link == "symbolic":
        output = tmp_path / "link.csv"
        output.symlink_to(source)
    elif link == "hard":
        output = tmp_path / "link.csv"
        output.hardlink_to(source)
    elif link == "folder":
        output, read = folder / "out.csv", folder
    with pytest.raises(OutputError, match="is what is read" if link != "folder" else "the next run would read it too"):
        predict_file(homes.spec, workspace=homes.workspace, input=str(read), output=output, progress=SilentProgress())
    assert source.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["in.csv"]


def test_a_file_that_was_there_is_said_to_be_replaced(predict, rows):
    assert not predict(rows)[0].replaced
    again = predict(rows)[0]
    assert again.replaced
    assert again.to_dict()["replaced"]


def test_a_registered_name_is_a_dataset_though_it_is_no_preset(homes):
    registered = types.SimpleNamespace(
        registry=types.SimpleNamespace(
            list_models=lambda name=None: [types.SimpleNamespace(name="mine", version="1.0.0")],
            resolve=lambda name, version: homes.workspace.registry.resolve("homes"),
        )
    )
    assert find_dataset("mine", registered).name == "homes"
    with pytest.raises(SpecError, match="no preset 'nine'") as caught:
        find_dataset("nine", registered)
    assert caught.value.hint == "did you mean 'mine'?"

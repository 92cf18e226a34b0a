"""Files as text: strict about their shape, clear about what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from appraise.datasets.csvread import line_numbers, read_header, read_text_columns
from appraise.datasets.spec import CsvFormat
from appraise.errors import DataError

PLAIN = CsvFormat()


@pytest.fixture
def write(tmp_path: Path):
    def _write(content: str | bytes, encoding: str = "utf-8") -> Path:
        path = tmp_path / "sales.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return _write


def test_cells_are_text_stripped_and_null_where_nothing_is_said(write) -> None:
    frame = read_text_columns(write('a,b\n 1 ,NA\n"x,y",\n'), PLAIN)
    assert frame.to_dict(as_series=False) == {"a": ["1", "x,y"], "b": [None, None]}
    assert set(frame.dtypes) == {pl.String}


def test_columns_come_in_the_order_asked_for(write) -> None:
    assert read_text_columns(write("a,b,c\n1,2,3\n"), PLAIN, columns=["c", "a"]).columns == ["c", "a"]


def test_a_column_that_is_not_there_is_named(write) -> None:
    with pytest.raises(DataError, match="no column 'price'") as caught:
        read_text_columns(write("a,b\n1,2\n"), PLAIN, columns=["price"])
    assert "a, b" in caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_encodings_and_byte_order_marks(write, encoding: str) -> None:
    path = write("größe,ort\n12,Zürich\n", encoding)
    frame = read_text_columns(path, CsvFormat(encoding=encoding))
    assert frame.to_dict(as_series=False) == {"größe": ["12"], "ort": ["Zürich"]}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_endings(write, ending: str) -> None:
    frame = read_text_columns(write(ending.join(["a,b", "1,2", "3,4", ""])), PLAIN)
    assert frame.rows() == [("1", "2"), ("3", "4")]


def test_quoted_separators_newlines_and_quotes(write) -> None:
    frame = read_text_columns(write('a,b\n"one\ntwo","say ""hi"""\n5\' 10",x\n'), PLAIN)
    assert frame.rows() == [("one\ntwo", 'say "hi"'), ("5' 10\"", "x")]


def test_blank_headers_are_named_by_their_position(write) -> None:
    assert read_header(write(",price, \n0,1,2\n"), PLAIN) == ("column_1", "price", "column_3")


def test_lines_of_rows_are_known_in_spite_of_blank_lines_and_long_cells(write) -> None:
    path = write('a,b\n1,2\n\n"x\ny",3\n4,5\n')
    assert list(line_numbers(path, PLAIN, 3)) == [2, 4, 6]
    plain = write("a\n1\n\n2\n")
    assert list(line_numbers(plain, PLAIN, 2)) == [2, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n", "has a header and no rows"),
        (b"a,b\n1,2\n3\n", ":3: the row has 1 field where the header has 2"),
        (b'a,b\n"x\ny",1\n\n1,2,3\n', ":5: the row has 3 fields where the header has 2"),
        (b'a,b\n1,2\n3,"4\n5,6\n', ":3: the quoting is broken"),
        (b"a,b,a\n1,2,3\n", "two columns named 'a': number 1 and number 3"),
        (b"a,b\n1,2\n3,\xe9\n", r":3: the text is not utf-8 \(byte 0xE9\)"),
        (b"PAR1\x00\x00", "is a Parquet file"),
        (b"PK\x03\x04\x00", "is a zip archive or an Excel workbook"),
        (b"a,b\n\x00\x01\x02,1\n", "is not text"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_where(write, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_text_columns(write(content), PLAIN)
    assert caught.value.hint


def test_a_quote_that_swallows_a_large_file_is_found(write) -> None:
    rows = "".join(f"{n},{n}\n" for n in range(200_000))
    with pytest.raises(DataError, match=":3: the quoting is broken"):
        read_text_columns(write('a,b\n1,2\n3,"4\n' + rows), PLAIN)


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_text_columns(tmp_path / "nothing.csv", PLAIN)
    with pytest.raises(DataError, match="is a folder"):
        read_text_columns(tmp_path, PLAIN)


def test_an_encoding_that_does_not_exist(write) -> None:
    with pytest.raises(DataError, match="'utf-9' is not a text encoding"):
        read_text_columns(write("a\n1\n"), CsvFormat(encoding="utf-9"))

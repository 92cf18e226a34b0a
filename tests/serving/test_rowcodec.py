"""The quick reader takes no row that the thorough one refuses, and reads the others to the same values."""

import datetime as dt
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.california import HOME

from appraise.datasets.presets import find_spec
from appraise.datasets.spec import Column, DatasetSpec, Rule
from appraise.features.vocabulary import Vocabulary
from appraise.serving.decoding import UndecodableError, decode_object
from appraise.serving.rowcodec import RowCodec
from appraise.serving.rows import RowChecker

MIXED = DatasetSpec(
    name="mixed",
    columns=(
        Column("price", "number", role="target"),
        Column("floor area", "number", minimum=1, maximum=1000),
        Column("rooms", "integer", optional=True),
        Column("lift", "boolean", optional=True),
        Column("heating", "category", levels=("gas", "oil")),
        Column("street", "text", optional=True),
        Column("sold", "date", role="sale_date"),
    ),
    rules=(Rule("rooms", "<=", "floor area", "More rooms than square metres."),),
)
FLAT = {"floor area": 80.5, "rooms": 3, "lift": True, "heating": "gas", "street": "Elm", "sold": "2024-05-31"}


def reader(spec: DatasetSpec, **columns: list[object]) -> tuple[RowCodec, Vocabulary, RowChecker]:
    known = {column.name: columns.get(column.name, []) for column in spec.inputs}
    vocabulary = Vocabulary().fit(spec, known)
    return RowCodec(spec, vocabulary), vocabulary, RowChecker(spec)


CALIFORNIA = reader(find_spec("california"))
FLATS = reader(MIXED, heating=["gas", "oil"], street=["Elm", "Oak"])


def assert_the_same(found: tuple[RowCodec, Vocabulary, RowChecker], body: bytes) -> bool:
    """Whether the row was read; if so, as the thorough way reads it."""
    codec, vocabulary, checker = found
    row = codec.read(body)
    if row is None:
        return False
    plain = decode_object(body, "the body")
    assert not checker.problems([plain])
    np.testing.assert_array_equal(codec.table([row]).values, vocabulary.encode_rows([plain]).values)
    return True


@pytest.mark.parametrize(("found", "row"), [(CALIFORNIA, HOME), (FLATS, FLAT)])
def test_a_row_is_read_as_the_thorough_way_reads_it(found, row):
    assert assert_the_same(found, json.dumps(row).encode())
    assert assert_the_same(found, json.dumps(row, indent=2).encode())


def test_what_may_be_missing_may_be_missing():
    codec = FLATS[0]
    body = b'{"floor area": 70, "heating": "oil"}'
    assert assert_the_same(FLATS, body)
    assert assert_the_same(FLATS, b'{"floor area": 70, "heating": "oil", "rooms": null, "lift": null, "sold": null}')
    row = codec.read(body)
    values = codec.table([row, codec.read(json.dumps(FLAT).encode())]).values
    assert np.isnan(values[0, [1, 2, 4, 5]]).all()
    assert values[1, 5] == (dt.date(2024, 5, 31) - dt.date(1970, 1, 1)).days


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\xff{}",
        b"[" * 100_000,
        b'{"MedInc": 1}',
        json.dumps(HOME | {"MedInc": "8.3"}).encode(),
        json.dumps(HOME | {"MedInc": True}).encode(),
        json.dumps(HOME | {"MedInc": None}).encode(),
        json.dumps(HOME | {"MedInc": [8.3]}).encode(),
        json.dumps(HOME | {"MedInc": -1}).encode(),
        json.dumps(HOME | {"Latitude": 91}).encode(),
        json.dumps(HOME | {"AveBedrms": 7.5}).encode(),
        json.dumps(HOME | {"Pool": 1}).encode(),
        json.dumps(HOME | {"user_id": "user2"}).encode(),
        json.dumps(HOME).replace("8.3252", "NaN").encode(),
        json.dumps(HOME).replace("8.3252", "1e400").encode(),
        json.dumps(HOME).replace("8.3252", "9" * 400).encode(),
        json.dumps(HOME).replace("{", '{"MedInc": 1, ').encode(),
        json.dumps(HOME).replace("{", '{"Med\\u0049nc": 1, ').encode(),
        json.dumps(HOME).encode() + b"{}",
    ],
)
def test_what_needs_a_closer_look_is_left_to_it(body):
    assert CALIFORNIA[0].read(body) is None


@pytest.mark.parametrize(
    "change",
    [
        {"heating": "wood"},
        {"heating": 1},
        {"lift": 1},
        {"rooms": 2.5},
        {"rooms": 500},
        {"sold": "yesterday"},
        {"sold": "2024-02-31"},
        {"floor area": 0},
    ],
)
def test_so_are_levels_dates_flags_and_rules(change):
    assert FLATS[0].read(json.dumps(FLAT | change).encode()) is None


def test_a_row_that_was_read_is_written_as_it_came():
    import msgspec

    for found, row in (
        (CALIFORNIA, HOME),
        (FLATS, FLAT),
        (FLATS, {"floor area": 70.0, "heating": "oil", "lift": None}),
    ):
        assert json.loads(msgspec.json.encode(found[0].read(json.dumps(row).encode()))) == row


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["gas", "oil", "Elm", 'a"b', "2024-05-31", "2024-02-30", ""]),
)


@settings(max_examples=400, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from([*FLAT, "price", "other"]), _VALUES, max_size=4),
    dropped=st.sets(st.sampled_from(sorted(FLAT)), max_size=3),
    ascii=st.booleans(),
)
def test_nothing_is_taken_that_would_be_refused(changes, dropped, ascii):  # noqa: A002
    row = {name: value for name, value in (FLAT | changes).items() if name not in dropped}
    body = json.dumps(row, ensure_ascii=ascii).encode()
    try:
        assert_the_same(FLATS, body)
    except UndecodableError as error:
        pytest.fail(f"{body!r} was read: {error}")

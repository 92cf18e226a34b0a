"""Messages are read as strictly as requests over HTTP."""

import datetime as dt
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appraise.errors import MessageError
from appraise.serving.streaming.messages import (
    PriceRequest,
    decode_event,
    decode_request,
    encode,
    encode_event,
    plain_requests,
)
from appraise.store.features import FeatureEvent

EVENT = b'{"user_id":"user2","event_type":"MedInc","value":8.3,"timestamp":"2026-01-20T15:00:00Z"}'


def test_a_request_is_read_as_it_was_written():
    request = PriceRequest({"MedInc": 8.3, "HouseAge": None}, "california", "r-1", 0.8)
    assert decode_request(encode(request)) == request
    assert decode_request(b'{"features": {}}') == PriceRequest({})


def test_an_event_is_read_as_it_was_written():
    event = FeatureEvent("user2", "MedInc", 8.3, dt.datetime(2026, 1, 20, 15, tzinfo=dt.UTC))
    assert decode_event(EVENT) == event
    assert decode_event(encode_event(event)) == event
    other_zone = decode_event(EVENT.replace(b"15:00:00Z", b"16:00:00+01:00"))
    assert other_zone == event


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"", "the message is empty"),
        (b"not json", "is not JSON"),
        (b'{"features": {"MedInc": NaN}}', "NaN is not a JSON number"),
        (b'{"features": {"MedInc": 1e400}}', "too large"),
        (b'{"features": {}, "features": {}}', "there more than once"),
        (b'{"features": {"MedInc": 1, "MedInc": 2}}', "'MedInc' is there more than once"),
        (b'{"features": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "must be a JSON object, received an array"),
        (b"{}", "features must not be missing"),
        (b'{"features": []}', "features must be an object"),
        (b'{"features": {}, "level": 1}', "level must be a number above 0 and below 1"),
        (b'{"features": {}, "dataset": ""}', "dataset must be a text of 1 to 200 characters"),
        (b'{"features": {}, "request_id": "a\\u0000b"}', "request_id must be a text"),
        (b'{"features": {}, "feature": 1}', "feature is not a field of this message"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason(value, reason):
    with pytest.raises(MessageError, match=reason):
        decode_request(value)


_PIECES = (
    *(b'{"features": {', b'"MedInc": ', b"8.3", b'"request_id": "a"', b'"dataset": "b"', b'"level": 0.5'),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"\\ud800",
        b"\\u0000",
        b"\xff",
        b"\x00",
        b"null",
        b"1e400",
        b"-",
    ),
    b"1" * 5_000,
)


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map(b"".join))
@settings(max_examples=500, deadline=None)
def test_whatever_comes_is_a_request_or_refused(value):
    (plain,) = plain_requests([value])
    with suppress(MessageError):
        request = decode_request(value)
        assert plain is None or plain.request_id == request.request_id


_ODD = (
    b"",
    b"\xff",
    b'{"features": {"MedInc": 8.3}',
    b'"MedInc": 8.3}}',
    b'{"features": {}}, {"features": {}}',
    b'{"request_id": "a}',
    b'{", "features": {}}',
    b'{"features": {}, "features": {}}',
    b'{"features": {}, "request_id": "a", "request_id": "b"}',
    b'{"features": {}, "dataset": null}',
    b'{"features": {"\\u004d": 1}}',
)


@given(st.lists(st.one_of(st.integers(0, 300), st.sampled_from(_ODD)), max_size=600))
@settings(max_examples=100, deadline=None)
def test_requests_read_together_are_what_they_are_alone(kinds):
    """Also where two halves would be one whole, or one text two requests."""
    plain = [b'{"request_id": "r%d", "features": {"MedInc": %d.5}, "level": 0.8} ' % (one, one) for one in range(301)]
    found = plain_requests([plain[kind] if isinstance(kind, int) else kind for kind in kinds])
    assert [one and (one.request_id, bytes(one.features), one.level) for one in found] == [
        (f"r{kind}", b'{"MedInc": %d.5}' % kind, 0.8) if isinstance(kind, int) else None for kind in kinds
    ]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"8.3", b"null", "value must be a finite number, true, false or a text"),
        (b"8.3", b"[]", "value must be"),
        (b"8.3", b"1" + b"0" * 400, "value|too large"),
        (b'"user2"', b'""', "user_id must be a text of 1 to 200 characters"),
        (b'"user2"', b"7", "user_id must be a text"),
        (b'"user2"', b'"a\\u0000"', "user_id must be a text"),
        (b'"MedInc"', b'"' + b"x" * 201 + b'"', "event_type must be a text"),
        (b"T15:00:00Z", b"T15:00:00", "timestamp must be a time with its zone"),
        (b"2026-01-20", b"2026-13-20", "timestamp must be a time with its zone"),
        (b'"2026-01-20T15:00:00Z"', b"5", "timestamp must be a time with its zone"),
        (b'"2026-01-20T15:00:00Z"', b'"0001-01-01T00:00:00+23:00"', "timestamp"),
        (b',"timestamp":"2026-01-20T15:00:00Z"', b"", "timestamp must not be missing"),
    ],
)
def test_a_wrong_event_is_refused_with_the_reason(old, new, reason):
    with pytest.raises(MessageError, match=reason):
        decode_event(EVENT.replace(old, new))


def test_every_wrong_field_is_named():
    with pytest.raises(MessageError) as caught:
        decode_request(b'{"features": 1, "level": "high", "dataset": 5}')
    assert [problem.field for problem in caught.value.problems] == ["features", "dataset", "level"]
    assert "(and 2 more)" in str(caught.value)

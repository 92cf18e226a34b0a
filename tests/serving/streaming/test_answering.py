"""A batch is answered whole: some of it is read closely, and where the model fails on a row it fails on that alone."""

import json
import uuid
from dataclasses import replace

import pytest

from appraise.serving.batching import value_rows
from appraise.serving.streaming.answering import Answerer, prediction_ids


class Consumed:
    """A message as a consumer hands it over."""

    def __init__(self, offset, value):
        self._offset, self._value = offset, value

    def topic(self):
        return "requests"

    def partition(self):
        return self._offset % 2

    def offset(self):
        return self._offset

    def timestamp(self):
        return 1, 1_700_000_000_000 + self._offset

    def value(self):
        return self._value

    def key(self):
        return None

    def headers(self):
        return None


@pytest.fixture
def answer(shelf):
    """Answers values of messages; returns each answer's topic and body."""

    def run(values, lineup=shelf.lineup):
        answerer = Answerer(lambda: lineup, predictions="predictions", dead_letters="dead")
        answers = answerer.answer([Consumed(number, value) for number, value in enumerate(values)])
        assert len(answers.outputs) == len(values)
        assert answers.dead_letters == sum(output.topic == "dead" for output in answers.outputs)
        return answers.outputs

    return run


def _request(row, **fields):
    return json.dumps({"features": row, **fields}).encode()


def test_however_a_request_is_written_its_home_is_valued_the_same(answer, row, shelf):
    escaped = _request(row).replace(b"MedInc", b"\\u004dedInc")
    model = shelf.lineup.champions()[0]
    written = [
        _request(row),
        escaped,
        _request({**row, model.spec.target.name: 4.5}),
        _request(row, dataset="california", request_id=None),
        json.dumps({"level": 0.9, "features": row}, indent=1).encode(),
    ]
    answers = [json.loads(output.value) for output in answer(written)]
    estimate = value_rows(model, [row], 0.9).estimate[0]
    assert [one["prediction"] for one in answers] == pytest.approx([estimate] * len(written), rel=1e-12)
    assert [one["request_id"] for one in answers] == [f"requests/{n % 2}/{n}" for n in range(len(written))]
    assert all(one["input_features"].items() >= row.items() for one in answers)


def test_each_request_has_the_level_that_it_asked_for(answer, row, shelf):
    levels = [0.5, 0.9, 0.8, 0.5]
    answers = [json.loads(output.value) for output in answer([_request(row, level=level) for level in levels])]
    assert [one["prediction_interval"]["level"] for one in answers] == levels
    model = shelf.lineup.champions()[0]
    lower = [value_rows(model, [row], level).lower[0] for level in levels]
    assert [one["prediction_interval"]["lower"] for one in answers] == pytest.approx(lower, rel=1e-12)


class Failing:
    """A predictor that cannot value the rich."""

    def __init__(self, predictor):
        self._predictor = predictor

    def __getattr__(self, name):
        return getattr(self._predictor, name)

    def predict_columns(self, columns, *, level):
        return self.value(self.vocabulary.encode(columns), level=level)

    def value(self, table, *, level):
        if (table.column("MedInc") > 14.0).any():
            raise ArithmeticError("too rich")
        return self._predictor.value(table, level=level)


def test_a_row_that_the_model_fails_on_holds_up_nobody_else(answer, row, shelf):
    champion = shelf.lineup.champions()[0]
    failing = replace(champion, predictor=Failing(champion.predictor))
    lineup = replace(shelf.lineup, loaded={(champion.name, champion.version): failing})
    outputs = answer([_request(row), _request({**row, "MedInc": 14.5}), _request(row)], lineup)
    assert [output.topic for output in outputs] == ["predictions", "dead", "predictions"]
    headers = dict(outputs[1].headers)
    assert headers["__connect.errors.stage"] == b"predict"
    assert b"ArithmeticError: too rich" in headers["__connect.errors.exception.message"]


def test_each_place_has_an_id_of_its_own_that_it_keeps():
    places = [(partition, offset) for partition in range(3) for offset in (0, 1, 2**39)]
    partitions, offsets = zip(*places, strict=True)
    created = [1_700_000_000_000] * len(places)
    ids = prediction_ids("requests", partitions, offsets, created)
    assert len(set(ids)) == len(places)
    assert ids == [prediction_ids("requests", [p], [o], [c])[0] for (p, o), c in zip(places, created, strict=True)]
    assert not set(ids) & set(prediction_ids("others", partitions, offsets, created))
    assert not set(ids) & set(prediction_ids("requests", partitions, offsets, [1_700_000_000_001] * len(places)))
    found = [uuid.UUID(one) for one in ids]
    assert {(one.version, one.variant) for one in found} == {(8, uuid.RFC_4122)}
    assert [one.int >> 80 for one in found] == created
    assert uuid.UUID(prediction_ids("requests", [0], [0], [-1])[0]).version == 8

"""Estimates over HTTP: one, many, by which model, and what comes with them."""

import datetime as dt
import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from appraise.bootstrap import build_registry
from appraise.serving.predictor import Predictor
from appraise.settings import Settings


@pytest.fixture(scope="module")
def predictor(home):
    return Predictor.load(build_registry(Settings(home=home)).resolve("california"))


def test_an_estimate_comes_with_all_that_is_promised(server, row, predictor):
    response = server.post("/predict", json=row)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == [
        "prediction",
        "currency",
        "price_unit",
        "prediction_id",
        "model_name",
        "model_version",
        "timestamp",
        "prediction_interval",
        "confidence_score",
        "confidence_grade",
        "warnings",
        "input_features",
        "processing_time_ms",
    ]
    expected = predictor.predict([row])
    assert body["prediction"] == expected.estimate[0]
    assert (body["currency"], body["price_unit"]) == ("USD", 100_000.0)
    assert body["prediction_interval"] == {"lower": expected.lower[0], "upper": expected.upper[0], "level": 0.9}
    assert (body["confidence_score"], body["confidence_grade"]) == (expected.confidence[0], expected.grades[0])
    assert (body["model_name"], body["model_version"], body["warnings"]) == ("california", "1.0.0", [])
    assert body["input_features"] == row
    assert uuid.UUID(body["prediction_id"])
    assert abs(dt.datetime.now(tz=dt.UTC) - dt.datetime.fromisoformat(body["timestamp"])) < dt.timedelta(seconds=30)
    assert 0 < body["processing_time_ms"] < 5000


def test_a_place_in_the_ocean_is_answered_without_any_confidence(server, row):
    ocean = {**row, "Latitude": 33.0, "Longitude": -125.0}
    body = server.post("/predict", json=ocean).json()
    assert (body["confidence_score"], body["confidence_grade"]) == (0.0, "none")
    assert body["prediction_interval"]["lower"] < body["prediction"] < body["prediction_interval"]["upper"]
    assert body["warnings"][0].startswith("the nearest known sale is")
    assert body["warnings"][0].endswith("do not use this estimate")
    one, other = server.post("/predict/batch", json={"rows": [row, ocean]}).json()["results"]
    assert one["confidence_grade"] in ("high", "medium", "low")
    assert (other["confidence_grade"], other["warnings"]) == ("none", body["warnings"])


def test_two_estimates_have_two_ids(server, row):
    first, second = (server.post("/predict", json=row).json() for _ in range(2))
    assert first["prediction"] == second["prediction"]
    assert first["prediction_id"] != second["prediction_id"]


def test_a_value_never_seen_in_training_is_valued_with_a_warning(server, row):
    body = server.post("/predict", json={**row, "Population": 900_000}).json()
    assert len(body["warnings"]) == 1
    assert body["warnings"][0].startswith("Population 900000 lies outside the values seen in training")
    (warning,) = server.post("/predict", json={**row, "Population": 1_000_000}).json()["warnings"]
    assert warning.startswith("Population 1,000,000 lies outside")


def test_the_level_and_the_comparables_are_as_asked_for(server, row, predictor):
    narrow = server.post("/predict?level=0.5", json=row).json()["prediction_interval"]
    wide = server.post("/predict?level=0.95", json=row).json()["prediction_interval"]
    assert wide["lower"] < narrow["lower"] < narrow["upper"] < wide["upper"]
    assert (narrow["level"], wide["level"]) == (0.5, 0.95)
    found = server.post("/predict?comparables=3", json=row).json()["comparables"]
    expected = predictor.comparables(row, count=3)
    assert [sale["price"] for sale in found] == [sale.price for sale in expected]
    assert found[0]["attributes"] == expected[0].attributes
    assert found[0]["distance_km"] == expected[0].distance_km
    differences = [sale["difference"] for sale in found]
    assert differences == sorted(sale.difference for sale in expected)
    assert "comparables" not in server.post("/predict", json=row).json()


def test_contributions_add_up_to_the_estimate_as_served(server, row):
    for one in (row, {**row, "MedInc": 1.5, "Population": 900_000}):
        body = server.post("/predict?explain=true", json=one).json()
        total = body["base"]
        for contribution in body["contributions"]:
            total += contribution["money"]
        assert total == body["prediction"] == server.post("/predict", json=one).json()["prediction"]
        assert any(contribution["name"] == "MedInc" for contribution in body["contributions"])
    assert "contributions" not in server.post("/predict?explain=false", json=row).json()
    assert server.post("/predict?explain=yes", json=row).status_code == 422


def test_a_version_or_an_alias_picks_the_model_that_answers(server, row):
    for query, version in (
        ("?model_version=1.0.0", "1.0.0"),
        ("?model_version=1.1.0", "1.1.0"),
        ("?alias=challenger", "1.1.0"),
        ("?alias=champion", "1.0.0"),
        ("?model=california", "1.0.0"),
    ):
        assert server.post(f"/predict{query}", json=row).json()["model_version"] == version
    assert server.post("/models/california/predict?alias=challenger", json=row).json()["model_version"] == "1.1.0"


def test_every_row_of_a_batch_is_answered_or_refused_in_its_place(server, row, predictor):
    rows = [row, {**row, "HouseAge": -1}, "nothing", {**row, "MedInc": 2.0}, {"MedInc": 1}, row]
    response = server.post("/predict/batch?level=0.8", json={"rows": rows, "batch_name": "monday"})
    assert response.status_code == 200
    body = response.json()
    assert (body["currency"], body["price_unit"]) == ("USD", 100_000.0)
    assert (body["batch_name"], body["rows"], body["valued"], body["refused"]) == ("monday", 6, 3, 3)
    assert [result["row"] for result in body["results"]] == list(range(6))
    assert [result["status"] for result in body["results"]] == [
        "valued",
        "refused",
        "refused",
        "valued",
        "refused",
        "valued",
    ]
    expected = predictor.predict([rows[0], rows[3], rows[5]], level=0.8)
    valued = [result for result in body["results"] if result["status"] == "valued"]
    assert [result["prediction"] for result in valued] == expected.estimate.tolist()
    assert [result["prediction_interval"]["lower"] for result in valued] == expected.lower.tolist()
    assert len({result["prediction_id"] for result in valued}) == 3
    assert body["results"][1]["errors"] == [
        {"field": "HouseAge", "constraint": "must be at least 0 years", "received": "-1", "row": 1}
    ]
    assert len(body["results"][4]["errors"]) == 7


def test_a_batch_of_the_largest_size_is_answered_and_others_meanwhile(server, row):
    rows = [{**row, "HouseAge": float(position % 50)} for position in range(10_000)]
    answers = []
    sent = json.dumps({"rows": rows})
    headers = {"Content-Type": "application/json"}
    batch = threading.Thread(
        target=lambda: answers.append(server.post("/predict/batch", content=sent, headers=headers))
    )
    batch.start()
    single = server.post("/predict", json=row)
    batch.join()
    assert single.status_code == 200
    assert answers[0].status_code == 200
    results = answers[0].json()["results"]
    assert len(results) == 10_000
    assert results[41]["prediction"] == server.post("/predict", json={**row, "HouseAge": 41.0}).json()["prediction"]


def test_single_and_batch_and_together_give_equal_numbers(server, row, predictor):
    rows = [{**row, "MedInc": 1.0 + position / 10} for position in range(64)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda one: server.post("/predict", json=one).json()["prediction"], rows))
    batch = [result["prediction"] for result in server.post("/predict/batch", json={"rows": rows}).json()["results"]]
    assert together == batch == predictor.predict(rows).estimate.tolist()

"""Stored features fill what requests leave out, and each answer says where its inputs came from."""

import datetime as dt

import pytest

from appraise.store.database import Database, DatabaseOptions
from appraise.store.features import FeatureEvent, write_features

NOW = dt.datetime.now(tz=dt.UTC)
DAY = dt.timedelta(days=1)


def _store(database, user, values, *, age=dt.timedelta()):
    with database.connect() as connection:
        write_features(connection, [FeatureEvent(user, name, value, NOW - age) for name, value in values.items()])


@pytest.fixture(scope="module")
def stored(make_database, tmp_path_factory, row):
    """A database with users in it."""
    with Database(DatabaseOptions(make_database(), tmp_path_factory.mktemp("no"))) as database:
        rest = {name: value for name, value in row.items() if name != "MedInc"}
        _store(database, "user2", rest)
        _store(database, "whole", {**row, "HouseAge": 20.0}, age=DAY)
        _store(database, "aging", row, age=40 * DAY)
        _store(database, "stale", row, age=400 * DAY)
        _store(database, "partly", {"HouseAge": 20.0})
        _store(database, "broken", {**row, "HouseAge": -3.0, "Latitude": "north"})
        _store(database, "ahead", row, age=-DAY)
        yield database


@pytest.fixture(scope="module")
def server(home, start, stored):
    running = start(home, APPRAISE_DATABASE_URL=stored.options.url)
    yield running
    assert running.end() == 0
    assert "Traceback" not in running.log.read_text()


def test_the_rest_comes_from_stored_features(server, row):
    answer = server.post("/predict", json={"user_id": "user2", "MedInc": 8.3252}).json()
    assert answer["prediction"] == server.post("/predict", json=row).json()["prediction"]
    assert answer["user_id"] == "user2"
    assert answer["feature_sources"] == {name: "request" if name == "MedInc" else "store" for name in row}
    assert answer["input_features"] == row
    assert set(answer["feature_times"]) == set(row) - {"MedInc"}
    assert dt.datetime.fromisoformat(answer["feature_times"]["HouseAge"]) == NOW
    assert answer["warnings"] == []


def test_what_is_sent_beats_what_is_stored_and_null_is_not_sent(server, row):
    answer = server.post("/predict", json={"user_id": "whole", "MedInc": 1.0, "HouseAge": None}).json()
    assert answer["input_features"] == {**row, "MedInc": 1.0, "HouseAge": 20.0}
    assert answer["feature_sources"]["MedInc"] == "request"
    assert answer["feature_sources"]["HouseAge"] == "store"


def test_values_by_position(server, row):
    for user in ({"user_id": "user1"}, {}):
        answer = server.post("/predict", json={**user, "features_for_prediction": list(row.values())}).json()
        assert answer["prediction"] == server.post("/predict", json=row).json()["prediction"]
        assert answer["input_features"] == row
        assert set(answer["feature_sources"].values()) == {"request"}
        assert answer.get("user_id") == user.get("user_id")


def test_a_gap_in_values_by_position_is_filled(server, row):
    values = [None if name == "HouseAge" else value for name, value in row.items()]
    answer = server.post("/predict", json={"user_id": "whole", "features_for_prediction": values}).json()
    assert answer["input_features"]["HouseAge"] == 20.0
    assert answer["feature_sources"]["HouseAge"] == "store"


@pytest.mark.parametrize("values", [[8.3, 41], [1.0] * 9, [], "8.3,41", None, {"MedInc": 8.3}])
def test_a_wrong_number_of_values_is_answered_with_the_order(server, row, values):
    answer = server.post("/predict", json={"user_id": "user1", "features_for_prediction": values})
    assert answer.status_code == 422
    assert f"must be an array of 8 values, in this order: {', '.join(row)}, received " in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "features_for_prediction"


def test_values_by_position_are_checked_by_name(server, row):
    values = [*list(row.values())[:-1], "west"]
    problem = server.post("/predict", json={"features_for_prediction": values}).json()
    assert [error["field"] for error in problem["errors"]] == ["Longitude"]
    problem = server.post("/predict", json={"features_for_prediction": list(row.values()), "MedInc": 1.0}).json()
    assert "cannot be given beside features_for_prediction" in problem["detail"]


def test_users_and_features_that_are_not_there_are_named(server, row):
    def refused(**body):
        answer = server.post("/predict", json=body)
        assert answer.status_code == 422, answer.text
        assert answer.text.count("nothing was valued") <= 1, "it is said once"
        return [(error["field"], error["constraint"]) for error in answer.json()["errors"]]

    assert refused(user_id="nobody", MedInc=8.3) == [("user_id", "must be a user whose features are stored")]
    missing = refused(user_id="partly", MedInc=8.3)
    assert missing == [
        (name, "must be sent, or be stored for this user") for name in row if name not in ("MedInc", "HouseAge")
    ]
    assert refused(user_id="ahead", MedInc=8.3) == [
        (name, "must be sent, or be stored for this user") for name in row if name != "MedInc"
    ]
    for user in ("", 7, None, "x" * 201, "a\0b", ["user2"]):
        assert refused(user_id=user, MedInc=8.3)[0] == ("user_id", "must be a text of 1 to 200 characters")


def test_old_features_are_warned_of_and_older_ones_refused(server, row):
    answer = server.post("/predict", json={"user_id": "aging", "MedInc": 8.3}).json()
    assert len(answer["warnings"]) == 7
    assert answer["warnings"][0].startswith("HouseAge comes from the store, where it is 41")
    assert answer["warnings"][0].endswith("40 days old")
    answer = server.post("/predict", json={"user_id": "stale", **{k: row[k] for k in list(row)[1:]}})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "MedInc"
    assert error["constraint"] == "must be sent, or be stored for this user since less than 365 days"
    assert error["received"].endswith("400 days old")
    # Whoever sends everything needs nothing of it.
    assert server.post("/predict", json={"user_id": "stale", **row}).status_code == 200


def test_a_stored_value_that_the_model_refuses_is_blamed_on_the_store(server):
    errors = server.post("/predict", json={"user_id": "broken", "MedInc": -1.0}).json()["errors"]
    told = {error["field"]: error["constraint"] for error in errors}
    assert set(told) == {"MedInc", "HouseAge", "Latitude"}
    assert "stored" not in told["MedInc"]
    assert told["HouseAge"].endswith("and what is stored for this user is not")


def test_rows_of_a_batch_are_filled_or_refused_one_by_one(server, row):
    rows = [
        row,
        {"user_id": "user2", "MedInc": row["MedInc"]},
        {"user_id": "nobody"},
        {"user_id": "user1", "features_for_prediction": list(row.values())},
        {"features_for_prediction": [1]},
        {"user_id": "aging", "MedInc": row["MedInc"]},
    ]
    answer = server.post("/predict/batch", json={"rows": rows}).json()
    assert [one["status"] for one in answer["results"]] == [
        "valued",
        "valued",
        "refused",
        "valued",
        "refused",
        "valued",
    ]
    first, second, third, fourth, fifth, sixth = answer["results"]
    assert first["prediction"] == second["prediction"] == fourth["prediction"] == sixth["prediction"]
    assert "feature_sources" not in first
    assert second["feature_sources"]["HouseAge"] == "store"
    assert third["errors"][0] == {
        "field": "user_id",
        "constraint": "must be a user whose features are stored",
        "received": "'nobody'",
        "row": 2,
    }
    assert fifth["errors"][0]["row"] == 4
    assert len(sixth["warnings"]) == 7


def test_many_rows_of_many_users_are_looked_up_together(server, stored, row):
    users = [f"many{number}" for number in range(1000)]
    with stored.connect() as connection:
        events = [FeatureEvent(user, name, value, NOW) for user in users for name, value in row.items()]
        write_features(connection, events)
    answer = server.post("/predict/batch", json={"rows": [{"user_id": user} for user in users]}).json()
    assert answer["valued"] == 1000
    assert len({one["prediction"] for one in answer["results"]}) == 1


def test_another_model_named_in_the_path_takes_them_too(server):
    answer = server.post("/models/california/predict", json={"user_id": "user2", "MedInc": 8.3252})
    assert answer.json()["feature_sources"]["HouseAge"] == "store"


def test_both_kinds_of_row_are_documented(server):
    document = server.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert [one["$ref"].rpartition("/")[2] for one in body["anyOf"]] == [
        "california_row",
        "california_row_of_user",
        "california_row_by_position",
    ]
    assert schemas["california_row_of_user"]["required"] == ["user_id"]
    by_position = schemas["california_row_by_position"]["properties"]["features_for_prediction"]
    assert by_position["prefixItems"][0] == schemas["california_row"]["properties"]["MedInc"]
    assert by_position["minItems"] == by_position["maxItems"] == 8
    assert "feature_sources" in schemas["Prediction"]["properties"]


def test_the_database_is_among_what_the_service_leans_on(server):
    health = server.get("/health/detailed").json()
    database = health["dependencies"]["database"]
    assert database["status"] == "up"
    assert "its tables are up to date" in database["detail"]


def test_without_the_database_only_requests_that_need_it_fail(own_home, serve, row):
    nowhere = "postgresql://appraise:secret@127.0.0.1:1/appraise"
    server = serve(own_home, APPRAISE_DATABASE_URL=nowhere)
    for _ in range(2):
        answer = server.post("/predict", json={"user_id": "user2", "MedInc": 8.3})
        assert answer.status_code == 503
        assert "appraise@127.0.0.1:1 cannot be reached: Connection refused" in answer.json()["detail"]
        assert "secret" not in answer.text
        assert answer.headers["retry-after"]
    assert server.post("/predict", json=row).status_code == 200
    assert server.post("/predict", json={"user_id": "user2", **row}).status_code == 200
    rows = [row, {"user_id": "user2"}]
    batch = server.post("/predict/batch", json={"rows": rows}).json()
    assert [one["status"] for one in batch["results"]] == ["valued", "refused"]
    assert "cannot be reached" in batch["results"][1]["errors"][0]["received"]
    health = server.get("/health/detailed")
    assert health.status_code == 200
    assert health.json()["status"] == "degraded"
    assert health.json()["dependencies"]["database"]["status"] == "down"
    assert server.get("/health").status_code == 200
    server.end()
    assert "secret" not in server.log.read_text()
    assert "estimates go on without it" in server.log.read_text()

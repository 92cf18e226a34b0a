"""Who may call: keys, scopes, rates, origins."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.waiting import until

from appraise.cli.program import run
from appraise.errors import SettingsError, UnknownKeyError
from appraise.serving.keys import KeyFile, hash_of


@pytest.fixture
def keys(own_home, capsys, monkeypatch) -> Callable[..., dict]:
    """Runs `appraise keys` on the test's home."""
    monkeypatch.setenv("APPRAISE_HOME", str(own_home))

    def call(*args: str) -> dict:
        capsys.readouterr()
        assert run(["keys", *args, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


def test_keys_open_what_their_scopes_say_and_nothing_once_revoked(serve, own_home, row, keys):
    made = keys("create", "--name", "web", "--scopes", "predict")
    kept = (own_home / "keys.json").read_text()
    assert made["key"] not in kept
    assert hash_of(made["key"]) in kept
    assert (own_home / "keys.json").stat().st_mode & 0o777 == 0o600
    server = serve(own_home)
    assert server.ready["keys"] is True

    none = server.post("/predict", json=row)
    assert (none.status_code, none.headers["www-authenticate"]) == (401, 'Bearer realm="appraise"')
    assert server.post("/predict", json=row, headers={"X-API-Key": "appraise_wrong"}).status_code == 401
    assert server.post("/predict", json=row, headers={"X-API-Key": b"\xff\xfe"}).status_code == 401
    for headers in ({"X-API-Key": made["key"]}, {"Authorization": f"Bearer {made['key']}"}):
        assert server.post("/predict", json=row, headers=headers).status_code == 200
        assert server.get("/metrics", headers=headers).status_code == 403
        assert server.post("/model/reload", headers=headers).status_code == 403
    for path in ("/", "/health", "/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert server.get(path).status_code == 200
    for path in ("/models", "/model/info", "/metrics", "/health/detailed"):
        assert server.get(path).status_code == 401

    reader = keys("create", "--name", "prometheus", "--scopes", "read")
    until(lambda: server.get("/metrics", headers={"X-API-Key": reader["key"]}).status_code == 200)
    listed = keys("list")["keys"]
    assert [(one["name"], one["scopes"]) for one in listed] == [("web", ["predict"]), ("prometheus", ["read"])]
    assert made["key"] not in json.dumps(listed)
    keys("revoke", "web")
    until(lambda: server.post("/predict", json=row, headers={"X-API-Key": made["key"]}).status_code == 401)
    keys("revoke", reader["id"])
    until(lambda: server.get("/metrics", headers={"X-API-Key": reader["key"]}).status_code == 401)
    # Every key is revoked: that closes the service and does not open it.
    closed = server.post("/predict", json=row)
    assert closed.status_code == 401
    assert "none is valid any more" in closed.json()["detail"]
    assert "appraise keys create --name" in closed.json()["hint"]
    again = keys("create", "--name", "web", "--scopes", "predict,read")
    until(lambda: server.post("/predict", json=row, headers={"X-API-Key": again["key"]}).status_code == 200)
    refused = server.post("/model/reload", headers={"X-API-Key": again["key"]}).json()
    assert "has the scopes predict and read, and this needs admin" in refused["detail"]
    assert refused["hint"].endswith("appraise keys create --name NAME --scopes admin")
    assert made["key"] not in server.log.read_text()


def test_a_key_that_asks_too_often_is_told_when_to_come_back(serve, own_home, row, keys):
    made = keys("create", "--name", "busy", "--scopes", "predict", "--rate", "1")
    server = serve(own_home)
    headers = {"X-API-Key": made["key"]}
    answers = [server.post("/predict", json=row, headers=headers) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert answers[0].status_code == 200
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"] == "application/problem+json"


def test_pages_of_allowed_origins_may_call_and_others_not(serve, own_home, row):
    server = serve(own_home, cors_origins='["https://example.org"]')
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = server.client.options("/predict", headers={"Origin": "https://example.org", **ask})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == "https://example.org"
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert server.client.options("/predict", headers={"Origin": "https://evil.org", **ask}).status_code == 403
    answer = server.post("/predict", json=row, headers={"Origin": "https://example.org"})
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-origin" not in server.post("/predict", json=row, headers={"Origin": "null"}).headers


def test_without_allowed_origins_no_page_may_call(server, row):
    answer = server.post("/predict", json=row, headers={"Origin": "https://example.org"})
    assert "access-control-allow-origin" not in answer.headers


def test_other_machines_are_served_where_there_is_a_key(serve, own_home, row, keys):
    made = keys("create", "--name", "web")
    server = serve(own_home, "--host", "0.0.0.0")  # noqa: S104
    url = f"http://127.0.0.1:{server.port}/predict"
    assert server.client.post(url, json=row, headers={"X-API-Key": made["key"]}).status_code == 200
    assert server.client.post(url, json=row).status_code == 401


def test_scopes_and_keys_that_do_not_exist_are_refused(tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    with pytest.raises(SettingsError, match="received 'write'"):
        file.create("web", ["predict", "write"])
    with pytest.raises(SettingsError, match="received none"):
        file.create("web", [])
    assert not file.path.exists()
    file.create("web", ["read"])
    file.create("web", ["read"])
    with pytest.raises(UnknownKeyError, match="2 keys have the name 'web'"):
        file.revoke("web")
    with pytest.raises(UnknownKeyError, match="no valid key 'other'"):
        file.revoke("other")
    with pytest.raises(UnknownKeyError, match="no valid key 'web'"):
        KeyFile(tmp_path / "none" / "keys.json").revoke("web")
    assert not (tmp_path / "none").exists()


def test_of_many_who_change_the_keys_at_once_nobody_undoes_what_another_did(tmp_path):
    path = tmp_path / "keys.json"
    revoked, _ = KeyFile(path).create("old", ["read"])

    def change(number):
        file = KeyFile(path)
        if number == 20:
            file.revoke(revoked.id)
        with file.lent("up", ["read"]):
            file.create(f"web{number}", ["read"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(40)))
    keys = KeyFile(path).read()
    assert {key.name for key in keys} == {"old", *(f"web{number}" for number in range(40))}
    assert [key.name for key in keys if key.revoked_at is not None] == ["old"]


def test_a_key_file_that_is_damaged_is_refused_with_what_to_do(tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    for damage in (b"", b"[{}]", b'[{"id": 1}]', b"\xff"):
        file.path.write_bytes(damage)
        with pytest.raises(SettingsError, match="damaged"):
            file.read()

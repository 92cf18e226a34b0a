"""What a broken or hostile client can send: a sentence with a 4xx or 503, and no harm to the others."""

import contextlib
import gzip
import json
import signal
import socket
import statistics
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

JSON = {"Content-Type": "application/json"}
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def _refused(response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert len(problem["detail"]) > 10
    assert "Traceback" not in response.text
    return problem


def _one_answer(client: socket.socket) -> bytes:
    """One answer on a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


def _text(row: dict, **fields: str) -> bytes:
    """The row as JSON, with these fields written as given."""
    pairs = {name: json.dumps(value) for name, value in row.items()} | fields
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in pairs.items()) + "}").encode()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "not JSON"),
        (b"hello", 400, "not JSON"),
        (b"{} {}", 400, "not JSON"),
        (b'{"MedInc": NaN}', 400, "NaN is not a JSON number"),
        (b'{"MedInc": Infinity}', 400, "Infinity is not a JSON number"),
        (b'{"MedInc": -Infinity}', 400, "Infinity"),
        (b'{"MedInc": "\xff\xfe"}', 400, "UTF-8"),
        (b"\xff\xfe\x00\x00", 400, "JSON"),
        (b'{"MedInc": "\\ud800"}', 400, "not JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"MedInc":' * 100_000, 400, "nested too deeply"),
        (b"[" * 900 + b"]" * 900, 422, "must be a JSON object"),
        (b"[]", 422, "must be a JSON object"),
        (b"null", 422, "must be a JSON object"),
        (b"3", 422, "must be a JSON object"),
        (b'"text"', 422, "must be a JSON object"),
        (b"{}", 422, "MedInc"),
        (b'{"MedInc": 1e400}', 422, "MedInc"),
        (b'{"MedInc": 1' + b"0" * 400 + b"}", 422, "MedInc"),
        (b'{"MedInc": ' + b"9" * 5000 + b"}", 422, "finite"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else None,
)
def test_bodies_that_are_no_row_are_refused(server, body, status, said):
    problem = _refused(server.post("/predict", content=body, headers=JSON), status)
    assert said in json.dumps(problem)


@pytest.mark.parametrize(
    ("field", "written", "constraint"),
    [
        ("MedInc", '"8.3"', "must be a number"),
        ("MedInc", "true", "must be a number"),
        ("MedInc", "[1]", "must be a number"),
        ("MedInc", '{"a": 1}', "must be a number"),
        ("MedInc", "null", "must not be missing"),
        ("MedInc", "-1", "must be at least 0 (in 10,000 USD)"),
        ("Latitude", "91", "must be at most 42.5 degrees"),
        ("MedInc", "1e400", "must be a finite number"),
        ("MedInc", "1" + "0" * 400, "must be a finite number"),
        ("AveBedrms", "9", "A household cannot have more bedrooms than rooms."),
        ("Colour", "1", "is not a field of this dataset"),
        ("HouseAgee", "1", "did you mean HouseAge?"),
        ("HOUSE_AGE", "1", "did you mean HouseAge?"),
    ],
)
def test_a_refused_field_is_named_with_what_is_asked_and_what_came(server, row, field, written, constraint):
    problem = _refused(server.post("/predict", content=_text(row, **{field: written}), headers=JSON), 422)
    (error,) = problem["errors"]
    assert error["field"] == field
    assert constraint in error["constraint"]
    assert error["received"]
    assert len(error["received"]) <= 60


def test_all_refused_fields_are_named_in_one_answer(server, row):
    wrong = {**row, "MedInc": "x", "HouseAge": -4, "Latitude": None, "Colour": "red"}
    problem = _refused(server.post("/predict", json=wrong), 422)
    assert {error["field"] for error in problem["errors"]} == {"MedInc", "HouseAge", "Latitude", "Colour"}
    assert problem["detail"] == "4 fields were refused; MedInc: must be a number, received 'x'"
    (latitude,) = (error for error in problem["errors"] if error["field"] == "Latitude")
    assert (latitude["constraint"], latitude["received"]) == ("must not be missing", "null")
    del wrong["Latitude"]
    problem = _refused(server.post("/predict", json=wrong), 422)
    assert {error["received"] for error in problem["errors"] if error["field"] == "Latitude"} == {"nothing"}


def test_a_field_that_is_there_twice_is_refused_even_when_escapes_hide_it(server, row):
    plain = _text(row)[:-1] + b', "MedInc": 2}'
    escaped = _text(row)[:-1] + b', "Med\\u0049nc": 2}'
    in_batch = b'{"rows": [' + plain + b"]}"
    for path, body in (("/predict", plain), ("/predict", escaped), ("/predict/batch", in_batch)):
        problem = _refused(server.post(path, content=body, headers=JSON), 422)
        assert problem["errors"][0]["field"] == "MedInc"
    once = _text(row).replace(b"MedInc", b"Med\\u0049nc")
    assert server.post("/predict", content=once, headers=JSON).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/json; charset=utf-16", "", None])
def test_other_content_types_are_refused(server, row, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    assert "application/json" in _refused(server.post("/predict", content=_text(row), headers=headers), 415)["detail"]


def test_json_that_curl_calls_a_form_is_taken_and_that_of_a_page_is_not(server, row):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.post("/predict", content=_text(row), headers=form).status_code == 200
    for sent in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        _refused(server.post("/predict", content=_text(row), headers=form | sent), 415)
    assert _refused(server.post("/predict", content=b"MedInc=8.3&HouseAge=41", headers=form), 400)


@pytest.mark.parametrize(
    "path", ["/predict/batch", "/models/california/predict", "/v2/models/california/infer", "/predict?explain=true"]
)
@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"", {400}),
        (b"\xff\xfe\x00", {400}),
        (b'{"rows": [NaN], "inputs": [Infinity], "MedInc": -Infinity}', {400}),
        (b'{"rows": [{"MedInc": 1e400}], "inputs": [1e400], "MedInc": 1e400}', {422}),
        (b'{"rows": [], "rows": [1], "inputs": [], "inputs": [1], "MedInc": 1, "MedInc": 2}', {422}),
        (b'{"rows": ' + b"[" * 100_000, {400}),
        (b'{"rows": null, "inputs": null, "MedInc": null}', {400, 422}),
        (b"[" * 500 + b"]" * 500, {422}),
    ],
    ids=["empty", "not UTF-8", "NaN", "1e400", "duplicate keys", "nested", "nulls", "arrays"],
)
def test_every_route_that_takes_a_body_refuses_what_is_wrong_with_it(server, path, body, statuses):
    response = server.post(path, content=body, headers=JSON)
    assert response.status_code in statuses, response.text
    told = response.json()
    said = told["error"] if path.startswith("/v2") else _refused(response, response.status_code)["detail"]
    assert len(said) > 10


def test_a_charset_may_be_named(server, row):
    for kind in ("application/json; charset=utf-8", 'Application/JSON; charset="UTF-8"'):
        assert server.post("/predict", content=_text(row), headers={"Content-Type": kind}).status_code == 200


def test_a_gzip_bomb_is_refused_before_it_is_opened(server):
    bomb = gzip.compress(b" " * 50_000_000)
    response = server.post("/predict", content=bomb, headers={**JSON, "Content-Encoding": "gzip"})
    assert "uncompressed" in _refused(response, 415)["hint"]


def test_a_body_of_100_mb_is_refused_and_memory_stays_flat(server):
    before = server.memory()
    _refused(server.post("/predict", content=b" " * 100_000_000, headers=JSON), 413)

    def chunks():
        for _ in range(100):
            yield b" " * 1_000_000

    _refused(server.post("/predict/batch", content=chunks(), headers=JSON), 413)
    assert server.memory() - before < 60_000_000


def test_a_chunked_body_without_a_length_is_taken(server, row):
    response = server.post("/predict", content=iter([_text(row)[:20], _text(row)[20:]]), headers=JSON)
    assert response.status_code == 200


def test_a_connection_that_is_closed_midway_leaves_no_trace(server, row):
    for sent in (
        b"POST /pred",
        HEAD + b"Content-Length: 500\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ):
        with server.connect() as client:
            client.sendall(sent)
    with server.connect() as client:
        # Whole, but nobody is there to read the answer.
        body = _text(row)
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert server.post("/predict", json=row).status_code == 200


def test_requests_that_come_together_are_answered_in_their_order(server, row):
    bodies = [_text({**row, "MedInc": 1.0 + number / 100}) for number in range(400)]
    alone = [server.post("/predict", content=body, headers=JSON).json()["prediction"] for body in bodies[:5]]
    with server.connect() as client:
        threading.Thread(
            target=client.sendall,
            args=(b"".join(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies),),
        ).start()
        stream = client.makefile("rb")
        incomes = []
        for number in range(len(bodies)):
            assert stream.readline().startswith(b"HTTP/1.1 200 ")
            length = 0
            while (line := stream.readline().lower()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name == b"content-length" else length
            answer = json.loads(stream.read(length))
            incomes.append(answer["input_features"]["MedInc"])
            assert number >= len(alone) or answer["prediction"] == alone[number]
    assert incomes == [1.0 + number / 100 for number in range(400)]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"HELLO\r\n\r\n", 400),
        (HEAD + b"Content-Length: -5\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000, 431),
        (b"GET /" + b"a" * 100_000, 431),
    ],
    ids=["tls", "words", "negative length", "two lengths", "large header", "long path"],
)
def test_bytes_that_are_no_request_are_answered_and_hung_up_on(server, sent, status):
    answer = server.raw(sent)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in answer


def test_batches_of_zero_and_of_one_too_many_are_refused(server, row):
    for rows, received in (([], "0 rows"), ([row] * 10_001, "10,001 rows")):
        problem = _refused(server.post("/predict/batch", json={"rows": rows}), 422)
        assert problem["errors"] == [
            {"field": "rows", "constraint": "must hold from 1 to 10,000 rows", "received": received}
        ]
    for body in ({}, {"rows": None}, {"rows": {"a": 1}}, {"rows": [row], "name": 1}, {"rows": [row], "batch_name": 5}):
        _refused(server.post("/predict/batch", json=body), 422)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/models/califorina/predict", 404, "did you mean 'california'?"),
        ("/models/../predict", 404, "no model named"),
        ("/models/%00/predict", 404, "no model named"),
        ("/predict?model=nothing", 404, "served are california"),
        ("/predict?model_version=9.9.9", 404, "it has 1.1.0 challenger, 1.0.0 champion"),
        ("/predict?model_version=latest", 404, "no version 'latest'"),
        ("/predict?alias=nobody", 404, "no alias 'nobody'"),
        ("/predict?alias=champion&model_version=1.1.0", 404, "is not version"),
        ("/predict?level=1", 422, "above 0 and below 1"),
        ("/predict?level=nan", 422, "above 0 and below 1"),
        ("/predict?level=0.5&level=0.6", 422, "once"),
        ("/predict?comparables=51", 422, "from 0 to 50"),
        ("/predict?comparables=-1", 422, "from 0 to 50"),
        ("/predict?comparables=%C2%B2", 422, "from 0 to 50"),
        ("/predict?levle=0.5", 422, "did you mean 'level'?"),
        ("/models/california/predict?model=garden", 422, "the path names"),
        ("/predict?" + "a" * 3000, 422, "3,000 bytes"),
        ("/predictions", 404, "nothing at"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(server, row, path, status, said):
    # httpx would tidy the path.
    body = _text(row)
    head = HEAD.replace(b"/predict", path.encode()) + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = server.raw(head + body)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert said in answer.decode()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/predict"), ("DELETE", "/"), ("PUT", "/models"), ("POST", "/health")]
)
def test_methods_that_a_path_does_not_take_are_refused_with_those_it_does(server, method, path):
    response = server.client.request(method, path)
    _refused(response, 405)
    assert response.headers["allow"]
    assert response.headers["x-content-type-options"] == "nosniff"


def _seconds(server, row) -> float:
    """How long an estimate takes."""
    asked = time.monotonic()
    assert server.post("/predict", json=row).status_code == 200
    return time.monotonic() - asked


def test_slow_clients_are_hung_up_on_and_hurt_nobody(serve, own_home, row, read_all):
    server = serve(own_home, request_seconds="8")
    alone = statistics.median(_seconds(server, row) for _ in range(20))
    memory = server.memory()
    began = time.monotonic()
    slow = [server.connect() for _ in range(500)]
    try:
        # Every other one is slow with its headers, the others with their bodies.
        trickle = HEAD + b"X-Slow: " + b"a" * 1000
        for number, client in enumerate(slow):
            client.sendall(HEAD + b"Content-Length: 5000\r\n\r\n" if number % 2 else trickle[:1])
        times: list[float] = []
        while not times or time.monotonic() - began < 2.0:
            times.append(_seconds(server, row))
            for number, client in enumerate(slow):
                client.sendall(b" " if number % 2 else trickle[len(times) : len(times) + 1])
        assert statistics.median(times) < max(0.1, 20 * alone)
        # A connection takes some ten kilobytes.
        assert server.memory() - memory < 40_000_000
        for client in slow[:3] + slow[-3:]:
            assert read_all(client).startswith(b"HTTP/1.1 408 ")
    finally:
        for client in slow:
            client.close()
    assert server.post("/predict", json=row).status_code == 200


@contextlib.contextmanager
def _healthy(server, row) -> Iterator[list[tuple[int, float]]]:
    """A client that asks what it should the whole time: status and seconds of each answer."""
    seen: list[tuple[int, float]] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
            while not stop.wait(0.005):
                began = time.monotonic()
                status = client.post("/predict", json=row).status_code
                seen.append((status, time.monotonic() - began))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _barrage(server, row) -> None:
    """Everything at once that hurt servers before."""
    for _ in range(20):
        with server.connect() as client:
            client.sendall(HEAD + b"Content-Length: 500\r\n\r\n{")
        server.raw(b"\x16\x03\x01\x02\x00")
        server.post("/predict", content=b"[" * 100_000, headers=JSON)
        server.post("/predict/batch", content=b'{"rows": ' + b"[{" * 50_000, headers=JSON)
        server.post("/predict", content=_text(row, MedInc="9" * 100_000), headers=JSON)
        server.post("/predict", content=_text(row, Colour=json.dumps("x" * 100_000)), headers=JSON)
    server.post("/predict", content=b" " * 20_000_000, headers=JSON)
    server.post("/predict/batch", content=iter([b" " * 1_000_000] * 20), headers=JSON)
    _ask_and_read_nothing(server, row)


def _ask_and_read_nothing(server, row) -> None:
    body = _text(row)
    with server.connect() as client:
        client.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            for _ in range(1000):
                client.sendall((HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 100)
            raise AssertionError("the server took 100,000 requests of a client that reads no answer")


def test_requests_of_a_client_that_reads_no_answer_do_not_fill_the_memory(serve, home, row):
    server = serve(home)
    # What is used for the first time comes into memory.
    for _ in range(100):
        _seconds(server, row)
    before = server.memory()
    for _ in range(3):
        _ask_and_read_nothing(server, row)
        assert server.memory() - before < 20_000_000


def test_a_barrage_leaves_memory_flat_and_a_healthy_client_unhurt(serve, home, row):
    server = serve(home)

    def most_memory(barrages: int) -> int:
        # What is freed goes back to the system now and then, so that one look tells little.
        sizes = []
        for _ in range(barrages):
            _barrage(server, row)
            sizes.append(server.memory())
        return max(sizes)

    alone = statistics.median(_seconds(server, row) for _ in range(20))
    # What is used for the first time comes into memory, as does what was given back while nobody asked.
    before = most_memory(1)
    with _healthy(server, row) as seen:
        after = most_memory(3)
    assert after - before < 40_000_000
    assert len(seen) > 50
    assert {status for status, _ in seen} == {200}
    assert statistics.median(seconds for _, seconds in seen) < max(0.1, 20 * alone)
    assert max(seconds for _, seconds in seen) < 15.0


def test_more_work_than_the_server_takes_is_refused_at_once(serve, own_home, row):
    server = serve(own_home, queue="2")
    body = _text(row)
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    clients = [server.connect() for _ in range(64)]
    try:
        for _ in range(20):
            # It finds all of them when it looks again.
            server.process.send_signal(signal.SIGSTOP)
            for client in clients:
                client.sendall(request)
            server.process.send_signal(signal.SIGCONT)
            answers = [_one_answer(client) for client in clients]
            assert all(answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 ")) for answer in answers)
            shed = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
            if shed:
                break
        assert shed
        assert b"retry-after: 1" in shed[0]
    finally:
        for client in clients:
            client.close()
    assert server.post("/predict", json=row).status_code == 200

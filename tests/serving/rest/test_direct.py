"""Predict requests that are answered without a task: nothing that a client sees tells them from the others."""

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

JSON_HEADER = "Content-Type: application/json\r\n"
#: Means the same, and is not read on the short way.
LONG_WAY = "Content-Type: application/json; charset=utf-8\r\n"


def _request(row: Any, *headers: str, path: str = "/predict") -> bytes:
    body = row if isinstance(row, bytes) else json.dumps(row).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n{''.join(headers)}\r\n"
    return head.encode() + body


def _answers(received: bytes) -> list[tuple[int, dict[str, str], Any]]:
    """Status, headers and document of each answer, in their order."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        found.append((int(status.split()[1]), headers, json.loads(rest[:length])))
        received = rest[length:]
    return found


CLOSE = "Connection: close\r\n"


@pytest.mark.parametrize("path", ["/predict", "/models/california/predict", "/predict?level=0.5"])
def test_both_ways_give_the_same_answer(server: Any, row: dict[str, float], path: str) -> None:
    short, long = (_answers(server.raw(_request(row, kind, CLOSE, path=path)))[0] for kind in (JSON_HEADER, LONG_WAY))
    own = "prediction_id", "timestamp", "processing_time_ms"
    assert short[0] == long[0] == 200
    assert {key: value for key, value in short[2].items() if key not in own} == {
        key: value for key, value in long[2].items() if key not in own
    }
    assert list(short[2]) == list(long[2])
    assert short[2]["prediction_id"] != long[2]["prediction_id"]
    unlike = "date", "content-length"
    assert {key: value for key, value in short[1].items() if key not in unlike} == {
        key: value for key, value in long[1].items() if key not in unlike
    }
    assert short[1]["connection"] == "close"
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", short[2]["prediction_id"]
    )


def test_requests_sent_together_are_answered_in_their_order(server: Any, row: dict[str, float]) -> None:
    homes = [{**row, "HouseAge": float(age)} for age in range(1, 13)]
    requests = [_request(home, JSON_HEADER if age % 3 else LONG_WAY) for age, home in enumerate(homes)]
    refused = _request(b'{"MedInc": "much"}', JSON_HEADER)
    last = _request(row, JSON_HEADER, CLOSE)
    answers = _answers(server.raw(b"".join((*requests, refused, last))))
    assert [status for status, _, _ in answers] == [200] * 12 + [422, 200]
    assert [answer["input_features"]["HouseAge"] for _, _, answer in answers[:12]] == list(range(1, 13))


def test_thousands_sent_together_are_all_answered(
    server: Any, row: dict[str, float], read_all: Callable[..., bytes]
) -> None:
    # More than is read at once, a batch of many reads in its middle, and its answers larger than what fits in between.
    homes = [{**row, "HouseAge": float(1 + number % 50)} for number in range(3_000)]
    requests = [_request(home, JSON_HEADER if number % 3 else LONG_WAY) for number, home in enumerate(homes)]
    requests[1_500] = _request({"rows": homes[:2_000]}, JSON_HEADER, path="/predict/batch")
    requests.append(_request(row, JSON_HEADER, CLOSE))
    with server.connect() as client:
        sender = threading.Thread(target=client.sendall, args=(b"".join(requests),))
        sender.start()
        answers = _answers(read_all(client))
        sender.join()
    assert [status for status, _, _ in answers] == [200] * 3_001
    assert len(answers.pop(1_500)[2]["results"]) == 2_000
    ages = [answer["input_features"]["HouseAge"] for _, _, answer in answers[:-1]]
    assert ages == [home["HouseAge"] for home in homes[:1_500] + homes[1_501:]]


def test_a_request_in_many_pieces_is_answered(
    server: Any, row: dict[str, float], read_all: Callable[..., bytes]
) -> None:
    request = _request(row, JSON_HEADER, CLOSE)
    with server.connect() as client:
        for start in range(0, len(request), 7):
            client.sendall(request[start : start + 7])
        ((status, _, answer),) = _answers(read_all(client))
    assert status == 200
    assert answer["input_features"] == row


def test_a_client_that_leaves_before_its_answer_hurts_nobody(server: Any, row: dict[str, float]) -> None:
    for _ in range(50):
        with server.connect() as client:
            client.sendall(_request(row, JSON_HEADER))
    assert server.post("/predict", json=row).status_code == 200


def test_requests_are_counted_whichever_way_they_take(server: Any, row: dict[str, float]) -> None:
    # Clients that left have asked the other route, and may be counted late.
    def counted() -> float:
        text = server.get("/metrics").text
        route = re.escape('route="/models/{name}/predict"')
        found = re.findall(rf"^appraise_requests_total{{[^\n]*{route}[^\n]*}} (\S+)$", text, flags=re.MULTILINE)
        return sum(map(float, found))

    before = counted()
    for kind in (JSON_HEADER, LONG_WAY):
        server.raw(_request(row, kind, CLOSE, path="/models/california/predict"))
    assert counted() == before + 2

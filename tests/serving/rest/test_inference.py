"""The Open Inference Protocol v2."""

import contextlib
import json

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype


def _inputs(rows, shape=lambda n: [n]):
    return [
        {"name": name, "datatype": "FP64", "shape": shape(len(rows)), "data": [row[name] for row in rows]}
        for name in rows[0]
    ]


def test_the_server_and_its_models_describe_themselves(server, row):
    assert server.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get("/v2/health/ready").json() == {"ready": True}
    assert server.get("/v2/models/california/ready").status_code == 200
    assert server.get("/v2/models/california/versions/1.0.0/ready").status_code == 200
    metadata = server.get("/v2/models/california").json()
    assert metadata["name"] == "california"
    assert [one["name"] for one in metadata["inputs"]] == list(row)
    assert {one["datatype"] for one in metadata["inputs"]} == {"FP64"}
    assert "1.0.0" in metadata["versions"]


def test_infer_gives_what_predict_gives(server, row):
    rows = [row, {**row, "MedInc": 2.0}]
    expected = [server.post("/predict", json=one).json() for one in rows]
    for shape in (lambda n: [n], lambda n: [n, 1]):
        body = server.post("/v2/models/california/infer", json={"id": "a", "inputs": _inputs(rows, shape)}).json()
        assert (body["id"], body["model_name"], body["model_version"]) == ("a", "california", "1.0.0")
        outputs = {one["name"]: one for one in body["outputs"]}
        assert outputs["estimate"]["data"] == [one["prediction"] for one in expected]
        assert outputs["lower"]["data"] == [one["prediction_interval"]["lower"] for one in expected]
        assert outputs["upper"]["shape"] == [2]
    untyped = server.post("/v2/models/california/infer", content=json.dumps({"inputs": _inputs(rows)}))
    assert untyped.status_code == 200
    typed = server.post("/v2/models/california/infer", content=b"{}", headers={"Content-Type": "text/plain"})
    assert typed.status_code == 415
    only = {"inputs": _inputs(rows), "outputs": [{"name": "estimate"}]}
    versioned = server.post("/v2/models/california/versions/1.1.0/infer", json=only).json()
    assert versioned["model_version"] == "1.1.0"
    assert [one["name"] for one in versioned["outputs"]] == ["estimate"]


@pytest.mark.parametrize(
    ("path", "change", "status", "said"),
    [
        ("/v2/models/nothing/infer", {}, 404, "no model named"),
        ("/v2/models/california/versions/7.0.0/infer", {}, 404, "no version"),
        ("/v2/models/california/infer", {"inputs": []}, 400, "inputs must be"),
        ("/v2/models/california/infer", {"inputs": [1]}, 400, "a name"),
        ("/v2/models/california/infer", {"inputs": [{"name": "MedInc"}]}, 400, "has no data"),
        (
            "/v2/models/california/infer",
            {"inputs": [{"name": "MedInc", "shape": [3], "datatype": "FP64", "data": [1]}]},
            400,
            "1 values and the shape",
        ),
        (
            "/v2/models/california/infer",
            {"inputs": [{"name": "MedInc", "shape": [1], "datatype": "FP64", "data": [1]}]},
            400,
            "HouseAge: must not be missing",
        ),
        ("/v2/models/california/infer", {"outputs": [{"name": "price"}]}, 400, "received 'price'"),
        ("/v2/models/california/infer", {"outputs": ["estimate"]}, 400, "received 'estimate'"),
        ("/v2/models/california/infer", {"outputs": {"name": "estimate"}}, 400, "must be an array"),
        ("/v2/models/california/infer", {"id": 7}, 400, "the id must be a text, received 7"),
        ("/v2/models/california/explain", {}, 404, "nothing at"),
        ("/v2/models/california", {}, 405, "does not take POST"),
    ],
)
def test_errors_have_the_shape_of_the_protocol(server, row, path, change, status, said):
    response = server.post(path, json={"inputs": _inputs([row]), **change})
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert said in response.json()["error"]


def test_bodies_that_are_no_json_are_refused_in_the_protocols_shape(server):
    response = server.post("/v2/models/california/infer", content=b"{", headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert list(response.json()) == ["error"]


def _binary(server, tensors, head_change=None, extra=b"", parameters=None):
    """A request as Triton's client sends it."""
    inputs, pieces = [], []
    for name, values in tensors.items():
        pieces.append(np.asarray(values, dtype="<f4").tobytes())
        size = {"binary_data_size": len(pieces[-1])}
        inputs.append({"name": name, "datatype": "FP32", "shape": [len(values), 1], "parameters": size})
    document = {"inputs": inputs, "parameters": parameters or {}, **(head_change or {})}
    head = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return server.post("/v2/models/california/infer", content=head + b"".join(pieces) + extra, headers=headers)


def test_tensors_may_be_bytes_both_ways(server, row):
    rows = [row, {**row, "MedInc": 2.0}]
    tensors = {name: [one[name] for one in rows] for name in row}
    rounded = [{name: float(np.float32(value)) for name, value in one.items()} for one in rows]
    expected = [server.post("/predict", json=one).json()["prediction"] for one in rounded]
    response = _binary(server, tensors, parameters={"binary_data_output": True})
    assert response.status_code == 200, response.text
    head = json.loads(response.content[: int(response.headers["inference-header-content-length"])])
    data = response.content[int(response.headers["inference-header-content-length"]) :]
    assert [one["parameters"]["binary_data_size"] for one in head["outputs"]] == [16, 16, 16, 16, 18]
    assert np.frombuffer(data[:16], "<f8").tolist() == expected
    plain = _binary(server, tensors).json()
    assert plain["outputs"][0]["data"] == expected


def test_bytes_that_do_not_fit_their_tensors_are_refused(server, row):
    tensors = {name: [value] for name, value in row.items()}
    answers = [
        _binary(server, tensors, extra=b"x"),
        _binary(server, {**tensors, "MedInc": []}),
        _binary(server, {**tensors, "MedInc": [float("nan")]}),
        _binary(server, {"MedInc": [1.0]}, {"inputs": [{"name": "MedInc", "parameters": {"binary_data_size": 10**9}}]}),
        _binary(server, {"MedInc": [1.0]}, {"inputs": [{"name": "MedInc", "parameters": {"binary_data_size": 4}}]}),
    ]
    for answer in answers:
        assert answer.status_code == 400, answer.text
        assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_own_client_works_unchanged(server, row, binary):
    with contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{server.port}")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("california")
        assert client.is_model_ready("california", "1.1.0")
        assert client.get_server_metadata()["name"] == "appraise"
        metadata = client.get_model_metadata("california")
        rows = [row, {**row, "MedInc": 2.0}, {**row, "Latitude": 33.0, "Longitude": -125.0}]
        inputs = []
        for one in metadata["inputs"]:
            tensor = triton.InferInput(one["name"], [len(rows), 1], one["datatype"])
            values = np.array([[home[one["name"]]] for home in rows], triton_to_np_dtype(one["datatype"]))
            inputs.append(tensor.set_data_from_numpy(values, binary_data=binary))
        outputs = [triton.InferRequestedOutput(one["name"], binary_data=binary) for one in metadata["outputs"]]
        result = client.infer("california", inputs, outputs=outputs, request_id="7")
        expected = [server.post("/predict", json=home).json() for home in rows]
        assert result.get_response()["id"] == "7"
        assert result.as_numpy("estimate").tolist() == [one["prediction"] for one in expected]
        assert result.as_numpy("confidence").tolist() == [one["confidence_score"] for one in expected]
        grades = [one.decode() if binary else one for one in result.as_numpy("confidence_grade").tolist()]
        assert grades == [one["confidence_grade"] for one in expected]
        assert grades[2] == "none"
        other = client.infer("california", inputs, model_version="1.1.0")
        assert other.get_response()["model_version"] == "1.1.0"
        assert other.as_numpy("upper").shape == (3,)
        with pytest.raises(InferenceServerException, match="HouseAge: must not be missing") as missing:
            client.infer("california", inputs[:1])
        assert missing.value.status() == "400"
        with pytest.raises(InferenceServerException, match="no model named 'nothing' is served"):
            client.infer("nothing", inputs)
        assert not client.is_model_ready("nothing")

"""The Open Inference Protocol in the OpenAPI document: what is sent, what is answered, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from appraise.datasets.spec import Column
from appraise.serving.models import LoadedModel

Json = dict[str, Any]

_DATATYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}
#: Datatypes of the protocol. JSON writes numbers in one way, so that any of them is taken for any column.
NUMBERS = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
TEXTS = "BYTES"
#: The tensors that a model gives, with their datatypes.
OUTPUTS = {"estimate": "FP64", "lower": "FP64", "upper": "FP64", "confidence": "FP64", "confidence_grade": TEXTS}


class Server(msgspec.Struct):
    """What the server is."""

    name: str
    version: str
    extensions: tuple[str, ...]


class Live(msgspec.Struct):
    """Whether the process answers."""

    live: bool


class Ready(msgspec.Struct):
    """Whether requests should be sent here."""

    ready: bool


class ModelReady(msgspec.Struct):
    """Whether a model answers."""

    name: str
    ready: bool


class TensorKind(msgspec.Struct):
    """A tensor that a model takes or gives."""

    name: str
    datatype: str
    shape: Annotated[tuple[int, ...], Meta(description="-1 is any number of homes.")]


class ModelKind(msgspec.Struct):
    """What a model takes and gives."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorKind, ...]
    outputs: tuple[TensorKind, ...]


class Output(msgspec.Struct, omit_defaults=True):
    """A tensor of an answer; one that was asked for as bytes stands behind the JSON."""

    name: Literal["estimate", "lower", "upper", "confidence", "confidence_grade"]
    datatype: Literal["FP64", "BYTES"]
    shape: tuple[int, ...]
    data: tuple[float | str, ...] | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


class Inferred(msgspec.Struct):
    """The estimates of homes."""

    model_name: str
    model_version: str
    id: str
    outputs: tuple[Output, ...]


class InferenceProblem(msgspec.Struct):
    """What went wrong, as the protocol tells it."""

    error: str


_TYPES = (Server, Live, Ready, ModelReady, ModelKind, Inferred, InferenceProblem)
_PROBLEMS = {
    "400": "The body is not JSON, or a tensor or value of it is refused.",
    "401": "A valid key is needed.",
    "403": "The key may not do this.",
    "404": "There is no such model or version.",
    "408": "The request did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is not plain JSON.",
    "422": "The body is no JSON object, or has a key twice.",
    "429": "The key asks too often.",
    "503": "Too much is waiting.",
}
_OF_A_MODEL = ("401", "403", "404", "429", "503")
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def datatype(column: Column) -> str:
    """What a column's values are as a tensor."""
    return _DATATYPES.get(column.kind, TEXTS)


def schemas(rows: Mapping[str, Json]) -> Json:
    """The types of the OpenAPI document.

    Args:
        rows: the schema of each model's rows.
    """
    found = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")[1]
    return found | {f"{name}_tensors": _request(row) for name, row in rows.items()}


def paths(models: Iterable[LoadedModel]) -> Json:
    """The routes in the OpenAPI document."""
    unfit = {"description": "They should not.", "content": _content("Ready")}
    fixed = {
        "/v2": _open("What the server is", _answers("Server", "The server.")),
        "/v2/health/live": _open("Whether the process answers", _answers("Live", "It does.")),
        "/v2/health/ready": _open(
            "Whether requests should be sent here", {**_answers("Ready", "They should."), "503": unfit}
        ),
    }
    for model in models:
        name = model.name
        for path, more in ((f"/v2/models/{name}", []), (f"/v2/models/{name}/versions/{{version}}", [_VERSION])):
            which = f"a version of {name}" if more else name
            fixed |= {
                path: {"get": _operation(f"What {which} takes and gives", "ModelKind", _OF_A_MODEL, more)},
                f"{path}/ready": {"get": _operation(f"Whether {which} answers", "ModelReady", _OF_A_MODEL, more)},
                f"{path}/infer": {"post": _infer(which, model, more)},
            }
    return fixed


def _request(row: Json) -> Json:
    """What a request for estimates must look like."""
    required = row.get("required", [])
    return {
        "type": "object",
        "title": f"{row['title']}: tensors",
        "description": f"A tensor for each column, in any order and all of one length. {row['description']}".rstrip(),
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "inputs": {
                "type": "array",
                "minItems": max(1, len(required)),
                "items": {"anyOf": [_tensor(name, value) for name, value in row["properties"].items()]},
                # JSON Schema cannot say that each of them is there once, and that all are of one length.
                "x-tensors": required,
            },
            "outputs": {
                "type": ["array", "null"],
                "description": "Those that are wanted; all where none is named.",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"enum": list(OUTPUTS)}},
                },
            },
        },
    }


def _tensor(name: str, column: Json) -> Json:
    # Whoever makes requests of examples should make them of whole ones.
    value = {key: said for key, said in column.items() if key != "examples"}
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": name},
            "datatype": {"enum": [*NUMBERS, TEXTS]},
            "shape": {
                "type": "array",
                "description": "[n] or [n, 1]",
                "minItems": 1,
                "maxItems": 2,
                "items": {"type": "integer", "minimum": 1},
            },
            "data": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [value, {"type": "array", "minItems": 1, "maxItems": 1, "items": value}]},
            },
        },
    }


def _infer(which: str, model: LoadedModel, parameters: list[Json]) -> Json:
    kinds = {column.name: datatype(column) for column in model.spec.inputs}
    tensors = [
        {"name": name, "datatype": kinds[name], "shape": [1], "data": [value]} for name, value in model.example.items()
    ]
    body = {"schema": {"$ref": f"#/components/schemas/{model.name}_tensors"}, "example": {"inputs": tensors}}
    statuses = ("400", *_OF_A_MODEL, "408", "413", "415", "422")
    made = _operation(f"Value homes with {which}", "Inferred", statuses, parameters)
    made["responses"]["200"]["content"] |= {"application/octet-stream": {}}
    made["description"] = "With `Inference-Header-Content-Length` a body and an answer may be JSON followed by bytes."
    return {**made, "requestBody": {"required": True, "content": {"application/json": body}}}


def _operation(summary: str, schema: str, statuses: Iterable[str], parameters: list[Json]) -> Json:
    problems = {
        status: {"description": _PROBLEMS[status], "content": _content("InferenceProblem")} for status in statuses
    }
    made: Json = {"tags": ["inference"], "summary": summary}
    return made | {"parameters": parameters, "responses": {**_answers(schema, "The answer."), **problems}}


def _open(summary: str, responses: Json) -> Json:
    """A GET that asks for no key."""
    return {"get": {"tags": ["inference"], "summary": summary, "responses": responses, "security": []}}


def _answers(schema: str, description: str) -> Json:
    return {"200": {"description": description, "content": _content(schema)}}


def _content(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}

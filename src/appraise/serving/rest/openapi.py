"""The OpenAPI 3.1 document of what is served: rows from the datasets' specs, answers from their types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from appraise import __version__
from appraise.datasets.spec import Column, DatasetSpec
from appraise.serving.models import Lineup, LoadedModel
from appraise.serving.rest import batches, examples, inference_schema, messages, past, topics
from appraise.serving.rest.limits import Limits
from appraise.serving.rest.parameters import BATCH, INFO, MOST_COMPARABLES, SINGLE
from appraise.serving.rest.stored_schema import stored_endings, stored_schemas

Json = dict[str, Any]

_TYPES: dict[str, str] = {"number": "number", "integer": "integer", "boolean": "boolean"}
_ANSWERS = (
    messages.Prediction,
    messages.BatchPrediction,
    messages.Problem,
    messages.Health,
    messages.DetailedHealth,
    messages.ServedModels,
    messages.ModelInfo,
    messages.Reloaded,
    messages.Service,
    *past.ANSWERS,
    *batches.ANSWERS,
)
_PROBLEMS = {
    "400": "The request is not HTTP or its body not JSON.",
    "401": "A valid key is needed.",
    "403": "The key may not do this.",
    "404": "There is no such model, version or alias.",
    "408": "The request did not arrive in time.",
    "409": "It cannot be: the price is none of that home, or the model has no months.",
    "413": "The body is too large.",
    "415": "The body is not plain JSON.",
    "422": "Fields or parameters are refused, every one named.",
    "429": "The key asks too often.",
    "503": "Too much is waiting, or something that is needed is away; `Retry-After` says when to come back.",
}
_TAGS = {
    "predict": "Estimates: of one home, or of many in one request.",
    "batches": "Files on the server, or a month, valued beside the service.",
    "models": "What is served, and how it is replaced.",
    "log": "What was estimated, what homes were sold for, and how right the estimates were.",
    "topics": "Messages to Kafka, in the shape of its REST Proxy.",
    "inference": "The Open Inference Protocol, as KServe, Triton and MLServer speak it.",
    "health": "Whether the service is fit to serve.",
    "service": "The service itself, and its metrics.",
}
#: Operations whose path alone does not say what they do.
_OPERATIONS = {
    "/": "get_service",
    "/models": "list_models",
    "/model/reload": "reload_model",
    "/predictions/{id}": "get_prediction",
    "/latest_predictions": "list_latest_predictions",
    "/outcomes": "add_outcomes",
    "/batches": "list_batches",
    "/batches/{id}": "get_batch",
    "/topics/{topic}": "produce_to_topic",
}


def build_document(lineup: Lineup, limits: Limits, *, keyed: bool) -> Json:
    """The document.

    Args:
        lineup: what is served.
        limits: what is allowed.
        keyed: whether an API key is asked for.
    """
    champions = {model.name: model for model in lineup.champions()}
    _, components = msgspec.json.schema_components(_ANSWERS, ref_template="#/components/schemas/{name}")
    schemas: Json = {**components, **past.schemas(), **topics.schemas()}
    for name, model in champions.items():
        schemas[_row_name(name)] = row = row_schema(model.spec, model.example)
        schemas |= {f"{name}_{ending}": schema for ending, schema in stored_schemas(model.spec, row).items()}
    paths: Json = {}
    default = champions.get(lineup.default or "")
    if champions:
        rows = [default] if default is not None else list(champions.values())
        paths["/predict"] = {"post": _predict(rows, "the default model" if default else "a model", with_model=True)}
        paths["/predict/batch"] = {"post": _batch(rows, limits, with_model=True)}
        paths["/model/info"] = {"get": _info("the default model", None, with_model=True)}
    for name, model in champions.items():
        paths[f"/models/{name}/predict"] = {"post": _predict([model], name)}
        paths[f"/models/{name}/predict/batch"] = {"post": _batch([model], limits)}
        paths[f"/models/{name}/info"] = {"get": _info(name, name)}
    schemas |= inference_schema.schemas({name: schemas[_row_name(name)] for name in champions})
    paths |= _fixed_paths() | past.paths(_answers) | topics.paths(_answers) | batches.paths(_answers)
    paths |= inference_schema.paths(champions.values())
    _name_operations(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Appraise",
            "version": __version__,
            "description": "House-price estimates with intervals. Errors are problem documents (RFC 9457).",
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        # Without keys a service is open, and a key that is sent even so is not looked at.
        "security": [{"key": []}, {"bearer": []}] if keyed else [{}, {"key": []}, {"bearer": []}],
    }


def _name_operations(paths: Json) -> None:
    """Give every operation a name in snake case, which clients that are generated call it by."""
    taken: set[str] = set()
    for path, methods in paths.items():
        for method, operation in methods.items():
            words = re.sub(r"\W+", "_", path).strip("_").lower()
            name = known = _OPERATIONS.get(path) or (words if method == "post" else f"{method}_{words}")
            count = 1
            # Two models may have names that differ in a dash alone.
            while name in taken:
                count += 1
                name = f"{known}_{count}"
            taken.add(name)
            operation["operationId"] = name


def row_schema(spec: DatasetSpec, example: Mapping[str, Any]) -> Json:
    """What a row of a dataset must look like."""
    others = {
        column.name: {"description": "Not read: it does not reach the model."}
        for column in spec.columns
        if not column.is_input
    }
    schema: Json = {
        "type": "object",
        "title": spec.title or spec.name,
        "properties": {column.name: _column_schema(column) for column in spec.inputs} | others,
        "required": [column.name for column in spec.inputs if not column.optional and column.role != "sale_date"],
        "additionalProperties": False,
        "examples": [dict(example)],
    }
    if not schema["required"]:
        del schema["required"]
    if spec.rules:
        # JSON Schema cannot compare two fields; programs find here what people read in the description.
        schema["x-rules"] = [
            {"left": rule.left, "operator": rule.operator, "right": rule.right, "message": rule.message}
            for rule in spec.rules
        ]
    sentences = [rule.message for rule in spec.rules]
    schema["description"] = " ".join([*([spec.description] if spec.description else []), *sentences])
    return schema


def _column_schema(column: Column) -> Json:
    kind = _TYPES.get(column.kind, "string")
    missing = column.optional or column.role == "sale_date"
    schema: Json = {"type": [kind, "null"] if missing else kind}
    text = column.description or column.name
    schema["description"] = f"{text} Unit: {column.unit}." if column.unit else text
    if column.kind in ("number", "integer"):
        if column.minimum is not None:
            schema["minimum"] = column.minimum
        if column.maximum is not None:
            schema["maximum"] = column.maximum
    if column.kind == "date":
        schema["format"] = "date"
    if column.levels is not None:
        schema["enum"] = [*column.levels, *([None] if missing else [])]
    if column.example is not None:
        schema["examples"] = [column.example]
    return schema


def _row_name(model: str) -> str:
    return f"{model}_row"


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _body(schema: Json, example: Any) -> Json:
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def _answers(schema: str, description: str, statuses: Iterable[str], media_type: str = "application/json") -> Json:
    problems = {
        status: {
            "description": _PROBLEMS[status],
            "content": {"application/problem+json": {"schema": _ref("Problem"), "example": examples.problem(status)}},
        }
        for status in statuses
    }
    return {"200": {"description": description, "content": {media_type: {"schema": _ref(schema)}}}, **problems}


def _parameters(names: Iterable[str], *, with_model: bool) -> list[Json]:
    schemas: dict[str, tuple[Json, str]] = {
        "model": ({"type": "string"}, "The model, where several are served."),
        "model_version": ({"type": "string"}, "The version that answers; the champion where none is named."),
        "alias": ({"type": "string"}, "The alias of the version that answers, `champion` or `challenger`."),
        "level": (
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.9},
            "Nominal level of the interval.",
        ),
        "comparables": (
            {"type": "integer", "minimum": 0, "maximum": MOST_COMPARABLES, "default": 0},
            "How many comparable sales to show.",
        ),
        "explain": (
            {"type": "boolean", "default": False},
            "Whether to show what the estimate is made of: `base` and `contributions`, which add up to it.",
        ),
        "check": (
            {"type": "boolean", "default": False},
            "Whether this is a check of the service: the log then says so, and no outcome settles the estimate.",
        ),
    }
    return [
        {"name": name, "in": "query", "required": False, "schema": schemas[name][0], "description": schemas[name][1]}
        for name in names
        if with_model or name != "model"
    ]


_PREDICT_PROBLEMS = ("400", "401", "403", "404", "408", "413", "415", "422", "429", "503")


def _predict(models: list[LoadedModel], name: str, *, with_model: bool = False) -> Json:
    shown = examples.bodies(models[0], users="row_of_user" in stored_endings(models[0].spec))
    content = {"application/json": {"schema": _row(models), "examples": shown}}
    return {
        "tags": ["predict"],
        "summary": f"Value one home with {name}",
        "parameters": _parameters(SINGLE, with_model=with_model),
        "requestBody": {"required": True, "content": content},
        "responses": _with_example(
            _answers("Prediction", "The estimate.", _PREDICT_PROBLEMS), examples.prediction(models[0])
        ),
    }


def _batch(models: list[LoadedModel], limits: Limits, *, with_model: bool = False) -> Json:
    schema = {
        "type": "object",
        "required": ["rows"],
        "additionalProperties": False,
        "properties": {
            "rows": {"type": "array", "minItems": 1, "maxItems": limits.max_batch_rows, "items": {}},
            "batch_name": {"type": ["string", "null"], "maxLength": 200},
        },
        "description": "Each row is as of the single route; one that is not is refused on its own.",
    }
    return {
        "tags": ["predict"],
        "summary": "Value many homes, each answered or refused on its own",
        "parameters": _parameters(BATCH, with_model=with_model),
        "requestBody": _body(schema, {"batch_name": "example", "rows": [dict(models[0].example)]}),
        "responses": _with_example(
            _answers("BatchPrediction", "The rows, in their order.", _PREDICT_PROBLEMS), examples.batch(models[0])
        ),
    }


def _with_example(responses: Json, example: Json) -> Json:
    """Responses with what the one of status 200 looks like."""
    responses["200"]["content"]["application/json"]["example"] = example
    return responses


def _row(models: list[LoadedModel]) -> Json:
    endings = {model.name: ("row", *stored_endings(model.spec)) for model in models}
    return {"anyOf": [_ref(f"{name}_{ending}") for name, all_of_it in endings.items() for ending in all_of_it]}


def _info(name: str, _model: str | None, *, with_model: bool = False) -> Json:
    return {
        "tags": ["models"],
        "summary": f"What is known of {name}",
        "parameters": _parameters(INFO, with_model=with_model),
        "responses": _answers(
            "ModelInfo", "Type, version, metrics, importances, ranges.", ("401", "403", "404", "422", "429", "503")
        ),
    }


def _fixed_paths() -> Json:
    keyed = ("401", "403", "429")
    unfit = {"description": "Not fit to serve.", "content": {"application/json": {"schema": _ref("Health")}}}
    health = {**_answers("Health", "Fit to serve.", ()), "503": unfit}
    detailed = {
        **_answers("DetailedHealth", "Fit to serve.", keyed),
        "503": {"description": "Not fit.", "content": {"application/json": {"schema": _ref("DetailedHealth")}}},
    }
    metrics = _answers("Problem", "Prometheus' text format.", keyed)
    metrics["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/": _open("service", "The service in short", _answers("Service", "The service.", ())),
        "/health": _open("health", "Whether it is fit to serve", health),
        "/health/live": _open("health", "Whether the process answers", _answers("Health", "It does.", ())),
        "/health/ready": _open("health", "Whether requests should be sent here", health),
        "/health/detailed": _get("health", "What the service leans on, each really asked", detailed),
        "/models": _get("models", "Models and versions", _answers("ServedModels", "What is served.", keyed)),
        "/metrics": _get("service", "Metrics of all workers", metrics),
        "/model/reload": {
            "post": {
                "tags": ["models"],
                "summary": "Serve what the registry says now",
                "responses": _answers("Reloaded", "What changed.", (*keyed, "404", "503")),
            }
        },
    }


def _open(tag: str, summary: str, responses: Json) -> Json:
    """A GET that asks for no key."""
    return {"get": {**_get(tag, summary, responses)["get"], "security": []}}


def _get(tag: str, summary: str, responses: Json) -> Json:
    return {"get": {"tags": [tag], "summary": summary, "responses": responses}}

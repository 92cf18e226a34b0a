"""The Open Inference Protocol v2, with its binary tensor extension: what clients of KServe, Triton and MLServer speak.

A model takes one tensor for each input column, named as it, of shape [n] or [n, 1], and gives `estimate`, `lower`,
`upper`, `confidence` and `confidence_grade`, each of shape [n]. Errors have the protocol's own shape,
`{"error": "..."}`.
"""

from __future__ import annotations

import uuid
from collections import Counter
from http import HTTPStatus
from typing import Any

import msgspec

from appraise import __version__
from appraise.datasets.constraints import shown
from appraise.serving.batching import Overloaded, value_rows
from appraise.serving.models import LoadedModel
from appraise.serving.rest import tensors
from appraise.serving.rest.checking import check_rows
from appraise.serving.rest.codec import decode_object
from appraise.serving.rest.http import Receive, Reply, Scope, header
from appraise.serving.rest.inference_schema import (
    NUMBERS,
    OUTPUTS,
    TEXTS,
    InferenceProblem,
    Live,
    ModelKind,
    ModelReady,
    Ready,
    Server,
    TensorKind,
    datatype,
)
from appraise.serving.rest.parameters import Options
from appraise.serving.rest.predicting import Predicting
from appraise.serving.rest.problems import Refusal, overloaded
from appraise.serving.rest.service import Service

_MOST_SHOWN = 3


def tell(refusal: Refusal) -> Reply:
    """A refusal in the protocol's shape."""
    text = refusal.detail if refusal.hint is None else f"{refusal.detail} ({refusal.hint})"
    document = InferenceProblem(text)
    return Reply(msgspec.json.encode(document), refusal.status.value, headers=refusal.headers)


class Inference:
    """The routes under `/v2`.

    Args:
        service: models and limits.
        predicting: finds models and reads bodies.
    """

    def __init__(self, service: Service, predicting: Predicting) -> None:
        self._service = service
        self._predicting = predicting

    async def server(self, _scope: Scope, _receive: Receive) -> Reply:
        """What the server is."""
        return _json(Server("appraise", __version__, ("binary_tensor_data",)))

    async def live(self, _scope: Scope, _receive: Receive) -> Reply:
        """Whether the process answers."""
        return _json(Live(live=True))

    async def ready(self, _scope: Scope, _receive: Receive) -> Reply:
        """Whether requests should be sent here."""
        fit = bool(self._service.shelf.lineup.champions()) and not self._service.draining
        return _json(Ready(fit), HTTPStatus.OK if fit else HTTPStatus.SERVICE_UNAVAILABLE)

    async def model_ready(self, scope: Scope, _receive: Receive) -> Reply:
        """Whether a model answers."""
        model = await self._model(scope)
        return _json(ModelReady(model.name, ready=True))

    async def metadata(self, scope: Scope, _receive: Receive) -> Reply:
        """What a model takes and gives."""
        model = await self._model(scope)
        return _json(
            ModelKind(
                name=model.name,
                versions=tuple(known.version for known in self._service.shelf.lineup.known[model.name]),
                platform=f"appraise_{model.manifest.kind}",
                inputs=tuple(TensorKind(column.name, datatype(column), (-1,)) for column in model.spec.inputs),
                outputs=tuple(TensorKind(name, kind, (-1,)) for name, kind in OUTPUTS.items()),
            )
        )

    async def infer(self, scope: Scope, receive: Receive) -> Reply:
        """Value homes."""
        length = header(scope, tensors.HEADER)
        if length is None:
            # Triton's client names no content type for JSON.
            named = header(scope, b"content-type") is not None
            read = self._predicting.body if named else self._predicting.binary_body
            document = decode_object(await read(scope, receive))
        else:
            body = await self._predicting.binary_body(scope, receive)
            document = tensors.split(body, length)
        model = await self._model(scope)
        try:
            return await self._service.batcher.run(lambda: self._infer(scope, document, model))
        except Overloaded as error:
            raise overloaded() from error

    def _infer(self, scope: Scope, document: dict[str, Any], model: LoadedModel) -> Reply:
        rows = _rows(document, self._service.limits.max_batch_rows)
        wanted = _wanted(document)
        request_id = _id(document) or str(uuid.uuid4())
        problems = check_rows(model, rows)
        if problems:
            more = f" and {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
            raise _refused("; ".join(map(str, problems[:_MOST_SHOWN])) + more)
        estimates = value_rows(model, rows, 0.9)
        self._service.tally.batched(len(rows))
        for grade, count in Counter(estimates.grades).items():
            self._service.tally.valued(model.name, model.version, count, grade)
        if self._service.recorder is not None:
            options = Options(version=scope["path_params"].get("version"))
            self._service.recorder.answered_rows(scope, model, options, rows, estimates, request_id=request_id)
        columns = {
            "estimate": estimates.estimate.tolist(),
            "lower": estimates.lower.tolist(),
            "upper": estimates.upper.tolist(),
            "confidence": estimates.confidence.tolist(),
            "confidence_grade": list(estimates.grades),
        }
        answer: dict[str, Any] = {
            "model_name": model.name,
            "model_version": model.version,
            "id": request_id,
            "outputs": [
                {"name": name, "datatype": OUTPUTS[name], "shape": [len(rows)], "data": columns[name]}
                for name in wanted
            ],
        }
        return tensors.reply(answer, tensors.wanted_binary(document, wanted))

    async def _model(self, scope: Scope) -> LoadedModel:
        path = scope["path_params"]
        return await self._predicting.model(Options(version=path.get("version")), path["name"])


def _rows(document: dict[str, Any], most: int) -> list[dict[str, Any]]:
    """The tensors of a request as rows."""
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise _refused("inputs must be an array of tensors, one for each input column")
    columns: dict[str, list[Any]] = {}
    for tensor in inputs:
        name, values = _column(tensor)
        if name in columns:
            raise _refused(f"the input {name} is there more than once")
        columns[name] = values
    sizes = {len(values) for values in columns.values()}
    if len(sizes) > 1:
        raise _refused(f"the inputs have different numbers of values: {', '.join(map(str, sorted(sizes)))}")
    size = sizes.pop()
    if not 1 <= size <= most:
        raise _refused(f"from 1 to {most:,} rows are taken, received {size:,}")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _column(tensor: Any) -> tuple[str, list[Any]]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise _refused("each input must be an object with a name")
    name, data, shape, datatype = tensor["name"], tensor.get("data"), tensor.get("shape"), tensor.get("datatype")
    if not isinstance(data, list):
        raise _refused(f"the input {name} has no data")
    if data and all(type(value) is list and len(value) == 1 for value in data):
        data = [value[0] for value in data]
    if not isinstance(shape, list) or shape not in ([len(data)], [len(data), 1]):
        raise _refused(f"the input {name} has {len(data)} values and the shape {shape}; the shape is [n] or [n, 1]")
    if datatype != TEXTS and datatype not in NUMBERS:
        raise _refused(f"the input {name} has the datatype {datatype!r}, which the protocol does not know")
    return name, data


def _id(document: dict[str, Any]) -> str | None:
    """What the client calls its request."""
    given = document.get("id")
    if given is not None and not isinstance(given, str):
        raise _refused(f"the id must be a text, received {shown(given)}")
    return given


def _wanted(document: dict[str, Any]) -> tuple[str, ...]:
    """The outputs that were asked for; all where none was."""
    outputs = document.get("outputs")
    if outputs is None or outputs == []:
        return tuple(OUTPUTS)
    if not isinstance(outputs, list):
        raise _refused(f"the outputs must be an array of objects with a name, received {shown(outputs)}")
    names: list[str] = []
    for one in outputs:
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or name not in OUTPUTS:
            raise _refused(f"the outputs are {', '.join(OUTPUTS)}, received {shown(one if name is None else name)}")
        names.append(name)
    return tuple(names)


def _refused(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, detail)


def _json(document: msgspec.Struct, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(msgspec.json.encode(document), status.value)

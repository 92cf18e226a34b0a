"""Binary tensors of the Open Inference Protocol: a JSON header followed by the tensors' bytes, little-endian."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
import numpy as np

from appraise.serving.rest.codec import decode_object
from appraise.serving.rest.http import Reply
from appraise.serving.rest.problems import Refusal

#: The header that says how long the JSON is; without it a body is JSON alone.
HEADER = b"inference-header-content-length"

_DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


def split(body: bytes, length: bytes) -> dict[str, Any]:
    """The request that a body holds, its binary tensors as lists.

    Raises:
        Refusal: 400, 422.
    """
    if not length.isdigit() or len(length) > 9 or int(length) > len(body):
        raise _refused(
            f"the header {HEADER.decode()} says {length[:20].decode('latin-1')!r}, the body has {len(body)} bytes"
        )
    document = decode_object(body[: int(length)])
    inputs = document.get("inputs")
    position = int(length)
    for tensor in inputs if isinstance(inputs, list) else ():
        size = _parameter(tensor, "binary_data_size")
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(body) - position:
            raise _refused(f"the input {tensor.get('name')} has a binary_data_size beyond the body")
        tensor["data"] = _decoded(tensor, body[position : position + size])
        position += size
    if position != len(body):
        raise _refused(f"the body has {len(body) - position} bytes after its last tensor")
    return document


def wanted_binary(document: dict[str, Any], names: tuple[str, ...]) -> frozenset[str]:
    """The outputs that are wanted as bytes."""
    everything = _parameter(document, "binary_data_output") is True
    outputs = document.get("outputs") or [{"name": name} for name in names]
    asked = {one["name"]: _parameter(one, "binary_data") for one in outputs}
    return frozenset(name for name in names if asked[name] is True or (everything and asked[name] is None))


def reply(answer: dict[str, Any], binary: frozenset[str]) -> Reply:
    """An answer, the tensors of these names as bytes behind it."""
    if not binary:
        return Reply(msgspec.json.encode(answer))
    pieces = []
    for tensor in answer["outputs"]:
        if tensor["name"] in binary:
            data = tensor.pop("data")
            texts = tensor["datatype"] == "BYTES"
            pieces.append(_bytes_of(data) if texts else np.asarray(data, dtype="<f8").tobytes())
            tensor["parameters"] = {"binary_data_size": len(pieces[-1])}
    head = msgspec.json.encode(answer)
    headers = ((HEADER, b"%d" % len(head)),)
    return Reply(head + b"".join(pieces), media_type=b"application/octet-stream", headers=headers)


def _bytes_of(texts: list[str]) -> bytes:
    """Texts, each after its length in four bytes."""
    return b"".join(len(one).to_bytes(4, "little") + one for one in (text.encode() for text in texts))


def _parameter(owner: Any, name: str) -> Any:
    parameters = owner.get("parameters") if isinstance(owner, dict) else None
    return parameters.get(name) if isinstance(parameters, dict) else None


def _decoded(tensor: dict[str, Any], data: bytes) -> list[Any]:
    kind = tensor.get("datatype")
    if kind == "BYTES":
        return _texts(data)
    dtype = np.dtype(_DTYPES.get(kind, "V1") if isinstance(kind, str) else "V1")
    if dtype.kind == "V" or len(data) % dtype.itemsize:
        raise _refused(f"the input {tensor.get('name')} has {len(data)} bytes, which are no {kind}")
    values: list[Any] = np.frombuffer(data, dtype).tolist()
    return values


def _texts(data: bytes) -> list[str]:
    """Texts, each behind its length in four bytes."""
    texts, position = [], 0
    while position < len(data):
        start = position + 4
        size = int.from_bytes(data[position:start], "little")
        position = start + size
        if position > len(data):
            raise _refused("a text is longer than its tensor")
        try:
            texts.append(data[start:position].decode())
        except UnicodeDecodeError as error:
            raise _refused("a text is not UTF-8") from error
    return texts


def _refused(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, detail)

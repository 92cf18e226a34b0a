"""A service asked what a person would ask it, which shows that it works."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from appraise.errors import ServiceError
from appraise.jobs.progress import Progress
from appraise.jobs.serving.address import reachable
from appraise.serving.keys import SCOPES, KeyFile

_SEE_LOG = "see its log: service/service.log in the home folder"
_ANSWER_SECONDS = 60.0
#: In which time running workers notice a new key.
_KEY_SECONDS = 10.0
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Asked:
    """What a service answered.

    Attributes:
        url: where requests go.
        models: versions by name.
        default: the model of `/predict`, None where there is none.
        model: the model that was asked.
        path: the path that was asked.
        row: the home that was valued.
        answer: what came back.
        currency, price_unit: the estimate is so many of it, None where the dataset does not say.
        keys: whether an API key is asked for.
        stale: why its models may not be the newest, None where they are.
    """

    url: str
    models: Mapping[str, str]
    default: str | None
    model: str
    path: str
    row: Mapping[str, Any]
    answer: Mapping[str, Any]
    currency: str | None
    price_unit: float
    keys: bool
    stale: str | None = None


def ask(url: str, keys: KeyFile, *, progress: Progress) -> Asked:
    """Have a service take the newest models, and value the home that its documentation shows.

    Args:
        url: where it listens.
        keys: its API keys, to which one is added for as long as this takes.
        progress: watches.

    Raises:
        ServiceError: it does not answer, or with an error, or has no model.
    """
    url = reachable(url)
    with (
        _key(keys) as key,
        httpx.Client(base_url=url, headers=key, timeout=_ANSWER_SECONDS, trust_env=False) as client,
    ):
        with progress.task("asking the registry for newer models"):
            stale = _reload(client)
        models = _call(client, "GET", "/")["models"]
        # Not what it said at its start: models that came since may have left it without a default.
        default = next((one["name"] for one in _call(client, "GET", "/models")["models"] if one["default"]), None)
        model = default if default in models else next(iter(models), None)
        if model is None:
            raise ServiceError("the service has no model", hint="train one first: appraise train bayside")
        path = "/predict" if model == default else f"/models/{model}/predict"
        operation = _call(client, "GET", "/openapi.json")["paths"][f"/models/{model}/predict"]["post"]
        row = _example(operation["requestBody"]["content"]["application/json"])
        # The log tells it from the estimate of a home that somebody asked about.
        answer = _call(client, "POST", path, json=row, params={"check": "true"})
        info = _call(client, "GET", f"/models/{model}/info")
    return Asked(
        url=url,
        models=models,
        default=default,
        model=model,
        path=path,
        row=row,
        answer=answer,
        currency=info["currency"],
        price_unit=info["price_unit"],
        keys=bool(key),
        stale=stale,
    )


def _example(body: Mapping[str, Any]) -> dict[str, Any]:
    """The first of the bodies that the documentation shows."""
    shown: dict[str, Any] = body["example"] if "example" in body else next(iter(body["examples"].values()))["value"]
    return shown


def _reload(client: httpx.Client) -> str | None:
    """Have the service take the newest models: it starts with those of its cache. Returns why it could not."""
    try:
        _call(client, "POST", "/model/reload")
    except ServiceError as error:
        return error.message
    return None


def _call(client: httpx.Client, method: str, path: str, **options: Any) -> dict[str, Any]:
    """One request, again while workers have not noticed the key yet."""
    deadline = time.monotonic() + _KEY_SECONDS
    while True:
        try:
            response = client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ServiceError(
                f"the service did not answer {method} {path}: {error or type(error).__name__}",
                hint=_SEE_LOG,
            ) from error
        if response.status_code != httpx.codes.UNAUTHORIZED or time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_SECONDS)
    if response.is_error:
        problem = _problem(response)
        raise ServiceError(
            f"the service answered {method} {path} with {response.status_code}: {problem.get('detail', response.text)}",
            hint=problem.get("hint") or _SEE_LOG,
        )
    answer: dict[str, Any] = response.json()
    return answer


def _problem(response: httpx.Response) -> dict[str, Any]:
    if response.headers.get("content-type") != "application/problem+json":
        return {}
    problem: dict[str, Any] = response.json()
    return problem


@contextmanager
def _key(keys: KeyFile) -> Iterator[dict[str, str]]:
    """Headers that open the service for a moment; none where it asks for no key."""
    if not keys.read():
        yield {}
        return
    with keys.lent("appraise up", SCOPES) as secret:
        yield {"X-API-Key": secret}

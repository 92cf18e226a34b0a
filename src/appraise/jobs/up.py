"""Up and down: the service in the background, seen to answer before anybody is told that it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec

from appraise.errors import ServiceError
from appraise.jobs.background import Background, Running
from appraise.jobs.progress import Progress
from appraise.jobs.serving.address import listening
from appraise.serving.keys import SCOPES, KeyFile

State = Literal["started", "restarted", "running"]

#: A first start asks the registry, which takes as long as MLflow's library takes to load.
_READY_SECONDS = 120.0
_ANSWER_SECONDS = 60.0
#: In which time running workers notice a new key.
_KEY_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
#: What an address that stands for all of a machine's is reached by.
_REACHED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class UpPlan:
    """How the service is started in the background.

    Attributes:
        home: the folder that holds all state.
        keys: its API keys.
        command: the program and its arguments, which serves in the foreground and tells where as JSON.
        fingerprint: changes with every setting that the service was started with.
        end_seconds: how long it may take to end.
        host, port: where it listens; port 0 takes a free one.
    """

    home: Path
    keys: KeyFile
    command: tuple[str, ...]
    fingerprint: str
    end_seconds: float
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UpResult:
    """A service that runs, and the request that showed it.

    Attributes:
        state: whether it was started, restarted with other settings, or ran already.
        pid: its process.
        url: where requests go.
        models: versions by name.
        model: the model that was asked.
        path: the path that was asked.
        row: the home that was valued.
        answer: what came back.
        unit: what the estimate is counted in, None where the dataset does not say.
        keys: whether an API key is asked for.
        log: the file that it writes its log to.
        stale: why its models may not be the newest, None where they are.
    """

    state: State
    pid: int
    url: str
    models: Mapping[str, str]
    model: str
    path: str
    row: Mapping[str, Any]
    answer: Mapping[str, Any]
    unit: str | None
    keys: bool
    log: Path
    stale: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "state": self.state,
            "pid": self.pid,
            "url": self.url,
            "models": dict(self.models),
            "keys": self.keys,
            "log": str(self.log),
            "stale": self.stale,
            "request": {"url": self.url + self.path, "body": dict(self.row)},
            "answer": dict(self.answer),
        }


@dataclass(frozen=True, slots=True)
class DownResult:
    """What was ended.

    Attributes:
        pid: the process, None where nothing ran.
        killed: whether it had to be killed.
    """

    pid: int | None
    killed: bool = False

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {"stopped": self.pid is not None, "pid": self.pid, "killed": self.killed}


def up(plan: UpPlan, *, progress: Progress) -> UpResult:
    """Have the service run as the settings say, with the models that the registry has now, and ask it for an estimate.

    Raises:
        SettingsError: its address is taken, in which case one that runs goes on as it is.
        ServiceError: it does not start, or does not answer.
    """
    service = _service(plan.home)
    found = service.running()
    state: State = "running"
    if found is None or found.fingerprint != plan.fingerprint:
        _check_address(plan, None if found is None else _told(service.output))
    if found is not None and found.fingerprint != plan.fingerprint:
        with progress.task("ending the service, whose settings changed"):
            service.stop(seconds=plan.end_seconds)
        found, state = None, "restarted"
    elif found is None:
        state = "started"
    if found is None:
        found = service.start(plan.command, fingerprint=plan.fingerprint)
    try:
        with progress.task("waiting until the service is ready"):
            serving = _await_ready(service)
        return _asked(plan, service, found, serving, state)
    except BaseException:
        # What was started here and was not seen to answer is not left behind.
        if state != "running":
            service.stop(seconds=plan.end_seconds)
        raise


def down(home: Path, *, end_seconds: float, progress: Progress) -> DownResult:
    """End the service that `up` started; requests that have begun are finished.

    Args:
        home: the folder that holds all state.
        end_seconds: how long it may take; then it is killed.
        progress: watches.

    Raises:
        ServiceError: it does not end.
    """
    service = _service(home)
    found = service.running()
    if found is None:
        return DownResult(None)
    with progress.task("ending the service"):
        ended = service.stop(seconds=end_seconds)
    return DownResult(found.pid, killed=not ended)


def _check_address(plan: UpPlan, serving: Mapping[str, Any] | None) -> None:
    """See that the address is free, or that of the service which is about to be restarted."""
    if serving is not None and "url" in serving and urlsplit(serving["url"]).port == plan.port:
        return
    with listening(plan.host, plan.port):
        return


def _service(home: Path) -> Background:
    return Background(home / "service", "service")


def _await_ready(service: Background) -> dict[str, Any]:
    """What the service says of itself when it takes requests."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        # Asked first: what has ended has also said all that it will say.
        alive = service.alive()
        told = _told(service.output)
        if told is not None and "url" in told:
            return told
        if not alive:
            raise _not_started(service, told)
        if time.monotonic() > deadline:
            raise ServiceError(
                f"the service was not ready after {_READY_SECONDS:g} seconds", hint=f"its log is {service.log}"
            )
        time.sleep(_PAUSE_SECONDS)


def _told(output: Path) -> dict[str, Any] | None:
    """The JSON object that a file holds, None while it is not whole."""
    try:
        told: dict[str, Any] = msgspec.json.decode(output.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return None
    return told


def _not_started(service: Background, told: Mapping[str, Any] | None) -> ServiceError:
    error = (told or {}).get("error")
    if error:
        return ServiceError(f"the service did not start: {error['message']}", hint=error["hint"])
    words = service.last_words()
    return ServiceError(
        f"the service ended before it was ready{': ' if words else ''}{words}", hint=f"its log is {service.log}"
    )


def _asked(plan: UpPlan, service: Background, found: Running, serving: Mapping[str, Any], state: State) -> UpResult:
    """Ask the service what a person would."""
    url = _reachable(serving["url"])
    with (
        _key(plan.keys) as key,
        httpx.Client(base_url=url, headers=key, timeout=_ANSWER_SECONDS, trust_env=False) as client,
    ):
        stale = _reload(client)
        models = _call(client, "GET", "/")["models"]
        # Not what it said at its start: models that came since may have left it without a default.
        default = next((one["name"] for one in _call(client, "GET", "/models")["models"] if one["default"]), None)
        model = default if default in models else next(iter(models), None)
        if model is None:
            raise ServiceError("the service has no model", hint="train one first: appraise train bayside")
        path = "/predict" if model == default else f"/models/{model}/predict"
        operation = _call(client, "GET", "/openapi.json")["paths"][f"/models/{model}/predict"]["post"]
        row = operation["requestBody"]["content"]["application/json"]["example"]
        answer = _call(client, "POST", path, json=row)
        unit = _call(client, "GET", f"/models/{model}/info")["unit"]
    return UpResult(state, found.pid, url, models, model, path, row, answer, unit, bool(key), service.log, stale)


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
                hint="see its log: HOME/service/service.log",
            ) from error
        if response.status_code != httpx.codes.UNAUTHORIZED or time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_SECONDS)
    if response.is_error:
        problem = _problem(response)
        raise ServiceError(
            f"the service answered {method} {path} with {response.status_code}: {problem.get('detail', response.text)}",
            hint=problem.get("hint") or "see its log: HOME/service/service.log",
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


def _reachable(url: str) -> str:
    """The address by which this machine reaches a service that listens on all addresses."""
    parts = urlsplit(url)
    host = _REACHED.get(parts.hostname or "")
    if host is None:
        return url
    return f"http://[{host}]:{parts.port}" if ":" in host else f"http://{host}:{parts.port}"

"""Up and down: the service in the background, seen to answer before anybody is told that it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from appraise.errors import AppraiseError, ServiceError, UnknownModelError
from appraise.jobs.asking import Asked, ask
from appraise.jobs.background import Background, Running
from appraise.jobs.origin import Origin
from appraise.jobs.progress import Progress
from appraise.jobs.serving.address import EVERYWHERE, check_open, listening
from appraise.jobs.starting import Start, changes, serves_at, service_at, told_by
from appraise.registry.mlflow_registry import Registry
from appraise.serving.keys import KeyFile
from appraise.serving.source import RegistrySource
from appraise.serving.versions import DEFAULT_ALIAS, default_of

State = Literal["started", "restarted", "running"]

#: A first start asks the registry, which takes as long as MLflow's library takes to load.
_READY_SECONDS = 120.0
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class UpPlan:
    """How the service is started in the background.

    Attributes:
        home: the folder that holds all state.
        keys: its API keys.
        registry: where models are.
        command: the program and its arguments, which serves in the foreground and tells where as JSON.
        fingerprint: changes with every setting that the service was started with.
        end_seconds: how long it may take to end.
        host, port: where it listens; port 0 takes a free one.
        names: the models; every registered one where empty.
        default: the model of `/predict`, where one was chosen.
        insecure: serve other machines without keys.
        start: what is noted of how it is started.
        kept: what of that was given to the service that runs, or ran last and was not ended, and was not given now.
    """

    home: Path
    keys: KeyFile
    registry: Registry
    command: tuple[str, ...]
    fingerprint: str
    end_seconds: float
    host: str
    port: int
    names: tuple[str, ...]
    default: str | None
    insecure: bool
    start: Start
    kept: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UpResult:
    """A service that runs, and the request that showed it.

    Attributes:
        state: whether it was started, restarted with other settings, or ran already.
        pid: its process.
        asked: what it answered.
        log: the file that it writes its log to.
        changes: what differs from how it ran before, as phrases.
        kept: what was given when it was started, and is as it was.
    """

    state: State
    pid: int
    asked: Asked
    log: Path
    changes: tuple[str, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        asked = self.asked
        return {
            "state": self.state,
            "pid": self.pid,
            "url": asked.url,
            "models": dict(asked.models),
            "default": asked.default,
            "changes": list(self.changes),
            "kept": dict(self.kept),
            "keys": asked.keys,
            "log": str(self.log),
            "stale": asked.stale,
            "request": {"url": asked.url + asked.path, "body": dict(asked.row)},
            "answer": dict(asked.answer),
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
        SettingsError: its address is taken, or is open to others without a key; one that runs goes on as it is.
        UnknownModelError, RegistryError: there is no such model; one that runs goes on as it is.
        ServiceError: it does not start, or does not answer; one that ran before runs again.
    """
    service = service_at(plan.home)
    found, before = service.running(), service.last()
    if found is not None and found.fingerprint == plan.fingerprint:
        return _answering(plan, service, found, "running", progress=progress)
    # Everything that can be known to be wrong is looked at before one that runs is ended.
    check_open(plan.host, plan.keys.read(), insecure=plan.insecure)
    _check_address(plan, None if found is None else told_by(service.output))
    default = _default(plan, Start.of(before), progress=progress)
    origin = service.origin()
    changed: tuple[str, ...] = ()
    if found is not None:
        changed = changes(Start.of(found).settings, plan.start.settings)
        with progress.task(f"ending the service: {', '.join(changed)}"):
            service.stop(seconds=plan.end_seconds)
    try:
        return _started(plan, service, default, changed, progress=progress)
    except BaseException as error:
        service.note(before)
        if found is not None and origin is not None:
            _restore(service, found, origin, error, progress=progress)
        raise


def _started(
    plan: UpPlan, service: Background, default: str | None, changed: tuple[str, ...], *, progress: Progress
) -> UpResult:
    """Start it; what is not seen to answer is not left behind."""
    command = (*plan.command, *([] if default is None else ["--default", default]))
    details = replace(plan.start, default=default).to_dict()
    found = service.start(command, fingerprint=plan.fingerprint, details=details)
    try:
        state: State = "restarted" if changed else "started"
        result = _answering(plan, service, found, state, changed, progress=progress)
    except BaseException:
        service.stop(seconds=plan.end_seconds)
        raise
    return result


def _answering(
    plan: UpPlan,
    service: Background,
    found: Running,
    state: State,
    changed: tuple[str, ...] = (),
    *,
    progress: Progress,
) -> UpResult:
    """Wait for it to take requests, and ask it what a person would."""
    with progress.task("waiting until the service is ready"):
        serving = _await_ready(service)
    asked = ask(serving["url"], plan.keys, progress=progress)
    return UpResult(state, found.pid, asked, service.log, changed, plan.kept)


def _restore(service: Background, before: Running, origin: Origin, error: BaseException, *, progress: Progress) -> None:
    """Start the service again as it was; raises ServiceError, which says so and why the new one did not start."""
    service.start(origin.command, fingerprint=before.fingerprint, details=before.details, origin=origin)
    if not isinstance(error, AppraiseError):
        return
    with progress.task("starting the service again as it was"):
        url = _await_ready(service)["url"]
    raise ServiceError(f"{error.message}; the service runs again as it was, at {url}", hint=error.hint) from error


def _default(plan: UpPlan, before: Start, *, progress: Progress) -> str | None:
    """See that the models are there; the model of `/predict`, which is that of before unless another is chosen."""
    source = RegistrySource(plan.registry)
    default = plan.default if plan.default is not None or plan.names else before.default
    known = {one.name for one in source.remembered(plan.names)}
    if not known or not {*plan.names, *filter(None, [plan.default])} <= known:
        with progress.task("asking the registry for the models"):
            known = {one.name for one in source.ask(plan.names) if DEFAULT_ALIAS in one.aliases}
    if not known:
        raise UnknownModelError("no model is registered", hint="train one first: appraise train bayside")
    if plan.default is None and default not in known:
        default = None
    return default_of(sorted(known), plan.names, default)


def down(home: Path, *, end_seconds: float, progress: Progress) -> DownResult:
    """End the service that `up` started, and forget how; requests that have begun are finished.

    Args:
        home: the folder that holds all state.
        end_seconds: how long it may take; then it is killed.
        progress: watches.

    Raises:
        ServiceError: it does not end.
    """
    service = service_at(home)
    found, ended = service.running(), True
    if found is not None:
        with progress.task("ending the service"):
            ended = service.stop(seconds=end_seconds)
    service.note(None)
    return DownResult(None if found is None else found.pid, killed=not ended)


def _check_address(plan: UpPlan, serving: Mapping[str, Any] | None) -> None:
    """See that the address is free, or that of the service which is about to be restarted."""
    if serving is not None and serves_at(plan.port, serving):
        had = urlsplit(serving["url"]).hostname
        if plan.host in (had, "localhost", *EVERYWHERE) or had in EVERYWHERE:
            return
    with listening(plan.host, plan.port):
        return


def _await_ready(service: Background) -> dict[str, Any]:
    """What the service says of itself when it takes requests."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        # Asked first: what has ended has also said all that it will say.
        alive = service.alive()
        told = told_by(service.output)
        if told is not None and "url" in told:
            return told
        if not alive:
            raise _not_started(service, told)
        if time.monotonic() > deadline:
            raise ServiceError(
                f"the service was not ready after {_READY_SECONDS:g} seconds", hint=f"its log is {service.log}"
            )
        time.sleep(_PAUSE_SECONDS)


def _not_started(service: Background, told: Mapping[str, Any] | None) -> ServiceError:
    error = (told or {}).get("error")
    if error:
        return ServiceError(f"the service did not start: {error['message']}", hint=error["hint"])
    words = service.last_words()
    return ServiceError(
        f"the service ended before it was ready{': ' if words else ''}{words}", hint=f"its log is {service.log}"
    )

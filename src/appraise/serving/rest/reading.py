"""The routes that read: the service, its health, its models, its metrics; and reload."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from appraise import __version__
from appraise.errors import AppraiseError
from appraise.registry.health import sign_of_life
from appraise.serving.batching import value_rows
from appraise.serving.models import Lineup, LoadedModel
from appraise.serving.rest import messages, metrics
from appraise.serving.rest.http import Receive, Reply, Scope
from appraise.serving.rest.parameters import INFO, options_of
from appraise.serving.rest.predicting import Predicting
from appraise.serving.rest.service import Service
from appraise.serving.rest.tally import merged
from appraise.store.backlog import read_backlog

_ASK_SECONDS = 2.0
#: Bytes that must be free where state is kept.
_LEAST_FREE = 64 * 2**20


class Reading:
    """The routes beside predict.

    Args:
        service: what they tell of.
        predicting: finds models.
    """

    def __init__(self, service: Service, predicting: Predicting) -> None:
        self._service = service
        self._predicting = predicting

    async def root(self, _scope: Scope, _receive: Receive) -> Reply:
        """The service in short."""
        return _json(
            messages.Service(
                "appraise", __version__, self._service.shelf.lineup.champion_versions(), "/docs", "/health/ready"
            )
        )

    async def live(self, _scope: Scope, _receive: Receive) -> Reply:
        """Whether the process answers at all."""
        return _json(messages.Health("alive"))

    async def ready(self, _scope: Scope, _receive: Receive) -> Reply:
        """Whether requests should be sent here: 503 without a model, and while the service ends."""
        served = self._service.shelf.lineup.champion_versions()
        if self._service.draining:
            return _json(
                messages.Health("stopping", served, "the service is about to end"), HTTPStatus.SERVICE_UNAVAILABLE
            )
        if not served:
            return _json(messages.Health("not ready", served, "no model is loaded"), HTTPStatus.SERVICE_UNAVAILABLE)
        trouble = self._log_trouble()
        if trouble is not None:
            reason = f"estimates cannot be recorded: {trouble}"
            return _json(messages.Health("not ready", served, reason), HTTPStatus.SERVICE_UNAVAILABLE)
        return _json(messages.Health("ready", served))

    async def detailed(self, _scope: Scope, _receive: Receive) -> Reply:
        """How everything that the service leans on answers, each really asked."""
        service = self._service
        asks = {"models": self._ask_models, "registry": self._ask_registry, "disk": self._ask_disk}
        if service.recorder is not None:
            asks["prediction_log"] = self._ask_log
        if service.database is not None:
            asks["database"] = service.database.sign_of_life
        if service.publisher is not None and await asyncio.to_thread(service.publisher.configured):
            asks["kafka"] = service.publisher.sign_of_life
        answers = dict(zip(asks, await asyncio.gather(*map(_asked, asks.values())), strict=True))
        served = service.shelf.lineup.champion_versions()
        # Without the registry or the database the models in memory go on answering.
        fit = answers["models"].status == "up" and bool(served) and not service.draining
        fit = fit and self._log_trouble() is None
        status = ("healthy" if all(one.status == "up" for one in answers.values()) else "degraded") if fit else "unfit"
        health = messages.DetailedHealth(
            status=status,
            version=__version__,
            uptime_seconds=round(time.monotonic() - service.started, 3),
            workers=service.crew.size,
            models=served,
            dependencies=answers,
        )
        return _json(health, HTTPStatus.OK if fit else HTTPStatus.SERVICE_UNAVAILABLE)

    async def models(self, _scope: Scope, _receive: Receive) -> Reply:
        """Every model and version that can be asked for."""
        lineup = self._service.shelf.lineup
        return _json(messages.ServedModels(tuple(_served_model(lineup, name) for name in lineup.known)))

    async def info(self, scope: Scope, _receive: Receive) -> Reply:
        """What is known of one model."""
        options = options_of(scope["query_string"], INFO)
        model = await self._predicting.model(options, scope["path_params"].get("name"))
        return _json(_info(self._service.shelf.lineup, model))

    async def reload(self, scope: Scope, _receive: Receive) -> Reply:
        """Serve what the registry says now."""
        started = time.perf_counter()
        before, after, workers = await self._service.reload(scope.get("appraise.caller") or "anybody on this machine")
        served, was = after.champion_versions(), before.champion_versions()
        changed = tuple(name for name in served if served[name] != was.get(name))
        return _json(messages.Reloaded(served, changed, workers, round(time.perf_counter() - started, 3)))

    async def metrics(self, _scope: Scope, _receive: Receive) -> Reply:
        """Counts of all workers, for Prometheus."""
        service = self._service
        service.count_log()
        backlog = None if service.recorder is None else await asyncio.to_thread(read_backlog, service.spool)
        tally = merged([service.tally.snapshot(), *service.crew.counts_of_others()])
        models = service.shelf.lineup.loaded.values()
        depth, workers = service.batcher.depth, service.crew.size
        text = metrics.render(tally, models, queue=depth, workers=workers, backlog=backlog)
        return Reply(text, media_type=b"text/plain; version=0.0.4; charset=utf-8")

    def _log_trouble(self) -> str | None:
        """Why estimates cannot be recorded; None where they can."""
        recorder = self._service.recorder
        return None if recorder is None else recorder.state().trouble

    def _ask_log(self) -> str:
        trouble = self._log_trouble()
        if trouble is not None:
            raise OSError(f"estimates cannot be recorded: {trouble}")
        backlog = read_backlog(self._service.spool)
        waits = f"{backlog.unloaded_bytes / 2**20:.1f} MB wait to be loaded"
        return waits if backlog.trouble is None else f"{waits}: {backlog.trouble}"

    def _ask_models(self) -> str:
        champions = self._service.shelf.lineup.champions()
        for model in champions:
            value_rows(model, [model.example], 0.9)
        return f"{len(champions)} valued a home"

    def _ask_registry(self) -> str:
        return sign_of_life(self._service.registry_address, seconds=_ASK_SECONDS)

    def _ask_disk(self) -> str:
        home = self._service.home
        free = shutil.disk_usage(next(folder for folder in (home, *home.parents) if folder.exists())).free
        if free < _LEAST_FREE:
            raise OSError(f"{free / 2**20:.0f} MB are free")
        return f"{free / 2**30:.1f} GB are free"


async def _asked(ask: Callable[[], str]) -> messages.Dependency:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_ASK_SECONDS + 1.0):
            detail, status = await asyncio.to_thread(ask), "up"
    except (OSError, ValueError, AppraiseError) as error:
        detail, status = str(error) or type(error).__name__, "down"
    return messages.Dependency(status, round((time.perf_counter() - started) * 1e3, 3), detail)


def _served_model(lineup: Lineup, name: str) -> messages.ServedModel:
    versions = lineup.known[name]
    loaded = [one for (owner, _), one in lineup.loaded.items() if owner == name]
    return messages.ServedModel(
        name=name,
        title=loaded[0].spec.title if loaded else None,
        default=name == lineup.default,
        versions=tuple(
            messages.ServedVersion(known.version, known.aliases, (name, known.version) in lineup.loaded)
            for known in versions
        ),
    )


def _info(lineup: Lineup, model: LoadedModel) -> messages.ModelInfo:
    manifest, spec = model.manifest, model.spec
    extra = manifest.extra
    importances = dict(zip(extra.get("features", ()), extra.get("importances", ()), strict=False))
    return messages.ModelInfo(
        model_name=model.name,
        model_version=model.version,
        model_type=manifest.kind,
        aliases=lineup.aliases_of(model),
        title=spec.title,
        target=spec.target.name,
        unit=spec.target.unit,
        currency=spec.currency,
        price_unit=spec.price_unit,
        features=tuple(column.name for column in spec.inputs),
        created_at=manifest.created_at,
        loaded_at=model.loaded_at,
        metrics=manifest.metrics,
        feature_importances=dict(sorted(importances.items(), key=lambda item: -item[1])),
        training_ranges=manifest.training_ranges,
        calibration=_calibration(model),
        training_rows=extra.get("rows", {}),
        libraries=manifest.libraries,
        git_commit=manifest.git_commit,
        data_hash=manifest.data_hash,
        spec_hash=manifest.spec_hash,
        digest=model.digest,
    )


def _calibration(model: LoadedModel) -> dict[str, Any]:
    return {
        "method": "split conformal, scaled by a model of the absolute residual",
        "scores": len(model.predictor.intervals.scores),
        "coverage_of_90_percent_on_holdout": model.manifest.metrics.get("coverage_90"),
    }


def _json(document: msgspec.Struct, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(msgspec.json.encode(document), status.value)

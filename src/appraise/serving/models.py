"""The models in memory: what is served now, and how it is replaced while requests are under way.

`Shelf.lineup` is one immutable value behind one reference. A request looks its model up once and keeps it until it
has answered, so that an estimate and the version named beside it are always of the same model; a model that was
replaced is let go when its last request has ended.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from appraise.datasets.spec import Column, DatasetSpec
from appraise.errors import BundleError, UnknownModelError, did_you_mean
from appraise.logs import get_logger
from appraise.registry.manifest import Manifest
from appraise.serving.explain import explain
from appraise.serving.predictor import Predictor
from appraise.serving.rowcodec import RowCodec
from appraise.serving.versions import DEFAULT_ALIAS, KnownVersion, ModelSource, cached, default_of

_log = get_logger(__name__)

#: Versions that were asked for by number and have no alias; the one asked for longest ago makes room.
_MOST_EXTRA = 4


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that answers.

    Attributes:
        name, version, digest: which it is.
        predictor: what answers.
        manifest: what is known of it.
        loaded_at: since when, UTC.
        example: a home that it values, for documentation.
        codec: reads its rows from JSON.
    """

    name: str
    version: str
    digest: str
    predictor: Predictor
    manifest: Manifest
    loaded_at: dt.datetime
    example: Mapping[str, Any]
    codec: RowCodec

    @property
    def spec(self) -> DatasetSpec:
        """The dataset."""
        return self.predictor.spec


@dataclass(frozen=True, slots=True, eq=False)
class Lineup:
    """What is served at one time.

    Attributes:
        default: the model of `/predict`, None where several are served and none was named.
        known: the versions of each model, newest first.
        loaded: models in memory by name and version.
        aliases: the version that each name and alias mean.
    """

    default: str | None = None
    known: Mapping[str, tuple[KnownVersion, ...]] = field(default_factory=dict)
    loaded: Mapping[tuple[str, str], LoadedModel] = field(default_factory=dict)
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def find(self, name: str, *, version: str | None, alias: str | None) -> LoadedModel | KnownVersion:
        """The model of a version, or else of an alias; one that is not in memory as the registry knows it.

        Where both are given they must mean the same.

        Raises:
            UnknownModelError: naming what there is.
        """
        if name not in self.known:
            near = did_you_mean(name, self.known)
            raise UnknownModelError(
                f"no model named {name!r} is served", hint=near or f"served are {_listed(self.known)}"
            )
        meant = self.aliases.get((name, DEFAULT_ALIAS if alias is None else alias))
        if version is not None and alias is not None and version != meant:
            raise UnknownModelError(
                f"the alias {alias!r} of {name} is not version {version!r}", hint="give one of the two"
            )
        wanted = version if version is not None else meant
        loaded = self.loaded.get((name, wanted)) if wanted is not None else None
        if loaded is not None:
            return loaded
        for known in self.known[name]:
            if known.version == wanted:
                return known
        what = f"version {version!r}" if version is not None else f"alias {DEFAULT_ALIAS if alias is None else alias!r}"
        versions = _listed(" ".join((known.version, *known.aliases)) for known in self.known[name])
        raise UnknownModelError(f"the model {name} has no {what}", hint=f"it has {versions}")

    def champions(self) -> tuple[LoadedModel, ...]:
        """The champion of every model that has one in memory."""
        found = (self.loaded.get((name, self.aliases.get((name, DEFAULT_ALIAS), ""))) for name in self.known)
        return tuple(model for model in found if model is not None)

    def champion_versions(self) -> dict[str, str]:
        """Their versions by name."""
        return {model.name: model.version for model in self.champions()}

    def aliases_of(self, model: LoadedModel) -> tuple[str, ...]:
        """The aliases that mean this model."""
        return tuple(
            alias for (name, alias), version in self.aliases.items() if (name, version) == (model.name, model.version)
        )


class Shelf:
    """Loads models, checks and warms them, and puts them on show.

    Args:
        source: where they come from.
        names: the models to serve; every registered one where empty.
        default: the model of `/predict`; None means the first of `names`, or else the only one.
    """

    def __init__(self, source: ModelSource, names: tuple[str, ...] = (), default: str | None = None) -> None:
        self.lineup = Lineup()
        self._source = source
        self._names = names
        self._default = default
        self._lock = threading.Lock()
        self._extra: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()

    def open(self) -> bool:
        """Serve what the local cache has, or else what the registry has.

        Returns:
            Whether the registry was asked; where it was not, `refresh` should follow.

        Raises:
            UnknownModelError: no such model, or none at all.
            RegistryError: the registry cannot be reached and the cache does not have the model.
            BundleError: a bundle is damaged.
        """
        known = cached(self._source, self._names, self._default)
        if known:
            try:
                self._show(known)
            except BundleError as error:
                _log.warning("a cached model cannot be used", reason=error.message)
            else:
                return False
        self.refresh()
        return True

    def refresh(self) -> tuple[Lineup, Lineup]:
        """Ask the registry, load what is new, and only then put it on show.

        Returns:
            What was on show before, and what is now.

        Raises:
            UnknownModelError, RegistryError, BundleError: nothing changed; what was served still is.
        """
        with self._lock:
            known = self._source.ask(self._names)
            if not known:
                raise UnknownModelError("no model is registered", hint="train one first: appraise train bayside")
            return self.lineup, self._show(known)

    def adopt(self, known: tuple[KnownVersion, ...]) -> Lineup:
        """Serve what another worker has learnt from the registry; raises as `refresh` does."""
        with self._lock:
            return self._show(known)

    def close(self) -> None:
        """Give up what the registry is being asked."""
        self._source.close()

    def versions(self) -> tuple[KnownVersion, ...]:
        """What is known of every version."""
        return tuple(known for versions in self.lineup.known.values() for known in versions)

    def load(self, known: KnownVersion) -> LoadedModel:
        """A version that is not on show by an alias, kept for a while.

        Raises:
            BundleError, RegistryError: it cannot be had.
        """
        key = known.name, known.version
        with self._lock:
            present = self.lineup.loaded.get(key)
            if present is not None:
                return present
            model = _load(known, self._source.fetch(known))
            self._extra[key] = model
            while len(self._extra) > _MOST_EXTRA:
                self._extra.popitem(last=False)
            lineup = self.lineup
            kept = {key: one for key, one in lineup.loaded.items() if key in self._extra or lineup.aliases_of(one)}
            self.lineup = Lineup(lineup.default, lineup.known, {**kept, key: model}, lineup.aliases)
            return model

    def _show(self, versions: tuple[KnownVersion, ...]) -> Lineup:
        default = default_of(dict.fromkeys(one.name for one in versions), self._names, self._default)
        before = self.lineup.loaded
        known: dict[str, tuple[KnownVersion, ...]] = {}
        aliases: dict[tuple[str, str], str] = {}
        loaded: dict[tuple[str, str], LoadedModel] = {}
        for one in versions:
            known[one.name] = (*known.get(one.name, ()), one)
            key = one.name, one.version
            present = before.get(key)
            if present is not None and present.digest == one.digest and (one.aliases or key in self._extra):
                loaded[key] = present
            elif one.aliases:
                loaded[key] = _load(one, one.folder if one.folder is not None else self._source.fetch(one))
            aliases.update({(one.name, alias): one.version for alias in one.aliases})
        self._extra = OrderedDict((key, model) for key, model in self._extra.items() if key in loaded)
        self.lineup = Lineup(default, known, loaded, aliases)
        for key, model in loaded.items():
            if before.get(key) is not model:
                _log.info("model loaded", model=model.name, version=model.version)
        return self.lineup


def _load(known: KnownVersion, folder: Path) -> LoadedModel:
    """Load a bundle and have it value and explain a row, so that one that cannot is never shown."""
    predictor = Predictor.load(folder, digest=known.digest)
    manifest = predictor.manifest
    if manifest is None or manifest.name != known.name:
        raise BundleError(
            f"the bundle of {known.name} {known.version} holds another model", hint="fetch it again from the registry"
        )
    row = example_row(predictor.spec)
    try:
        for count in (1, 2):
            table = predictor.vocabulary.encode_rows([row] * count)
            estimates = predictor.value(table)
        # The first explanation loads kernels of its own, for which no request should wait.
        explain(predictor, table, estimates.estimate)
        finite = bool(np.isfinite(estimates.estimate).all())
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise BundleError(
            f"the model {known.name} {known.version} cannot value a home: {error}", hint="train the model again"
        ) from error
    if not finite:
        raise BundleError(
            f"the model {known.name} {known.version} values a home at a number that is not finite",
            hint="train the model again",
        )
    loaded_at = dt.datetime.now(tz=dt.UTC)
    codec = RowCodec(predictor.spec, predictor.vocabulary)
    home = _shown_home(predictor)
    return LoadedModel(known.name, known.version, known.digest, predictor, manifest, loaded_at, home, codec)


def _shown_home(predictor: Predictor) -> Mapping[str, Any]:
    """The home of the spec's examples; one that was sold where a column has none, or where little is known of it."""
    spec = predictor.spec
    row = example_row(spec)
    named = all(column.optional or column.role == "sale_date" or column.example is not None for column in spec.inputs)
    (grade,) = predictor.value(predictor.vocabulary.encode_rows([row])).grades
    sold = () if named and grade in ("high", "medium") else predictor.comparables(row, count=1)
    if not sold:
        return row
    dates = {column.name: column.role for column in spec.inputs if column.kind == "date"}
    return {
        name: value.isoformat() if name in dates else value
        for name, value in sold[0].attributes.items()
        if value is not None and dates.get(name) != "sale_date"
    }


def example_row(spec: DatasetSpec) -> dict[str, Any]:
    """A row that the spec accepts, from the examples of its columns."""
    row = {column.name: _example(column) for column in spec.inputs}
    return {name: value for name, value in row.items() if value is not None}


def _example(column: Column) -> Any:
    if column.example is not None or column.optional:
        return column.example
    match column.kind:
        case "number" | "integer":
            low = 0.0 if column.minimum is None else column.minimum
            value = low if column.maximum is None else min(max(low, 1.0), column.maximum)
            return int(value) if column.kind == "integer" else value
        case "boolean":
            return True
        case "date":
            return None
        case _:
            return column.levels[0] if column.levels else "example"


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")

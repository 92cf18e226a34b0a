"""The model registry: MLflow runs, registered versions, aliases, and a local cache of bundles.

Each version's tags hold what must be known before its bundle is loaded, above all the bundle's digest: a bundle
that is not the one that was registered is refused, wherever it is kept.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appraise.errors import RegistryError, UnknownModelError, did_you_mean
from appraise.logs import get_logger
from appraise.registry.bundle import read_manifest, verify_bundle
from appraise.registry.cache import BundleCache
from appraise.registry.entries import ModelEntry, Registration, choose_alias
from appraise.registry.mlflow_client import connect, registry_errors, sqlite_file
from appraise.registry.runs import Run, start_run
from appraise.registry.version import FIRST, Change, Version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_log = get_logger(__name__)

#: Where a run keeps its bundle among its artifacts.
BUNDLE_FOLDER = "bundle"
_TAG = "appraise."
_PAGE = 1000
_NAME = re.compile(r"[a-z0-9_-]{1,100}", re.ASCII)


class Registry:
    """Runs and models at one MLflow address.

    Nothing is opened before the first question, and a SQLite store that does not exist yet is made by the first
    run, not by a question.

    Args:
        tracking_uri: a database (`sqlite:////path/mlflow.db`, `postgresql://...`) or a server (`https://...`).
        artifact_root: folder or `s3://` address for artifacts; None leaves it to the server.
        cache: folder for bundles that were fetched.
        s3_endpoint: address of an S3 service other than Amazon's.
    """

    def __init__(
        self, tracking_uri: str, artifact_root: str | None, cache: Path, *, s3_endpoint: str | None = None
    ) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root
        self._s3_endpoint = s3_endpoint
        self.cache = cache
        self._cache = BundleCache(cache)

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self.tracking_uri, s3_endpoint=self._s3_endpoint)

    @contextmanager
    def run(self, experiment: str, *, name: str, tags: Mapping[str, str] | None = None) -> Iterator[Run]:
        """A run in an experiment (one for each dataset), which is made when it is not there.

        Raises:
            RegistryError: where the registry cannot be written.
        """
        with registry_errors(self.tracking_uri):
            experiment_id = self._experiment(experiment)
        with start_run(self._client, self.tracking_uri, experiment_id=experiment_id, name=name, tags=tags or {}) as run:
            yield run

    def next_version(self, name: str, *, spec_hash: str, change: Change = "model") -> Version:
        """The version of a model that is about to be written.

        Args:
            name: the model's name.
            spec_hash: the spec that it is trained for; another one than the newest version's raises the major number.
            change: what sets it apart where the spec is the same.
        """
        entries = self.list_models(name)
        if not entries:
            return FIRST
        newest = max(entries, key=lambda entry: entry.version)
        return newest.version.bump(change if newest.spec_hash == spec_hash else "spec")

    def register(
        self, folder: Path, *, run: Run, metric: str, error: float, promote: bool | None = None
    ) -> Registration:
        """Keep a bundle with its run, register it as a version, and give it an alias.

        The alias is set last, so that an interruption leaves the champion as it was.

        Args:
            folder: the bundle.
            run: the run that made it.
            metric: the error that the model was chosen by.
            error: its value on the validation rows.
            promote: True makes it the champion, False the challenger; None compares it with the champion.

        Raises:
            BundleError: where the bundle is damaged.
            RegistryError: where the registry refuses, or has that version already.
        """
        digest = verify_bundle(folder)
        manifest = read_manifest(folder, digest=digest)
        entries = self.list_models(manifest.name)
        if any(entry.version == manifest.version for entry in entries):
            raise RegistryError(
                f"the registry has a {manifest.name} {manifest.version} already",
                hint="another training registered it meanwhile: train again",
            )
        champion = next((entry for entry in entries if "champion" in entry.aliases), None)
        alias, reason = choose_alias(
            champion, spec_hash=manifest.spec_hash, metric=metric, error=error, promote=promote
        )
        source = run.log_folder(folder, folder=BUNDLE_FOLDER)
        tags = {
            "version": str(manifest.version),
            "digest": digest,
            "spec_hash": manifest.spec_hash,
            "kind": manifest.kind,
            "metric": metric,
            "error": repr(float(error)),
        }
        with registry_errors(self.tracking_uri):
            if not entries:
                self._ensure_model(manifest.name)
            registered = self._client.create_model_version(
                manifest.name,
                source=source,
                run_id=run.run_id,
                tags={f"{_TAG}{key}": value for key, value in tags.items()},
            )
            self._client.set_registered_model_alias(manifest.name, alias, registered.version)
        entry = _entry(registered, {alias: str(registered.version)})
        if entry is None:
            raise RegistryError(f"the registry did not keep the tags of {manifest.name} {manifest.version}")
        return Registration(entry, alias, reason)

    def list_models(self, name: str | None = None) -> tuple[ModelEntry, ...]:
        """Every version that appraise registered, newest first within each name; of one name where it is given."""
        if not self._exists():
            return ()
        with registry_errors(self.tracking_uri):
            filter_text = None if name is None else f"name = '{_checked(name)}'"
            aliases = {
                model.name: {alias: str(number) for alias, number in model.aliases.items()}
                for model in _pages(self._client.search_registered_models, filter_text)
            }
            versions = _pages(self._client.search_model_versions, filter_text)
            entries = [_entry(version, aliases.get(version.name, {})) for version in versions]
        known = [entry for entry in entries if entry is not None]
        known.sort(key=lambda entry: entry.version, reverse=True)
        return tuple(sorted(known, key=lambda entry: entry.name))

    def find(self, name: str, *, version: Version | None = None, alias: str = "champion") -> ModelEntry:
        """The entry of a version, or else of an alias.

        Raises:
            UnknownModelError: naming the versions and aliases that there are.
            RegistryError: where the registry cannot be reached.
        """
        entries = self.list_models(name)
        for entry in entries:
            if entry.version == version or (version is None and alias in entry.aliases):
                return entry
        raise self._unknown(name, version, alias, entries)

    def resolve(self, name: str, *, version: Version | None = None, alias: str = "champion") -> Path:
        """The folder of a model's bundle in the local cache, fetched when it is not there, its hashes checked.

        Where the registry cannot be reached, the bundle that the name meant last is taken from the cache, with a
        warning.

        Raises:
            UnknownModelError: naming the versions and aliases that there are.
            BundleError: where what the registry holds is not what was registered.
            RegistryError: where the registry cannot be reached and the cache does not have the model either.
        """
        _checked(name)
        try:
            entry = self.find(name, version=version, alias=alias)
        except UnknownModelError:
            raise
        except RegistryError as error:
            cached = self._cache.remembered(name, str(version) if version is not None else alias)
            if cached is None:
                raise
            _log.warning("the model registry is away, using the cached model", model=name, reason=error.message)
            return cached
        folder = self._cache.get(name, entry.digest)
        if folder is None:
            folder = self._fetch(entry)
        self._cache.remember(name, dict.fromkeys((*entry.aliases, str(entry.version)), entry.digest))
        return folder

    def cached_names(self) -> tuple[str, ...]:
        """The models that the local cache has, in order of their names."""
        return self._cache.names()

    def cached(self, name: str, *, alias: str = "champion") -> Path | None:
        """The bundle that an alias meant when the registry was last asked, its hashes checked; None without one."""
        return self._cache.remembered(_checked(name), alias)

    def cached_bundle(self, name: str, digest: str) -> Path | None:
        """The bundle of a digest that is in the local cache, its hashes checked; None without one."""
        return self._cache.get(_checked(name), digest)

    def _fetch(self, entry: ModelEntry) -> Path:
        def download(target: Path) -> Path:
            with registry_errors(self.tracking_uri):
                return Path(self._client.download_artifacts(entry.run_id, BUNDLE_FOLDER, str(target)))

        try:
            return self._cache.add(entry.name, entry.digest, download)
        except RegistryError as error:
            raise RegistryError(
                f"the files of {entry.name} {entry.version} cannot be fetched from the registry: {error.message}",
                hint="see that the artifact store can be reached, or train the model again",
            ) from error

    def _exists(self) -> bool:
        file = sqlite_file(self.tracking_uri)
        return file is None or file.exists()

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if self.artifact_root is None else f"{self.artifact_root.rstrip('/')}/{name}"
        return str(self._client.create_experiment(name, artifact_location=location))

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name, description="House prices, by appraise.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _unknown(
        self, name: str, version: Version | None, alias: str, entries: tuple[ModelEntry, ...]
    ) -> UnknownModelError:
        if entries:
            wanted = f"version {version}" if version is not None else f"alias {alias!r}"
            known = ", ".join(" ".join((str(entry.version), *entry.aliases)) for entry in entries[:10])
            return UnknownModelError(
                f"the model {name} has no {wanted}",
                hint=f"there are {len(entries)}: {known}" if len(entries) > 1 else f"there is {known}",
            )
        names = sorted({entry.name for entry in self.list_models()})
        others = f"; there are models named {', '.join(names[:10])}" if names else ""
        return UnknownModelError(
            f"there is no model named {name!r}{others}",
            hint=did_you_mean(name, names) or f"train it first: appraise train {name}",
        )


def _pages(search: Callable[..., Any], filter_text: str | None) -> list[Any]:
    """Everything that one of MLflow's paged searches finds."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(filter_string=filter_text, max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise UnknownModelError(
            f"{name!r} cannot be a model's name", hint="names have lower-case letters, digits, - and _"
        )
    return name


def _entry(version: ModelVersion, aliases: Mapping[str, str]) -> ModelEntry | None:
    """The entry of an MLflow version, or None where something other than appraise registered it."""
    tags = {key.removeprefix(_TAG): value for key, value in version.tags.items() if key.startswith(_TAG)}
    try:
        return ModelEntry(
            name=version.name,
            version=Version.parse(tags["version"]),
            aliases=tuple(sorted(alias for alias, number in aliases.items() if number == str(version.version))),
            kind=tags["kind"],
            created_at=dt.datetime.fromtimestamp(version.creation_timestamp / 1000, dt.UTC),
            spec_hash=tags["spec_hash"],
            digest=tags["digest"],
            metric=tags["metric"],
            error=float(tags["error"]),
            run_id=version.run_id,
            registry_version=str(version.version),
        )
    except (KeyError, ValueError):
        return None

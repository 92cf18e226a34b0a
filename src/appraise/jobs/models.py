"""What the registry holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appraise.jobs.workspace import Workspace
from appraise.registry.bundle import read_manifest
from appraise.registry.entries import ModelEntry
from appraise.registry.manifest import Manifest
from appraise.registry.version import Version


@dataclass(frozen=True, slots=True)
class ModelList:
    """Registered models, newest first within each name."""

    entries: tuple[ModelEntry, ...]

    def to_dict(self) -> dict[str, object]:
        """The list as JSON."""
        return {"models": [entry.to_dict() for entry in self.entries]}


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """One registered model, what its manifest says, and its bundle's folder in the cache."""

    entry: ModelEntry
    manifest: Manifest
    folder: Path

    @property
    def size_bytes(self) -> int:
        """Bytes of the bundle's files, without the manifest."""
        return sum(file.bytes for file in self.manifest.files.values())

    def to_dict(self) -> dict[str, object]:
        """The details as JSON."""
        return {
            **self.entry.to_dict(),
            "folder": str(self.folder),
            "size_bytes": self.size_bytes,
            "spec_hash": self.manifest.spec_hash,
            "data_hash": self.manifest.data_hash,
            "git_commit": self.manifest.git_commit,
            "trained_at": self.manifest.created_at.isoformat(),
            "metrics": self.manifest.metrics,
            "libraries": self.manifest.libraries,
            "files": {name: file.bytes for name, file in self.manifest.files.items()},
        }


def list_models(name: str | None = None, *, workspace: Workspace) -> ModelList:
    """Every registered model, or those of one name.

    Raises:
        RegistryError: where the registry cannot be reached.
        UnknownModelError: where there is no model of that name.
    """
    entries = workspace.registry.list_models(name)
    if name is not None and not entries:
        workspace.registry.find(name)
    return ModelList(entries)


def show_model(
    name: str, *, workspace: Workspace, version: Version | None = None, alias: str = "champion"
) -> ModelDetails:
    """One model, its bundle fetched and checked.

    Raises:
        UnknownModelError: naming the versions and aliases that there are.
        RegistryError: where the registry cannot be reached.
        BundleError: where the bundle is damaged.
    """
    entry = workspace.registry.find(name, version=version, alias=alias)
    folder = workspace.registry.resolve(name, version=entry.version)
    return ModelDetails(entry, read_manifest(folder, digest=entry.digest), folder)

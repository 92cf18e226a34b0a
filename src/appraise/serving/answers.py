"""What the registry answered last, kept for the next process that serves.

Asking takes seconds of processor, nearly all of them for importing MLflow. A registry that is a file answers the same
while the file holds the same, so an answer is kept together with the hash of what it was given by.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from appraise.datasets.atomic import replacing
from appraise.errors import OutputError
from appraise.registry.changes import content_of
from appraise.registry.mlflow_registry import Registry
from appraise.serving.versions import KnownVersion

_FILE = "answers.json"


class Answers:
    """Answers of a registry, in its cache.

    Args:
        registry: it.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._path = registry.cache / _FILE

    def content(self) -> str | None:
        """What answers are given by; None where that cannot be told, and an answer not be kept."""
        return content_of(self._registry.tracking_uri)

    def find(self, content: str | None, names: tuple[str, ...]) -> tuple[KnownVersion, ...] | None:
        """The answer to a question, its bundles checked; None where it has to be asked."""
        kept = _read(self._path)
        if content is None or kept.get("content") != content:
            return None
        try:
            found = tuple(self._known(**entry) for entry in kept["answers"][_key(names)])
        except (KeyError, TypeError):
            return None
        whole = all(known.folder is not None for known in found if known.aliases)
        return found if whole else None

    def keep(self, content: str | None, names: tuple[str, ...], answer: tuple[KnownVersion, ...]) -> None:
        """Keep an answer. A cache that cannot be written is left as it is."""
        if content is None:
            return
        kept = _read(self._path)
        answers = kept.get("answers") if kept.get("content") == content else None
        entries = [
            {"name": known.name, "version": known.version, "aliases": known.aliases, "digest": known.digest}
            for known in answer
        ]
        answers = {**(answers if isinstance(answers, dict) else {}), _key(names): entries}
        with suppress(OutputError), replacing(self._path) as temporary:
            temporary.write_text(json.dumps({"content": content, "answers": answers}, indent=2), encoding="utf-8")

    def _known(self, name: str, version: str, aliases: list[str], digest: str) -> KnownVersion:
        folder = self._registry.cached_bundle(name, digest) if aliases else None
        return KnownVersion(name, version, tuple(aliases), digest, folder)


def _key(names: tuple[str, ...]) -> str:
    return ",".join(names)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}

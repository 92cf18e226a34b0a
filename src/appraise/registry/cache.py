"""The local cache of bundles: what the server starts from when the registry is away.

<cache>/<model>/<digest>/       a bundle, under its digest
<cache>/<model>/index.json      the digest that each alias and version meant when it was last asked for
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from appraise.datasets.atomic import replacing
from appraise.errors import BundleError, OutputError
from appraise.logs import get_logger
from appraise.registry.bundle import verify_bundle

_log = get_logger(__name__)

_INDEX = "index.json"
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class BundleCache:
    """Bundles under `root`, by model and digest. Nothing is made before the first bundle is kept."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._told: set[Path] = set()

    def names(self) -> tuple[str, ...]:
        """The models that it has an index of, in order of their names."""
        return tuple(sorted(index.parent.name for index in self._root.glob(f"*/{_INDEX}")))

    def get(self, name: str, digest: str) -> Path | None:
        """The folder of a bundle whose files have been checked, or None where it is absent, or damaged and logged."""
        folder = self._root / name / digest
        if _DIGEST.fullmatch(digest) is None or not folder.is_dir():
            return None
        try:
            verify_bundle(folder, digest=digest)
        except BundleError as error:
            if folder not in self._told:
                self._told.add(folder)
                _log.warning("a cached bundle is damaged and has to be fetched again", model=name, reason=error.message)
            return None
        self._told.discard(folder)
        return folder

    def add(self, name: str, digest: str, download: Callable[[Path], Path]) -> Path:
        """Keep a bundle, whole or not at all.

        Args:
            name: the model's name.
            digest: the bundle's digest.
            download: fetches the bundle into the folder that it is given, and returns the bundle's folder.

        Raises:
            BundleError: where what was fetched is not the bundle of that digest.
            OutputError: where the cache cannot be written.
        """
        home = self._root / name
        temporary = home / f".{uuid.uuid4().hex}.partial"
        try:
            temporary.mkdir(parents=True)
            fetched = download(temporary)
            verify_bundle(fetched, digest=digest)
            folder = home / digest
            if folder.exists() and self.get(name, digest) is None:
                shutil.rmtree(folder)
            if not folder.exists():
                fetched.rename(folder)
        except OSError as error:
            raise OutputError(
                f"the model cache {self._root} cannot be written: {error.strerror or error}",
                hint="make room on the disk, or set APPRAISE_HOME to a folder that may be written",
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    def remember(self, name: str, digests: Mapping[str, str]) -> None:
        """Note the digest that each alias and version means now. A cache that cannot be written is left as it is."""
        index = self._root / name / _INDEX
        known = _read_index(index)
        if all(known.get(key) == digest for key, digest in digests.items()):
            return
        with suppress(OutputError), replacing(index) as temporary:
            temporary.write_text(json.dumps({**known, **digests}, indent=2), encoding="utf-8")

    def remembered(self, name: str, key: str) -> Path | None:
        """The folder of the bundle that an alias or version meant last, or None."""
        digest = _read_index(self._root / name / _INDEX).get(key)
        return self.get(name, digest) if digest is not None else None


def _read_index(path: Path) -> dict[str, str]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(digest) for key, digest in index.items()} if isinstance(index, dict) else {}

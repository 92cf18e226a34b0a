"""Model bundles: a trained model as a folder that can be loaded without running anything in it.

    manifest.json      what the model is, and the size and SHA-256 of every file below
    manifest.sha256    the manifest's own SHA-256, in the form that `sha256sum -c` reads
    <part>.json        a fitted part's data
    <part>.npz         its arrays, where it has any: numbers and fixed-width text, no pickle
    <native file>      a model in its library's own format, opaque here

A bundle is written beside its final place and renamed when complete, so a folder of that name is whole or absent.
Sizes and hashes are checked before anything is parsed. The hashes find damage; the SHA-256 of the manifest, the
bundle's digest, which the registry keeps apart from the bundle, also finds a bundle that was exchanged.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from appraise.errors import BundleError, OutputError
from appraise.features.state import State
from appraise.registry.manifest import FileEntry, Manifest, UnknownFormatError, decode_manifest, encode_manifest
from appraise.registry.npz import pack_arrays, unpack_arrays

MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"

#: File types that native model formats have. Anything else, pickle above all, has no place in a bundle.
NATIVE_SUFFIXES = frozenset({".bin", ".cbm", ".onnx", ".txt", ".ubj"})

_MANIFEST_LIMIT = 64 * 2**20
_PART = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_NATIVE = re.compile(r"[a-z][a-z0-9_-]{0,63}(\.[a-z0-9]+)", re.ASCII)
_PICKLE_HEADS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_FETCH = "fetch it again from the registry, or train the model again"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        folder: where it was read from.
        manifest: what the model is.
        digest: SHA-256 of the manifest file, which names this bundle and no other.
        parts: the fitted parts by name.
        natives: models in their libraries' own formats, by file name.
    """

    folder: Path
    manifest: Manifest
    digest: str
    parts: dict[str, State]
    natives: dict[str, bytes]


def write_bundle(
    folder: Path,
    *,
    manifest: Manifest,
    parts: Mapping[str, State],
    natives: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write a bundle as `folder`, whole or not at all.

    Args:
        folder: the bundle's place; must not exist. Missing parents are made.
        manifest: what the model is; its `files` are filled in here.
        parts: fitted parts, by names of lower-case letters, digits and underscores.
        natives: models in their libraries' own formats, by file name (`catboost.cbm`).

    Returns:
        The manifest as written.

    Raises:
        OutputError: where the folder exists or cannot be written (a full disk, a missing right).
        ValueError: for a part or file name of another form, or an array that is not numeric or fixed-width text.
    """
    contents = _encode(parts, natives or {})
    entries = {name: FileEntry(len(data), _sha256(data)) for name, data in contents.items()}
    manifest = dataclasses.replace(manifest, files=entries)
    contents[MANIFEST] = encode_manifest(manifest)
    contents[CHECKSUM] = _checksum_line(contents[MANIFEST])
    if folder.exists():
        raise OutputError(f"{folder} is there already", hint="a bundle is never overwritten: choose another folder")
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.partial"
    try:
        temporary.mkdir(parents=True)
        for name, data in contents.items():
            _write_durably(temporary / name, data)
        _sync_folder(temporary)
        temporary.rename(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        raise OutputError(
            f"the model bundle cannot be written to {folder}: {error.strerror or error}",
            hint="make room on the disk, or see that the folder may be written",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def read_bundle(folder: Path, *, digest: str | None = None, spec_hash: str | None = None) -> Bundle:
    """Read a bundle, after its sizes and hashes have been checked.

    Args:
        folder: the bundle.
        digest: the digest that the registry has for it, where it comes from one.
        spec_hash: the spec that the caller works with, where it has one.

    Raises:
        BundleError: where the bundle is missing, damaged, altered, of another format or of another spec.
    """
    manifest, found = _read_manifest(folder, digest)
    if spec_hash is not None and manifest.spec_hash != spec_hash:
        raise BundleError(
            f"the model {manifest.name} {manifest.version} was trained for another spec of {manifest.name}",
            hint="train the model again for the spec as it is now",
        )
    contents = _read_files(folder, manifest)
    names = [name.removesuffix(".json") for name in contents if name.endswith(".json")]
    try:
        parts = {name: _decode_part(name, contents) for name in names}
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, str(error)) from error
    natives = {name: data for name, data in contents.items() if Path(name).suffix in NATIVE_SUFFIXES}
    return Bundle(folder, manifest, found, parts, natives)


def read_manifest(folder: Path, *, digest: str | None = None) -> Manifest:
    """The manifest alone, checked against its own hash; raises BundleError as `read_bundle` does."""
    return _read_manifest(folder, digest)[0]


def verify_bundle(folder: Path, *, digest: str | None = None) -> str:
    """Check every size and hash of a bundle without parsing its parts, and return its digest.

    Raises:
        BundleError: as `read_bundle` does.
    """
    manifest, found = _read_manifest(folder, digest)
    _read_files(folder, manifest)
    return found


def _encode(parts: Mapping[str, State], natives: Mapping[str, bytes]) -> dict[str, bytes]:
    contents = {}
    for name, part in parts.items():
        if _PART.fullmatch(name) is None or name == Path(MANIFEST).stem:
            raise ValueError(f"{name!r} cannot name a part of a bundle")
        contents[f"{name}.json"] = json.dumps(part.data, separators=(",", ":"), ensure_ascii=False).encode()
        if part.arrays:
            contents[f"{name}.npz"] = pack_arrays(part.arrays)
    for name, data in natives.items():
        if not _is_native(name) or data.startswith(_PICKLE_HEADS):
            raise ValueError(f"{name!r} is not a native model file that a bundle may hold")
        contents[name] = data
    return contents


def _decode_part(name: str, contents: Mapping[str, bytes]) -> State:
    try:
        data = json.loads(contents[f"{name}.json"])
    except ValueError as error:
        raise ValueError(f"{name}.json is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"{name}.json is not a JSON object")
    archive = contents.get(f"{name}.npz")
    if archive is None:
        return State(data)
    try:
        return State(data, unpack_arrays(archive))
    except ValueError as error:
        raise ValueError(f"{name}.npz: {error}") from error


def _read_manifest(folder: Path, digest: str | None) -> tuple[Manifest, str]:
    if not folder.is_dir():
        raise BundleError(f"there is no model bundle at {folder}", hint="list the models with: appraise models list")
    data = _read(folder, MANIFEST, _MANIFEST_LIMIT)
    if _read(folder, CHECKSUM, _MANIFEST_LIMIT) != _checksum_line(data):
        raise _damaged(folder, f"{MANIFEST} does not have the hash that {CHECKSUM} says")
    found = _sha256(data)
    if digest is not None and found != digest:
        raise _damaged(folder, "it is not the bundle that the registry recorded")
    try:
        return decode_manifest(data), found
    except UnknownFormatError as error:
        raise BundleError(
            f"the model bundle {folder} has format version {error.found}, which this program does not know",
            hint="use the version of appraise that wrote it, or train the model again",
        ) from error
    except ValueError as error:
        raise _damaged(folder, f"{MANIFEST} is not a manifest ({error})") from error


def _read_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    _check_names(folder, manifest.files)
    contents = {}
    for name, entry in manifest.files.items():
        data = _read(folder, name, entry.bytes)
        if len(data) != entry.bytes:
            raise _damaged(folder, f"{name} has {len(data)} bytes of {entry.bytes}")
        if _sha256(data) != entry.sha256:
            raise _damaged(folder, f"{name} does not have the hash that the manifest says")
        if data.startswith(_PICKLE_HEADS):
            raise _damaged(folder, f"{name} is a pickle, which is never loaded")
        contents[name] = data
    return contents


def _check_names(folder: Path, files: Iterable[str]) -> None:
    """Refuse a manifest that names anything but parts and native files, and a folder that holds anything else."""
    allowed = {MANIFEST, CHECKSUM}
    for name in files:
        stem, _, suffix = name.rpartition(".")
        is_part = suffix in {"json", "npz"} and _PART.fullmatch(stem) is not None and name != MANIFEST
        if not is_part and not _is_native(name):
            raise _damaged(folder, f"its manifest names {name!r}, which a bundle may not hold")
        allowed.add(name)
    for name in files:
        if name.endswith(".npz") and name.removesuffix("npz") + "json" not in allowed:
            raise _damaged(folder, f"{name} has no JSON file beside it")
    with os.scandir(folder) as found:
        strangers = sorted(entry.name for entry in found if entry.name not in allowed)
    if strangers:
        raise _damaged(folder, f"it holds {strangers[0]!r}, which its manifest does not name")


def _is_native(name: str) -> bool:
    match = _NATIVE.fullmatch(name)
    return match is not None and match[1] in NATIVE_SUFFIXES


def _read(folder: Path, name: str, limit: int) -> bytes:
    """A file of `limit` bytes at the most, which may not be a link: a link could lead out of the bundle."""
    path = folder / name
    try:
        if path.is_symlink() or not path.is_file():
            raise _damaged(folder, f"{name} is missing or not a plain file")
        if path.stat().st_size > limit:
            raise _damaged(folder, f"{name} is larger than it should be")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"the model bundle {folder} cannot be read: {name}: {error.strerror or error}",
            hint="see that the folder may be read",
        ) from error


def _damaged(folder: Path, what: str) -> BundleError:
    return BundleError(f"the model bundle {folder} is damaged: {what}", hint=_FETCH)


def _checksum_line(manifest: bytes) -> bytes:
    return f"{_sha256(manifest)}  {MANIFEST}\n".encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

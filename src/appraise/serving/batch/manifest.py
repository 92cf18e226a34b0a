"""What a run is and what it made: the two files beside its parts, the manifest being the last that is written."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

import msgspec

from appraise import __version__
from appraise.errors import OutputError
from appraise.serving.batch.inputs import InputFile

#: The format that this program writes, and the only one that it reads.
FORMAT_VERSION = 2
#: Written first: what the run is, so that it can be told from another one and go on.
RUN_FILE = "_run.json"
#: Written last: a folder without it is not complete.
MANIFEST_FILE = "_manifest.json"


def part_name(index: int) -> str:
    """The file of a shard."""
    return f"part-{index:05d}.parquet"


@dataclass(frozen=True, slots=True)
class ModelMark:
    """Which model valued the rows: its name, version, the digest of its bundle and the hash of its spec."""

    name: str
    version: str
    digest: str
    spec_hash: str


@dataclass(frozen=True, slots=True)
class InputMark:
    """One file that was read.

    Attributes:
        address: where it was.
        bytes: its size.
        sha256: of its bytes; None for an object of S3, which `etag` stands for.
        etag: the entity tag of an object.
    """

    address: str
    bytes: int
    sha256: str | None = None
    etag: str | None = None

    @classmethod
    def of(cls, file: InputFile) -> InputMark:
        """The mark of a file."""
        return cls(file.address, file.size, file.sha256, None if file.sha256 else file.version)


@dataclass(frozen=True, slots=True)
class RunMark:
    """What a run is: two runs with equal marks make the same parts.

    Attributes:
        model: what values the rows.
        level: nominal level of the intervals.
        inputs: what is read, in order.
        columns: of the output, as names and types.
        shards: into how many parts.
        rows: in all.
        format_version: of these files.
    """

    model: ModelMark
    level: float
    inputs: tuple[InputMark, ...]
    columns: tuple[tuple[str, str], ...]
    shards: int
    rows: int
    format_version: int = FORMAT_VERSION

    @property
    def run_id(self) -> str:
        """A hash of all this but the places of the inputs: moved files are the same files."""
        document = msgspec.to_builtins(self)
        for mark in document["inputs"]:
            mark["address"] = ""
        return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class PartMark:
    """One part.

    Attributes:
        file: its name.
        rows: how many it has.
        valued: how many of them have an estimate.
        unusable: how many of the estimates have the confidence grade `none`.
        bytes: its size.
        sha256: of its bytes.
    """

    file: str
    rows: int
    valued: int
    unusable: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run made.

    Attributes:
        run_id: the hash of what it is.
        model, level, inputs, columns: as of its mark.
        rows: in and out.
        valued: how many have an estimate; the others say why not.
        unusable: how many of the estimates have the confidence grade `none`.
        parts: the files, in the order of the rows.
        finished_at: when.
        appraise: the program's version.
    """

    run_id: str
    model: ModelMark
    level: float
    inputs: tuple[InputMark, ...]
    columns: tuple[tuple[str, str], ...]
    rows: int
    valued: int
    unusable: int
    parts: tuple[PartMark, ...]
    finished_at: dt.datetime
    appraise: str = __version__
    format_version: int = FORMAT_VERSION


def encode(document: RunMark | Manifest) -> bytes:
    """As indented JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decode_run(data: bytes, where: str) -> RunMark:
    """The inverse of `encode`; raises OutputError for anything else."""
    try:
        return msgspec.json.decode(data, type=RunMark)
    except msgspec.DecodeError as error:
        raise OutputError(
            f"{where}/{RUN_FILE} is not of a run of this version of Appraise: {error}",
            hint="choose another folder, or begin anew with --overwrite",
        ) from error

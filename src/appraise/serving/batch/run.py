"""A run: from the address of an input to a folder of parts with a manifest, or on from where another one was ended."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from appraise.datasets.paths import plain
from appraise.datasets.s3 import SCHEME, parse_address
from appraise.datasets.specfile import spec_from_dict
from appraise.errors import OutputError
from appraise.registry.bundle import read_manifest, verify_bundle
from appraise.serving.batch.bucket import Bucket
from appraise.serving.batch.engines import Engine
from appraise.serving.batch.folder import Folder
from appraise.serving.batch.inputs import find_inputs
from appraise.serving.batch.layout import find_layout
from appraise.serving.batch.manifest import (
    MANIFEST_FILE,
    RUN_FILE,
    InputMark,
    Manifest,
    ModelMark,
    PartMark,
    RunMark,
    decode_run,
    encode,
    part_name,
)
from appraise.serving.batch.outputs import Output
from appraise.serving.batch.planning import Shard, plan_shards
from appraise.serving.batch.shard import Work

_OWN = re.compile(rf"part-\d{{5,}}\.parquet|{re.escape(RUN_FILE)}|{re.escape(MANIFEST_FILE)}")


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was planned: everything that can be wrong with its input has been looked at.

    Attributes:
        mark: what it is.
        work: what its shards have in common.
        shards: what is to be done.
        notes: what a person should know of the input.
    """

    mark: RunMark
    work: Work
    shards: tuple[Shard, ...]
    notes: tuple[str, ...]

    def carry_out(
        self, engine: Engine, *, overwrite: bool = False, observe: Callable[[int, int], None] | None = None
    ) -> Manifest:
        """Do what is not done yet, and write the manifest.

        Args:
            engine: who does it.
            overwrite: begin anew where the output holds a run.
            observe: is told how many rows are done, and of how many shards, first of those that were done before.

        Raises:
            OutputError: the output holds something else, or cannot be written.
            DataError, BundleError, BatchError: as `Engine.run` does.
        """
        output = self.work.output
        tell = observe or (lambda _rows, _shards: None)
        with output.locked():
            parts = self._begin(output, overwrite=overwrite)
            tell(sum(part.rows for part in parts.values()), len(parts))
            todo = [shard for shard in self.shards if part_name(shard.index) not in parts]
            # Closed at once whatever happens, so that no worker writes on when the output is free for others.
            with closing(engine.run(self.work, todo)) as made:
                for part in made:
                    parts[part.file] = part
                    tell(part.rows, 1)
            return self._finish(output, parts)

    def parts_there(self) -> int:
        """How many parts are there and whole."""
        output = self.work.output
        expected = {part_name(shard.index) for shard in self.shards}
        return sum(output.find(name, self.mark.run_id) is not None for name in output.names() if name in expected)

    def _begin(self, output: Output, *, overwrite: bool) -> dict[str, PartMark]:
        """Make the output this run's own; the parts of it that are there already."""
        names = output.names()
        if names and overwrite:
            _clear(output, names)
            names = ()
        if not names and output.create(RUN_FILE, encode(self.mark)):
            return {}
        found = output.read(RUN_FILE)
        if found is None:
            raise OutputError(
                f"{output.address} is not empty, and holds no run of appraise predict",
                hint="choose another folder, or one that is not there yet",
            )
        other = decode_run(found, output.address)
        if other.run_id != self.mark.run_id:
            raise OutputError(
                f"{output.address} holds another run: {_difference(other, self.mark)}",
                hint="choose another folder, or begin anew with --overwrite",
            )
        expected = {part_name(shard.index) for shard in self.shards}
        marks = [output.find(name, self.mark.run_id) for name in names if name in expected]
        return {mark.file: mark for mark in marks if mark is not None}

    def _finish(self, output: Output, parts: Mapping[str, PartMark]) -> Manifest:
        ordered = tuple(parts[part_name(shard.index)] for shard in self.shards)
        manifest = Manifest(
            run_id=self.mark.run_id,
            model=self.mark.model,
            level=self.mark.level,
            inputs=self.mark.inputs,
            columns=self.mark.columns,
            rows=sum(part.rows for part in ordered),
            valued=sum(part.valued for part in ordered),
            unusable=sum(part.unusable for part in ordered),
            parts=ordered,
            finished_at=dt.datetime.now(tz=dt.UTC),
        )
        if manifest.rows != self.mark.rows:
            raise OutputError(
                f"{output.address} has {manifest.rows:,} rows, and the input {self.mark.rows:,}",
                hint="something else wrote there: begin anew with --overwrite",
            )
        output.remove((MANIFEST_FILE,))
        output.create(MANIFEST_FILE, encode(manifest))
        return manifest


def _difference(other: RunMark, mine: RunMark) -> str:
    """What sets two runs apart, as a phrase."""
    if other.format_version != mine.format_version:
        return "it was begun by another version of Appraise"
    if other.model != mine.model:
        models = (f"{model.name} {model.version}" for model in (other.model, mine.model))
        return "its model is {}, and not {}".format(*models)
    if other.level != mine.level:
        return f"its level is {other.level:g}, and not {mine.level:g}"
    if other.inputs != mine.inputs:
        return "its input is another, or has changed since"
    return "its input is read or cut in another way"


def plan_run(
    *,
    bundle: Path,
    input: str,  # noqa: A002  what the option is called
    output: str,
    level: float,
    cache: Path,
    endpoint: str | None,
) -> Run:
    """Look at an input and plan its run; nothing is written.

    Args:
        bundle: the folder of the model's bundle.
        input: a path, folder, glob or `s3://` address.
        output: a folder or an `s3://` address.
        level: nominal level of the intervals, in (0, 1).
        cache: folder for what is downloaded or made.
        endpoint: address of an S3 service other than Amazon's.

    Raises:
        DataError: the input cannot be read, lacks columns, or has no rows.
        DownloadError: the S3 service cannot be reached, or refuses.
        BundleError: the model is missing or damaged.
    """
    digest = verify_bundle(bundle)
    known = read_manifest(bundle, digest=digest)
    spec = spec_from_dict(known.spec)
    place = output_at(output, endpoint=endpoint)
    _check_apart(input, output)
    files = find_inputs(spec, input, cache=cache, endpoint=endpoint)
    layout = find_layout(spec, files, endpoint=endpoint)
    shards = plan_shards(files, layout, endpoint=endpoint)
    mark = RunMark(
        model=ModelMark(known.name, str(known.version), digest, known.spec_hash),
        level=level,
        inputs=tuple(InputMark.of(file) for file in files),
        columns=tuple((field.name, str(field.type)) for field in layout.schema),
        shards=len(shards),
        rows=sum(shard.rows for shard in shards),
    )
    work = Work(mark.run_id, bundle, digest, files, layout, level, place, endpoint)
    return Run(mark, work, shards, layout.notes)


def output_at(address: str, *, endpoint: str | None) -> Output:
    """The output of an address: a folder, or `s3://BUCKET/PREFIX`."""
    if address.startswith(SCHEME):
        bucket, prefix = parse_address(address)
        return Bucket(bucket, prefix.strip("/"), endpoint)
    return Folder(plain(Path(address).expanduser().absolute()))


def _check_apart(input: str, output: str) -> None:  # noqa: A002
    """Refuse an output in the folder that is read: the next run would read it too."""
    if input.startswith(SCHEME) != output.startswith(SCHEME):
        return
    same = (
        input.rstrip("/") == output.rstrip("/")
        if input.startswith(SCHEME)
        else Path(input).expanduser().resolve() == Path(output).expanduser().resolve()
    )
    if same:
        raise OutputError(f"{output} is what is read", hint="write to another folder")


def _clear(output: Output, names: tuple[str, ...]) -> None:
    """Remove a run's own files, the manifest first; nothing else is ever removed."""
    foreign = [name for name in names if _OWN.fullmatch(name) is None]
    if foreign:
        raise OutputError(
            f"{output.address} holds {foreign[0]}, which no run of appraise predict wrote",
            hint="choose another folder; --overwrite removes nothing but the files of a run",
        )
    output.remove((MANIFEST_FILE, *(name for name in names if name != MANIFEST_FILE)))

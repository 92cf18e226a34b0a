"""The one function that every engine runs: read the rows of a shard, value them, write the part, put it in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from appraise.serving.batch.inputs import InputFile
from appraise.serving.batch.layout import Layout
from appraise.serving.batch.manifest import PartMark, part_name
from appraise.serving.batch.outputs import RUN_KEY, UNUSABLE_KEY, VALUED_KEY, Output, digest_of
from appraise.serving.batch.planning import Shard
from appraise.serving.batch.reading import read_shard
from appraise.serving.batch.valuing import Valuer
from appraise.serving.predictor import Predictor

#: Rows of one row group of a part.
_GROUP_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Work:
    """What all shards of a run have in common: plain values, which other processes are given.

    Attributes:
        run_id: the run.
        bundle: the folder of the model's bundle.
        digest: the bundle's digest.
        files: what is read.
        layout: how, and what the output looks like.
        level: nominal level of the intervals.
        output: where the parts go.
        endpoint: address of an S3 service other than Amazon's.
    """

    run_id: str
    bundle: Path
    digest: str
    files: tuple[InputFile, ...]
    layout: Layout
    level: float
    output: Output
    endpoint: str | None = None


def do_shard(work: Work, shard: Shard) -> PartMark:
    """Value one shard. It may be done twice, at the same time too: the part is the same.

    Raises:
        DataError: a file is damaged, or is not what it was when the run began.
        OutputError: the part cannot be written.
        BundleError: the model is missing or damaged.
    """
    valuer = Valuer(_predictor(str(work.bundle), work.digest), work.layout, work.level)
    with work.output.scratch() as path:
        rows = valued = unusable = 0
        with parquet.ParquetWriter(path, work.layout.schema, **how_written(work.layout.schema)) as writer:
            tables: list[pa.Table] = []
            for unit in read_shard(shard, work.files, work.layout, endpoint=work.endpoint):
                made = valuer.value(unit)
                tables.append(made.table)
                rows += made.table.num_rows
                valued, unusable = valued + made.valued, unusable + made.unusable
                if sum(each.num_rows for each in tables) >= _GROUP_ROWS:
                    _write(writer, tables)
                    tables = []
            _write(writer, tables)
            said = {RUN_KEY: work.run_id, VALUED_KEY: str(valued), UNUSABLE_KEY: str(unusable)}
            writer.add_key_value_metadata(said)
        part = PartMark(part_name(shard.index), rows, valued, unusable, path.stat().st_size, digest_of(path))
        work.output.publish(path, part, work.run_id)
    return part


def how_written(schema: pa.Schema) -> dict[str, Any]:
    """How parts are written: dictionaries for texts alone, for among numbers they cost more than they save."""
    texts = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return {"compression": "zstd", "compression_level": 1, "use_dictionary": texts}


def _write(writer: parquet.ParquetWriter, tables: Sequence[pa.Table]) -> None:
    if tables:
        table = pa.concat_tables(tables)
        writer.write_table(table, row_group_size=table.num_rows)


@lru_cache(maxsize=1)
def _predictor(bundle: str, digest: str) -> Predictor:
    """The model, loaded once in each process."""
    return Predictor.load(bundle, digest=digest)

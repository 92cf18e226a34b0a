"""Columns made of buffers are the columns that Arrow would make."""

import subprocess
import sys

import numpy as np
import pyarrow as pa

from appraise.serving.batch.arrays import numbers, repeated, texts

KNOWN = np.array([True, False, True, True, False, False, True, True, True, False])


def test_columns_are_those_that_arrow_makes():
    values = np.arange(10) / 3
    for known in (None, KNOWN):
        nothing = np.zeros(10, np.bool_) if known is None else ~known
        for made, plain in (
            (numbers(values, known), values.tolist()),
            (repeated("1.0.0-ß", 10, known), ["1.0.0-ß"] * 10),
            (numbers(values[::-1], known), values[::-1].tolist()),
        ):
            made.validate(full=True)
            assert made.to_pylist() == [None if gone else value for value, gone in zip(plain, nothing, strict=True)]
            assert made.null_count == nothing.sum()


def test_texts_stand_in_their_places_whatever_their_order():
    made = texts(np.array([7, 0, 3]), ["seven ½", "", "three"], 9)
    made.validate(full=True)
    assert made.to_pylist() == ["", None, None, "three", None, None, None, "seven ½", None]
    assert texts(np.array([], int), [], 3).equals(pa.nulls(3, pa.string()))
    assert numbers(np.empty(0)).to_pylist() == texts(np.array([], int), [], 0).to_pylist() == []


def test_a_worker_does_without_pandas(bundle, plan, homes, tmp_path):
    homes.write_parquet(tmp_path / "in.parquet")
    program = f"""
import sys
from pathlib import Path
from appraise.serving.batch.engines import ThisProcess
from appraise.serving.batch.run import plan_run
run = plan_run(bundle=Path({str(bundle)!r}), input={str(tmp_path / "in.parquet")!r}, output={str(tmp_path / "out")!r},
               level=0.9, cache=Path({str(tmp_path)!r}), endpoint=None)
run.carry_out(ThisProcess())
print(*(name for name in ("pandas", "scipy.linalg", "catboost") if name in sys.modules))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert said.stdout.split() == []

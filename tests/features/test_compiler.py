"""Numba without SciPy, in a process of its own: what was imported stays imported."""

import subprocess
import sys

_PROGRAM = """
import sys
from appraise.features.compiler import ready_compiler
from appraise.features.neighbours import Tree
import numpy as np

ready_compiler()
Tree.build(np.random.default_rng(0).random((40, 2)))
assert not [name for name in sys.modules if name.startswith("scipy.linalg")], "SciPy's BLAS was imported"
import scipy.linalg

assert scipy.linalg.norm([3.0, 4.0]) == 5.0
"""


def test_kernels_run_without_scipy_and_scipy_can_be_had_after_all() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)


def test_a_process_that_serves_imports_no_scipy_and_no_library_that_trains() -> None:
    heavy = "scipy.stats", "scipy.optimize", "scipy.linalg", "catboost", "lightgbm", "xgboost", "sklearn", "polars"
    program = f"import sys, appraise.jobs.serving.serve\nassert not set({heavy!r}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)

"""Numba, without the part of SciPy that it looks for."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, cast


def ready_compiler() -> None:
    """Have Numba load what cached kernels need; to be called before the first of them runs.

    For matrix products and `np.linalg` in compiled functions Numba imports SciPy's BLAS where it finds it. No kernel
    here has any, and a process that serves would carry it: 16 MB, and a good part of a second at its start.
    """
    modules = cast(dict[str, Any], sys.modules)
    if "numba.np.arraymath" in modules or "scipy.linalg" in modules:
        return
    # None is how Python says that a module is not to be found.
    modules["scipy.linalg"] = None
    try:
        import_module("numba.np.arraymath")
    finally:
        del modules["scipy.linalg"]

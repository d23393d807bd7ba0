"""The one switch between compiled kernels and their NumPy twins.

numba is imported at the first call of `kernels`, never at import time: it costs 0.3 s and 70 MB,
which a host that only inspects a model should not pay. Nothing is computed here.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from types import ModuleType


@lru_cache(maxsize=1)
def kernels() -> ModuleType:
    """Return `_kernels` where numba works, else `_twins`: the same names, the same arguments.

    With NUMBA_DISABLE_JIT the twins serve as well, because a kernel's loops are slow in Python.
    """
    if os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0"):
        try:
            return import_module("adaptors._kernels")
        except ImportError:  # not installed (32-bit ARM), or built for another NumPy
            pass
    return import_module("adaptors._twins")

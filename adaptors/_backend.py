"""The one switch between compiled kernels and their NumPy twins.

numba is imported at the first call of `kernels`, never at import time: it costs 70 MB and 0.4 s,
0.2 s more where it finds SciPy, which a host that only inspects a model should not pay. Most of it
is numba's own start; loading the compiled kernels is 0.1 s. Nothing is computed here.
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

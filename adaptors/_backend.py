"""The one switch between compiled kernels and their NumPy twins.

numba is imported at the first call of `kernels`, never at import time: it costs 70 MB and 0.4 s,
0.2 s more where it finds SciPy, which a host that only inspects a model should not pay. Most of it
is numba's own start; loading the compiled kernels is 0.1 s. Nothing is computed here.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from threading import Event
from types import ModuleType
from typing import Final

_NUMPY_ALONE: Final = Event()


def use_numpy() -> None:
    """Let NumPy serve in this process from now on: numba, with its 115 MB, is never loaded.

    Training by batches is as fast; an update of one sample takes 0.2 ms more, an answer 0.01 ms
    (1,456 features, 128 hidden units). Call it before anything is computed.
    """
    _NUMPY_ALONE.set()
    kernels.cache_clear()


@lru_cache(maxsize=1)
def kernels() -> ModuleType:
    """Return `_kernels` where numba works, else `_twins`: the same names, the same arguments.

    With NUMBA_DISABLE_JIT the twins serve as well, because a kernel's loops are slow in Python.
    """
    if not _NUMPY_ALONE.is_set() and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0"):
        try:
            return import_module("adaptors._kernels")
        except ImportError:  # not installed (32-bit ARM), or built for another NumPy
            pass
    return import_module("adaptors._twins")

"""`--profile small`, `standard`, `fast`: what the process of the model does for speed, or memory.

A label is appended without compiled kernels; they train adaptors, which is a small part of a fit
beside the answers, and they cost 115 MB. So only ``fast`` loads them. Numbers:
benchmarks/footprint.py. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Profile:
    """What a process does for speed, and what for memory.

    Attributes
    ----------
    compiled
        Kernels by numba, loaded before the first sample; else NumPy alone.
    lean
        Weights are mapped where the library can, buffers are not kept between samples, freed
        memory goes back to the system.
    """

    compiled: bool
    lean: bool

    def apply(self) -> str:
        """Choose the kernels of this process, and load those that are compiled; or say why not."""
        import adaptors

        if not self.compiled:
            adaptors.use_numpy()
            return ""
        adaptors.warm_up()
        return "" if "numba" in sys.modules else NO_NUMBA


# What every worker is started with. glibc keeps no large piece that is free: one arena, not one
# for each thread, and 128 KiB is where it starts before it learns to keep more.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
# The same by glibc's mallopt, for a process that has started: M_ARENA_MAX, M_MMAP_THRESHOLD,
# M_TRIM_THRESHOLD of malloc.h.
_MALLOPT: Final = ((-8, 1), (-3, 131_072), (-1, 131_072))
NO_NUMBA: Final = "no numba works here: NumPy serves (pip install 'edge-runtime[fast]')"
DEFAULT: Final = "standard"
PROFILES: Final[Mapping[str, Profile]] = {
    "small": Profile(compiled=False, lean=True),
    "standard": Profile(compiled=False, lean=False),
    "fast": Profile(compiled=True, lean=False),
}


def keep_little() -> None:
    """Have this process's C library keep no free memory, where it can (glibc): see ENVIRONMENT."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOPT:
            mallopt(parameter, value)


def release_memory() -> None:
    """Give memory that is free back to the system, where the C library can (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)

"""Hyperdimensional computing for the edge, on NumPy alone.

Features are whitened in a frame, projected and packed into hypervectors; these are classified, and
samples out of distribution are found at a false-alarm rate that the user states. A board runs these
objects, and the estimators are made of them. Names are loaded on first use, so that importing one
module costs that module only. No I/O, no clock, no global state in here.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "OODDetector": "detection.ood",
    "OODScore": "detection.score",
    "PrototypeClassifier": "classifier",
    "SignedHadamard": "vectors.projection",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

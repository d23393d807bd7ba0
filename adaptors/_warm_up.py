"""`warm_up`: everything compiled and loaded before the first sample of a stream arrives."""

from __future__ import annotations

import numpy as np

from adaptors._backend import kernels
from adaptors.classifier import TargetProjectionClassifier


def warm_up() -> None:
    """Load, or compile, every kernel, and use those of a classifier once; learns nothing.

    Kernels are compiled for fixed types when they are imported, into a cache if one can be written:
    with one this takes well under a second, without some seconds at every start. Afterwards
    nothing is compiled any more. Where numba is not installed there is nothing to do.
    """
    kernels()
    X, y = np.eye(2, dtype=np.float32), np.arange(2)
    for loss in ("cross_entropy", "l2"):
        classifier = TargetProjectionClassifier(hidden=(2,), loss=loss, epochs=1, random_state=0)
        classifier.fit(X, y).partial_fit(X[:1], y[:1]).predict(X[:1])

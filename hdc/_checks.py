"""Checks of what comes from outside: one place, so that every message names the same facts.

Each function returns the value in the form that the mathematics wants, or raises `TypeError` or
`ValueError` that says what was found and what was expected. Nothing is computed here.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hdc.estimator import check_random_state

Bits: TypeAlias = NDArray[np.uint64]
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
RandomState: TypeAlias = "int | np.random.Generator | None"

WORD_BITS = 64


def check_matrix(X: ArrayLike, n_features: int | None = None, name: str = "X") -> Float32:
    """Return ``X`` as a finite float32 matrix of the expected width; the input is never changed."""
    found = np.asarray(X)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {found.dtype}, expected real numbers")
    if found.ndim != 2:
        raise ValueError(f"{name} has shape {found.shape}, expected (n_samples, n_features)")
    if n_features is not None and found.shape[1] != n_features:
        raise ValueError(
            f"{name} has {found.shape[1]} features, expected {n_features}: "
            "was it made by another encoder?"
        )
    if 0 in found.shape:
        raise ValueError(f"{name} has shape {found.shape}: no samples or no features")
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(found, dtype=np.float32)
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} contains NaN, infinity, or a value beyond float32")
    return matrix


def check_count(value: Any, name: str, low: int = 1, high: int | None = None) -> int:
    """Return ``value`` as an int of at least ``low`` and at most ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}, expected an integer")
    if value < low or (high is not None and value > high):
        limit = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} is {value}, expected {limit}")
    return int(value)


def check_dims(n_dims: Any) -> int:
    """Return ``n_dims`` as an int: a positive multiple of 64, so that rows fill whole words."""
    size = check_count(n_dims, "n_dims", WORD_BITS)
    if size % WORD_BITS:
        raise ValueError(f"n_dims is {size}, expected a multiple of {WORD_BITS}")
    return size


def check_rate(value: Any, name: str) -> float:
    """Return ``value`` as a float strictly between 0 and 1."""
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = np.nan
    if not 0.0 < rate < 1.0:
        raise ValueError(f"{name} is {value!r}, expected a number between 0 and 1")
    return rate


def derive_seed(random_state: RandomState) -> int:
    """Return an integer seed: the given one, or one drawn from a generator or fresh entropy."""
    if random_state is None or isinstance(random_state, np.random.Generator):
        return int(check_random_state(random_state).integers(2**32))
    return check_count(random_state, "random_state", 0)

"""Every compiled loop, under one compile policy.

Called by code that has checked its arguments. float32, C-contiguous; inputs are declared read-only
(weights may come from a memory map), what is written comes last. Each kernel has a NumPy twin of
the same name in `_twins`; a test fails for one that has none. Kernels share this file because
numba's cache does not see an edit of a function in another file. No Python object enters a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba as nb
import numpy as np
from numba import types

F = TypeVar("F", bound=Callable[..., Any])

# Everything of fastmath but nnan and ninf: with those two a NaN would not come out as a NaN.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
# Largest derivative a unit may act on. Codes are of order one, so that more means divergence.
MAX_DELTA = np.float32(100.0)
# Rows of X that share one pass over the weights.
BLOCK = 8

f4 = types.float32
f4_in = types.Array(f4, 1, "C", readonly=True)
f4_in2 = types.Array(f4, 2, "C", readonly=True)
f4_out = types.Array(f4, 1, "C")
f4_out2 = types.Array(f4, 2, "C")


def kernel(signature: Any) -> Callable[[F], F]:
    """Compile for one signature, cached on disk where a cache location can be written."""

    def compiled(loop: F) -> F:
        options = {"error_model": "numpy", "nogil": True, "fastmath": FASTMATH}
        try:
            return cast(F, nb.njit(signature, cache=True, **options)(loop))
        except (OSError, RuntimeError):  # numba's "cannot cache function", or a read-only disk
            return cast(F, nb.njit(signature, **options)(loop))

    return compiled


@kernel(types.void(f4_in2, f4_in2, f4_in, f4_out2))
def affine(X: Any, W: Any, b: Any, Z: Any) -> None:
    """Write ``Z = X W^T + b``; unlike BLAS, a row's result does not depend on its neighbours."""
    for start in range(0, X.shape[0], BLOCK):
        for j in range(W.shape[0]):
            for i in range(start, min(start + BLOCK, X.shape[0])):
                z = b[j]
                for k in range(W.shape[1]):
                    z += W[j, k] * X[i, k]
                Z[i, j] = z


@kernel(types.int64(f4_in, f4_in, types.int64, types.int64, f4, f4_out2, f4_out, f4_out))
def dense_step(
    x: Any, target: Any, activation: int, loss: int, rate: float, W: Any, b: Any, h: Any
) -> int:
    """Forward and local update of one sample, each row of W read once; count excessive deltas.

    ``activation``: 0 tanh, 1 hard tanh, 2 sigmoid, 3 ReLU, 4 linear. ``loss``: 0 l2, 1 l1.
    ``h`` receives the output from before the update.
    """
    power = f4(1.0)
    for k in range(x.shape[0]):
        power += x[k] * x[k]
    n_excessive = 0
    for j in range(W.shape[0]):
        z = b[j]
        for k in range(x.shape[0]):
            z += W[j, k] * x[k]
        if activation == 0:
            y = math.tanh(z)
            slope = f4(1.0) - y * y
        elif activation == 1:
            y = min(max(z, f4(-1.0)), f4(1.0))
            slope = f4(abs(z) < f4(1.0))
        elif activation == 2:
            y = f4(1.0) / (f4(1.0) + math.exp(-z))
            slope = y * (f4(1.0) - y)
        elif activation == 3:
            y = max(z, f4(0.0))
            slope = f4(z > f4(0.0))
        else:
            y = z
            slope = f4(1.0)
        h[j] = y
        delta = y - target[j]
        if loss == 1:
            delta = np.sign(delta)
        delta *= slope
        if abs(delta) > MAX_DELTA:
            n_excessive += 1
            delta = math.copysign(MAX_DELTA, delta)
        step = rate * delta / power
        for k in range(x.shape[0]):
            W[j, k] -= step * x[k]
        b[j] -= step
    return n_excessive


@kernel(types.void(f4_in, types.int64, f4, f4_out2, f4_out, f4_out))
def softmax_step(x: Any, label: int, rate: float, W: Any, b: Any, p: Any) -> None:
    """Delta rule of one sample on its true label; ``p`` receives softmax from before the update."""
    power = f4(1.0)
    for k in range(x.shape[0]):
        power += x[k] * x[k]
    top = f4(-np.inf)
    for j in range(W.shape[0]):
        z = b[j]
        for k in range(x.shape[0]):
            z += W[j, k] * x[k]
        p[j] = z
        top = max(top, z)
    total = f4(0.0)
    for j in range(W.shape[0]):
        p[j] = math.exp(p[j] - top)
        total += p[j]
    for j in range(W.shape[0]):
        p[j] /= total
        step = rate * (p[j] - f4(j == label)) / power
        for k in range(x.shape[0]):
            W[j, k] -= step * x[k]
        b[j] -= step


KERNELS = (affine, dense_step, softmax_step)

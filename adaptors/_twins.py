"""The kernels in plain NumPy: what they mean, and what runs where numba does not.

Same names, arguments and results as `_kernels`, up to rounding. Not fast: one sample per call.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adaptors.activations import BY_CODE
from adaptors.losses import softmax

Array = npt.NDArray[np.float32]

MAX_DELTA = np.float32(100.0)


def affine(X: Array, W: Array, b: Array, Z: Array) -> None:
    """Write ``Z = X W^T + b``, row by row, so that a row does not depend on its neighbours."""
    np.add(np.matmul(W, X[:, :, None])[..., 0], b, out=Z)


def dense_step(
    x: Array, target: Array, activation: int, loss: int, rate: float, W: Array, b: Array, h: Array
) -> int:
    """Forward and local update of one sample; count excessive deltas."""
    h[:] = BY_CODE[activation].function(W @ x + b)
    error = h - target
    delta = (np.sign(error) if loss == 1 else error) * BY_CODE[activation].slope(h)
    step = np.float32(rate) * np.clip(delta, -MAX_DELTA, MAX_DELTA) / (1 + x @ x)
    W -= np.outer(step, x)
    b -= step
    return int(np.count_nonzero(np.abs(delta) > MAX_DELTA))


def softmax_step(x: Array, label: int, rate: float, W: Array, b: Array, p: Array) -> None:
    """Delta rule of one sample on its true label."""
    p[:] = softmax(W @ x + b)
    error = p.copy()
    error[label] -= 1
    step = np.float32(rate) * error / (1 + x @ x)
    W -= np.outer(step, x)
    b -= step

"""The kernels in plain NumPy: what they mean, and what runs where numba does not.

Same names, arguments and results as `_kernels`, up to rounding. Not fast: one sample per call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from adaptors.activations import BY_CODE
from adaptors.losses import softmax

Array = npt.NDArray[np.float32]
Statistics = npt.NDArray[np.float64]

# In standard deviations. One broken reading must not outweigh everything a layer has learned.
CLIP = np.float32(10.0)
# A spread below this fraction of the mean is rounding, not variation.
RELATIVE_EPS = 1e-6
SMALLEST = 1e-30
MAX_DELTA, MAX_MOVE = np.float32(100.0), np.float32(32.0)


def dense(X: Array, W: Array, b: Array, activation: int, H: Array) -> None:
    """Write the outputs of a layer, row by row, so that a row does not depend on its neighbours."""
    H[:] = BY_CODE[activation].function(_product(W, X) + b)


def answer(
    X: Array, limit: float, frame: Array, W: Array, b: Array, activation: int, V: Array, c: Array
) -> Array:
    """Outputs (1, n_outputs) of one row through one hidden layer; (0, n_outputs) if not within."""
    if not within(X, limit):
        return np.empty((0, len(V)), np.float32)
    A = standardised(X, frame[0], frame[1]) if len(frame) else X
    H, Z = np.empty((1, len(W)), np.float32), np.empty((1, len(V)), np.float32)
    dense(A, W, b, activation, H)
    dense(H, V, c, 4, Z)
    return Z


def gram_norm(X: Array, last: Array) -> float:
    """Frobenius norm of ``X X^T + last last^T``, the Gram matrix of rows with ``last`` appended."""
    return float(np.linalg.norm((X @ X.T + np.outer(last, last)).astype(np.float64)))


def dense_step(
    X: Array, target: Array, activation: int, loss: int, rate: float, W: Array, b: Array, H: Array
) -> int:
    """Forward and local update of one sample X (1, n_inputs); count excessive deltas."""
    dense(X, W, b, activation, H)
    error = H[0] - target
    delta = (np.sign(error) if loss == 1 else error) * BY_CODE[activation].slope(H[0])
    return rank_one_step(X[0], delta, rate, W, b)


def rank_one_step(x: Array, delta: Array, rate: float, W: Array, b: Array) -> int:
    """Update of one sample against ``delta``, its pre-activations'; count excessive ones."""
    with np.errstate(over="ignore", invalid="ignore"):
        power = 1 + x @ x
        limit = MAX_MOVE / np.float32(rate) if rate > 1 else MAX_DELTA
        n_excessive = int(np.count_nonzero(~(np.abs(delta) <= limit)))
        if (n_excessive and rate > 1) or not np.isfinite(power):
            return max(n_excessive, 1)
        step = np.float32(rate) * np.clip(np.nan_to_num(delta), -MAX_DELTA, MAX_DELTA) / power
    W -= np.outer(step, x)
    b -= step
    return n_excessive


def within(x: Array, limit: float) -> bool:
    """Whether all numbers are from -limit to limit; a NaN is not."""
    return bool((np.abs(x) <= limit).all())


def softmax_step(X: Array, label: int, rate: float, W: Array, b: Array) -> int:
    """Delta rule of one sample X (1, n_inputs) on its true label; count excessive deltas."""
    with np.errstate(invalid="ignore"):  # logits beyond float32: refused below
        error = softmax(_product(W, X) + b)[0]
    error[label] -= 1
    return rank_one_step(X[0], error, rate, W, b)


def patches(X: Array, high: int, wide: int, down: int, right: int, A: Array) -> None:
    """Write every patch of X, flattened, to a row of A (n_samples, n_patches, patch size)."""
    views = np.lib.stride_tricks.sliding_window_view(X, (high, wide), axis=(1, 2))
    A[:] = views[:, ::down, ::right].transpose(0, 1, 2, 4, 5, 3).reshape(A.shape)


def elman(X: Array, W: Array, b: Array, activation: int, S: Array) -> None:
    """Run an Elman cell from a zero state over X (n, n_steps, n_features); write states to S."""
    h = np.zeros((len(X), S.shape[2]), np.float32)
    for t in range(X.shape[1]):
        h = BY_CODE[activation].function(_product(W, np.concatenate([X[:, t], h], axis=1)) + b)
        S[:, min(t, S.shape[1] - 1)] = h


def gru(X: Array, W: Array, b: Array, activation: int, S: Array) -> None:
    """Run a GRU over X; rows of W: update gate, reset gate, candidate."""
    u = S.shape[2]
    h = np.zeros((len(X), u), np.float32)
    for t in range(X.shape[1]):
        both = np.concatenate([X[:, t], h], axis=1)
        gates = BY_CODE[2].function(_product(W[: 2 * u], both) + b[: 2 * u])
        both[:, -u:] *= gates[:, u:]
        new = BY_CODE[activation].function(_product(W[2 * u :], both) + b[2 * u :])
        h = h + gates[:, :u] * (new - h)
        S[:, min(t, S.shape[1] - 1)] = h


def _product(W: Array, V: Array) -> Array:
    """Return V W^T, row by row, so that a row does not depend on its neighbours."""
    product: Array = np.matmul(W, V[:, :, None])[..., 0]
    return product


def standardise_step(
    x: Array,
    total: float,
    mean: Statistics,
    squares: Statistics,
    half_mean: Array,
    twice_scale: Array,
    z: Array,
) -> None:
    """Count one row into the statistics of ``total`` rows, and write it standardised to ``z``."""
    shift = x - mean
    mean += shift / total
    squares += shift**2 * ((total - 1) / total)
    half_mean[:], twice_scale[:] = halves(mean, squares, total)
    standardise(x, half_mean, twice_scale, z)


def count_rows(
    X: npt.NDArray[Any],
    weights: Array,
    total: float,
    mean: Statistics,
    squares: Statistics,
    half_mean: Array,
    twice_scale: Array,
) -> float:
    """Count weighted rows into the statistics of ``total`` rows; return the new total."""
    w = weights.astype(np.float64)
    count = float(w.sum())
    shift = w @ X / count
    spread = w @ np.square(X - shift)
    shift -= mean
    after = total + count
    squares += spread + shift**2 * (total * count / after)
    mean += shift * (count / after)
    half_mean[:], twice_scale[:] = halves(mean, squares, after)
    return after


def standardise(X: Array, half_mean: Array, twice_scale: Array, Z: Array) -> None:
    """Write rows standardised, ``(X - mean) * scale`` within `CLIP`, to Z."""
    Z[:] = standardised(X, half_mean, twice_scale)


def similarity_delta(
    h: Array, codes: Array, label: int, activation: int, temperature: float, delta: Array
) -> None:
    """Derivative, by the pre-activations, of the cross-entropy of one output's similarities."""
    error = softmax(codes @ h / np.float32(temperature))
    error[label] -= 1
    delta[:] = error @ codes * BY_CODE[activation].slope(h)


def halves(mean: Statistics, squares: Statistics, total: float) -> tuple[Array, Array]:
    """Half the mean, and twice the scale: 2 / deviation, or 0 where a feature never varied."""
    deviation = np.sqrt(squares / max(total, 1.0))
    varies = deviation > np.maximum(np.abs(mean) * RELATIVE_EPS, SMALLEST)
    scale = np.divide(2.0, deviation, out=np.zeros_like(deviation), where=varies)
    return (mean * 0.5).astype(np.float32), scale.astype(np.float32)


def standardised(X: Array, half_mean: Array, twice_scale: Array) -> Array:
    """Return ``(X - mean) * scale``, within ten deviations; X itself is left alone."""
    # Halves, because the difference of two large float32 would overflow.
    Z = X * np.float32(0.5)
    Z -= half_mean
    with np.errstate(over="ignore"):  # infinity is clipped as well
        Z *= twice_scale
    np.minimum(Z, CLIP, out=Z)  # twice as fast as np.clip for one row
    np.maximum(Z, -CLIP, out=Z)
    return Z


def leaky(X: Array, W: Array, b: Array, activation: int, leak: float, S: Array) -> None:
    """Run an Elman cell whose units renew a share ``leak`` of their state; write states to S."""
    h = np.zeros((len(X), S.shape[2]), np.float32)
    for t in range(X.shape[1]):
        new = BY_CODE[activation].function(_product(W, np.concatenate([X[:, t], h], axis=1)) + b)
        h = h + np.float32(leak) * (new - h)
        S[:, min(t, S.shape[1] - 1)] = h


def trace_step(V: Array, keep: Array, gain: Array, delta: Array, P: Array, G: Array) -> None:
    """Move traces P on, ``P = keep P + gain V``, and add ``delta P`` to G."""
    P *= keep[:, :, None]
    P += gain[:, :, None] * V[:, None, :]
    G += np.einsum("ni,nij->ij", delta, P)

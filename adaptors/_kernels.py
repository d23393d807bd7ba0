"""Every compiled loop, under one compile policy.

Called by code that has checked its arguments. float32, C-contiguous; inputs are declared read-only
(weights may come from a memory map), what is written comes last. Each kernel has a NumPy twin of
the same name in `_twins`; a test fails for one that has none. Kernels share this file because
numba's cache does not see an edit of a function in another file. No Python object enters a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar, cast

import numba as nb
import numpy as np
from numba import types

from adaptors._cache import readable_caches

F = TypeVar("F", bound=Callable[..., Any])

# Everything of fastmath but nnan and ninf: with those two a NaN would not come out as a NaN.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
POLICY = {"error_model": "numpy", "nogil": True, "fastmath": FASTMATH}
# Codes are of order one. Largest derivative a unit may act on, and at a rate above 1 the largest
# move of a pre-activation, rate times derivative (default rates stay below 30): more is divergence.
MAX_DELTA, MAX_MOVE = np.float32(100.0), np.float32(32.0)
# A standardised feature lies within CLIP; one that varies less than this is constant.
CLIP = np.float32(10.0)
RELATIVE_EPS, SMALLEST = 1e-6, 1e-30
# Rows of X that share one pass over the weights.
BLOCK = 16

f4 = types.float32
f4_in = types.Array(f4, 1, "C", readonly=True)
f4_in2 = types.Array(f4, 2, "C", readonly=True)
f4_in3 = types.Array(f4, 3, "C", readonly=True)
f4_in4 = types.Array(f4, 4, "C", readonly=True)
f4_out = types.Array(f4, 1, "C")
f4_out2 = types.Array(f4, 2, "C")
f4_out3 = types.Array(f4, 3, "C")
f8 = types.float64
f8_out = types.Array(f8, 1, "C")


def kernel(signature: Any) -> Callable[[F], F]:
    """Compile for one signature, or load what was; cached on disk where that can be written."""

    def compiled(loop: F) -> F:
        for found_again in (readable_caches, nullcontext):
            try:
                with found_again():
                    return cast(F, nb.njit(signature, cache=True, **POLICY)(loop))
            except (OSError, RuntimeError):  # a stale cache on a read-only disk, or none at all
                continue
        return cast(F, nb.njit(signature, **POLICY)(loop))

    return compiled


def inline(loop: F) -> F:
    """Compile as a part of the kernels that call it."""
    return cast(F, nb.njit(**POLICY)(loop))


@inline
def times(X: Any, W: Any, b: Any, Z: Any) -> None:
    """Write ``Z = X W^T + b``; a row's result does not depend on its neighbours.

    Two samples by four units are summed at a time, so that eight sums share six readings. What is
    left at an edge is filled up with copies, so that every sum is added up in the same order.
    """
    n_rows, n_units = X.shape[0], W.shape[0]
    for start in range(0, n_rows, BLOCK):
        stop = min(start + BLOCK, n_rows)
        for u in range(0, n_units, 4):
            j1, j2, j3 = min(u + 1, n_units - 1), min(u + 2, n_units - 1), min(u + 3, n_units - 1)
            for i in range(start, stop, 2):
                m = min(i + 1, stop - 1)
                a0, a1, a2, a3 = b[u], b[j1], b[j2], b[j3]
                c0, c1, c2, c3 = a0, a1, a2, a3
                for k in range(X.shape[1]):
                    a0 += W[u, k] * X[i, k]
                    a1 += W[j1, k] * X[i, k]
                    a2 += W[j2, k] * X[i, k]
                    a3 += W[j3, k] * X[i, k]
                    c0 += W[u, k] * X[m, k]
                    c1 += W[j1, k] * X[m, k]
                    c2 += W[j2, k] * X[m, k]
                    c3 += W[j3, k] * X[m, k]
                Z[i, u], Z[i, j1], Z[i, j2], Z[i, j3] = a0, a1, a2, a3
                Z[m, u], Z[m, j1], Z[m, j2], Z[m, j3] = c0, c1, c2, c3


@inline
def tanh(z: Any) -> Any:
    """A rational approximation to 5e-7 (that of Eigen), which vectorises; beyond 7.9 it is 1."""
    if abs(z) > f4(7.9):
        z = f4(math.copysign(f4(7.9), z))
    s = z * z
    p = f4(2.00018790482477e-13) + s * f4(-2.76076847742355e-16)
    p = f4(5.12229709037114e-08) + s * (f4(-8.60467152213735e-11) + s * p)
    p = f4(6.37261928875436e-04) + s * (f4(1.48572235717979e-05) + s * p)
    p = z * (f4(4.89352455891786e-03) + s * p)
    q = f4(1.18534705686654e-04) + s * f4(1.19825839466702e-06)
    q = f4(4.89352518554385e-03) + s * (f4(2.26843463243900e-03) + s * q)
    return p / q


@inline
def activated(z: Any, code: int) -> Any:
    """Apply an activation: 0 tanh, 1 hard tanh, 2 sigmoid, 3 ReLU, 4 linear."""
    if code == 0:
        return tanh(z)
    if code == 1:
        return min(max(z, f4(-1.0)), f4(1.0))
    if code == 2:
        return f4(0.5) * (tanh(f4(0.5) * z) + f4(1.0))
    if code == 3:
        return max(z, f4(0.0))
    return z


@inline
def slope(h: Any, code: int) -> Any:
    """Slope of an activation where its output is ``h``."""
    if code == 0:
        return f4(1.0) - h * h
    if code == 1:
        return f4(abs(h) < f4(1.0))
    if code == 2:
        return h * (f4(1.0) - h)
    if code == 3:
        return f4(h > f4(0.0))
    return f4(1.0)


@inline
def softmax(z: Any) -> None:
    """Turn logits into probabilities, in place."""
    top = f4(-np.inf)
    for c in range(z.shape[0]):
        top = max(top, z[c])
    total = f4(0.0)
    for c in range(z.shape[0]):
        z[c] = math.exp(z[c] - top)
        total += z[c]
    for c in range(z.shape[0]):
        z[c] /= total


@inline
def move(x: Any, delta: Any, rate: Any, W: Any, b: Any) -> Any:
    """Take one sample's step against ``delta``, unless it is too far; see `rank_one_step`."""
    power = f4(1.0)
    for k in range(x.shape[0]):
        power += x[k] * x[k]
    limit = MAX_MOVE / rate if rate > f4(1.0) else MAX_DELTA
    n_excessive = 0
    for j in range(W.shape[0]):
        n_excessive += not abs(delta[j]) <= limit
    if (n_excessive > 0 and rate > f4(1.0)) or not power < f4(np.inf):
        return max(n_excessive, 1)
    for j in range(W.shape[0]):
        d = min(max(delta[j], -MAX_DELTA), MAX_DELTA)
        step = rate * d / power
        if step == step:  # not NaN
            for k in range(x.shape[0]):
                W[j, k] -= step * x[k]
            b[j] -= step
    return n_excessive


@inline
def rescale(k: int, total: Any, mean: Any, squares: Any, half_mean: Any, twice_scale: Any) -> None:
    """Set half the mean and twice the scale of one feature; a constant one has scale 0."""
    deviation = math.sqrt(squares[k] / total)
    least = max(abs(mean[k]) * RELATIVE_EPS, SMALLEST)
    twice_scale[k] = f4(f8(2.0) / deviation) if deviation > least else f4(0.0)
    half_mean[k] = f4(mean[k] * f8(0.5))


@inline
def standard(x: Any, half: Any, scale: Any) -> Any:
    """Standardise one number; halves, because a difference of large float32 would overflow."""
    return min(max((x * f4(0.5) - half) * scale, -CLIP), CLIP)


@kernel(types.void(f4_in2, f4_in2, f4_in, types.int64, f4_out2))
def dense(X: Any, W: Any, b: Any, activation: int, H: Any) -> None:
    """Write the outputs ``activation(X W^T + b)`` of a layer, of each row independent of others.

    ``activation``: 0 tanh, 1 hard tanh, 2 sigmoid, 3 ReLU, 4 linear.
    """
    times(X, W, b, H)
    if activation != 4:
        for i in range(H.shape[0]):
            for j in range(H.shape[1]):
                H[i, j] = activated(H[i, j], activation)


@kernel(f4_out2(f4_in2, f4, f4_in2, f4_in2, f4_in, types.int64, f4_in2, f4_in))
def answer(
    X: Any, limit: float, frame: Any, W: Any, b: Any, activation: int, V: Any, c: Any
) -> Any:
    """Outputs (1, n_outputs) of one row X (1, n_inputs) through one hidden layer, in one call.

    Bit for bit those of `standardise`, `dense`, and `dense` again. ``frame`` holds half the mean
    and twice the scale (2, n_inputs), or nothing (0, n_inputs) for a row that is standardised.
    A row with a NaN or a number beyond ``limit`` has no answer: (0, n_outputs) is returned.
    """
    Z = np.empty((1, V.shape[0]), np.float32)
    n_within = 0
    for k in range(X.shape[1]):
        n_within += abs(X[0, k]) <= limit
    if n_within < X.shape[1]:
        return Z[:0]
    H = np.empty((1, W.shape[0]), np.float32)
    if frame.shape[0] > 0:
        A = np.empty(X.shape, np.float32)
        for k in range(X.shape[1]):
            A[0, k] = standard(X[0, k], frame[0, k], frame[1, k])
        times(A, W, b, H)
    else:
        times(X, W, b, H)
    for j in range(H.shape[1]):
        H[0, j] = activated(H[0, j], activation)
    times(H, V, c, Z)
    return Z


@kernel(f8(f4_in2, f4_in))
def gram_norm(X: Any, last: Any) -> float:
    """Frobenius norm of ``X X^T + last last^T``, the Gram matrix of rows with ``last`` appended."""
    n, total = X.shape[0], f8(0.0)
    nothing, G = np.zeros(n, np.float32), np.empty((BLOCK, n), np.float32)
    for start in range(0, n, BLOCK):
        height = min(BLOCK, n - start)
        times(X[start : start + height], X[start:], nothing, G)
        for i in range(height):
            for j in range(n - start):
                g = f8(G[i, j] + last[start + i] * last[start + j])
                square = g * g
                # What lies beside the diagonal block is there a second time, below it.
                total += square if j < height else square + square
    return math.sqrt(total)


@kernel(types.int64(f4_in2, f4_in, types.int64, types.int64, f4, f4_out2, f4_out, f4_out2))
def dense_step(
    X: Any, target: Any, activation: int, loss: int, rate: float, W: Any, b: Any, H: Any
) -> int:
    """Forward and local update of one sample X (1, n_inputs); count excessive deltas.

    ``activation`` as in `dense`. ``loss``: 0 l2, 1 l1.
    ``H`` (1, n_units) receives the output from before the update.
    """
    times(X, W, b, H)
    delta = np.empty(W.shape[0], np.float32)
    for j in range(W.shape[0]):
        H[0, j] = activated(H[0, j], activation)
        error = H[0, j] - target[j]
        delta[j] = (np.sign(error) if loss == 1 else error) * slope(H[0, j], activation)
    return int(move(X[0], delta, rate, W, b))


@kernel(types.int64(f4_in, f4_in, f4, f4_out2, f4_out))
def rank_one_step(x: Any, delta: Any, rate: float, W: Any, b: Any) -> int:
    """Update of one sample against ``delta``, its pre-activations'; count excessive ones.

    The step moves a pre-activation by ``rate * delta``. Where that is more than MAX_MOVE at a rate
    above 1, W and b stay as they are; at lower rates deltas are clipped at MAX_DELTA.
    """
    return int(move(x, delta, rate, W, b))


@kernel(types.boolean(f4_in, f4))
def within(x: Any, limit: float) -> bool:
    """Whether all numbers are from -limit to limit; a NaN is not."""
    n_within = 0
    for k in range(x.shape[0]):
        n_within += abs(x[k]) <= limit
    return bool(n_within == x.shape[0])


@kernel(types.int64(f4_in2, types.int64, f4, f4_out2, f4_out))
def softmax_step(X: Any, label: int, rate: float, W: Any, b: Any) -> int:
    """Delta rule of one sample X (1, n_inputs) on its true label; count excessive deltas."""
    P = np.empty((1, W.shape[0]), np.float32)
    times(X, W, b, P)
    softmax(P[0])
    P[0, label] -= f4(1.0)
    return int(move(X[0], P[0], rate, W, b))


@kernel(types.void(f4_in4, types.int64, types.int64, types.int64, types.int64, f4_out3))
def patches(X: Any, high: int, wide: int, down: int, right: int, A: Any) -> None:
    """Write every patch of X (n, height, width, channels), flattened, to a row of A (n, at, -1).

    Patches are ``high`` by ``wide``, and ``down`` and ``right`` steps apart.
    """
    n_columns = (X.shape[2] - wide) // right + 1
    n_channels = X.shape[3]
    for n in range(X.shape[0]):
        for at in range(A.shape[1]):
            top, left = at // n_columns * down, at % n_columns * right
            k = 0
            for i in range(top, top + high):
                for j in range(left, left + wide):
                    for c in range(n_channels):
                        A[n, at, k + c] = X[n, i, j, c]
                    k += n_channels


@kernel(types.void(f4_in3, f4_in2, f4_in, types.int64, f4_out3))
def elman(X: Any, W: Any, b: Any, activation: int, S: Any) -> None:
    """Run an Elman cell from a zero state over X (n, n_steps, n_features).

    The states go to S (n, n_kept, n_units); later ones overwrite the last place of a short S.
    """
    n_features, n_units, n_kept = X.shape[2], S.shape[2], S.shape[1]
    V = np.zeros((X.shape[0], n_features + n_units), np.float32)
    Z = np.empty((X.shape[0], n_units), np.float32)
    for t in range(X.shape[1]):
        V[:, :n_features] = X[:, t]
        times(V, W, b, Z)
        for n in range(X.shape[0]):
            for j in range(n_units):
                Z[n, j] = activated(Z[n, j], activation)
        V[:, n_features:] = Z
        S[:, min(t, n_kept - 1)] = Z


@kernel(types.void(f4_in3, f4_in2, f4_in, types.int64, f4_out3))
def gru(X: Any, W: Any, b: Any, activation: int, S: Any) -> None:
    """Run a GRU as `elman` runs its cell; rows of W: update gate, reset gate, candidate."""
    n_features, u, n_kept = X.shape[2], S.shape[2], S.shape[1]
    V = np.zeros((X.shape[0], n_features + u), np.float32)
    H = np.zeros((X.shape[0], u), np.float32)
    gates, Z = np.empty((X.shape[0], 2 * u), np.float32), np.empty((X.shape[0], u), np.float32)
    for t in range(X.shape[1]):
        V[:, :n_features] = X[:, t]
        V[:, n_features:] = H
        times(V, W[: 2 * u], b[: 2 * u], gates)
        for n in range(X.shape[0]):
            for j in range(2 * u):
                gates[n, j] = activated(gates[n, j], 2)
            for j in range(u):
                V[n, n_features + j] *= gates[n, u + j]
        times(V, W[2 * u :], b[2 * u :], Z)
        for n in range(X.shape[0]):
            for j in range(u):
                H[n, j] += gates[n, j] * (activated(Z[n, j], activation) - H[n, j])
        S[:, min(t, n_kept - 1)] = H


@kernel(types.void(f4_in, f8, f8_out, f8_out, f4_out, f4_out, f4_out))
def standardise_step(
    x: Any, total: float, mean: Any, squares: Any, half_mean: Any, twice_scale: Any, z: Any
) -> None:
    """Count one row into the statistics of ``total`` rows, and write it standardised to ``z``."""
    for k in range(x.shape[0]):
        shift = x[k] - mean[k]
        mean[k] += shift / total
        squares[k] += shift * shift * ((total - f8(1.0)) / total)
        rescale(k, total, mean, squares, half_mean, twice_scale)
        z[k] = standard(x[k], half_mean[k], twice_scale[k])


@kernel(f8(f4_in2, f4_in, f8, f8_out, f8_out, f4_out, f4_out))
def count_rows(
    X: Any, weights: Any, total: float, mean: Any, squares: Any, half_mean: Any, twice_scale: Any
) -> float:
    """Count weighted rows into the statistics of ``total`` rows; return the new total."""
    shift, spread, count = np.zeros(X.shape[1]), np.zeros(X.shape[1]), f8(0.0)
    for i in range(X.shape[0]):
        count += weights[i]
        for k in range(X.shape[1]):
            shift[k] += f8(weights[i]) * f8(X[i, k])
    for k in range(X.shape[1]):
        shift[k] /= count
    for i in range(X.shape[0]):
        for k in range(X.shape[1]):
            error = f8(X[i, k]) - shift[k]
            spread[k] += f8(weights[i]) * error * error
    after = total + count
    for k in range(X.shape[1]):
        shift[k] -= mean[k]
        squares[k] += spread[k] + shift[k] * shift[k] * (total * count / after)
        mean[k] += shift[k] * (count / after)
        rescale(k, after, mean, squares, half_mean, twice_scale)
    return float(after)


@kernel(types.void(f4_in2, f4_in, f4_in, f4_out2))
def standardise(X: Any, half_mean: Any, twice_scale: Any, Z: Any) -> None:
    """Write rows standardised, ``(X - mean) * scale`` within `CLIP`, to Z."""
    for i in range(X.shape[0]):
        for k in range(X.shape[1]):
            Z[i, k] = standard(X[i, k], half_mean[k], twice_scale[k])


@kernel(types.void(f4_in, f4_in2, types.int64, types.int64, f4, f4_out))
def similarity_delta(
    h: Any, codes: Any, label: int, activation: int, temperature: float, delta: Any
) -> None:
    """Derivative, by the pre-activations, of the cross-entropy of one output's similarities.

    ``activation`` as in `dense`; ``temperature`` as in `losses.CrossEntropy`.
    """
    n_units = h.shape[0]
    p = np.empty(codes.shape[0], np.float32)
    for c in range(codes.shape[0]):
        z = f4(0.0)
        for j in range(n_units):
            z += codes[c, j] * h[j]
        p[c] = z / temperature
    softmax(p)
    p[label] -= f4(1.0)
    delta[:] = f4(0.0)
    for c in range(codes.shape[0]):
        for j in range(n_units):
            delta[j] += p[c] * codes[c, j]
    for j in range(n_units):
        delta[j] *= slope(h[j], activation)


@kernel(types.void(f4_in3, f4_in2, f4_in, types.int64, f4, f4_out3))
def leaky(X: Any, W: Any, b: Any, activation: int, leak: float, S: Any) -> None:
    """Run an Elman cell as `elman` does, its units renewing a share ``leak`` of their state."""
    n_features, n_units, n_kept = X.shape[2], S.shape[2], S.shape[1]
    V = np.zeros((X.shape[0], n_features + n_units), np.float32)
    Z = np.empty((X.shape[0], n_units), np.float32)
    for t in range(X.shape[1]):
        V[:, :n_features] = X[:, t]
        times(V, W, b, Z)
        for n in range(X.shape[0]):
            for j in range(n_units):
                h = V[n, n_features + j]
                V[n, n_features + j] = h + leak * (activated(Z[n, j], activation) - h)
        S[:, min(t, n_kept - 1)] = V[:, n_features:]


@kernel(types.void(f4_in2, f4_in2, f4_in2, f4_in2, f4_out3, f4_out2))
def trace_step(V: Any, keep: Any, gain: Any, delta: Any, P: Any, G: Any) -> None:
    """Move the traces P (n, n_rows, width) of inputs V (n, width) on by one step of time.

    ``P = keep P + gain V``, and ``delta P`` is added to G; keep, gain, delta are (n, n_rows).
    """
    for i in range(G.shape[0]):
        for n in range(V.shape[0]):
            kept, entering, error = keep[n, i], gain[n, i], delta[n, i]
            for j in range(V.shape[1]):
                p = kept * P[n, i, j] + entering * V[n, j]
                P[n, i, j] = p
                G[i, j] += error * p


KERNELS = (
    dense,
    answer,
    gram_norm,
    dense_step,
    rank_one_step,
    within,
    softmax_step,
    patches,
    elman,
    gru,
    standardise_step,
    count_rows,
    standardise,
    similarity_delta,
    leaky,
    trace_step,
)

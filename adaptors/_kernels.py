"""Every compiled loop, under one compile policy.

Called by code that has checked its arguments. float32, C-contiguous; inputs are declared read-only
(weights may come from a memory map), what is written comes last. Each kernel has a NumPy twin of
the same name in `_twins`; a test fails for one that has none. Kernels share this file because
numba's cache does not see an edit of a function in another file. No Python object enters a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import numba as nb
import numpy as np
from numba import types

F = TypeVar("F", bound=Callable[..., Any])

# Everything of fastmath but nnan and ninf: with those two a NaN would not come out as a NaN.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
# Largest derivative a unit may act on. Codes are of order one, so that more means divergence.
MAX_DELTA = np.float32(100.0)
# A standardised feature lies within CLIP; one that varies less than this is constant.
CLIP = np.float32(10.0)
RELATIVE_EPS, SMALLEST = 1e-6, 1e-30
# Rows of X that share one pass over the weights.
BLOCK = 8

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
    """Compile for one signature, cached on disk where a cache location can be written."""

    def compiled(loop: F) -> F:
        options = {"error_model": "numpy", "nogil": True, "fastmath": FASTMATH}
        try:
            return cast(F, nb.njit(signature, cache=True, **options)(loop))
        except (OSError, RuntimeError):  # numba's "cannot cache function", or a read-only disk
            return cast(F, nb.njit(signature, **options)(loop))

    return compiled


def _times(X: Any, W: Any, b: Any, Z: Any) -> None:
    """Write ``Z = X W^T + b``: four units share one reading of x, eight samples one of W."""
    n_units, n_inputs = W.shape
    in_fours = n_units - n_units % 4
    for start in range(0, X.shape[0], BLOCK):
        stop = min(start + BLOCK, X.shape[0])
        for j in range(0, in_fours, 4):
            for i in range(start, stop):
                z0, z1, z2, z3 = b[j], b[j + 1], b[j + 2], b[j + 3]
                for k in range(n_inputs):
                    z0 += W[j, k] * X[i, k]
                    z1 += W[j + 1, k] * X[i, k]
                    z2 += W[j + 2, k] * X[i, k]
                    z3 += W[j + 3, k] * X[i, k]
                Z[i, j], Z[i, j + 1], Z[i, j + 2], Z[i, j + 3] = z0, z1, z2, z3
        for j in range(in_fours, n_units):
            for i in range(start, stop):
                z = b[j]
                for k in range(n_inputs):
                    z += W[j, k] * X[i, k]
                Z[i, j] = z


def _tanh(z: Any) -> Any:
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


def _activated(z: Any, code: int) -> Any:
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


inline = partial(nb.njit, error_model="numpy", nogil=True, fastmath=FASTMATH)
times = inline(_times)
tanh = inline(_tanh)
activated = inline(_activated)


@kernel(types.void(f4_in2, f4_in2, f4_in, f4_out2))
def affine(X: Any, W: Any, b: Any, Z: Any) -> None:
    """Write ``Z = X W^T + b``; unlike BLAS, a row's result does not depend on its neighbours."""
    times(X, W, b, Z)


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
        y = activated(z, activation)
        if activation == 0:
            slope = f4(1.0) - y * y
        elif activation == 1:
            slope = f4(abs(z) < f4(1.0))
        elif activation == 2:
            slope = y * (f4(1.0) - y)
        elif activation == 3:
            slope = f4(z > f4(0.0))
        else:
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


@kernel(types.int64(f4_in, f4_in, f4, f4_out2, f4_out))
def rank_one_step(x: Any, delta: Any, rate: float, W: Any, b: Any) -> int:
    """Update of one sample against ``delta``, its pre-activations'; count excessive ones."""
    power = f4(1.0)
    for k in range(x.shape[0]):
        power += x[k] * x[k]
    n_excessive = 0
    for j in range(W.shape[0]):
        d = delta[j]
        if abs(d) > MAX_DELTA:
            n_excessive += 1
            d = math.copysign(MAX_DELTA, d)
        step = rate * d / power
        for k in range(x.shape[0]):
            W[j, k] -= step * x[k]
        b[j] -= step
    return n_excessive


@kernel(types.boolean(f4_in, f4))
def within(x: Any, limit: float) -> bool:
    """Whether all numbers are from -limit to limit; a NaN is not."""
    n_within = 0
    for k in range(x.shape[0]):
        n_within += abs(x[k]) <= limit
    return bool(n_within == x.shape[0])


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
        deviation = math.sqrt(squares[k] / total)
        least = max(abs(mean[k]) * RELATIVE_EPS, SMALLEST)
        scale = f4(f8(2.0) / deviation) if deviation > least else f4(0.0)
        half = f4(mean[k] * f8(0.5))
        twice_scale[k] = scale
        half_mean[k] = half
        z[k] = min(max((x[k] * f4(0.5) - half) * scale, -CLIP), CLIP)


@kernel(types.void(f4_in, f4_in2, types.int64, types.int64, f4_out))
def similarity_delta(h: Any, codes: Any, label: int, activation: int, delta: Any) -> None:
    """Derivative, by the pre-activations, of the cross-entropy of one output's similarities.

    ``activation`` as in `dense_step`; the scale as in `losses.CrossEntropy`.
    """
    n_units = h.shape[0]
    temperature = f4(math.sqrt(n_units))
    p = np.empty(codes.shape[0], np.float32)
    top = f4(-np.inf)
    for c in range(codes.shape[0]):
        z = f4(0.0)
        for j in range(n_units):
            z += codes[c, j] * h[j]
        p[c] = z / temperature
        top = max(top, p[c])
    total = f4(0.0)
    for c in range(codes.shape[0]):
        p[c] = math.exp(p[c] - top)
        total += p[c]
    delta[:] = f4(0.0)
    for c in range(codes.shape[0]):
        error = p[c] / total - f4(c == label)
        for j in range(n_units):
            delta[j] += error * codes[c, j]
    for j in range(n_units):
        if activation == 0:
            delta[j] *= f4(1.0) - h[j] * h[j]
        elif activation == 1:
            delta[j] *= f4(abs(h[j]) < f4(1.0))
        elif activation == 2:
            delta[j] *= h[j] * (f4(1.0) - h[j])
        elif activation == 3:
            delta[j] *= f4(h[j] > f4(0.0))


KERNELS = (
    affine,
    dense_step,
    rank_one_step,
    within,
    softmax_step,
    patches,
    elman,
    gru,
    standardise_step,
    similarity_delta,
)

"""What each expert counts for: weights of least loss on labels that none of them has learned.

Scores of experts are added, each with a weight of zero or more, and a softmax of the sum is the
answer. The weights are also temperatures. The loss is convex in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

TEMPERATURES = np.geomspace(0.02, 40.0, 18)
STEPS = 60
# A little of this draws weights to zero: where labels are few, certainty is not free.
PENALTY = 1e-3


def log_softmax(scores: Scores) -> Scores:
    """Log-probabilities along the last axis."""
    scores = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True)))


def loss_of(log_probabilities: Scores, y: Indices) -> float:
    """Mean negative log-probability of the truth, each bounded: one slip does not decide."""
    found = log_probabilities[np.arange(len(y)), y]
    return float(-np.maximum(found, -12.0).mean())


def best_temperature(scores: Scores, y: Indices) -> tuple[float, float]:
    """Least loss of scores (n, n_classes) over their scale, and that scale."""
    return min((loss_of(log_softmax(scores * t), y), float(t)) for t in TEMPERATURES)


def fit_weights(experts: Sequence[Scores], y: Indices) -> npt.NDArray[np.float64]:
    """Weights of the experts' scores, each (n, n_classes), zero or more.

    Examples
    --------
    >>> good = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [1.0, 0.0]])
    >>> weights = fit_weights([good, -good], np.array([0, 1, 0, 1]))
    >>> bool(weights[0] > 0), float(weights[1])
    (True, 0.0)
    """
    starts = [best_temperature(scores, y)[1] for scores in experts]
    S = np.stack([scores * t for scores, t in zip(experts, starts, strict=True)])
    n, rows = len(y), np.arange(len(y))
    weights = np.full(len(S), 1.0 / len(S))
    for _ in range(STEPS):
        P = np.exp(log_softmax(np.tensordot(weights, S, 1)))
        mean = np.einsum("nk,enk->en", P, S)
        gradient = (mean - S[:, rows, y]).mean(axis=1) + PENALTY * weights
        centred = S - mean[:, :, None]
        curve = np.einsum("nk,enk,fnk->ef", P, centred, centred) / n
        curve += (PENALTY + 1e-9 * np.trace(curve)) * np.eye(len(S))
        free = (weights > 0) | (gradient < 0)
        if not free.any():
            break
        step = np.zeros(len(S))
        step[free] = np.linalg.solve(curve[np.ix_(free, free)], gradient[free])
        size = min(1.0, 0.5 / max(float(np.abs(step).max()), 1e-12))
        new = np.maximum(weights - size * step, 0.0)
        if np.abs(new - weights).max() < 1e-5:
            weights = new
            break
        weights = new
    return np.asarray(weights * np.array(starts))

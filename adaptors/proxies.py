"""Zero-shot scores: how good an untrained adaptor promises to be, from a few samples.

Pure functions of the outputs of forward passes, (n_samples, width) each, and of labels where they
say so. In every one higher is meant to be better; none was tuned on accuracy, and what each is
worth is measured in `benchmarks/search.py`. No weights are drawn and nothing is chosen here.

EAR chooses adaptors by a spectral analysis of its own (arXiv 2308.02084), whose formula is not
known to us; `effective_rank` and `alignment` are spectral too, and are not claimed to be it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[Any]
Targets = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# Ridges tried, as multiples of the mean eigenvalue of the Gram matrix.
RIDGES: Final = tuple(10.0**k for k in range(-4, 3))
# Keeps the determinant of a Gram matrix of codes finite where two samples share a code.
JITTER: Final = 1e-3


def spectrum(F: Matrix) -> npt.NDArray[np.float64]:
    """Return the eigenvalues of the covariance of F as shares of their sum, largest first.

    Taken from whichever is smaller, covariance or Gram matrix; all zeros if F does not vary.
    """
    Z = _centred(F)
    small = Z @ Z.T if Z.shape[0] <= Z.shape[1] else Z.T @ Z
    values = np.clip(np.linalg.eigvalsh(small)[::-1], 0.0, None)
    shares: Targets = values / max(values.sum(), np.finfo(np.float64).tiny)
    return shares


def spectral_entropy(F: Matrix) -> float:
    """Entropy of the eigenvalue spectrum, in nats: 0 on one axis, log(width) if isotropic."""
    shares = spectrum(F)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def effective_rank(F: Matrix) -> float:
    """Number of directions that the features really use: exp of the spectral entropy.

    Roy and Vetterli, "The effective rank" (EUSIPCO 2007).

    >>> round(effective_rank(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])), 6)
    2.0
    """
    return float(np.exp(spectral_entropy(F)))


def expressivity(outputs: Sequence[Matrix]) -> float:
    """Sum of the spectral entropies of all outputs (AZ-NAS, CVPR 2024)."""
    return float(sum(spectral_entropy(F) for F in outputs))


def progressivity(outputs: Sequence[Matrix]) -> float:
    """Smallest growth of the spectral entropy from one output to the next (AZ-NAS, CVPR 2024).

    0 for a single output: nothing grows and nothing is lost.
    """
    entropies = [spectral_entropy(F) for F in outputs]
    return float(np.diff(entropies).min()) if len(entropies) > 1 else 0.0


def naswot(F: Matrix) -> float:
    """Log-determinant of the agreement of binary codes: how well signs tell samples apart.

    NASWOT (Mellor et al., ICML 2021) reads which ReLUs are on. Here the code is the sign of each
    feature about its mean, which serves tanh and linear outputs as well: a substitution.
    """
    codes = np.where(_centred(F) > 0, 1.0, -1.0)
    agreement = (codes @ codes.T + codes.shape[1]) / 2  # = c c^T + (1-c)(1-c)^T for bits c
    return float(np.linalg.slogdet(agreement + JITTER * np.eye(len(agreement)))[1])


def alignment(F: Matrix, y: Labels) -> float:
    """Centred kernel-target alignment, 0 to 1: how far similar features mean the same label.

    Linear kernel; Cortes, Mohri and Rostamizadeh (JMLR 2012). Uses labels.
    """
    Z, T = _centred(F), _centred(one_hot(y))
    kernel, target = Z @ Z.T, T @ T.T
    norm = np.linalg.norm(kernel) * np.linalg.norm(target)
    return float((kernel * target).sum() / norm) if norm > 0 else 0.0


def nearest_mean_accuracy(F: Matrix, y: Labels) -> float:
    """Leave-one-out accuracy of the nearest class mean. Uses labels; no weights are trained."""
    Y = one_hot(y)
    counts = Y.sum(axis=0)
    Z = _centred(F)
    means = (Y.T @ Z) / counts[:, None]
    distances = np.square(means).sum(axis=1) - 2 * Z @ means.T
    for k in range(len(counts)):  # a sample's own class, without the sample
        own = np.flatnonzero(y == k)
        n = max(counts[k] - 1, 1)
        others = (counts[k] * means[k] - Z[own]) / n
        distances[own, k] = np.square(others).sum(axis=1) - 2 * (Z[own] * others).sum(axis=1)
    return float((distances.argmin(axis=1) == y).mean())


def ridge_fit(F: Matrix, y: Labels) -> float:
    """Share of the labels' variance that ridge regression explains, leave-one-out. Uses labels.

    A closed-form fit of the softmax's place only, the features stay untrained. Continuous, where an
    accuracy has ties on a few samples.
    """
    Y = one_hot(y)
    error = float(np.square(Y - leave_one_out(F, Y)).sum())
    return 1.0 - error / float(np.square(Y - Y.mean(axis=0)).sum())


def leave_one_out(F: Matrix, T: Matrix) -> Targets:
    """Return what ridge regression of targets T (n, k) on F predicts for each row without it.

    The ridge is the one of `RIDGES` with the smallest error. One eigendecomposition of the Gram
    matrix serves all of them (Allen's PRESS).
    """
    Z = _centred(F)
    values, vectors = np.linalg.eigh(Z @ Z.T)
    values = np.clip(values, 0.0, None)
    centre = T.mean(axis=0)
    projected = vectors.T @ (T - centre)
    # Its product with a ridge is no subnormal number: some libraries make all of those zero.
    scale = max(float(values.mean()), 1e-200)
    best, least = np.zeros(T.shape), np.inf
    for ridge in RIDGES:
        shrink = values / (values + ridge * scale)
        fitted = vectors @ (shrink[:, None] * projected)
        leverage = np.minimum(np.square(vectors) @ shrink + 1.0 / len(T), 1.0 - 1e-6)
        residual = (T - centre - fitted) / (1.0 - leverage)[:, None]
        error = float(np.square(residual).sum())
        if error < least:
            best, least = T - residual, error
    return best


def one_hot(y: Labels) -> Targets:
    """Return (n_samples, n_classes) of zeros and ones."""
    rows: Targets = np.eye(int(y.max()) + 1)[y]
    return rows


def _centred(F: Matrix) -> npt.NDArray[np.float64]:
    Z = np.asarray(F, dtype=np.float64)
    centred: Targets = Z - Z.mean(axis=0)
    return centred

"""Published detectors of out-of-distribution samples, on the same features, in NumPy.

All of them: ``fit(X, y)`` with labels 0 to n_classes - 1, ``score_samples(X)`` higher for more
normal, as in scikit-learn. Features are standardised first, which helps each of them where taps
of different scales lie side by side. `hdc.HDFFDetector` is the eighth. Peers of the benchmarks
only: they validate nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.covariance import oas
from sklearn.linear_model import LogisticRegression

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

N_NEIGHBOURS = 10
ROWS_AT_ONCE = 256


class Detector(Protocol):
    """What tells samples out of distribution."""

    def fit(self, X: Matrix, y: Labels) -> Any: ...

    def score_samples(self, X: Matrix) -> Scores: ...


class _Standardised:
    """Mean and deviation of every feature, learned once."""

    def _standardise(self, X: Matrix) -> Matrix:
        self._mean, self._deviation = X.mean(axis=0), np.maximum(X.std(axis=0), 1e-6)
        return self._standardised(X)

    def _standardised(self, X: Matrix) -> Matrix:
        return np.asarray((X - self._mean) / self._deviation, np.float32)


class MaxSoftmax(_Standardised):
    """MSP: the largest probability (D. Hendrycks, K. Gimpel, ICLR 2017) of logistic regression.

    A ``model`` that another detector has fitted to the same samples saves fitting it again.
    """

    def __init__(self, model: Any = None) -> None:
        self.model = model

    def fit(self, X: Matrix, y: Labels) -> MaxSoftmax:
        Z = self._standardise(X)
        if self.model is None:
            self.model = LogisticRegression(C=1e-2, max_iter=300).fit(Z, y)
        return self

    def score_samples(self, X: Matrix) -> Scores:
        logits = self.model.decision_function(self._standardised(X))
        return np.asarray(logits.max(axis=1) - _log_sum_exp(logits))


class Energy(MaxSoftmax):
    """The log of the sum of exponentials of the logits (W. Liu et al., NeurIPS 2020)."""

    def score_samples(self, X: Matrix) -> Scores:
        return _log_sum_exp(self.model.decision_function(self._standardised(X)))


class ViM(Energy):
    """Energy less the scaled norm outside the principal subspace (H. Wang et al., CVPR 2022)."""

    def fit(self, X: Matrix, y: Labels) -> ViM:
        super().fit(X, y)
        Z = self._standardised(X)
        n_principal = 512 if Z.shape[1] >= 768 else Z.shape[1] // 2
        self.origin = -np.linalg.pinv(self.model.coef_) @ self.model.intercept_
        from_origin = Z - self.origin
        _, vectors = np.linalg.eigh(from_origin.T @ from_origin)
        self.null_space = vectors[:, :-n_principal]
        logits = self.model.decision_function(Z)
        self.alpha = logits.max(axis=1).mean() / self._residual(Z).mean()
        return self

    def score_samples(self, X: Matrix) -> Scores:
        residual = self._residual(self._standardised(X))
        return np.asarray(super().score_samples(X) - self.alpha * residual)

    def _residual(self, Z: Matrix) -> Scores:
        return np.asarray(np.linalg.norm((Z - self.origin) @ self.null_space, axis=1))


class Mahalanobis(_Standardised):
    """Distance to the nearest class mean under one covariance (K. Lee et al., NeurIPS 2018).

    The covariance is shrunk by OAS: the sample covariance of fewer samples than features has no
    inverse.
    """

    def fit(self, X: Matrix, y: Labels) -> Mahalanobis:
        Z = self._standardise(X).astype(np.float64)
        self.means = np.stack([Z[y == c].mean(axis=0) for c in range(int(y.max()) + 1)])
        self.covariance, _ = oas(Z - self.means[y], assume_centered=True)
        self.root = np.linalg.inv(np.linalg.cholesky(self.covariance))
        return self

    def score_samples(self, X: Matrix) -> Scores:
        return -_squares(self._standardised(X) @ self.root.T, self.means @ self.root.T).min(axis=1)


class RelativeMahalanobis(Mahalanobis):
    """Mahalanobis distance less that to the one mean of all (J. Ren et al., 2021)."""

    def fit(self, X: Matrix, y: Labels) -> RelativeMahalanobis:
        super().fit(X, y)
        Z = self._standardised(X).astype(np.float64)
        self.centre = Z.mean(axis=0, keepdims=True)
        # What is added to the covariance within classes is added here: two different shrinkages
        # would not cancel in the directions that classes share.
        between = self.means[y] - self.centre
        whole = self.covariance + between.T @ between / len(Z)
        self.whole = np.linalg.inv(np.linalg.cholesky(whole))
        return self

    def score_samples(self, X: Matrix) -> Scores:
        Z = self._standardised(X)
        background = _squares(Z @ self.whole.T, self.centre @ self.whole.T)[:, 0]
        return np.asarray(super().score_samples(X) + background)


class NearestNeighbours(_Standardised):
    """Distance to the k-th nearest sample, all of unit length (Y. Sun et al., ICML 2022)."""

    def fit(self, X: Matrix, y: Labels) -> NearestNeighbours:
        self.known = _unit(self._standardise(X))
        return self

    def score_samples(self, X: Matrix) -> Scores:
        queries = _unit(self._standardised(X))
        nearness = [
            np.partition(part @ self.known.T, -N_NEIGHBOURS, axis=1)[:, -N_NEIGHBOURS]
            for part in np.array_split(queries, -(-len(queries) // ROWS_AT_ONCE))
        ]
        return np.concatenate(nearness).astype(np.float64)


class CosineNearestMean(_Standardised):
    """Cosine to the nearest class mean: what a hypervector prototype is without whitening."""

    def fit(self, X: Matrix, y: Labels) -> CosineNearestMean:
        Z = self._standardise(X)
        self.means = _unit(np.stack([Z[y == c].mean(axis=0) for c in range(int(y.max()) + 1)]))
        return self

    def score_samples(self, X: Matrix) -> Scores:
        cosines = _unit(self._standardised(X)) @ self.means.T
        return cosines.max(axis=1).astype(np.float64)


def _squares(Z: npt.NDArray[Any], means: npt.NDArray[Any]) -> Scores:
    """Squared distances (n, n_means)."""
    norms = np.square(Z).sum(axis=1)[:, None] + np.square(means).sum(axis=1)
    return np.asarray(norms - 2 * Z @ means.T)


def _unit(rows: Matrix) -> Matrix:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _log_sum_exp(logits: npt.NDArray[Any]) -> Scores:
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))

"""The strong simple heads on frozen features: nearest class mean, SLDA, RanPAC.

Each learns in one pass by `partial_fit(X, y)` on batches and states its size in `n_bytes`. Labels
are class indices 0..n_classes-1. Peers of the benchmarks only, so they validate nothing.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class NearestMean:
    """Cosine to the class means: the baseline every prototype head must beat."""

    def __init__(self, n_features: int, n_classes: int) -> None:
        self.sums = np.zeros((n_classes, n_features))

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Learn one batch."""
        np.add.at(self.sums, y, X)

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        means = self.sums / np.maximum(np.linalg.norm(self.sums, axis=1, keepdims=True), 1e-12)
        return np.asarray(np.argmax(X @ means.T, axis=1))

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned, and of the projection where there is one."""
        return self.sums.size * 4


class StreamingLDA:
    """Deep SLDA (Hayes and Kanan): class means, one shared covariance, shrinkage 1e-4."""

    def __init__(self, n_features: int, n_classes: int, shrinkage: float = 1e-4) -> None:
        self.shrinkage = shrinkage
        self.means = np.zeros((n_classes, n_features))
        self.counts = np.zeros(n_classes)
        self.scatter = np.zeros((n_features, n_features))
        self._solved: tuple[Matrix, Matrix] | None = None

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Learn one batch."""
        self._solved = None
        for k in np.unique(y):
            rows = X[y == k].astype(np.float64)
            n_old, n_new = self.counts[k], len(rows)
            mean = rows.mean(axis=0)
            gap = mean - self.means[k]
            centred = rows - mean
            self.scatter += centred.T @ centred
            self.scatter += np.outer(gap, gap) * (n_old * n_new / (n_old + n_new))
            self.means[k] += gap * (n_new / (n_old + n_new))
            self.counts[k] += n_new

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        weights, bias = self._solved = self._solved or self._solve()
        return np.asarray(np.argmax(X @ weights + bias, axis=1))

    def _solve(self) -> tuple[Matrix, Matrix]:
        n_features = self.means.shape[1]
        covariance = self.scatter / self.counts.sum()
        covariance = (1 - self.shrinkage) * covariance + self.shrinkage * np.eye(n_features)
        weights = np.linalg.solve(covariance, self.means.T)
        bias = -0.5 * np.sum(self.means.T * weights, axis=0)
        bias[self.counts == 0] = -np.inf
        return weights, bias

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned, and of the projection where there is one."""
        return 4 * (self.means.size + self.scatter.size + self.counts.size)


class RanPAC:
    """Random ReLU features and a ridge on their Gram matrix (McDonnell et al., NeurIPS 2023).

    The ridge is chosen, as in their code, on a held-back fifth of the data by the squared error,
    here of every batch seen so far and not of the last alone. Once chosen, the held-back samples
    are learned too. They count in no `n_bytes`: this favours the peer.
    """

    RIDGES = tuple(10.0**power for power in range(-2, 10))

    def __init__(self, n_features: int, n_classes: int, n_random: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.projection = self._rng.normal(size=(n_features, n_random)).astype(np.float32)
        self.n_classes = n_classes
        self.gram = np.zeros((n_random, n_random), np.float32)
        self.moments = np.zeros((n_random, n_classes), np.float32)
        self._choice = len(self.RIDGES) // 2
        self._held = np.zeros((0, n_features), np.float32), np.zeros(0, np.int64)
        self._weights: Matrix | None = None

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Learn one batch."""
        held = self._rng.permutation(len(X)) < len(X) // 5
        features, targets = self._features(X[~held]), self._targets(y[~held])
        self.gram += features.T @ features
        self.moments += features.T @ targets
        X_held, y_held = self._held
        self._held = np.concatenate([X_held, X[held]]), np.concatenate([y_held, y[held]])
        self._weights = None

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        if self._weights is None:
            self._weights = self._fit_weights()
        return np.asarray(np.argmax(self._features(X) @ self._weights, axis=1))

    def _fit_weights(self) -> Matrix:
        features, targets = self._features(self._held[0]), self._targets(self._held[1])

        @functools.cache
        def error(i: int) -> float:
            if not 0 <= i < len(self.RIDGES):
                return math.inf
            weights = self._solve(self.gram, self.moments, self.RIDGES[i])
            return float(np.mean((targets - features @ weights) ** 2))

        # The error falls and then rises with the ridge: walk downhill from the last choice.
        for step in (-1, 1):
            while error(self._choice + step) < error(self._choice):
                self._choice += step
        gram = self.gram + features.T @ features
        moments = self.moments + features.T @ targets
        return self._solve(gram, moments, self.RIDGES[self._choice])

    def _features(self, X: Matrix) -> Matrix:
        return np.asarray(np.maximum(X @ self.projection, 0), dtype=np.float32)

    def _targets(self, y: Labels) -> Matrix:
        return np.eye(self.n_classes, dtype=np.float32)[y]

    @staticmethod
    def _solve(gram: Matrix, moments: Matrix, ridge: float) -> Matrix:
        regular = gram.copy()
        regular[np.diag_indices_from(regular)] += np.float32(ridge)
        return np.asarray(np.linalg.solve(regular, moments))

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned, and of the projection where there is one."""
        return 4 * (self.gram.size + self.moments.size + self.projection.size)

"""Peers that keep rows, or a covariance of each class: kNN and FeCAM.

Each learns in one pass by `partial_fit(X, y)` on batches and states its size in `n_bytes`. Labels
are class indices 0..n_classes-1. Peers of the benchmarks only, so they validate nothing.
"""

from __future__ import annotations

import numpy as np

from benchmarks.peers.streaming import Labels, Matrix

ROWS_AT_ONCE = 512
TINY = 1e-12


class NearestNeighbours:
    """kNN: every row is kept; the k nearest ones vote, each by the inverse of its distance."""

    def __init__(self, n_features: int, n_classes: int, k: int = 5) -> None:
        self.k, self.n_classes = k, n_classes
        self.X: Matrix = np.zeros((0, n_features), np.float32)
        self.y: Labels = np.zeros(0, np.int64)

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Keep one batch."""
        self.X = np.concatenate([self.X, np.asarray(X, np.float32)])
        self.y = np.concatenate([self.y, y])

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        squares = np.einsum("ij,ij->i", self.X, self.X)
        k = min(self.k, len(self.X))
        found = []
        for start in range(0, len(X), ROWS_AT_ONCE):
            rows = X[start : start + ROWS_AT_ONCE]
            D = squares - 2 * (rows @ self.X.T) + np.einsum("ij,ij->i", rows, rows)[:, None]
            nearest = np.argpartition(D, k - 1, axis=1)[:, :k]
            distances = np.sqrt(np.maximum(np.take_along_axis(D, nearest, axis=1), TINY))
            votes = np.zeros((len(rows), self.n_classes))
            np.add.at(votes, (np.arange(len(rows))[:, None], self.y[nearest]), 1 / distances)
            found.append(votes.argmax(axis=1))
        return np.concatenate(found)

    @property
    def n_bytes(self) -> int:
        """Bytes of the rows, and of a label of one byte each."""
        return int(self.X.nbytes + len(self.y))


class FeCAM:
    """A Gaussian of each class (Goswami et al., NeurIPS 2023, and its code).

    Features that are nowhere negative are taken to the power of 0.5 (Tukey). A covariance is shrunk
    by `gamma` times its mean variance on the diagonal and its mean covariance off it, and divided
    by its standard deviations; rows and means have unit length in the distance of Mahalanobis.
    Means and covariances are those of everything seen: a class that comes in another domain too
    has one Gaussian for both.
    """

    def __init__(self, n_features: int, n_classes: int, gamma: float = 1.0) -> None:
        self.gamma = gamma
        self.counts = np.zeros(n_classes)
        self.sums = np.zeros((n_classes, n_features))
        self.products = np.zeros((n_classes, n_features, n_features), np.float32)
        self._is_positive: bool | None = None
        self._solved: dict[int, tuple[Matrix, Matrix]] | None = None

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Learn one batch."""
        if self._is_positive is None:  # settled by the first batch
            self._is_positive = bool((X >= 0).all())
        Z, self._solved = self._powered(X), None
        for k in np.unique(y).tolist():
            rows = Z[y == k]
            self.counts[k] += len(rows)
            self.sums[k] += rows.sum(axis=0)
            self.products[k] += rows.T @ rows

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        if self._solved is None:
            self._solved = {k: self._solve(k) for k in np.flatnonzero(self.counts).tolist()}
        Z = _unit(self._powered(X))
        D = np.full((len(Z), len(self.counts)), np.inf)
        for k, (mean, precision) in self._solved.items():
            gap = Z - mean
            D[:, k] = np.einsum("ij,ij->i", gap @ precision, gap)
        return np.asarray(D.argmin(axis=1))

    def _powered(self, X: Matrix) -> Matrix:
        return np.asarray(np.sqrt(np.maximum(X, 0)) if self._is_positive else X, np.float32)

    def _solve(self, k: int) -> tuple[Matrix, Matrix]:
        """Mean of unit length, and inverse of the normalised covariance, of one class."""
        mean = self.sums[k] / self.counts[k]
        covariance = self.products[k] / self.counts[k] - np.outer(mean, mean)
        d = len(mean)
        variance = max(float(np.trace(covariance)) / d, TINY)
        rest = float(covariance.sum() - np.trace(covariance)) / max(d * (d - 1), 1)
        # The negative part of the mean covariance would make the matrix indefinite.
        covariance += self.gamma * max(rest, 0.0)
        covariance[np.diag_indices(d)] += self.gamma * (variance - max(rest, 0.0))
        deviations = np.sqrt(np.maximum(np.diag(covariance), TINY))
        covariance /= np.outer(deviations, deviations)
        covariance[np.diag_indices(d)] += 1e-6
        return _unit(mean[None])[0].astype(np.float32), np.linalg.inv(covariance).astype(np.float32)

    @property
    def n_bytes(self) -> int:
        """Bytes of means, and of the upper half of each covariance."""
        n_classes, d = self.sums.shape
        return int(4 * n_classes * (1 + d + d * (d + 1) // 2))


def _unit(X: Matrix) -> Matrix:
    return np.asarray(X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), TINY))

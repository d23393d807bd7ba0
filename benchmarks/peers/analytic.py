"""Peers that solve a linear system on random or kernel features: KLDA, GKEAL, LoRanPAC.

How they differ from RanPAC (`streaming`), which puts random ReLU features of unit normal weights
before a ridge that is chosen along the stream on rows held back:

    KLDA       random Fourier features of a Gaussian kernel; class means and one covariance (LDA)
    GKEAL      a Gaussian kernel at rows of the first batch (no random weights); a ridge that is
               fixed beforehand, on all rows. ACIL is the same with random ReLU features: RanPAC
               without its choice of the ridge.
    LoRanPAC   RanPAC's features, more of them; the sums are kept in a few leading directions and
               the system is solved by cutting off what is small, so memory is rank by width

Each learns in one pass by `partial_fit(X, y)` on batches and states its size in `n_bytes`. Labels
are class indices 0..n_classes-1. Peers of the benchmarks only, so they validate nothing.
"""

from __future__ import annotations

import numpy as np

from benchmarks.peers.streaming import Labels, Matrix, StreamingLDA

ROWS_AT_ONCE = 500
# A part of the trace on the diagonal: kernels at rows that resemble each other are nearly singular.
JITTER = 1e-8


class KernelLDA:
    """KLDA (Momeni et al., AAAI 2025): streaming LDA on random Fourier features.

    `width` is the kernel's: exp(-width |a - b|^2 / n_features).
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        n_random: int,
        seed: int,
        width: float = 1.0,
        shrinkage: float = 1e-4,
    ) -> None:
        rng = np.random.default_rng(seed)
        spread = np.sqrt(2 * width / n_features)
        self.projection = (spread * rng.normal(size=(n_features, n_random))).astype(np.float32)
        self.phases = rng.uniform(0, 2 * np.pi, n_random).astype(np.float32)
        self.head = StreamingLDA(n_random, n_classes, shrinkage)

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Learn one batch."""
        self.head.partial_fit(self._features(X), y)

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        return self.head.predict(self._features(X))

    def _features(self, X: Matrix) -> Matrix:
        """Fourier features of a mean square of one."""
        return np.asarray(np.sqrt(2) * np.cos(X @ self.projection + self.phases), np.float32)

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned and of the projection."""
        return int(self.head.n_bytes + self.projection.nbytes + self.phases.nbytes)


class KernelRidge:
    """GKEAL (Zhuang et al., CVPR 2023): recursive ridge on a Gaussian kernel at first rows.

    Its recursion by the inverse of the Gram matrix gives what the normal equations give, which are
    solved here: both keep one matrix of centres by centres.
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        n_centres: int,
        seed: int,
        width: float = 1.0,
        ridge: float = 1.0,
    ) -> None:
        self.n_centres, self.width, self.ridge = n_centres, width / n_features, ridge
        self.n_classes = n_classes
        self._rng = np.random.default_rng(seed)
        self.centres: Matrix | None = None
        self._weights: Matrix | None = None

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Learn one batch; the first one gives the centres, all its rows if they are few."""
        if self.centres is None:
            chosen = self._rng.permutation(len(X))[: self.n_centres]
            self.centres = np.asarray(X[chosen], np.float32)
            n = len(chosen)
            self.gram, self.moments = np.zeros((n, n)), np.zeros((n, self.n_classes))
        features = self._features(X).astype(np.float64)
        self.gram += features.T @ features
        self.moments += features.T @ np.eye(self.n_classes)[y]
        self._weights = None

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        if self._weights is None:
            gram = self.gram.copy()
            gram[np.diag_indices_from(gram)] += self.ridge + JITTER * np.trace(gram)
            self._weights = np.linalg.solve(gram, self.moments).astype(np.float32)
        return np.asarray(np.argmax(self._features(X) @ self._weights, axis=1))

    def _features(self, X: Matrix) -> Matrix:
        C = self.centres
        assert C is not None
        D = np.einsum("ij,ij->i", X, X)[:, None] - 2 * (X @ C.T) + np.einsum("ij,ij->i", C, C)
        return np.asarray(np.exp(-self.width * np.maximum(D, 0)), np.float32)

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned and of the centres, in single precision."""
        if self.centres is None:
            return 0
        return int(4 * (self.gram.size + self.moments.size) + self.centres.nbytes)


class LowRankRanPAC:
    """LoRanPAC (Peng et al., ICLR 2025): RanPAC's ridge replaced by a truncated decomposition.

    Of all random features seen, the `rank` leading directions are kept, and of these those whose
    singular value is at least `floor` of the largest.
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        n_random: int,
        seed: int,
        rank: int = 300,
        floor: float = 1e-3,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.projection = rng.normal(size=(n_features, n_random)).astype(np.float32)
        self.n_classes, self.rank, self.floor = n_classes, rank, floor
        # Rows: directions, each as long as its singular value.
        self.directions: Matrix = np.zeros((0, n_random), np.float32)
        self.moments: Matrix = np.zeros((n_random, n_classes), np.float32)
        self._weights: Matrix | None = None

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Learn one batch."""
        self._weights = None
        for start in range(0, len(X), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            features = np.maximum(X[rows] @ self.projection, 0).astype(np.float32)
            self.moments += features.T @ np.eye(self.n_classes, dtype=np.float32)[y[rows]]
            self._add(np.concatenate([self.directions, features]))

    def _add(self, A: Matrix) -> None:
        """Keep the leading directions of the rows A."""
        values, left = np.linalg.eigh((A @ A.T).astype(np.float64))
        values, left = values[::-1][: self.rank], left[:, ::-1][:, : self.rank]
        kept = values > (self.floor**2) * max(float(values[0]), 1e-30)
        self.directions = np.asarray(left[:, kept].T.astype(np.float32) @ A)

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        if self._weights is None:
            # D is diag(s) V'; the pseudo-inverse of the Gram matrix V s^2 V' is D' s^-4 D.
            squares = np.einsum("ij,ij->i", self.directions, self.directions).astype(np.float64)
            inner = (self.directions @ self.moments) / (squares**2)[:, None]
            self._weights = (self.directions.T @ inner).astype(np.float32)
        features = np.maximum(X @ self.projection, 0)
        return np.asarray(np.argmax(features @ self._weights, axis=1))

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned and of the projection."""
        return int(self.directions.nbytes + self.moments.nbytes + self.projection.nbytes)

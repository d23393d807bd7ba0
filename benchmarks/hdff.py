"""HDFF, hyperdimensional feature fusion, as published: a reference beside the score of `hdc`.

Each tap is centred by one scalar, projected by a fixed matrix with orthonormal rows, and the taps
are summed without normalisation. A class is the sum of its samples. The score of a sample is its
cosine to the nearest class.

Source: S. Wilson, T. Fischer, N. Sünderhauf, F. Dayoub, "Hyperdimensional feature fusion for
out-of-distribution detection", WACV 2023. Two things differ: taps arrive pooled already, and no
threshold is set, as in the paper. The matrices take ``4 * n_features * n_dims`` bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from hdc._checks import Float32, Float64, RandomState, check_dims, check_matrix
from hdc.estimator import Estimator, check_is_fitted, check_random_state, check_y
from hdc.vectors.hypervector import similarity

TapsOrMatrix = ArrayLike | Mapping[str, ArrayLike]


class HDFFDetector(Estimator):
    """Cosine to the nearest class among fused taps; higher is more normal.

    Parameters
    ----------
    n_dims : a multiple of 64, at least the width of the widest tap
    random_state : of the projections

    Attributes
    ----------
    classes_ : (n_classes,)
    descriptors_ : (n_classes, n_dims) float32

    Examples
    --------
    >>> X = {"early": [[1.0, 0.0], [0.0, 1.0]], "embedding": [[2.0, 0.0], [0.0, 2.0]]}
    >>> detector = HDFFDetector(n_dims=128, random_state=0).fit(X, [0, 1])
    >>> detector.score_samples(X).round(3).tolist()
    [1.0, 1.0]
    """

    def __init__(self, n_dims: int = 9984, random_state: RandomState = None) -> None:
        self.n_dims = n_dims
        self.random_state = random_state

    def fit(self, X: TapsOrMatrix, y: ArrayLike) -> HDFFDetector:
        """Sum the hypervectors of each class.

        Parameters
        ----------
        X : (n, d), or tap name -> (n, width)
        y : (n,)
        """
        X = {"X": X} if not isinstance(X, Mapping) else X
        n_dims = check_dims(self.n_dims)
        widths = {name: np.shape(part)[1] for name, part in X.items()}
        ends = np.cumsum(list(widths.values())).tolist()
        self.slices_ = {
            name: slice(end - width, end)
            for (name, width), end in zip(widths.items(), ends, strict=True)
        }
        self.n_features_in_ = ends[-1]
        widest = max(widths.values())
        if widest > n_dims:
            raise ValueError(f"n_dims is {n_dims}, expected at least the widest tap, {widest}")
        joined = self._joined(X)
        y = check_y(y, len(joined))
        rng = check_random_state(self.random_state)
        self.centres_ = {name: joined[:, at].mean() for name, at in self.slices_.items()}
        self.matrices_ = {name: _orthonormal(w, n_dims, rng) for name, w in widths.items()}
        hypervectors = self._fuse(joined)
        self.classes_ = np.unique(y)
        self.descriptors_ = np.stack([hypervectors[y == c].sum(axis=0) for c in self.classes_])
        return self

    def score_samples(self, X: TapsOrMatrix) -> Float64:
        """Cosine (n,) to the nearest class, -1 to 1; higher is more normal."""
        check_is_fitted(self)
        cosines = similarity(self._fuse(self._joined(X)), self.descriptors_)
        return np.asarray(cosines.max(axis=1), np.float64)

    def _joined(self, X: TapsOrMatrix) -> Float32:
        parts = [np.asarray(part) for part in X.values()] if isinstance(X, Mapping) else [X]
        return check_matrix(np.concatenate(parts, axis=1), self.n_features_in_)

    def _fuse(self, joined: Float32) -> Float32:
        total = np.zeros((len(joined), self.n_dims), np.float32)
        for name, at in self.slices_.items():
            total += (joined[:, at] - self.centres_[name]) @ self.matrices_[name]
        return total


def _orthonormal(n_rows: int, n_dims: int, rng: np.random.Generator) -> Float32:
    """Return a random matrix (n_rows, n_dims) with orthonormal rows."""
    square, _ = np.linalg.qr(rng.standard_normal((n_dims, n_rows), dtype=np.float32))
    return np.ascontiguousarray(square.T)

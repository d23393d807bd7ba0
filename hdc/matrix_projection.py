"""Two projections with a stored matrix, to compare `hdc.projection.SignedHadamard` with.

Their bits depend on the order in which the platform adds, so they may differ near zero from one
machine to another. The generators are seeded by the raw stream of PCG64, as everywhere.

Sources: D. Achlioptas, "Database-friendly random projections", J. Computer and System Sciences 66,
2003; P. Li, T. J. Hastie, K. W. Church, "Very sparse random projections", KDD 2006.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hdc._checks import Bits, Float32, IntArray, check_count, check_dims, check_matrix
from hdc.hypervector import pack_bits

_CHUNK_FLOATS = 2**20


class GaussianProjection:
    """A dense Gaussian matrix: the reference for angles, at ``4 * n_features * n_dims`` bytes.

    Parameters
    ----------
    n_features, n_dims : ``n_dims`` a multiple of 64
    seed : of the matrix

    Examples
    --------
    >>> GaussianProjection(3, 64).bits([[1.0, 2.0, 3.0]]).shape
    (1, 1)
    """

    def __init__(self, n_features: int, n_dims: int, seed: int = 0) -> None:
        self.n_features = check_count(n_features, "n_features")
        self.n_dims = check_dims(n_dims)
        self.seed = check_count(seed, "seed", 0)
        rng = np.random.default_rng(self.seed)
        matrix = rng.standard_normal((self.n_features, self.n_dims), dtype=np.float32)
        self._matrix: Float32 = matrix / np.float32(np.sqrt(self.n_dims))

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return self._matrix.nbytes

    def real(self, X: ArrayLike) -> Float32:
        """Real hypervectors (n, n_dims) that keep inner products on average."""
        return np.asarray(check_matrix(X, self.n_features) @ self._matrix)

    def bits(self, X: ArrayLike) -> Bits:
        """Packed signs of `real`, (n, n_dims // 64)."""
        return pack_bits(self.real(X))


class SparseProjection:
    """A ternary matrix with ``sqrt(n_features)`` entries of +1 or -1 for each dimension, else 0.

    Held as indices and signs: ``12 * n_dims * sqrt(n_features)`` bytes.

    Parameters
    ----------
    n_features, n_dims : ``n_dims`` a multiple of 64
    seed : of the matrix

    Examples
    --------
    >>> SparseProjection(100, 128).real(np.ones((1, 100))).shape
    (1, 128)
    """

    def __init__(self, n_features: int, n_dims: int, seed: int = 0) -> None:
        self.n_features = check_count(n_features, "n_features")
        self.n_dims = check_dims(n_dims)
        self.seed = check_count(seed, "seed", 0)
        rng = np.random.default_rng(self.seed)
        shape = (self.n_dims, int(np.ceil(np.sqrt(self.n_features))))
        self._columns: IntArray = rng.integers(self.n_features, size=shape)
        gain = np.sqrt(self.n_features / (shape[1] * self.n_dims))
        self._weights = (rng.choice([-gain, gain], size=shape)).astype(np.float32)

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return self._columns.nbytes + self._weights.nbytes

    def real(self, X: ArrayLike) -> Float32:
        """Real hypervectors (n, n_dims) that keep inner products on average."""
        X = check_matrix(X, self.n_features)
        out = np.empty((len(X), self.n_dims), np.float32)
        step = max(1, _CHUNK_FLOATS // self._columns.size)
        for start in range(0, len(X), step):
            picked = X[start : start + step][:, self._columns]
            out[start : start + step] = np.einsum("nij,ij->ni", picked, self._weights)
        return out

    def bits(self, X: ArrayLike) -> Bits:
        """Packed signs of `real`, (n, n_dims // 64)."""
        return pack_bits(self.real(X))

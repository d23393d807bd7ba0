"""Random Fourier features: a nonlinear view in which linear methods separate what is not linear.

Samples are scaled to unit length, projected without a matrix (`hdc.projection`), and the cosine
and sine of each projection taken: inner products of the result approach the Gaussian kernel
``exp(-|x - y|^2 / (2 width^2))`` of unit vectors. Nothing is learned from data, so that statistics
of the features can be gathered in any order and merged. Raw pixels gain much from it (see
`benchmarks.classify`), the features of a good encoder little.

Sources: A. Rahimi and B. Recht, "Random features for large-scale kernel machines", NeurIPS 2007;
Q. Le, T. Sarlos, A. Smola, "Fastfood", ICML 2013 (Hadamard transforms instead of a matrix).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hdc._checks import Float32, check_count, check_matrix
from hdc.projection import SignedHadamard

_WIDTH = 0.8  # of the kernel; unit vectors are at most 2 apart
_SMALLEST = np.float32(1e-30)


class FourierFeatures:
    """A fixed map from samples (n, n_features) to features (n, n_outputs).

    Parameters
    ----------
    n_features : width of the samples
    n_outputs : a multiple of 128: half of them cosines, half sines
    seed : of the projection
    width : of the Gaussian kernel between samples of unit length

    Examples
    --------
    >>> features = FourierFeatures(3, 1024, seed=0)
    >>> near, far = features.transform([[1, 0, 0], [1, 0.1, 0], [0, 0, 1]])[1:] @ (
    ...     features.transform([[1, 0, 0]])[0]
    ... )
    >>> bool(near > 0.9 > far)
    True
    """

    def __init__(
        self, n_features: int, n_outputs: int, seed: int = 0, width: float = _WIDTH
    ) -> None:
        self.n_outputs = check_count(n_outputs, "n_outputs", 128)
        if self.n_outputs % 128:
            raise ValueError(f"n_outputs is {n_outputs}, expected a multiple of 128")
        if not 0 < width < np.inf:
            raise ValueError(f"width is {width!r}, expected a positive number")
        self._projection = SignedHadamard(n_features, self.n_outputs // 2, seed)
        # `real` keeps lengths on average: each of its m outputs has a deviation of 1 / sqrt(m).
        self._gain = np.float32(np.sqrt(self.n_outputs // 2) / width)

    @property
    def n_bytes(self) -> int:
        """Bytes of the projection; nothing else is held."""
        return self._projection.n_bytes

    def transform(self, X: ArrayLike) -> Float32:
        """Features of unit length, (n, n_outputs)."""
        X = check_matrix(X, self._projection.n_features)
        lengths = np.linalg.norm(X, axis=1, keepdims=True)
        angles = self._projection.real(X / np.maximum(lengths, _SMALLEST)) * self._gain
        half = self.n_outputs // 2
        out = np.empty((len(X), self.n_outputs), np.float32)
        np.cos(angles, out=out[:, :half])
        np.sin(angles, out=out[:, half:])
        out *= np.float32(1.0 / np.sqrt(half))
        return out

"""Running standardisation of features: zero mean, unit variance, over all that was ever learned.

Every sample learned counts the same, so that the statistics settle by themselves as 1/n: early ones
adapt, late ones barely move the scale that the weights were learned in. Predicting changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from adaptors import _twins
from adaptors._backend import kernels
from adaptors._state import checked_arrays

Array = npt.NDArray[np.float32]


class Standardiser:
    """Mean and variance of each feature, updated in one pass (Chan, Golub and LeVeque 1979).

    A feature that never varied carries no information and maps to 0.

    >>> import numpy as np
    >>> s = Standardiser(2).update(np.array([[1, 5], [3, 5]], dtype=np.float32))
    >>> s.transform(np.array([[3, 9]], dtype=np.float32)).tolist()
    [[1.0, 0.0]]
    """

    def __init__(self, n_features: int) -> None:
        self.count = 0.0
        self.mean = np.zeros(n_features)
        self.squares = np.zeros(n_features)
        self._set_scale()

    def update(self, X: npt.NDArray[Any], weights: Array | None = None) -> Standardiser:
        """Count the rows of X in, each with its weight; quick where X is C-contiguous float32."""
        if weights is None and len(X) == 1 and X.dtype == np.float32:
            self.learn_row(X)
            return self
        w = np.ones(len(X), np.float32) if weights is None else weights
        module = kernels() if X.dtype == np.float32 and X.flags.c_contiguous else _twins
        self.count = module.count_rows(X, w, self.count, *self._learned)
        return self

    def learn_row(self, X: Array) -> Array:
        """Count one row (1, n_features) in and return it transformed; `update` with less to do."""
        Z = np.empty_like(X)
        self.count += 1.0
        kernels().standardise_step(X[0], self.count, *self._learned, Z[0])
        return Z

    def transform(self, X: Array) -> Array:
        """Return X (..., n_features) standardised, within ten standard deviations; a copy."""
        if not X.flags.c_contiguous:
            return _twins.standardised(X, self.half_mean, self.twice_scale)
        Z = np.empty(X.shape, np.float32)
        rows = (-1, len(self.mean))
        kernels().standardise(X.reshape(rows), self.half_mean, self.twice_scale, Z.reshape(rows))
        return Z

    @property
    def deviation(self) -> npt.NDArray[np.float64]:
        """Standard deviation of each feature, 1 for one that never varied."""
        deviation = np.sqrt(self.squares / max(self.count, 1.0))
        return np.where(self.twice_scale > 0, deviation, 1.0)

    @property
    def n_bytes(self) -> int:
        """Bytes held in memory."""
        return sum(array.nbytes for array in self._learned)

    def arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return copies of the statistics, for a saved state."""
        return {"mean": self.mean.copy(), "squares": self.squares.copy()}

    @classmethod
    def restore(cls, n_features: int, count: Any, arrays: Mapping[str, Any]) -> Standardiser:
        """Return the statistics that were saved; refuse any other shape, dtype or sign."""
        expected = {"mean": (n_features,), "squares": (n_features,)}
        checked = checked_arrays(arrays, expected, np.float64)
        valid_count = isinstance(count, float) and 0.0 < count < np.inf
        if not valid_count or (checked["squares"] < 0).any():
            raise ValueError(f"state has sample count {count!r} or a negative variance.")
        restored = cls(n_features)
        restored.count, restored.mean, restored.squares = count, checked["mean"], checked["squares"]
        restored._set_scale()
        return restored

    @property
    def _learned(self) -> tuple[npt.NDArray[Any], ...]:
        return self.mean, self.squares, self.half_mean, self.twice_scale

    def _set_scale(self) -> None:
        # One array, of which a kernel takes both rows at once.
        self.frame: Array = np.stack(_twins.halves(self.mean, self.squares, self.count))
        self.half_mean, self.twice_scale = self.frame

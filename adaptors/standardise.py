"""Running standardisation of features: zero mean, unit variance, over all that was ever learned.

Every sample learned counts the same, so that the statistics settle by themselves as 1/n: early ones
adapt, late ones barely move the scale that the weights were learned in. Predicting changes nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# In standard deviations. One broken reading must not outweigh everything a layer has learned.
CLIP = np.float32(10.0)
# A spread below this fraction of the mean is rounding, not variation.
RELATIVE_EPS = 1e-6


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

    def update(
        self, X: npt.NDArray[np.float32], weights: npt.NDArray[np.float32] | None = None
    ) -> Standardiser:
        """Count the rows of X in, each with its weight."""
        w = np.ones(len(X)) if weights is None else weights.astype(np.float64)
        count = float(w.sum())
        mean = w @ X / count
        squares = w @ np.square(X - mean)
        shift, total = mean - self.mean, self.count + count
        self.squares += squares + shift**2 * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total
        self._set_scale()
        return self

    def transform(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return X standardised, within ten standard deviations; X itself is left alone."""
        Z = X - self._mean32
        Z *= self._scale
        np.clip(Z, -CLIP, CLIP, out=Z)
        return Z

    def _set_scale(self) -> None:
        deviation = np.sqrt(self.squares / max(self.count, 1.0))
        varies = deviation > RELATIVE_EPS * np.abs(self.mean)
        scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
        self._scale = scale.astype(np.float32)
        self._mean32 = self.mean.astype(np.float32)

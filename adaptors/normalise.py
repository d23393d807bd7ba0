"""Layer normalisation: every sample on the same scale, with nothing to learn or to remember."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

EPSILON = np.float32(1e-5)


def normalised(X: Array, axes: int) -> Array:
    """Return X with mean 0 and variance 1 over its last ``axes`` axes: layer normalisation.

    Without a gain or offset of its own (arXiv 1607.06450): the weights that follow learn both.

    >>> normalised(np.array([[1.0, 3.0]], dtype=np.float32), 1).round(2).tolist()
    [[-1.0, 1.0]]
    """
    over = tuple(range(X.ndim - axes, X.ndim))
    centred = X - X.mean(axis=over, keepdims=True)
    variance = np.square(centred).mean(axis=over, keepdims=True)
    result: Array = centred / np.sqrt(variance + EPSILON)
    return result

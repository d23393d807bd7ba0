"""Small domains for tests: Gaussian classes in 24 dimensions, moved and turned per domain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

N_FEATURES, N_CLASSES = 24, 4
Matrix = npt.NDArray[np.float32]


def domain(
    number: int, n_samples: int, seed: int, classes: tuple[int, ...] = (0, 1, 2, 3)
) -> tuple[Matrix, npt.NDArray[np.int64]]:
    """Samples and labels of one domain; the same number is the same domain for every seed."""
    shape = np.random.default_rng(1000 + number)
    means = shape.normal(size=(N_CLASSES, N_FEATURES)) * 2 + shape.normal(size=N_FEATURES) * 4
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, size=n_samples)
    X = means[y] + rng.normal(size=(n_samples, N_FEATURES))
    return X.astype(np.float32), y.astype(np.int64)

"""`NetworkClassifier`: a `TargetProjectionNetwork` of any layers, trained as the peers are.

The estimators of `adaptors` are dense. Convolutions and recurrent layers are trained here: one
standardising, shuffled mini-batches, rates that fall linearly to zero. Labels are 0..n_classes-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from adaptors import TargetProjectionNetwork

Tensor = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

PREDICTION_BATCH = 500
LIMIT = 10.0  # standard deviations: what is farther out is clipped, as in the estimators


@dataclass
class NetworkClassifier:
    """Samples of any shape to classes, by layers that learn from the label alone.

    Parameters
    ----------
    layers : sequence of Dense, Conv1d, Conv2d, Recurrent
        Hidden layers, first to last.
    loss, momentum, whiten
        As of `TargetProjectionNetwork`.
    learning_rate, hidden_learning_rate
        Of the output and of the hidden layers, at the start; a hidden rate of 0 leaves them random.
    standardise
        "channel": mean and deviation of each entry of the last axis, over all others: features of
        vectors, channels of images and sequences. "whole": one mean and one deviation for all.

    Attributes
    ----------
    network : TargetProjectionNetwork
        Since `fit`.

    Examples
    --------
    >>> from adaptors import Conv1d
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=60)
    >>> X = rng.normal(size=(60, 12, 3)) + 2 * y[:, None, None]
    >>> model = NetworkClassifier([Conv1d(4, pool="average")], epochs=3).fit(X, y)
    >>> float(np.mean(model.predict(X) == y))
    1.0
    """

    layers: Sequence[Any]
    loss: Any = "cross_entropy"
    learning_rate: float = 1.0
    hidden_learning_rate: float = 1.0
    epochs: int = 12
    batch_size: int = 32
    random_state: int = 0
    momentum: float = 0.0
    whiten: bool = False
    standardise: Literal["channel", "whole"] = "channel"

    def fit(self, X: npt.NDArray[Any], y: Labels) -> NetworkClassifier:
        """Train from scratch on X (n_samples, ...), y (n_samples,)."""
        rng = np.random.default_rng(self.random_state)
        axes = tuple(range(X.ndim - 1)) if self.standardise == "channel" else None
        self._mean = np.asarray(X.mean(axis=axes, dtype=np.float64), np.float32)
        deviation = np.asarray(X.std(axis=axes, dtype=np.float64), np.float32)
        # What never varied carries no information and becomes 0.
        self._scale = (deviation > 1e-6) / np.maximum(deviation, np.float32(1e-6))
        shape = X.shape[1:]
        self.network = TargetProjectionNetwork(
            list(self.layers),
            shape,
            int(y.max()) + 1,
            self.loss,
            rng,
            momentum=self.momentum,
            whiten=self.whiten,
        )
        n_batches = -(-len(X) // self.batch_size)
        for epoch in range(self.epochs):
            for i, rows in enumerate(np.array_split(rng.permutation(len(X)), n_batches)):
                left = 1.0 - (epoch + i / n_batches) / self.epochs
                self.network.step(
                    self._standardised(X[rows]),
                    y[rows],
                    learning_rate=left * self.learning_rate,
                    hidden_learning_rate=left * self.hidden_learning_rate,
                )
        return self

    def predict(self, X: npt.NDArray[Any]) -> Labels:
        """Return the most likely class of each sample."""
        starts = range(0, len(X), PREDICTION_BATCH)
        parts = (self._standardised(X[start : start + PREDICTION_BATCH]) for start in starts)
        found = [self.network.decision_function(part).argmax(axis=1) for part in parts]
        return np.concatenate(found).astype(np.int64)

    def _standardised(self, X: npt.NDArray[Any]) -> Tensor:
        Z = np.clip((X - self._mean) * self._scale, -LIMIT, LIMIT)
        return np.ascontiguousarray(Z, dtype=np.float32)

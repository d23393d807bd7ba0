"""Networks that go on training on a stream: frozen, fine-tuning, replay. Backpropagation in NumPy.

Each learns batch by batch (`partial_fit`) and states its size in `n_bytes`. Peers of the benchmarks
only: they validate nothing and need labels 0..n_classes-1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.backprop import BackpropClassifier, Labels, Matrix


class FineTuning:
    """The network trains on each batch alone, as if nothing had been before: what forgets."""

    def __init__(self, n_classes: int, **settings: Any) -> None:
        self.n_classes = n_classes
        self.network = BackpropClassifier(**settings)
        self._has_begun = False

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Train on one batch."""
        if not self._has_begun:
            self.network.begin(X, self.n_classes)
            self._has_begun = True
        self.network.train(X, y)

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        return self.network.predict(X)

    @property
    def n_bytes(self) -> int:
        """Bytes of weights, biases and standardisation."""
        network = self.network
        arrays = (*network.weights, *network.biases, network._mean, network._scale)
        return sum(array.nbytes for array in arrays)


class Frozen:
    """Whatever it holds learns the first batch and no other."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._is_frozen = False

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Learn the first batch; later ones are let pass."""
        if not self._is_frozen:
            self.model.partial_fit(X, y)
        self._is_frozen = True

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        return np.asarray(self.model.predict(X))

    @property
    def n_bytes(self) -> int:
        """Bytes of what it holds."""
        return int(self.model.n_bytes)


class Replay(FineTuning):
    """Fine-tuning on each batch mixed with rows kept of all earlier ones, in float16.

    Of each batch `per_class` random rows of every class are kept. A kept row comes as often in an
    epoch as makes the kept ones half of it, ten times at most.
    """

    def __init__(self, n_classes: int, per_class: int = 20, **settings: Any) -> None:
        super().__init__(n_classes, **settings)
        self.per_class = per_class
        self._draw = np.random.default_rng([self.network.random_state, 2])
        self._kept: list[tuple[Any, Labels]] = []

    def partial_fit(self, X: Matrix, y: Labels) -> None:
        """Train on one batch and on what is kept, then keep some of the batch."""
        rows, labels = X, y
        if self._kept:
            kept, kept_y = (np.concatenate(part) for part in zip(*self._kept, strict=True))
            times = int(np.clip(len(X) // len(kept), 1, 10))
            rows = np.concatenate([X, np.tile(kept.astype(np.float32), (times, 1))])
            labels = np.concatenate([y, np.tile(kept_y, times)])
        super().partial_fit(rows, labels)
        order = self._draw.permutation(len(y))
        chosen = [order[y[order] == k][: self.per_class] for k in np.unique(y)]
        keep = np.concatenate(chosen)
        self._kept.append((X[keep].astype(np.float16), y[keep]))

    @property
    def n_bytes(self) -> int:
        """Bytes of the network and of the kept rows with their labels."""
        return super().n_bytes + sum(X.nbytes + len(y) for X, y in self._kept)

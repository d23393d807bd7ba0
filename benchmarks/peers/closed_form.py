"""Relatives of tpSGD without a learning rate: label projection and forward projection.

Both (arXiv 2501.16476 and its code) set the weights of one layer after another by ridge regression
on random targets, so the data pass once per layer and no sample is visited twice by a layer. The
output layer is a ridge on +-1 targets. Peers of the benchmarks only: they validate nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks.peers.backprop import Labels, Matrix

Wide = npt.NDArray[np.float64]

HIDDEN_RIDGE, OUTPUT_RIDGE = 10.0, 1.0  # both as in the published code


@dataclass
class LabelProjectionClassifier:
    """Each hidden layer regresses on a random sign code of the label, as tpSGD does by steps.

    Published with ReLU and a ridge of 10 on hidden layers. Features are standardised in `fit` and
    kept within ten, which asks for a larger ridge: tune it on validation. ``batch_size`` bounds the
    memory and changes nothing else.
    """

    hidden: tuple[int, ...] = (256,)
    activation: Literal["tanh", "relu"] = "relu"
    ridge: float = HIDDEN_RIDGE
    batch_size: int = 1000
    random_state: int = 0

    def fit(self, X: Matrix, y: Labels) -> LabelProjectionClassifier:
        """Solve every layer on X (n_samples, n_features), y (n_samples,)."""
        rng = np.random.default_rng(self.random_state)
        self._mean = X.mean(axis=0)
        deviation = X.std(axis=0)
        self._scale = (deviation > 1e-6) / np.maximum(deviation, 1e-6)
        self.weights: list[Matrix] = []
        n_classes, n_inputs = int(y.max()) + 1, X.shape[1]
        for width in self.hidden:
            by_input, by_label = self._draw(rng, n_inputs + 1, width, n_classes)
            self._solve(X, y, by_input, by_label, self.ridge)
            n_inputs = width
        # Targets 2Y - 1 are a label's row, and nothing of the input.
        by_label = 2 * np.eye(n_classes, dtype=np.float32) - 1
        self._solve(X, y, np.zeros((n_inputs + 1, n_classes), np.float32), by_label, OUTPUT_RIDGE)
        return self

    def predict(self, X: Matrix) -> Labels:
        """Return the most likely class of each row."""
        *hidden, output = self.weights
        scores = self._inputs(X, hidden) @ output
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)

    def _draw(
        self, rng: np.random.Generator, n_inputs: int, width: int, n_classes: int
    ) -> tuple[Matrix, Matrix]:
        """Return a layer's projection of its input (none here) and its sign code of each label."""
        by_label = np.sign(rng.standard_normal((n_classes, width), dtype=np.float32))
        return np.zeros((n_inputs, width), np.float32), by_label

    def _solve(
        self, X: Matrix, y: Labels, by_input: Matrix, by_label: Matrix, ridge: float
    ) -> None:
        """Append the layer that best maps its inputs to sign(input projection) + label code."""
        gram: Wide = ridge * np.eye(len(by_input))
        moments: Wide = np.zeros(by_input.shape)
        for start in range(0, len(X), self.batch_size):
            rows = slice(start, start + self.batch_size)
            inputs = self._inputs(X[rows], self.weights)
            targets = np.sign(inputs @ by_input) + by_label[y[rows]]
            gram += inputs.T @ inputs
            moments += inputs.T @ targets
        self.weights.append(np.linalg.solve(gram, moments).astype(np.float32))

    def _inputs(self, X: Matrix, layers: list[Matrix]) -> Matrix:
        """Return what the layer after `layers` sees: their output, and a column of ones."""
        outputs = np.clip((X - self._mean) * self._scale, -10, 10)
        ones = np.ones((len(X), 1), np.float32)
        for W in layers:
            z = np.hstack([outputs, ones]) @ W
            outputs = np.tanh(z) if self.activation == "tanh" else np.maximum(z, 0)
        return np.hstack([outputs, ones]).astype(np.float32)


@dataclass
class ForwardProjectionClassifier(LabelProjectionClassifier):
    """The target also holds a random sign code of the layer's input: differences within a class."""

    def _draw(
        self, rng: np.random.Generator, n_inputs: int, width: int, n_classes: int
    ) -> tuple[Matrix, Matrix]:
        _, by_label = super()._draw(rng, n_inputs, width, n_classes)
        return rng.standard_normal((n_inputs, width), dtype=np.float32), by_label

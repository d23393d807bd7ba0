"""Backpropagation in NumPy, for networks of the same shapes as the adaptors.

The upper bound that local rules are measured against, by SGD with momentum or by Adam, and its
floor: with ``freeze_hidden`` the hidden layers stay random. Plain minibatches, linear decay of the
learning rate, softmax cross-entropy; features are standardised once in `fit`. A peer of the
benchmarks only: it validates nothing and needs labels 0..n_classes-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass
class BackpropClassifier:
    """A multilayer perceptron trained by backpropagation; tune ``learning_rate`` on validation."""

    hidden: tuple[int, ...] = (256,)
    activation: Literal["tanh", "relu"] = "tanh"
    optimiser: Literal["sgd", "adam"] = "adam"
    learning_rate: float = 1e-3
    epochs: int = 12
    batch_size: int = 32
    freeze_hidden: bool = False
    random_state: int = 0

    def fit(self, X: Matrix, y: Labels) -> BackpropClassifier:
        """Train from scratch on X (n_samples, n_features), y (n_samples,)."""
        self.begin(X, int(y.max()) + 1)
        return self.train(X, y)

    def begin(self, X: Matrix, n_classes: int) -> None:
        """Draw weights, and take mean and spread of X."""
        self._rng = rng = np.random.default_rng(self.random_state)
        self._mean = X.mean(axis=0)
        deviation = X.std(axis=0)
        self._scale = (deviation > 1e-6) / np.maximum(deviation, 1e-6)
        sizes = [X.shape[1], *self.hidden, n_classes]
        self.weights = [
            (rng.uniform(-1, 1, (m, n)) / np.sqrt(n)).astype(np.float32) for n, m in pairwise(sizes)
        ]
        self.biases = [np.zeros(m, dtype=np.float32) for m in sizes[1:]]
        self._moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self._parameters()]
        self._n_steps = 0

    def train(self, X: Matrix, y: Labels) -> BackpropClassifier:
        """Go on training, on these rows alone; the rate falls from its full value to nothing."""
        Z, n_batches = self._standardised(X), -(-len(X) // self.batch_size)
        for epoch in range(self.epochs):
            for i, rows in enumerate(np.array_split(self._rng.permutation(len(X)), n_batches)):
                t = epoch * n_batches + i
                rate = self.learning_rate * (1 - t / (n_batches * self.epochs))
                self._n_steps += 1
                self._update(self._gradients(Z[rows], y[rows]), rate, self._n_steps)
        return self

    def predict(self, X: Matrix) -> Labels:
        """Return the most likely class of each row."""
        return np.asarray(self._forward(self._standardised(X))[-1].argmax(axis=1), dtype=np.int64)

    def _standardised(self, X: Matrix) -> Matrix:
        # As the adaptors do it: within ten, and 0 for what never varied, say a pixel always black.
        return np.asarray(np.clip((X - self._mean) * self._scale, -10, 10), dtype=np.float32)

    def _parameters(self) -> list[Matrix]:
        """Weights, then biases, of the layers that learn."""
        first = len(self.hidden) if self.freeze_hidden else 0
        return [*self.weights[first:], *self.biases[first:]]

    def _forward(self, X: Matrix) -> list[Matrix]:
        """Return the outputs of every layer, X first, logits last."""
        outputs = [X]
        for i, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = outputs[-1] @ W.T + b
            if i < len(self.hidden):
                z = np.tanh(z) if self.activation == "tanh" else np.maximum(z, 0)
            outputs.append(z)
        return outputs

    def _gradients(self, X: Matrix, y: Labels) -> list[Matrix]:
        """Gradients of the batch mean, weights first, then biases, as `_parameters`."""
        outputs = self._forward(X)
        delta = np.exp(outputs[-1] - outputs[-1].max(axis=1, keepdims=True))
        delta /= delta.sum(axis=1, keepdims=True)
        delta[np.arange(len(y)), y] -= 1
        delta /= len(y)
        by_weight: list[Matrix] = []
        by_bias: list[Matrix] = []
        for i in reversed(range(len(self.weights))):
            h = outputs[i]
            by_weight.insert(0, delta.T @ h)
            by_bias.insert(0, delta.sum(axis=0))
            if i == 0 or self.freeze_hidden:  # nothing below learns
                break
            delta = delta @ self.weights[i]
            delta *= 1 - h * h if self.activation == "tanh" else h > 0
        return [*by_weight, *by_bias]

    def _update(self, gradients: list[Matrix], rate: float, t: int) -> None:
        for p, g, (m, v) in zip(self._parameters(), gradients, self._moments, strict=True):
            if self.optimiser == "sgd":
                m += g - 0.1 * m  # momentum 0.9
                p -= rate * m
                continue
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

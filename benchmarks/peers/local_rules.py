"""Iterative relatives of tpSGD in NumPy: DRTP, DFA and DCL-S, for networks of the same shapes.

Each replaces what backpropagation would send to a hidden layer and nothing else: shapes, drawing of
the weights, standardising, optimisers and schedule are `BackpropClassifier`'s, and the output layer
follows softmax cross-entropy on the truth. Peers of the benchmarks only: they validate nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from benchmarks.peers.backprop import BackpropClassifier, Labels, Matrix


@dataclass
class LocalRuleClassifier(BackpropClassifier, ABC):
    """A network whose hidden layers learn from fixed random matrices, one (n_classes, width) each.

    ``hidden_gain`` multiplies the hidden gradients. The published code of DRTP divides the output's
    gradient by batch size and classes and the hidden ones by neither: with SGD that is a gain of
    batch size times classes, which has to be tuned like a rate. Adam is blind to it.
    """

    hidden_gain: float = 1.0

    def fit(self, X: Matrix, y: Labels) -> LocalRuleClassifier:
        """Train from scratch on X (n_samples, n_features), y (n_samples,)."""
        rng = np.random.default_rng((self.random_state, 1))
        n_classes = int(y.max()) + 1
        self.projections = [self._draw(rng, n_classes, width) for width in self.hidden]
        super().fit(X, y)
        return self

    @abstractmethod
    def _draw(self, rng: np.random.Generator, n_classes: int, width: int) -> Matrix:
        """Return the fixed matrix (n_classes, width) of a hidden layer."""

    @abstractmethod
    def _signals(self, hidden: list[Matrix], error: Matrix, y: Labels) -> list[Matrix]:
        """Return what stands for the loss's derivative by each hidden output, (n, width) each."""

    def _gradients(self, X: Matrix, y: Labels) -> list[Matrix]:
        *inputs, logits = self._forward(X)
        error = _softmax(logits)
        error[np.arange(len(y)), y] -= 1
        gain = np.float32(self.hidden_gain)
        deltas = [
            gain * signal * (1 - h * h if self.activation == "tanh" else h > 0)
            for signal, h in zip(self._signals(inputs[1:], error, y), inputs[1:], strict=True)
        ]
        deltas.append(error)
        by_weight = [d.T @ h / len(y) for d, h in zip(deltas, inputs, strict=True)]
        return [*by_weight, *(d.mean(axis=0) for d in deltas)]


@dataclass
class DirectRandomTargetProjection(LocalRuleClassifier):
    """DRTP (Frenkel, Lefebvre and Bol, 2021): a hidden layer is pushed along its label's vector.

    The push does not end when the layer's output gets there, since that output is not in it: this
    is the one term that tpSGD adds. Published with SGD, Nesterov momentum and tanh.
    """

    def _draw(self, rng: np.random.Generator, n_classes: int, width: int) -> Matrix:
        bound = np.sqrt(6 / width)  # Kaiming's uniform distribution, as in the published code
        return rng.uniform(-bound, bound, (n_classes, width)).astype(np.float32)

    def _signals(self, hidden: list[Matrix], error: Matrix, y: Labels) -> list[Matrix]:
        return [B[y] for B in self.projections]


@dataclass
class DirectFeedbackAlignment(LocalRuleClassifier):
    """DFA (Nøkland, 2016): the output's error comes to each hidden layer by a random matrix."""

    def _draw(self, rng: np.random.Generator, n_classes: int, width: int) -> Matrix:
        bound = 1 / np.sqrt(n_classes)
        return rng.uniform(-bound, bound, (n_classes, width)).astype(np.float32)

    def _signals(self, hidden: list[Matrix], error: Matrix, y: Labels) -> list[Matrix]:
        return [error @ B for B in self.projections]


@dataclass
class StaticContrast(LocalRuleClassifier):
    """DCL-S (ICLR 2024): cross-entropy of each hidden output's products with fixed label vectors.

    The vectors are standard normal, temperature 1, as in the published code by default. There the
    vectors of a wide dictionary are averaged down to a layer's width; here each layer has its own.
    Published with Adam and ReLU.
    """

    temperature: float = 1.0

    def _draw(self, rng: np.random.Generator, n_classes: int, width: int) -> Matrix:
        return rng.standard_normal((n_classes, width), dtype=np.float32)

    def _signals(self, hidden: list[Matrix], error: Matrix, y: Labels) -> list[Matrix]:
        truth = np.eye(error.shape[1], dtype=np.float32)[y]
        coolness = np.float32(1 / self.temperature)
        errors = [
            _softmax(coolness * (h @ E.T)) - truth
            for h, E in zip(hidden, self.projections, strict=True)
        ]
        return [
            np.asarray(coolness * (e @ E), dtype=np.float32)
            for e, E in zip(errors, self.projections, strict=True)
        ]


def _softmax(logits: Matrix) -> Matrix:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)

"""Recurrent networks by backpropagation through time, whole or truncated (torch).

The class is read from the last state by a dense layer. A peer of the benchmarks only: it validates
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.peers.backprop import Labels
from benchmarks.peers.torch_training import Tensor, Training, build_seeded, classify, import_torch


@dataclass
class RecurrentClassifier:
    """Sequences (n_samples, n_steps, n_channels) to classes 0..n_classes-1.

    ``cell`` is Elman's (tanh) or a gated unit. The gradient goes back through the last
    ``truncation`` steps, through all of them if that is None; earlier steps only set the state, and
    keep no activations. Channels are standardised in `fit` and kept within ten.
    """

    cell: Literal["elman", "gru"] = "gru"
    n_hidden: int = 64
    truncation: int | None = None
    learning_rate: float = 1e-3
    epochs: int = 12
    batch_size: int = 32
    random_state: int = 0

    def fit(self, X: npt.NDArray[Any], y: Labels) -> RecurrentClassifier:
        """Train from scratch on X (n_samples, n_steps, n_channels), y (n_samples,)."""
        self._mean = X.mean(axis=(0, 1))
        self._scale = 1 / np.maximum(X.std(axis=(0, 1)), 1e-6)
        n_channels, n_classes = X.shape[2], int(y.max()) + 1
        self.network = build_seeded(lambda: self._build(n_channels, n_classes), self.random_state)
        training = Training(self.learning_rate, self.epochs, self.batch_size, self.random_state)
        training.run(self._forward, list(self.network.parameters()), self._sequences(X), y)
        return self

    def predict(self, X: npt.NDArray[Any]) -> Labels:
        """Return the most likely class of each sequence."""
        return classify(self._forward, self._sequences(X))

    def _build(self, n_channels: int, n_classes: int) -> Any:
        nn = import_torch().nn
        kind = nn.RNN if self.cell == "elman" else nn.GRU
        cell = kind(n_channels, self.n_hidden, batch_first=True)
        return nn.ModuleDict({"cell": cell, "output": nn.Linear(self.n_hidden, n_classes)})

    def _forward(self, X: Any) -> Any:
        torch = import_torch()
        n_steps = X.shape[1]
        n_early = 0 if self.truncation is None else max(n_steps - self.truncation, 0)
        state = None
        if n_early:
            with torch.no_grad():
                _, state = self.network["cell"](X[:, :n_early])
        _, state = self.network["cell"](X[:, n_early:], state)
        return self.network["output"](state[-1])

    def _sequences(self, X: npt.NDArray[Any]) -> Tensor:
        standardised = np.clip((X - self._mean) * self._scale, -10, 10)
        return np.ascontiguousarray(standardised, dtype=np.float32)

"""torchhd's centroid, AdaptHD and OnlineHD, as its classifiers train them, on one thread.

Samples are standardised, scaled and encoded once, by torchhd's own `Sinusoid` or `Projection`;
its classifiers would encode them anew in each epoch, which changes nothing but the time. Encoder
and scale are settings to be tuned. torch and torchhd are imported when a model is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

BATCH_SIZE = 32
ROWS_AT_ONCE = 512


@dataclass
class TorchHDClassifier:
    """One of torchhd's models; `epochs` and `learning_rate` are not for the centroid."""

    model: Literal["centroid", "adapt", "online"]
    n_dims: int = 8192
    encoder: Literal["Sinusoid", "Projection"] = "Sinusoid"
    scale: float = 0.03
    epochs: int = 10
    learning_rate: float = 0.035
    random_state: int = 0

    def fit(self, X: Matrix, y: Labels) -> TorchHDClassifier:
        """Learn samples (n, n_features) of classes (n,), 0 to n_classes - 1."""
        import torch
        import torchhd

        torch.set_num_threads(1)
        torch.manual_seed(self.random_state)
        self._mean, self._deviation = X.mean(axis=0), np.maximum(X.std(axis=0), 1e-6)
        self._encoder: Any = getattr(torchhd.embeddings, self.encoder)(X.shape[1], self.n_dims)
        self._model: Any = torchhd.models.Centroid(self.n_dims, int(y.max()) + 1)
        with torch.no_grad():
            encoded, labels = self._encoded(X), torch.from_numpy(y)
            if self.model == "centroid":
                self._model.add(encoded, labels)
                return self
            update = getattr(self._model, f"add_{self.model}")
            for _ in range(self.epochs):
                for rows in torch.randperm(len(y)).split(BATCH_SIZE):
                    update(encoded[rows], labels[rows], lr=self.learning_rate)
        return self

    def predict(self, X: Matrix) -> Labels:
        """Return the class of the nearest prototype."""
        import torch

        with torch.no_grad():
            return np.asarray(self._model(self._encoded(X)).argmax(dim=1).numpy(), np.int64)

    def _encoded(self, X: Matrix) -> Any:
        import torch

        Z = ((X - self._mean) / self._deviation * self.scale).astype(np.float32)
        return torch.cat(
            [
                self._encoder(torch.from_numpy(Z[i : i + ROWS_AT_ONCE]))
                for i in range(0, len(Z), ROWS_AT_ONCE)
            ]
        )

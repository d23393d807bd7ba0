"""A small convolutional network by backpropagation, or with its convolutions left random (torch).

Each block is a 3 x 3 convolution of the same size, the activation and a maximum over 2 x 2; a dense
layer on all that is left gives the logits. A peer of the benchmarks only: it validates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.peers.backprop import Labels
from benchmarks.peers.torch_training import Tensor, Training, build_seeded, classify, import_torch


@dataclass
class ConvolutionalClassifier:
    """Images of `image_shape`, channels last, flat or not, to classes 0..n_classes-1.

    Pixels are centred and scaled by one mean and one deviation. With ``freeze_convolutions`` the
    dense layer alone learns: the floor that a rule for convolutions has to beat.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    channels: tuple[int, ...] = (16, 32)
    activation: Literal["tanh", "relu"] = "relu"
    learning_rate: float = 1e-3
    epochs: int = 12
    batch_size: int = 32
    freeze_convolutions: bool = False
    random_state: int = 0

    def fit(self, X: npt.NDArray[Any], y: Labels) -> ConvolutionalClassifier:
        """Train from scratch on X (n_samples, ...), y (n_samples,)."""
        self._mean, self._scale = float(X.mean()), 1 / max(float(X.std()), 1e-6)
        n_classes = int(y.max()) + 1
        self.network = build_seeded(lambda: self._build(n_classes), self.random_state)
        if self.freeze_convolutions:
            self.network[:-1].requires_grad_(False)
        learned = [p for p in self.network.parameters() if p.requires_grad]
        training = Training(self.learning_rate, self.epochs, self.batch_size, self.random_state)
        training.run(self.network, learned, self._images(X), y)
        return self

    def predict(self, X: npt.NDArray[Any]) -> Labels:
        """Return the most likely class of each image."""
        return classify(self.network, self._images(X))

    def _build(self, n_classes: int) -> Any:
        nn = import_torch().nn
        height, width, n_channels = self.image_shape
        layers: list[Any] = []
        for n_in, n_out in pairwise([n_channels, *self.channels]):
            activation = nn.Tanh() if self.activation == "tanh" else nn.ReLU()
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), activation, nn.MaxPool2d(2)]
            height, width, n_channels = height // 2, width // 2, n_out
        flat = n_channels * height * width
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, n_classes))

    def _images(self, X: npt.NDArray[Any]) -> Tensor:
        """Return what torch takes: (n, channels, height, width) float32."""
        images = (X.reshape(len(X), *self.image_shape) - self._mean) * self._scale
        return np.ascontiguousarray(np.moveaxis(images, 3, 1), dtype=np.float32)

"""A runtime's derived model in plain torch, of the same shapes: what one answer costs there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

SIDE = 32  # of the left half of a transform


@dataclass(frozen=True)
class Shapes:
    """Sizes of a model: features, directions of the frame, slots and classes, and so on."""

    n_features: int
    n_directions: int
    n_slots: int
    n_classes: int
    n_landmarks: int
    n_hidden: int
    n_dims: int


class TorchModel:
    """Frame, Gaussian cells, hypervectors, kernel head and adaptor, all drawn at random.

    The hypervectors come from blocks of random signs before and after a transform by two small
    matrices, as cheap as a transform of this size gets in torch; what is timed is the arithmetic.
    """

    def __init__(self, shapes: Shapes) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        s = self.shapes = shapes
        n_cells = s.n_slots * s.n_classes
        self._gain, self._centre = torch.rand(s.n_features), torch.randn(s.n_features)
        self._projection = torch.randn(s.n_features, s.n_directions) / s.n_features**0.5
        self._unproject = torch.randn(s.n_directions, s.n_directions)
        self._means = torch.randn(n_cells, s.n_directions)
        self._width = 1 << s.n_directions.bit_length()  # a power of two above one constant more
        n_blocks = s.n_dims // self._width
        self._signs = torch.randint(0, 2, (n_blocks, self._width)) * 2.0 - 1
        self._left, self._right = _hadamard(SIDE), _hadamard(self._width // SIDE)
        self._prototypes = torch.randint(0, 2, (n_cells, s.n_dims)) * 2.0 - 1
        self._landmarks = torch.randn(s.n_landmarks, s.n_directions)
        self._coefficients = torch.randn(s.n_landmarks, s.n_classes)
        self._inward = torch.randn(s.n_features, s.n_hidden) / s.n_features**0.5
        self._outward = torch.randn(s.n_hidden, n_cells)

    @torch.inference_mode()
    def answer(self, x: np.ndarray[Any, Any]) -> tuple[int, float]:
        """Most probable class of one sample (d,), and what the frame does not hold of it."""
        s = self.shapes
        centred = torch.from_numpy(x) * self._gain - self._centre
        u = centred @ self._projection
        inside = u @ self._unproject
        outside = float(centred @ centred - inside @ inside)
        gaps = u - self._means
        distances = (gaps * gaps).sum(-1)
        padded = torch.nn.functional.pad(u, (0, self._width - s.n_directions), value=0.5)
        blocks = (padded * self._signs).view(len(self._signs), SIDE, -1)
        hypervector = torch.sign(self._left @ blocks @ self._right).reshape(-1)
        cosines = (self._prototypes @ hypervector / s.n_dims).view(s.n_slots, s.n_classes)
        off = u - self._landmarks
        kernel = torch.exp(-(off * off).sum(-1) / s.n_directions) @ self._coefficients
        logits = torch.tanh(centred @ self._inward) @ self._outward
        shares = torch.log_softmax(logits, -1).view(s.n_slots, s.n_classes)
        gaussian = torch.logsumexp(-0.5 * distances.view(s.n_slots, s.n_classes), 0)
        total = gaussian + cosines.amax(0) + kernel + torch.logsumexp(shares, 0)
        return int(torch.softmax(total, -1).argmax()), outside


def _hadamard(size: int) -> torch.Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        top = torch.cat([matrix, matrix], 1)
        matrix = torch.cat([top, torch.cat([matrix, -matrix], 1)])
    return matrix

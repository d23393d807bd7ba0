"""The slots of a runtime in torch, stacked over slots: what a step costs there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from edge_runtime.slots import Slot


class TorchSlots:
    """Whitening, likelihood, hypervectors, prototypes and adaptors of all slots as batched tensors.

    The hypervectors come from a random sign matrix of 128 x 64 blocks applied twice, as cheap as
    a transform of this size gets in torch; what it is timed on is the same arithmetic.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        torch.set_num_threads(1)
        rank = max(len(slot.domain.basis) for slot in slots)
        self._mean = _stack([slot.domain.mean for slot in slots])
        self._gain = _stack([1 / slot.domain.scale for slot in slots])
        self._basis = _stack([_padded(slot.domain.basis, rank) for slot in slots])
        self._leading_gain = _stack([_padded(slot.domain.energy, rank) for slot in slots]).sqrt()
        self._class_means = _stack([slot.domain.class_means for slot in slots])
        width = 1 << (slots[0].domain.n_features - 1).bit_length()
        self._pad = width - slots[0].domain.n_features
        generator = torch.Generator().manual_seed(0)
        n_blocks = slots[0].settings.n_dims // width
        self._signs = torch.randint(0, 2, (n_blocks, width), generator=generator) * 2.0 - 1
        self._left, self._right = _hadamard(32), _hadamard(width // 32)
        prototypes = torch.randint(0, 2, (*self._class_means.shape[:2], n_blocks * width)) * 2.0
        self._prototypes = prototypes - 1
        nets = [slot.adaptor.network_ for slot in slots if slot.adaptor is not None]
        self._hidden = _stack([net.layers[0].weights for net in nets])
        self._output = _stack([net.output.weights for net in nets])

    @torch.inference_mode()
    def answer(self, x: np.ndarray[Any, Any]) -> int:
        """Most probable class of one sample (d,), all slots weighed by their likelihood."""
        Z = (torch.from_numpy(x) - self._mean) * self._gain
        leading = torch.bmm(self._basis, Z[:, :, None])[:, :, 0]
        white = Z + torch.bmm(self._basis.mT, (leading * self._leading_gain)[:, :, None])[:, :, 0]
        gaps = white[:, None] - self._class_means
        likelihood = -0.5 * (gaps * gaps).sum(-1).min(-1).values
        weights = torch.softmax(likelihood / (Z.shape[1] / 2) ** 0.5, 0)
        padded = torch.nn.functional.pad(white, (0, self._pad))
        blocks = (padded[:, None] * self._signs).view(len(Z), len(self._signs), 32, -1)
        hypervectors = torch.sign(self._left @ blocks @ self._right).reshape(len(Z), -1, 1)
        cosines = torch.bmm(self._prototypes, hypervectors)[:, :, 0] / hypervectors.shape[1]
        hidden = torch.tanh(torch.bmm(self._hidden, Z[:, :, None]))
        logits = torch.bmm(self._output, hidden)[:, :, 0]
        both = torch.log_softmax(20 * cosines, -1) + torch.log_softmax(logits, -1)
        return int((weights[:, None] * torch.softmax(both, -1)).sum(0).argmax())


def _stack(arrays: Sequence[Any]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32))


def _padded(array: Any, n: int) -> Any:
    return np.concatenate([array, np.zeros((n - len(array), *array.shape[1:]), array.dtype)])


def _hadamard(size: int) -> torch.Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        top = torch.cat([matrix, matrix], 1)
        matrix = torch.cat([top, torch.cat([matrix, -matrix], 1)])
    return matrix

"""What the torch peers share: torch itself on first use, one loop of Adam, prediction in batches.

The loop is that of `backprop.py`: shuffled minibatches, linear fall of the rate, softmax
cross-entropy. One thread, and torch's global random state is left as it was.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.backprop import Labels

Tensor = npt.NDArray[np.float32]
Forward = Callable[[Any], Any]  # a torch tensor (n, ...) to logits (n, n_classes)

PREDICTION_BATCH = 500


class TorchAbsentError(RuntimeError):
    """A peer that needs torch was asked for, and torch is not installed."""


def import_torch() -> Any:
    """Return the module torch, told to use one thread.

    Raises
    ------
    TorchAbsentError
        If torch is not installed; whoever needs it skips with this message.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise TorchAbsentError(
            "this peer needs torch, which is absent: pip install 'edge-runtime[bench]'"
        ) from error
    torch.set_num_threads(1)
    return torch


def build_seeded(build: Callable[[], Any], random_state: int) -> Any:
    """Return what `build` makes, its weights drawn from `random_state`."""
    torch = import_torch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        return build()


@dataclass(frozen=True)
class Training:
    """Adam on minibatches; the rate falls linearly to zero."""

    learning_rate: float
    epochs: int
    batch_size: int
    random_state: int

    def run(self, forward: Forward, parameters: list[Any], X: Tensor, y: Labels) -> None:
        """Change `parameters`, which `forward` uses, in place."""
        torch = import_torch()
        rng = np.random.default_rng(self.random_state)
        optimiser = torch.optim.Adam(parameters, lr=self.learning_rate)
        n_batches = -(-len(X) // self.batch_size)
        for epoch in range(self.epochs):
            for i, rows in enumerate(np.array_split(rng.permutation(len(X)), n_batches)):
                done = (epoch * n_batches + i) / (n_batches * self.epochs)
                optimiser.param_groups[0]["lr"] = self.learning_rate * (1 - done)
                optimiser.zero_grad()
                logits = forward(torch.from_numpy(X[rows]))
                torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[rows])).backward()
                optimiser.step()


def classify(forward: Forward, X: Tensor) -> Labels:
    """Return the most likely class of each sample."""
    torch = import_torch()
    found = []
    with torch.no_grad():
        for start in range(0, len(X), PREDICTION_BATCH):
            logits = forward(torch.from_numpy(X[start : start + PREDICTION_BATCH]))
            found.append(logits.argmax(dim=1).numpy())
    return np.concatenate(found)

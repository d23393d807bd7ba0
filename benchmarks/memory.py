"""What one update of a dense network needs: peak bytes measured, bytes and products by formula.

The formulas compare backpropagation, which keeps every layer's output until the error comes back,
with rules that finish a layer before the next one starts (tpSGD and its relatives). They count the
values that a rule has to hold, not the temporaries of a program; `peak_bytes` measures those too.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Rule = Literal["backprop", "local", "local cross-entropy"]


def peak_bytes(call: Callable[[], Any]) -> int:
    """Return how many bytes `call` allocates at its peak, above what is held before it.

    Only allocations that Python and NumPy report are seen (`tracemalloc`): not those of torch, nor
    buffers within compiled code. Call it once before, so that nothing is compiled or cached here.

    Examples
    --------
    >>> import numpy as np
    >>> 8_000_000 <= peak_bytes(lambda: np.ones(1_000_000)) < 8_100_000
    True
    """
    gc.collect()
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if not was_tracing:
            tracemalloc.stop()
    return peak - before


@dataclass(frozen=True)
class DenseStack:
    """A dense network by its layer sizes, input first and classes last, and its batch size.

    Examples
    --------
    >>> stack = DenseStack((784, 500, 500, 10), batch_size=32)
    >>> stack.activation_bytes("backprop"), stack.activation_bytes("local")
    (129280, 64000)
    >>> round(stack.macs("local") / stack.macs("backprop"), 2)
    0.84
    """

    sizes: tuple[int, ...]
    batch_size: int
    bytes_per_value: int = 4

    def activation_bytes(self, rule: Rule) -> int:
        """Outputs held at once: of all layers, or of the one that is learning and the one below.

        The samples themselves, which the caller has, are not counted. A layer that is not wider
        than the one below puts its outputs in the place of its inputs.
        """
        if rule == "backprop":
            values = sum(self.sizes[1:])
        else:
            pairs = pairwise(self.sizes[1:])
            values = max([self.sizes[1], *(a if b <= a else a + b for a, b in pairs)])
        return self.batch_size * values * self.bytes_per_value

    def gradient_bytes(self, rule: Rule) -> int:
        """Gradients of weights and biases held at once: of all layers, or of the largest one.

        All is what common programs do. One that updates each matrix as soon as the error has passed
        it also holds the largest only.
        """
        by_layer = [(n_in + 1) * n_out for n_in, n_out in pairwise(self.sizes)]
        return (sum if rule == "backprop" else max)(by_layer) * self.bytes_per_value

    def target_bytes(self, rule: Rule) -> int:
        """Fixed label codes, one value per class and hidden unit; 0 if drawn anew from a seed."""
        n_hidden = sum(self.sizes[1:-1])
        return 0 if rule == "backprop" else n_hidden * self.sizes[-1] * self.bytes_per_value

    def macs(self, rule: Rule) -> int:
        """Multiply-accumulates of one update: forward, weight gradients, and what goes back.

        Backpropagation sends the error through every matrix but the first. Local cross-entropy
        compares each hidden output with every code, and sends the error back through the codes.
        """
        products = [n_in * n_out for n_in, n_out in pairwise(self.sizes)]
        extra = 0
        if rule == "backprop":
            extra = sum(products[1:])
        elif rule == "local cross-entropy":
            extra = 2 * self.sizes[-1] * sum(self.sizes[1:-1])
        return self.batch_size * (2 * sum(products) + extra)

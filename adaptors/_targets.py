"""What a network's layers are taught: codes of labels, or projections of the values to predict.

Both kinds hand every layer one code per row and the row of each sample, and tell the output layer
how far off it is. Everything follows from the seed; codes of whole maps are made when needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adaptors.codes import check_kind, label_codes
from adaptors.losses import Labels, LocalLoss, output_delta
from adaptors.rule import Array, Goal, LocalLayer, needs_all_codes

# Values beyond this are clipped as if the output diverged: they were not standardised.
MAX_VALUE: Final = 100.0
# Slope of the hidden targets of a standardised value: most of them lie within the code's range.
GAIN: Final = np.float32(1.0)


class ClassTargets:
    """Label codes of each layer, and class indices for the output."""

    kind: Final = "classes"

    def __init__(self, seed: int, codes: str, layers: Sequence[LocalLayer], n_classes: int) -> None:
        check_kind(codes)
        self.seed, self.codes, self.layers = seed, codes, layers
        self.n_outputs = 0
        # Of a layer whose code is as long as its units: small against its weights.
        self.tables = [np.zeros((0, layer.n_units), np.float32) for layer in layers]
        self.grow(n_classes)

    @property
    def n_bytes(self) -> int:
        """Bytes of the codes that are kept."""
        return sum(table.nbytes for table in self.tables)

    def grow(self, n_new: int) -> None:
        """Append classes; the codes of the existing ones stay as they are."""
        labels = range(self.n_outputs, self.n_outputs + n_new)
        for i, layer in enumerate(self.layers):
            if layer.code_size == layer.n_units:
                self.tables[i] = np.concatenate([self.tables[i], self._made(i, labels)])
        self.n_outputs += n_new

    def goal(self, i: int, y: Labels, loss: LocalLoss, weights: Array | None) -> Goal:
        """Return what layer ``i`` shall learn from samples of these classes."""
        if self.layers[i].code_size == self.layers[i].n_units:
            return Goal(self.tables[i], y, loss, weights)
        if needs_all_codes(loss):
            return Goal(self._made(i, range(self.n_outputs)), y, loss, weights)
        present, rows = np.unique(y, return_inverse=True)
        return Goal(self._made(i, present.tolist()), rows.astype(np.int64), loss, weights)

    def checked(self, y: npt.ArrayLike, n_samples: int) -> Labels:
        """Return class indices as int64, or refuse them."""
        labels = np.asarray(y)
        if labels.shape != (n_samples,) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"y is {labels.dtype} of shape {labels.shape}, expected integers ({n_samples},)."
            )
        if labels.min() < 0 or labels.max() >= self.n_outputs:
            raise ValueError(
                f"y holds class indices {labels.min()} to {labels.max()}, expected 0 to "
                f"{self.n_outputs - 1}: call add_classes first."
            )
        return labels.astype(np.int64)

    def output_delta(self, outputs: Array, y: Labels) -> Array:
        """Return ``softmax(outputs) - one-hot``."""
        return output_delta(outputs, y)

    def _made(self, i: int, labels: Any) -> Array:
        layer = self.layers[i]
        low, high = layer.code_range
        return label_codes(self.seed, i, labels, layer.code_size, low, high, kind=self.codes)


class ValueTargets:
    """Random monotone functions of the values to predict, one per unit of a layer.

    ``t = middle + half * tanh(P v + b)`` within the code range of the layer, where P and b are
    normal, the rows of P over the square root of the number of values. The offsets b make units
    differ in *where* they are steep, so that their sum can follow one value alone.
    """

    kind: Final = "values"

    def __init__(self, seed: int, layers: Sequence[LocalLayer], n_values: int) -> None:
        self.layers, self.n_outputs = layers, n_values
        self.tables = [
            label_codes(seed, i, range(n_values + 1), layer.code_size, -2.0, 2.0, kind="gaussian")
            for i, layer in enumerate(layers)
        ]

    @property
    def n_bytes(self) -> int:
        """Bytes of the projections."""
        return sum(table.nbytes for table in self.tables)

    def grow(self, n_new: int) -> None:
        """Refuse: only classes can be added."""
        raise ValueError(f"outputs are values: {n_new} more classes cannot be added.")

    def goal(self, i: int, y: Array, loss: LocalLoss, weights: Array | None) -> Goal:
        """Return what layer ``i`` shall learn from samples with these values: a code for each."""
        low, high = self.layers[i].code_range
        table = self.tables[i]
        drive = y @ table[:-1] / np.float32(np.sqrt(self.n_outputs)) + table[-1]
        codes = np.float32((high + low) / 2) + np.float32((high - low) / 2) * np.tanh(GAIN * drive)
        return Goal(codes, np.arange(len(y)), loss, weights)

    def checked(self, y: npt.ArrayLike, n_samples: int) -> Array:
        """Return values as float32, or refuse them."""
        values = np.asarray(y, dtype=np.float32)
        if values.shape != (n_samples, self.n_outputs):
            raise ValueError(
                f"y has shape {values.shape}, expected ({n_samples}, {self.n_outputs})."
            )
        if not np.abs(values).max() <= MAX_VALUE:
            raise ValueError(
                f"y holds NaN, infinity or values beyond {MAX_VALUE:g}: standardise the targets."
            )
        return values

    def output_delta(self, outputs: Array, y: Array) -> Array:
        """Return ``outputs - y``, the derivative of half the squared error."""
        return outputs - y


def targets(
    kind: str, codes: str, seed: int, layers: Sequence[LocalLayer], n_outputs: int
) -> ClassTargets | ValueTargets:
    """Return the targets of that kind of output."""
    if kind == "classes":
        return ClassTargets(seed, codes, layers, n_outputs)
    if kind != "values":
        raise ValueError(f"outputs is {kind!r}, expected 'classes' or 'values'.")
    check_kind(codes)
    if any(layer.code_size != layer.n_units for layer in layers):
        raise ValueError("a full-map target needs classes: use target='channel' for values.")
    return ValueTargets(seed, layers, n_outputs)

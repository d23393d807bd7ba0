"""The shared adaptor: one shallow network under all slots, trained forward only (tpSGD).

It learns the cells of class and slot, not the classes alone: within a slot classes are easier to
part, and an answer is the sum over slots (on PACS and on digits 1.5 points ahead of class targets).
Only what answers is kept: two matrices. Training is done by `adaptors.TargetProjectionNetwork` from
exemplars, anew at each fit, in batches that are decoded one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StateError
from edge_runtime.state.fields import Field, arrays_of, restored
from hdc.domain.cells import ClassMembers
from hdc.domain.frame import Frame

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

BATCH = 64
# Twice as many are 0.2 points better on 8,000 labels of PACS, and no better on fewer.
PASSES = 10
# With fewer labels an adaptor never counted for anything.
LEAST_LABELS = 40
HIDDEN_RATE = 10.0
# Up to so many features of all rows are decoded at once, 8 MB; of more, batch by batch.
KEPT_FLOATS = 2 * 10**6

FIELDS = (
    Field("inward", "float32", ("features", "hidden")),
    Field("bias", "float32", ("hidden",)),
    Field("outward", "float32", ("hidden", "cells")),
    Field("threshold", "float32", ("cells",)),
    Field("classes", "int64", ("cells",)),
)


class Adaptor:
    """One hidden layer of tanh units on centred features, and the log-odds of the cells.

    Parameters
    ----------
    inward, bias : (d, n_hidden), (n_hidden,); whitening is part of them.
    outward, threshold : (n_hidden, n_cells), (n_cells,)
    classes : (n_cells,) class of each cell.
    """

    def __init__(
        self, inward: Matrix, bias: Matrix, outward: Matrix, threshold: Matrix, classes: Indices
    ) -> None:
        self.inward, self.bias, self.outward, self.threshold = inward, bias, outward, threshold
        self.classes, self._members = classes, ClassMembers(classes)

    @classmethod
    def fit(
        cls,
        frame: Frame,
        units_of: Callable[[Indices], Matrix],
        rows: Indices,
        cells: Indices,
        classes: Indices,
        n_hidden: int,
        seed: int,
    ) -> Adaptor:
        """Train on rows of the store, whose units `units_of` gives, and their cells (n,).

        Parameters
        ----------
        classes : (n_cells,) class of each cell.
        """
        from adaptors import Dense, TargetProjectionNetwork

        rng = np.random.default_rng(seed)
        n_features = len(frame.centre)
        network = TargetProjectionNetwork(
            [Dense(n_hidden)], n_features, len(classes), "cross_entropy", rng
        )
        sample = frame.whitened(units_of(rows[:: max(len(rows) // 256, 1)]))
        size = np.float32(max(float(np.sqrt(np.mean(sample * sample))), 1e-6))
        n_batches = -(-len(rows) // BATCH)
        few = None if len(rows) * n_features > KEPT_FLOATS else frame.whitened(units_of(rows))
        for epoch in range(PASSES):
            order = rng.permutation(len(rows))
            for i, part in enumerate(np.array_split(order, n_batches)):
                fraction = 1.0 - (epoch + i / n_batches) / PASSES
                X = frame.whitened(units_of(rows[part])) if few is None else few[part]
                X = np.clip(X / size, -30, 30)
                network.step(
                    X,
                    cells[part],
                    learning_rate=fraction,
                    hidden_learning_rate=fraction * min(HIDDEN_RATE, len(part)),
                )
        hidden, output = network.layers[0].arrays, network.output.arrays
        inward = frame.unwhitened_weights(np.ascontiguousarray(hidden["weights"].T) / size)
        return cls(
            inward, hidden["bias"].copy(), np.ascontiguousarray(output["weights"].T),
            output["bias"].copy(), classes.copy(),
        )  # fmt: skip

    def log_probabilities(self, centred: Matrix, others: Scores) -> Scores:
        """Log-probabilities (n, n_classes) of centred features.

        A class that it has never met has its log-probability in `others`, of another expert.
        """
        hidden = np.tanh(centred @ self.inward + self.bias)
        scores = (hidden @ self.outward + self.threshold).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        odds = np.exp(scores)
        members, shares = self._members, np.zeros_like(others)
        shares[:, members.classes] = members.sums(odds / odds.sum(axis=1, keepdims=True))
        known = np.zeros(others.shape[1], np.bool_)
        known[self.classes] = True
        if not known.all():
            elsewhere = np.exp(others[:, ~known])
            shares *= np.maximum(1 - elsewhere.sum(axis=1, keepdims=True), 0.0)
            shares[:, ~known] = elsewhere
        return np.log(np.maximum(shares, 1e-6))

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return sum(getattr(self, field.name).nbytes for field in FIELDS)

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, as a flat dict of arrays."""
        return arrays_of(self, FIELDS)

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], n_features: int) -> Adaptor:
        """What `to_state` was called on; `StateError` where it does not fit."""
        found = restored(arrays, FIELDS, {"features": n_features})
        if len(found["classes"]) == 0:
            raise StateError("an adaptor of no cell: is it damaged?")
        return cls(**found)

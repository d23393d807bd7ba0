"""A bounded set of labelled feature vectors: what a young slot is fitted on.

Stored in a half or a quarter of the bytes of the features (see `rows`); never raw samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.rows import FLOAT16_MAX, Float16Rows, Int8Rows, Matrix, Rows

__all__ = ["FLOAT16_MAX", "Classes", "LabelledSet", "Matrix"]

Classes = npt.NDArray[np.int64]

# Width from which features are an encoder's: so many that labels are kept as int8.
WIDE = 256
# Room grows by this factor, so that few labels cost few bytes, and a budget is used to the end.
GROWTH = 1.25
LEAST_ROOM = 16


def bytes_of_rows(n: int, n_features: int) -> int:
    """Bytes that so many labelled samples take at most."""
    is_wide = n_features >= WIDE
    return n * ((1 if is_wide else 2) * n_features + 8) + 8 * n_features * is_wide


class LabelledSet:
    """At most `capacity` feature vectors with class indices, in the order they came."""

    def __init__(self, n_features: int, capacity: int) -> None:
        self.n_features, self.capacity, self.is_int8 = n_features, capacity, n_features >= WIDE
        self._rows: Rows = Int8Rows(n_features) if self.is_int8 else Float16Rows(n_features)
        self._y = np.zeros(0, np.int64)
        self._n = 0
        self._is_shared = False  # with a copy: rows are never overwritten, more room is new room

    def __len__(self) -> int:
        return self._n

    @property
    def is_full(self) -> bool:
        """Whether one more sample would be refused."""
        return self._n >= self.capacity

    @property
    def X(self) -> Matrix:
        """Features (n, d) as float32, a copy."""
        return self._rows.get(slice(self._n))

    @property
    def y(self) -> Classes:
        """Class indices (n,), a copy."""
        return self._y[: self._n].copy()

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays, with the room they have reserved."""
        return self._rows.nbytes + self._y.nbytes

    def add(self, x: npt.NDArray[np.float32], k: int) -> None:
        """Keep one labelled vector; values beyond float16 are clipped."""
        if self.is_full:
            raise ValueError(f"all {self.capacity} places for labelled samples are taken")
        if self._n == len(self._y) or self._is_shared:
            room = min(max(round(GROWTH * self._n), LEAST_ROOM), self.capacity)
            self._rows = self._rows.with_room(room)
            self._y = np.resize(self._y, room)
            self._is_shared = False
        self._rows.put(self._n, x)
        self._y[self._n] = k
        self._n += 1

    def pick(self, classes: Classes, rng: np.random.Generator) -> Matrix:
        """Features (n, d) of one sample of each of these classes, drawn evenly from those held."""
        y = self._y[: self._n]
        rows = [int(rng.choice(np.flatnonzero(y == k))) for k in classes.tolist()]
        return self._rows.get(rows)

    def without_class(self, k: int) -> LabelledSet:
        """A set of the other classes; those behind class `k` move up by one."""
        rest = LabelledSet(self.n_features, self.capacity)
        kept = np.flatnonzero(self._y[: self._n] != k)
        rest._rows, y = self._rows.take(kept), self._y[kept]
        rest._y, rest._n = y - (y > k), len(y)
        return rest

    def copy(self) -> LabelledSet:
        """A copy that shares the rows so far, and costs nothing until it is added to."""
        copy = LabelledSet(self.n_features, self.capacity)
        copy._rows, copy._y, copy._n, copy._is_shared = self._rows.alias(), self._y, self._n, True
        return copy

    def shares_rows_with(self, other: LabelledSet | None) -> bool:
        """Whether the bytes of this set are counted with those of the other."""
        return other is not None and self._rows.shares_memory_with(other._rows)

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """The vectors and class indices that are held."""
        return {**self._rows.to_state(self._n), "y": self._y[: self._n]}

    @classmethod
    def from_state(
        cls, state: Mapping[str, npt.NDArray[Any]], n_features: int, capacity: int
    ) -> LabelledSet:
        """The set that `to_state` was called on; refuses other widths and more than `capacity`."""
        X, y = state["X"], state["y"]
        if X.ndim != 2 or X.shape[1] != n_features or y.shape != (len(X),) or len(X) > capacity:
            raise ValueError(
                f"labelled set has shapes {X.shape} and {y.shape}, expected (n, {n_features}) and "
                f"(n,) with n <= {capacity}"
            )
        restored = cls(n_features, capacity)
        if (X.dtype == np.int8) != restored.is_int8:
            raise ValueError(f"labelled set of {n_features} features has dtype {X.dtype}")
        kind = Int8Rows if restored.is_int8 else Float16Rows
        restored._rows, restored._y, restored._n = (
            kind.from_state(state),
            y.astype(np.int64),
            len(X),
        )
        return restored

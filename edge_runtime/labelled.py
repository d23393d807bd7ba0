"""A bounded set of labelled feature vectors: what a young slot is fitted on.

Stored as float16, half the bytes of the features; never raw samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

FLOAT16_MAX = float(np.finfo(np.float16).max)


class LabelledSet:
    """At most `capacity` feature vectors with class indices, in the order they came."""

    def __init__(self, n_features: int, capacity: int) -> None:
        self.n_features, self.capacity = n_features, capacity
        self._X = np.zeros((0, n_features), np.float16)
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
        return self._X[: self._n].astype(np.float32)

    @property
    def y(self) -> Classes:
        """Class indices (n,), a copy."""
        return self._y[: self._n].copy()

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays, with the room they have reserved."""
        return self._X.nbytes + self._y.nbytes

    def add(self, x: npt.NDArray[np.float32], k: int) -> None:
        """Keep one labelled vector; values beyond float16 are clipped."""
        if self.is_full:
            raise ValueError(f"all {self.capacity} places for labelled samples are taken")
        if self._n == len(self._y) or self._is_shared:
            # Room doubles, so that few labels cost few bytes.
            room = min(max(2 * self._n, 16), self.capacity)
            self._X = np.resize(self._X, (room, self.n_features))
            self._y = np.resize(self._y, room)
            self._is_shared = False
        self._X[self._n] = np.clip(x, -FLOAT16_MAX, FLOAT16_MAX)
        self._y[self._n] = k
        self._n += 1

    def pick(self, classes: Classes, rng: np.random.Generator) -> Matrix:
        """Features (n, d) of one sample of each of these classes, drawn evenly from those held."""
        y = self._y[: self._n]
        rows = [int(rng.choice(np.flatnonzero(y == k))) for k in classes.tolist()]
        return self._X[rows].astype(np.float32)

    def without_class(self, k: int) -> LabelledSet:
        """A set of the other classes; those behind class `k` move up by one."""
        rest = LabelledSet(self.n_features, self.capacity)
        kept = self._y[: self._n] != k
        rest._X, y = self._X[: self._n][kept], self._y[: self._n][kept]
        rest._y, rest._n = y - (y > k), len(y)
        return rest

    def copy(self) -> LabelledSet:
        """A copy that shares the rows so far, and costs nothing until it is added to."""
        copy = LabelledSet(self.n_features, self.capacity)
        copy._X, copy._y, copy._n, copy._is_shared = self._X, self._y, self._n, True
        return copy

    def shares_rows_with(self, other: LabelledSet | None) -> bool:
        """Whether the bytes of this set are counted with those of the other."""
        return other is not None and self._X is other._X

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """The vectors and class indices that are held."""
        return {"X": self._X[: self._n], "y": self._y[: self._n]}

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
        restored._X, restored._y, restored._n = X.astype(np.float16), y.astype(np.int64), len(X)
        return restored

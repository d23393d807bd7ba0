"""Rows of features in few bits, which can be added to: float16, or int8 in units of each column."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing_extensions import Self

Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]

FLOAT16_MAX = float(np.finfo(np.float16).max)
# Of a column's first value, or of one: from there a unit grows as far as it must.
LEAST_UNIT = np.float32(2.0**-20)


class Rows(Protocol):
    """A matrix of as many rows as there is room for; `put` fills them one after the other."""

    @property
    def nbytes(self) -> int:
        """Bytes of that room."""

    def with_room(self, room: int) -> Self:
        """The same rows in memory of their own, of which there is so much."""

    def alias(self) -> Self:
        """The same rows in the same memory, as long as neither changes what the other holds."""

    def shares_memory_with(self, other: Rows) -> bool:
        """Whether they are in the same memory."""

    def put(self, n: int, x: Vector) -> None:
        """Set row `n`, behind those that were set before; values beyond float16 are clipped."""

    def get(self, rows: Any) -> Matrix:
        """Some rows as float32, a copy."""

    def take(self, rows: Any) -> Self:
        """Some rows, with room for no more."""

    def to_state(self, n: int) -> dict[str, npt.NDArray[Any]]:
        """The first `n` rows as arrays, the widest of which is "X"."""


class Float16Rows:
    """Half the bytes of the features."""

    def __init__(self, n_features: int) -> None:
        self._X = np.zeros((0, n_features), np.float16)

    @property
    def nbytes(self) -> int:
        """Bytes of that room."""
        return self._X.nbytes

    def with_room(self, room: int) -> Self:
        """The same rows in memory of their own, of which there is so much."""
        new = copy.copy(self)
        new._X = np.resize(self._X, (room, self._X.shape[1]))
        return new

    def alias(self) -> Self:
        """The same rows in the same memory."""
        return copy.copy(self)

    def shares_memory_with(self, other: Rows) -> bool:
        """Whether they are in the same memory."""
        return isinstance(other, Float16Rows) and self._X is other._X

    def put(self, n: int, x: Vector) -> None:
        """Set row `n`; values beyond float16 are clipped."""
        self._X[n] = np.clip(x, -FLOAT16_MAX, FLOAT16_MAX)

    def get(self, rows: Any) -> Matrix:
        """Some rows as float32, a copy."""
        return np.asarray(self._X[rows], np.float32)

    def take(self, rows: Any) -> Self:
        """Some rows, with room for no more."""
        new = copy.copy(self)
        new._X = self._X[rows]
        return new

    def to_state(self, n: int) -> dict[str, npt.NDArray[Any]]:
        """The first `n` rows."""
        return {"X": self._X[:n]}

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The rows that `to_state` was called on."""
        rows = cls(state["X"].shape[1])
        rows._X = state["X"].astype(np.float16)
        return rows


class Int8Rows:
    """A quarter of the bytes: what a value is off the first of its column, in units of the column.

    A unit doubles where a value would not fit, and what is held is rounded to it: no value is off
    by more than a unit, nor a unit larger than a 63rd of the largest deviation.

    Examples
    --------
    >>> rows = Int8Rows(2).with_room(2)
    >>> rows.put(0, np.array([10.0, 0.0], np.float32))
    >>> rows.put(1, np.array([11.0, -5.0], np.float32))
    >>> bool(np.abs(rows.get(slice(2)) - [[10, 0], [11, -5]]).max() < 0.05)
    True
    """

    def __init__(self, n_features: int) -> None:
        self._q = np.zeros((0, n_features), np.int8)
        self._centre: Vector = np.zeros(n_features, np.float32)
        self._unit: Vector = np.zeros(n_features, np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of that room."""
        return self._q.nbytes + self._centre.nbytes + self._unit.nbytes

    def with_room(self, room: int) -> Self:
        """The same rows in memory of their own, of which there is so much."""
        new = copy.copy(self)
        new._q = np.resize(self._q, (room, self._q.shape[1]))
        new._centre, new._unit = self._centre.copy(), self._unit.copy()
        return new

    def alias(self) -> Self:
        """The same rows in the same memory, until a unit of one of them grows."""
        return copy.copy(self)

    def shares_memory_with(self, other: Rows) -> bool:
        """Whether they are in the same memory."""
        return isinstance(other, Int8Rows) and self._q is other._q

    def put(self, n: int, x: Vector) -> None:
        """Set row `n`; values beyond float16 are clipped."""
        x = np.clip(x, -FLOAT16_MAX, FLOAT16_MAX)
        if n == 0:
            self._centre, self._unit = x.copy(), np.maximum(np.abs(x), 1.0) * LEAST_UNIT
        off = x - self._centre
        short = np.flatnonzero(np.abs(off) > 127 * self._unit)
        if len(short):
            doublings = np.ceil(np.log2(np.abs(off[short]) / (127 * self._unit[short])))
            factor = np.exp2(doublings, dtype=np.float32)
            self._q, self._unit = self._q.copy(), self._unit.copy()  # an alias keeps the old ones
            self._q[:n, short] = np.rint(self._q[:n, short] / factor)
            self._unit[short] *= factor
        self._q[n] = np.clip(np.rint(off / self._unit), -127, 127)

    def get(self, rows: Any) -> Matrix:
        """Some rows as float32, a copy."""
        return np.asarray(self._centre + self._unit * self._q[rows], np.float32)

    def take(self, rows: Any) -> Self:
        """Some rows, with room for no more."""
        new = copy.copy(self)
        new._q, new._centre, new._unit = self._q[rows], self._centre.copy(), self._unit.copy()
        return new

    def to_state(self, n: int) -> dict[str, npt.NDArray[Any]]:
        """The first `n` rows, and what they are to be read by."""
        return {"X": self._q[:n], "centre": self._centre, "unit": self._unit}

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The rows that `to_state` was called on; `ValueError` or `KeyError` if they do not fit."""
        n_features = state["X"].shape[1]
        rows = cls(n_features)
        rows._q = state["X"].astype(np.int8)
        rows._centre = np.array(state["centre"], np.float32)
        rows._unit = np.array(state["unit"], np.float32)
        shapes = rows._centre.shape, rows._unit.shape
        is_sound = np.isfinite(rows._centre).all() and np.isfinite(rows._unit).all()
        if shapes != ((n_features,), (n_features,)) or not is_sound or rows._unit.min() < 0:
            raise ValueError(f"rows of {n_features} columns have units of {shapes}: were they cut?")
        return rows

"""Labelled samples, kept: what a person said of which features, when, and in which slot.

Rows are float16 in units of the store: less a centre, by a scale, feature by feature, so that
neither the size of a unit nor an offset costs precision. Wide rows, which only encoders give, may
be brought to int8. Not here: which rows have to go (`eviction`), and what remains of them
(`statistics`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.state.fields import Field, arrays_of, restored
from hdc.domain.frame import MOST_UNITS, in_units

Matrix = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Rows at least this wide come from an encoder: rounding a feature to a sixteenth of its spread is
# lost among the others. Few raw measures keep float16.
WIDE = 128
INT8_STEPS = 16.0
# Beyond so many scales float16 has no digits to spare: the units are made anew.
FAR = 2048.0
# The first rows say little of a feature's spread; units are made anew whenever rows have doubled,
# up to here.
SETTLED = 1024
# A scale is at least this part of what the feature amounts to: float32 has no more digits.
LEAST_SCALE = 2.0**-20
FIRST_SCALE = 2.0**-8

FIELDS = (
    Field("rows", "float16 int8", ("n", "features")),
    Field("labels", "int16", ("n",)),
    Field("slots", "int16", ("n",)),
    Field("samples", "int64", ("n",)),
    Field("times", "float64", ("n",)),
    Field("scenes", "int64", ("n",)),
    Field("origins", "int16", ("n",)),
    Field("is_suspect", "uint8", ("n",)),
    Field("is_confirmed", "uint8", ("n",)),
    Field("centre", "float64", ("features",)),
    Field("scale", "float64", ("features",)),
    Field("progress", "int64", (2,)),
)
COLUMNS = tuple(field.name for field in FIELDS if field.shape[0] == "n")


class Exemplars:
    """Labelled rows, oldest first, column by column.

    Parameters
    ----------
    n_features : width of a row.

    Examples
    --------
    >>> store = Exemplars(2)
    >>> for i in range(4):
    ...     _ = store.add(np.array([101_325.0 + i, 0.5]), label=i % 2, sample=i)
    >>> len(store), store.find(2), store.raw([0, 3])[:, 0].round().tolist()
    (4, 2, [101325.0, 101328.0])
    """

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self.rows: npt.NDArray[Any] = np.zeros((0, n_features), np.float16)
        self.labels = np.zeros(0, np.int16)
        self.slots = np.zeros(0, np.int16)
        self.samples = np.zeros(0, np.int64)
        self.times = np.zeros(0, np.float64)
        self.scenes = np.zeros(0, np.int64)
        self.origins = np.zeros(0, np.int16)
        self.is_suspect = np.zeros(0, np.uint8)
        self.is_confirmed = np.zeros(0, np.uint8)
        self.centre = np.zeros(n_features)
        self.scale = np.ones(n_features)
        self.is_frozen = False  # once statistics of evicted rows are in these units
        self._n = 0
        self._units_of = 0  # rows that the units were made of

    def __len__(self) -> int:
        return self._n

    # -- units ------------------------------------------------------------------------------

    def to_units(self, X: npt.NDArray[Any]) -> Matrix:
        """Raw features (n, d) in units of the store, as float32; what is out of reach is cut."""
        return in_units(X, self.centre, self.scale)

    def units(self, index: Any = slice(None)) -> Matrix:
        """Rows in units of the store, (m, d) float32."""
        rows: Matrix = self.rows[: self._n][index].astype(np.float32)
        if self.rows.dtype == np.int8:
            rows *= np.float32(1 / INT8_STEPS)
        return np.asarray(rows)

    def raw(self, index: Any = slice(None)) -> npt.NDArray[np.float64]:
        """Rows as they came, up to rounding, (m, d)."""
        return np.asarray(self.units(index).astype(np.float64) * self.scale + self.centre)

    def _encode(self, Z: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.rows.dtype == np.int8:
            return np.asarray(np.clip(np.rint(Z * INT8_STEPS), -127, 127), np.int8)
        return np.asarray(np.clip(Z, -MOST_UNITS, MOST_UNITS), np.float16)

    def _make_units(self, new: npt.NDArray[Any]) -> None:
        """Centre and scale of all rows and a new one; rows are written anew in them."""
        old = self.raw() if self._n else np.zeros((0, self.n_features))
        X = np.concatenate([old, np.asarray(new, np.float64)[None]])
        self.centre = X.mean(axis=0)
        size = np.abs(X).max(axis=0)
        least = LEAST_SCALE if len(X) > 1 else FIRST_SCALE
        spread = X.std(axis=0)
        self.scale = np.maximum(np.where(spread > 0, spread, FIRST_SCALE * size), least * size)
        self.scale[self.scale == 0] = 1.0
        self._units_of = len(X)
        if self._n:
            self.rows[: self._n] = self._encode(self.to_units(old))

    def _tend_units(self, x: npt.NDArray[Any]) -> None:
        if self.is_frozen or self.rows.dtype == np.int8:
            return
        is_due = self._n + 1 >= 2 * self._units_of and self._n < SETTLED
        if is_due or np.abs((x - self.centre) / self.scale).max() > FAR:
            self._make_units(x)

    def to_int8(self) -> None:
        """Keep rows in half the bytes, for good."""
        self.keep(np.ones(self._n, np.bool_))  # all columns are of one length
        Z = self.units()
        self.rows = np.zeros((self._n, self.n_features), np.int8)
        self.rows[:] = self._encode(Z)

    # -- rows -------------------------------------------------------------------------------

    def add(
        self,
        x: npt.NDArray[Any],
        label: int,
        *,
        slot: int = 0,
        sample: int = -1,
        time: float = 0.0,
        scene: int = -1,
        origin: int = 0,
    ) -> int:
        """Keep one labelled row of raw features (d,); returns its index."""
        self._tend_units(x)
        i = self._n
        if i == len(self.labels):
            self._reserve(max(16, i // 16))
        self._n += 1
        self.rows[i] = self._encode(self.to_units(x[None])[0])
        self.labels[i], self.slots[i], self.samples[i] = label, slot, sample
        self.times[i], self.scenes[i], self.origins[i] = time, scene, origin
        self.is_suspect[i] = self.is_confirmed[i] = 0
        return i

    def _reserve(self, n_more: int) -> None:
        for name in COLUMNS:
            column = getattr(self, name)
            padding = [(0, n_more)] + [(0, 0)] * (column.ndim - 1)
            setattr(self, name, np.pad(column, padding))

    def column(self, name: str) -> npt.NDArray[Any]:
        """One of the columns, (n,) or (n, d): a view."""
        values: npt.NDArray[Any] = getattr(self, name)[: self._n]
        return values

    def find(self, sample: int, origin: int = 0) -> int:
        """Index of the row of this sample; -1 if there is none."""
        found = np.flatnonzero(
            (self.column("samples") == sample) & (self.column("origins") == origin)
        )
        return int(found[-1]) if len(found) and sample >= 0 else -1

    def keep(self, mask: Mask) -> None:
        """Keep the rows of a mask (n,), in their order; the others are gone."""
        for name in COLUMNS:
            setattr(self, name, self.column(name)[mask].copy())
        self._n = int(np.count_nonzero(mask))

    def remove_class(self, k: int) -> None:
        """Forget the rows of a class; classes behind it move up by one."""
        self.keep(self.column("labels") != k)
        self.labels[self.labels > k] -= 1

    @property
    def progress(self) -> Indices:
        """Rows that the units were made of, and whether they are frozen."""
        return np.array([self._units_of, self.is_frozen], np.int64)

    @property
    def row_bytes(self) -> int:
        """Bytes of one more row."""
        return sum(
            column.dtype.itemsize * int(np.prod(column.shape[1:], dtype=np.int64))
            for column in (getattr(self, name) for name in COLUMNS)
        )

    @property
    def n_bytes(self) -> int:
        """Bytes held, with room for rows to come."""
        columns = sum(getattr(self, name).nbytes for name in COLUMNS)
        return int(columns + self.centre.nbytes + self.scale.nbytes)

    # -- state ------------------------------------------------------------------------------

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, as a flat dict of arrays."""
        self.keep(np.ones(self._n, np.bool_))
        return arrays_of(self, FIELDS)

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], n_features: int) -> Exemplars:
        """What `to_state` was called on.

        Raises
        ------
        StateError
            A field is missing, or has another shape, type or range than it can have.
        """
        store = cls(n_features)
        found = restored(arrays, FIELDS, {"features": n_features})
        for name, values in found.items():
            if name != "progress":
                setattr(store, name, values)
        store._n = len(store.labels)
        store._units_of, store.is_frozen = int(found["progress"][0]), bool(found["progress"][1])
        return store

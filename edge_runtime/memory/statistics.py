"""What remains of exemplars that had to go: a count and a sum for each class, slot and origin.

Sums are in units of the store, in float64: their order does not matter, and the part of one origin
(a board, a person) or of one class can be taken out again. A single label cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.state.fields import Field, arrays_of, restored

FIELDS = (
    Field("classes", "int64", ("groups",)),
    Field("slots", "int64", ("groups",)),
    Field("origins", "int64", ("groups",)),
    Field("counts", "int64", ("groups",)),
    Field("sums", "float64", ("groups", "features")),
)


class Statistics:
    """Counts and sums of evicted rows.

    Examples
    --------
    >>> gone = Statistics(2)
    >>> gone.add(np.ones((3, 2)), np.array([0, 0, 1]), np.zeros(3), np.zeros(3))
    >>> gone.counts.tolist(), len(gone)
    ([2, 1], 3)
    """

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self.classes = np.zeros(0, np.int64)
        self.slots = np.zeros(0, np.int64)
        self.origins = np.zeros(0, np.int64)
        self.counts = np.zeros(0, np.int64)
        self.sums = np.zeros((0, n_features))

    def __len__(self) -> int:
        return int(self.counts.sum())

    def add(
        self,
        Z: npt.NDArray[Any],
        classes: npt.ArrayLike,
        slots: npt.ArrayLike,
        origins: npt.ArrayLike,
    ) -> None:
        """Take in rows Z (n, d) that are no longer kept."""
        keys = np.stack([np.asarray(each, np.int64) for each in (classes, slots, origins)], axis=1)
        for key in np.unique(keys, axis=0):
            rows = (keys == key).all(axis=1)
            i = self._index(*key.tolist())
            self.counts[i] += np.count_nonzero(rows)
            self.sums[i] += Z[rows].sum(axis=0, dtype=np.float64)

    def add_sums(
        self,
        sums: npt.NDArray[np.float64],
        counts: npt.NDArray[np.int64],
        classes: npt.NDArray[np.int64],
        slots: npt.NDArray[np.int64],
        origins: npt.NDArray[np.int64],
    ) -> None:
        """Take in sums (groups, d) of so many rows each, in the same units."""
        keys = np.stack([classes, slots, origins], axis=1).tolist()
        for j, (k, slot, origin) in enumerate(keys):
            i = self._index(k, slot, origin)
            self.counts[i] += counts[j]
            self.sums[i] += sums[j]

    def _index(self, k: int, slot: int, origin: int) -> int:
        found = (self.classes == k) & (self.slots == slot) & (self.origins == origin)
        if found.any():
            return int(np.flatnonzero(found)[0])
        self.classes = np.append(self.classes, k)
        self.slots = np.append(self.slots, slot)
        self.origins = np.append(self.origins, origin)
        self.counts = np.append(self.counts, 0)
        self.sums = np.concatenate([self.sums, np.zeros((1, self.n_features))])
        return len(self.counts) - 1

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Keep the groups of a mask; the others are gone for good."""
        for field in FIELDS:
            setattr(self, field.name, getattr(self, field.name)[mask].copy())

    def remove_class(self, k: int) -> None:
        """Forget a class; those behind it move up by one."""
        self.keep(self.classes != k)
        self.classes[self.classes > k] -= 1

    def bytes_with(
        self, classes: npt.ArrayLike, slots: npt.ArrayLike, origins: npt.ArrayLike
    ) -> int:
        """Bytes that are held once rows of these classes, slots and origins have come, at most."""
        mine = np.stack([self.classes, self.slots, self.origins], axis=1)
        new = np.stack([np.asarray(each, np.int64) for each in (classes, slots, origins)], axis=1)
        n_groups = len(np.unique(np.concatenate([mine, new]), axis=0))
        return n_groups * 8 * (len(FIELDS) - 1 + self.n_features)

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return sum(getattr(self, field.name).nbytes for field in FIELDS)

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, as a flat dict of arrays."""
        return arrays_of(self, FIELDS)

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], n_features: int) -> Statistics:
        """What `to_state` was called on; `StateError` where it does not fit."""
        gone = cls(n_features)
        for name, values in restored(arrays, FIELDS, {"features": n_features}).items():
            setattr(gone, name, values)
        return gone

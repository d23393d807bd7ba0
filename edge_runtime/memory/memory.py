"""All that has been learned: exemplars, and statistics of those that had to go. Edits are of rows.

Whatever changes it raises `version`, or `n_added` where rows were merely added: models are derived
from it, and know by these whether they still fit. Not here: models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StateError
from edge_runtime.memory.eviction import rows_to_keep
from edge_runtime.memory.exemplars import WIDE, Exemplars
from edge_runtime.memory.statistics import Statistics
from edge_runtime.records import MOST_SLOTS
from edge_runtime.state.fields import put_under, under

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Of the bytes that rows may take, the share that is left after an eviction: it is not to come
# again with the next label.
LEFT = 0.9
# No store is brought below so many rows.
LEAST_ROWS = 32
# No feature is as large as this.
LARGEST_UNIT = 1e39


class Eviction(NamedTuple):
    """What was done to make room, in words, and the samples whose labels went into sums."""

    message: str
    samples: tuple[int, ...]


class Memory:
    """Exemplars and statistics of one runtime.

    Parameters
    ----------
    n_features : width of a row.
    """

    def __init__(self, n_features: int) -> None:
        self.exemplars = Exemplars(n_features)
        self.gone = Statistics(n_features)
        self.version = 0

    def __len__(self) -> int:
        return len(self.exemplars) + len(self.gone)

    def copy(self) -> Memory:
        """An independent copy: what a fit in another thread works on."""
        made = Memory(self.exemplars.n_features)
        made.exemplars = Exemplars.from_state(self.exemplars.to_state(), self.exemplars.n_features)
        made.gone = Statistics.from_state(self.gone.to_state(), self.gone.n_features)
        made.version = self.version
        return made

    # -- edits ------------------------------------------------------------------------------

    def relabel(self, index: int, k: int) -> None:
        """Give a row another label; a person has looked twice, so it is confirmed."""
        self.exemplars.labels[index] = k
        self.exemplars.is_confirmed[index], self.exemplars.is_suspect[index] = 1, 0
        self.version += 1

    def is_settled(self, index: int, k: int) -> bool:
        """Whether a row has this label already, and nobody doubts it."""
        store = self.exemplars
        doubted = store.is_suspect[index] == 1 and store.is_confirmed[index] == 0
        return int(store.labels[index]) == k and not doubted

    def remove(self, mask: Mask) -> None:
        """Forget the rows of a mask (n,)."""
        self.exemplars.keep(~mask)
        self.version += 1

    def remove_class(self, k: int) -> None:
        """Forget a class, evicted labels too; classes behind it move up by one."""
        self.exemplars.remove_class(k)
        self.gone.remove_class(k)
        self.version += 1

    def remove_origin(self, origin: int) -> int:
        """Forget what came from one origin, evicted labels too; returns how many labels."""
        n = len(self)
        self.gone.keep(self.gone.origins != origin)
        self.remove(self.exemplars.column("origins") == origin)
        return n - len(self)

    def merge(self, other: Memory, classes: Indices) -> int:
        """Take in the rows and sums of another memory; returns the origin that they have here.

        Parameters
        ----------
        classes : (n_classes of the other,) what its classes are here.
        """
        store, theirs = self.exemplars, other.exemplars
        origin = 1 + int(
            max(store.column("origins").max(initial=0), self.gone.origins.max(initial=0))
        )
        first = 1 + int(max(store.column("slots").max(initial=-1), self.gone.slots.max(initial=-1)))
        for i in range(len(theirs)):
            added = store.add(
                theirs.raw([i])[0],
                int(classes[theirs.labels[i]]),
                slot=first + int(theirs.slots[i]),
                sample=int(theirs.samples[i]),
                time=float(theirs.times[i]),
                scene=int(theirs.scenes[i]),
                origin=origin,
            )
            store.is_suspect[added] = theirs.is_suspect[i]
            store.is_confirmed[added] = theirs.is_confirmed[i]
        gone = other.gone
        if len(gone):
            n = gone.counts[:, None]
            raw = gone.sums * theirs.scale + n * theirs.centre
            self.gone.add_sums(
                (raw - n * store.centre) / store.scale,
                gone.counts,
                classes[gone.classes],
                first + gone.slots,
                np.full(len(gone.counts), origin),
            )
            store.is_frozen = True
        self.version += 1
        return origin

    def move(self, rows: Indices, slot: int) -> None:
        """Give rows to another slot."""
        self.exemplars.slots[rows] = slot
        self.version += 1

    def suspect(self, judged: Indices, suspects: Indices) -> Indices:
        """Mark suspects among the rows that were judged; returns those that were none before."""
        marks = self.exemplars.is_suspect
        before = marks[suspects] == 1
        marks[judged] = 0
        marks[suspects] = 1
        return np.asarray(suspects[~before])

    # -- room -------------------------------------------------------------------------------

    def fit_into(self, n_bytes: int) -> Eviction | None:
        """Bring rows to at most `n_bytes`; returns what was done, or None if nothing had to be."""
        store = self.exemplars
        if self.n_bytes <= n_bytes:
            return None
        store.keep(np.ones(len(store), np.bool_))  # without room for rows to come
        if self.n_bytes <= n_bytes:
            return None
        if store.rows.dtype == np.float16 and store.n_features >= WIDE:
            store.to_int8()
            self.version += 1
            if self.n_bytes <= n_bytes:
                return Eviction(f"{len(store)} exemplars are kept in half the bytes", ())
        names = ("labels", "slots", "origins")
        left = LEFT * (n_bytes - self.gone.bytes_with(*(store.column(name) for name in names)))
        n_most = max(int(left // store.row_bytes), LEAST_ROWS)
        if n_most >= len(store):
            return None
        cells = store.column("labels").astype(np.int64) * 65_536 + store.column("slots")
        kept = rows_to_keep(cells, store.units, n_most)
        leaving = np.flatnonzero(~kept)
        trusted = leaving[store.column("is_suspect")[leaving] == 0]
        columns = (store.column(name)[trusted] for name in names)
        self.gone.add(store.units(trusted), *columns)
        store.is_frozen = True
        samples = tuple(store.column("samples")[leaving].tolist())
        self.remove(~kept)
        return Eviction(f"{len(leaving)} exemplars are kept as means only", samples)

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return self.exemplars.n_bytes + self.gone.n_bytes

    def counts(self, n_classes: int) -> dict[int, npt.NDArray[np.int64]]:
        """Slot -> labels of each class, evicted ones with them."""
        store, found = self.exemplars, {}
        slots = np.concatenate([store.column("slots"), self.gone.slots]).astype(np.int64)
        labels = np.concatenate([store.column("labels"), self.gone.classes]).astype(np.int64)
        n = np.concatenate([np.ones(len(store), np.int64), self.gone.counts])
        for slot in np.unique(slots).tolist():
            here = slots == slot
            counts = np.zeros(n_classes, np.int64)
            np.add.at(counts, labels[here], n[here])
            found[slot] = counts
        return found

    # -- state ------------------------------------------------------------------------------

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, as a flat dict of arrays."""
        return put_under("exemplars", self.exemplars.to_state()) | put_under(
            "statistics", self.gone.to_state()
        )

    @classmethod
    def from_state(
        cls, arrays: Mapping[str, npt.NDArray[Any]], n_features: int, n_classes: int
    ) -> Memory:
        """What `to_state` was called on.

        Raises
        ------
        StateError
            A field is missing, or has another shape, type or range than it can have.
        """
        memory = cls(n_features)
        memory.exemplars = Exemplars.from_state(under("exemplars", arrays), n_features)
        memory.gone = Statistics.from_state(under("statistics", arrays), n_features)
        for name, values in (
            ("labels", memory.exemplars.labels), ("evicted classes", memory.gone.classes),
        ):  # fmt: skip
            if len(values) and not (values.min() >= 0 and values.max() < n_classes):
                raise StateError(f"{name} {values.min()} to {values.max()} of {n_classes} classes")
        for name, values in (
            ("slots", memory.exemplars.slots), ("evicted slots", memory.gone.slots),
        ):  # fmt: skip
            if len(values) and not (values.min() >= 0 and values.max() < MOST_SLOTS):
                raise StateError(f"{name} {values.min()} to {values.max()}: is it damaged?")
        store = memory.exemplars
        if (memory.gone.counts <= 0).any() or (store.scale <= 0).any():
            raise StateError("counts or scales below zero: is it damaged?")
        if max(store.scale.max(initial=0.0), np.abs(store.centre).max(initial=0.0)) > LARGEST_UNIT:
            raise StateError("units out of all bounds: are they damaged?")
        return memory

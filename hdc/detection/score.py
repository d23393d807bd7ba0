"""How far out of distribution a sample is: one score of three views, and its rank.

    cosine     to the nearest class hypervector
    distance   half the log of the squared distance to the nearest cell
    outside    half the log of what the frame's directions do not hold of the sample

Each view is standardised by held-out samples; the score is their sum, higher is further out. The
p-value is conformal (`hdc.detection.conformal`): of samples like the held-out ones, a share of at
most `rate` has a p-value of `rate` or less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hdc.declared import Field, arrays_of

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

N_VIEWS = 3
TINY = 1e-12
# Held-out scores kept of each cell at the most.
MOST_OF_A_CELL = 64
# A slot with fewer held-out scores of its own is ranked against those of all slots.
LEAST_OF_A_SLOT = 19

FIELDS = (
    Field("means", "float64", (N_VIEWS,)),
    Field("weights", "float64", (N_VIEWS,)),
    Field("scores", "float64", ("n",)),
    Field("classes", "int64", ("n",)),
    Field("slots", "int64", ("n",)),
)


def views(similarities: Scores, D: Matrix, outside: npt.NDArray[np.float64]) -> Scores:
    """The three views (n, 3) of samples; higher is further out."""
    found = np.empty((len(D), N_VIEWS))
    found[:, 0] = -similarities.max(axis=1)
    found[:, 1] = 0.5 * np.log(D.min(axis=1) + TINY)
    found[:, 2] = 0.5 * np.log(outside + TINY)
    return found


def _with(ascending: npt.NDArray[np.float64], score: float) -> npt.NDArray[np.float64]:
    """Ascending scores with one more."""
    return np.insert(ascending, int(np.searchsorted(ascending, score)), score)


class OODScore:
    """Score and p-values, from the views of held-out samples.

    Parameters
    ----------
    found : (n, 3) views of held-out samples.
    classes, slots : (n,) of the cell that each is nearest to.
    """

    def __init__(self, found: Scores, classes: Indices, slots: Indices) -> None:
        self.means = found.mean(axis=0) if len(found) else np.zeros(N_VIEWS)
        deviations = found.std(axis=0) if len(found) > 1 else np.zeros(N_VIEWS)
        says = deviations > 1e-6
        # A view that never varied has a unit of its own: it speaks as soon as it does.
        self.weights = np.where(says, 1 / np.where(says, deviations, 1), float(len(found) > 1))
        self.scores, self.classes, self.slots = self.of(found), classes, slots
        self._sort()

    def _sort(self) -> None:
        self._all = np.sort(self.scores)
        self._of_slot = {
            slot: np.sort(self.scores[self.slots == slot])
            for slot in np.unique(self.slots).tolist()
        }
        pairs = np.stack([self.classes, self.slots], axis=1)
        self._of_cell = {
            (k, slot): np.sort(self.scores[(pairs == (k, slot)).all(axis=1)])
            for k, slot in np.unique(pairs, axis=0).tolist()
        }

    def of(self, found: Scores) -> npt.NDArray[np.float64]:
        """Score (n,) of views (n, 3)."""
        return np.asarray((found - self.means) @ self.weights)

    def reference(self, slot: int) -> npt.NDArray[np.float64]:
        """Held-out scores that samples of a slot are ranked against, ascending."""
        own = self._of_slot.get(slot, self._all[:0])
        return own if len(own) >= LEAST_OF_A_SLOT else self._all

    def of_cell(self, k: int, slot: int) -> npt.NDArray[np.float64]:
        """Held-out scores of samples nearest to a cell, ascending."""
        return self._of_cell.get((k, slot), self._all[:0])

    def add(self, score: float, k: int, slot: int) -> None:
        """Take the score of a sample that was answered before its label was learned."""
        n_alike = len(self.of_cell(k, slot))
        if n_alike >= MOST_OF_A_CELL:
            return
        self.scores = np.append(self.scores, score)
        self.classes = np.append(self.classes, k)
        self.slots = np.append(self.slots, slot)
        self._all = _with(self._all, score)
        self._of_slot[slot] = _with(self._of_slot.get(slot, self._all[:0]), score)
        self._of_cell[k, slot] = _with(self.of_cell(k, slot), score)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return 5 * self.scores.nbytes + 2 * self.means.nbytes

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, as a flat dict of arrays."""
        return arrays_of(self, FIELDS)

    @classmethod
    def restored(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> OODScore:
        """What `to_state` was called on; arrays are taken as they are, once checked."""
        score = cls(np.zeros((0, N_VIEWS)), np.zeros(0, np.int64), np.zeros(0, np.int64))
        for field in FIELDS:
            setattr(score, field.name, arrays[field.name])
        score._sort()
        return score

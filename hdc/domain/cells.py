"""Class means in each slot, and what they make of a sample: one Gaussian, shared by all cells.

In the frame the covariance within cells is the identity, so that a likelihood is a distance. The
mean of a cell is drawn to that of its class in all slots, by `pull` labels: a slot of few labels
does not forget what its classes are elsewhere. Sums are exact and change label by label.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# What a class that no cell has is given, in squared distances: no score is ever this low.
UNKNOWN = -1e6


def counts_of(indices: npt.NDArray[Any], n: int = 0) -> npt.NDArray[np.intp]:
    """How often each index from 0 on occurs, for at least `n` of them.

    `np.bincount` alone refuses 64-bit indices where the machine's own are of 32 bits.

    Examples
    --------
    >>> counts_of(np.array([0, 2, 2], np.int64), 4).tolist()
    [1, 0, 2, 0]
    """
    return np.bincount(indices.astype(np.intp), minlength=n)


class ClassMembers:
    """Which of some columns belong to which class: sums and maxima over each class's columns.

    Parameters
    ----------
    columns : (n_columns,) class of each.

    Examples
    --------
    >>> members = ClassMembers(np.array([2, 0, 2]))
    >>> values = np.array([[1.0, 5.0, 3.0]])
    >>> members.classes.tolist(), members.sums(values).tolist(), members.highest(values).tolist()
    ([0, 2], [[5.0, 4.0]], [[5.0, 3.0]])
    """

    def __init__(self, columns: Indices) -> None:
        self._order = np.argsort(columns, kind="stable")
        self.classes, self._starts = np.unique(columns[self._order], return_index=True)

    def sums(self, values: Scores) -> Scores:
        """Sum over the columns of each of `classes`, (n, n_classes)."""
        return np.add.reduceat(values[:, self._order], self._starts, axis=1)

    def highest(self, values: Scores) -> Scores:
        """The highest of the columns of each of `classes`, (n, n_classes)."""
        return np.maximum.reduceat(values[:, self._order], self._starts, axis=1)


class Cells:
    """Sums of projections for each (class, slot) that has labels.

    Parameters
    ----------
    n_dims : width of a projection.
    pull : labels by which the mean of the class counts in that of a cell.

    Examples
    --------
    >>> cells = Cells(2, pull=0.0)
    >>> changed = cells.add(
    ...     np.array([[1, 0], [1, 2], [-1, 0]], np.float32), [0, 0, 1], [0, 0, 0]
    ... )
    >>> cells.means.tolist(), cells.classes.tolist()
    ([[1.0, 1.0], [-1.0, 0.0]], [0, 1])
    """

    def __init__(self, n_dims: int, pull: float) -> None:
        self.n_dims, self.pull = n_dims, pull
        self.classes = np.zeros(0, np.int64)
        self.slots = np.zeros(0, np.int64)
        self.counts = np.zeros(0)
        self.sums = np.zeros((0, n_dims))
        self.means: Matrix = np.zeros((0, n_dims), np.float32)
        self._squares: Matrix = np.zeros(0, np.float32)
        self.members = ClassMembers(self.classes)

    def add(
        self,
        U: npt.NDArray[np.floating],
        classes: npt.ArrayLike,
        slots: npt.ArrayLike,
        counts: npt.ArrayLike | None = None,
    ) -> Indices:
        """Add projections U (n, p) of labelled rows; or sums of so many `counts` rows each.

        Returns the indices of the cells whose means have changed.
        """
        n_before = len(self.classes)
        for u, k, slot, count in zip(
            U.astype(np.float64),
            np.asarray(classes).tolist(),
            np.asarray(slots).tolist(),
            np.ones(len(U)).tolist() if counts is None else np.asarray(counts).tolist(),
            strict=True,
        ):
            i = self._index(k, slot)
            self.sums[i] += u
            self.counts[i] += count
        if len(self.classes) > n_before:
            self.members = ClassMembers(self.classes)
        changed = np.flatnonzero(np.isin(self.classes, classes))
        self._derive(changed)
        return changed

    @property
    def index(self) -> dict[tuple[int, int], int]:
        """Where each cell (class, slot) is."""
        pairs = zip(self.classes.tolist(), self.slots.tolist(), strict=True)
        return {pair: i for i, pair in enumerate(pairs)}

    def _index(self, k: int, slot: int) -> int:
        found = np.flatnonzero((self.classes == k) & (self.slots == slot))
        if len(found):
            return int(found[0])
        self.classes = np.append(self.classes, k)
        self.slots = np.append(self.slots, slot)
        self.counts = np.append(self.counts, 0.0)
        self.sums = np.concatenate([self.sums, np.zeros((1, self.n_dims))])
        return len(self.classes) - 1

    def _derive(self, rows: Indices) -> None:
        """Make the means of these cells anew: all cells of their classes are among them."""
        missing = len(self.classes) - len(self.means)
        self.means = np.pad(self.means, ((0, missing), (0, 0)))
        self._squares = np.pad(self._squares, (0, missing))
        sums, counts = self.sums[rows], self.counts[rows][:, None]
        alike = (self.classes[rows][:, None] == self.classes[rows]).astype(float)
        shared = (alike / alike.sum(axis=1, keepdims=True)) @ (sums / np.maximum(counts, 1e-9))
        means = ((sums + self.pull * shared) / (counts + self.pull)).astype(np.float32)
        self.means[rows] = means
        self._squares[rows] = np.einsum("ij,ij->i", means, means)

    def distances(self, U: Matrix) -> Matrix:
        """Squared distances of projections (n, p) to the means of all cells, (n, n_cells)."""
        squares = np.einsum("ij,ij->i", U, U)[:, None]
        D = squares - 2 * (U @ self.means.T) + self._squares
        return np.asarray(np.maximum(D, 0), np.float32)

    def scores(self, D: Matrix, scale: float, n_classes: int) -> Scores:
        """Log-likelihoods of the classes (n, n_classes) up to a constant, from `distances`."""
        scores = np.full((len(D), n_classes), UNKNOWN)
        L = (-0.5 * scale) * D.astype(np.float64)
        if len(self.classes) == len(self.members.classes):  # one slot: nothing to sum over
            scores[:, self.classes] = L
            return scores
        highest = L.max(axis=1, keepdims=True)
        sums = self.members.sums(np.exp(np.maximum(L - highest, -700.0)))
        scores[:, self.members.classes] = np.log(np.maximum(sums, 1e-300)) + highest
        return scores

    def counts_of(self, slot: int, n_classes: int) -> npt.NDArray[np.float64]:
        """Labels of each class in a slot."""
        counts = np.zeros(n_classes)
        here = self.slots == slot
        counts[self.classes[here]] = self.counts[here]
        return counts

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return int(self.sums.nbytes + self.means.nbytes + 28 * len(self.classes))

"""What samples of each cell are like, bit by bit: the reference that drift is looked for against.

Bits are those of a fixed random projection of features in units of the store, not of the frame: a
frame is fitted to labels and fits them better than samples that come later, which would be off
together for that alone. For each cell of class and slot: the mean sign of each bit over held-out
samples that are nearest to it (not over its labels: a label far from its cell is not what comes to
it), their spread about it, and how many there are. What togetherness (`hdc.detection.togetherness`)
comes to by chance is found by playing these samples themselves in random order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdc.detection.togetherness import SHARED, Togetherness
from hdc.vectors.projection import SignedHadamard

Matrix = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

N_BITS = 1024
# Samples that a cell needs to say anything.
LEAST_OF_A_CELL = 20
# Values of togetherness by chance that are kept, after some that only fill the mean.
CHANCES, WARM_UP = 256, 64


class DriftProjection:
    """Signs of a fixed random projection of features in units of the store."""

    def __init__(self, gain: Matrix, seed: int) -> None:
        self._gain = gain
        self._projection = SignedHadamard(len(gain), N_BITS, seed)

    def signs(self, Z: Matrix) -> Matrix:
        """Signs (n, `N_BITS`) of rows (n, d): -1 where a bit is set."""
        if len(Z) == 0:
            return np.zeros((0, N_BITS), np.float32)
        bits = self._projection.bits(Z * self._gain)
        unpacked = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
        return np.asarray(1.0 - 2.0 * unpacked, np.float32)

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return self._projection.n_bytes


@dataclass
class DriftReference:
    """What samples of each cell were like, bit by bit, as drift is looked for.

    Attributes
    ----------
    cells : (n, 2) class and slot.
    means : (n, n_bits) mean sign of each bit, over held-out samples nearest to the cell.
    spreads : (n, 2) mean squared distance to it, and how many samples that is of.
    chances : togetherness of these samples in random order, ascending (`policy.drift`).
    """

    cells: Indices
    means: npt.NDArray[np.float16]
    spreads: Scores
    chances: Scores

    def __post_init__(self) -> None:
        self.index = {(k, s): i for i, (k, s) in enumerate(self.cells.tolist())}

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        arrays = self.cells, self.means, self.spreads, self.chances
        return sum(array.nbytes for array in arrays)


def drift_reference(
    signs: Matrix, classes: Indices, slots: Indices, seed: int, n_most: int = 2**16
) -> DriftReference:
    """The reference of samples' signs (n, n_bits), nearest to cells of classes and slots (n,).

    Parameters
    ----------
    n_most : cells that there is room for; those of the most samples are kept.
    """
    pairs = np.stack([classes, slots], axis=1)
    cells, which, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    speaking = np.flatnonzero(counts >= LEAST_OF_A_CELL)
    speaking = np.sort(speaking[np.argsort(-counts[speaking], kind="stable")][:n_most])
    there = np.isin(which.reshape(-1), speaking)
    signs, which = signs[there], np.searchsorted(speaking, which.reshape(-1)[there])
    cells = cells[speaking]
    means = np.zeros((len(cells), N_BITS), np.float32)
    spreads = np.zeros((len(cells), 2))
    for i in range(len(cells)):
        rows = signs[which == i]
        means[i] = rows.mean(axis=0)
        spread = float(((rows - means[i]) ** 2).sum(axis=1).mean())
        spreads[i] = spread * len(rows) / max(len(rows) - 1, 1), len(rows)
    chances = _played(signs, which, means, spreads, seed)
    kept = means.astype(np.float16)
    return DriftReference(cells.astype(np.int64), kept, spreads, chances)


def _played(signs: Matrix, which: Indices, means: Matrix, spreads: Scores, seed: int) -> Scores:
    """Togetherness of samples in random order, each left out of its own reference."""
    if len(which) == 0:
        return np.zeros(0)
    rng = np.random.default_rng(seed)
    together, found = Togetherness(signs.shape[1]), []
    n_rounds = -(-(CHANCES + WARM_UP) // len(which))
    order = np.concatenate([rng.permutation(len(which)) for _ in range(n_rounds)])
    for i in order[: CHANCES + WARM_UP].tolist():
        cell, (spread, n) = int(which[i]), spreads[which[i]]
        off = (signs[i] - means[cell]) * np.float32(n / max(n - 1, 1))
        # Off-vectors of later samples share the error of the mean; those of samples left out of it
        # have it with the other sign, twice: of three errors taken off, one is left.
        error = float(spread / max(n - 1, 1) / SHARED)
        found.append(together.take(off, {cell: 1.0}, {cell: error}))
    return np.sort(np.array(found[WARM_UP:]))

"""What samples of each cell are like, bit by bit: the reference that drift is looked for against.

For each cell of class and slot: the mean sign of 1,024 bits of its labels' hypervectors, their
spread about it, and how many there are. Togetherness says how far a few samples are off in one
direction; what it comes to by chance is found by playing the labels themselves in random order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.model.derived import DRIFT_WORDS, DriftReference, signs_of
from hdc.togetherness import Togetherness

Matrix = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

# Labels that a cell needs to say anything.
LEAST_OF_A_CELL = 20
# Values of togetherness by chance that are kept, after some that only fill the mean.
CHANCES, WARM_UP = 256, 64


def drift_reference(bits: Bits, classes: Indices, slots: Indices, seed: int) -> DriftReference:
    """The reference of labelled hypervectors (n, words) of classes and slots (n,)."""
    signs = signs_of(bits)
    pairs = np.stack([classes, slots], axis=1)
    cells, which = np.unique(pairs, axis=0, return_inverse=True)
    which = which.reshape(-1)
    means = np.zeros((len(cells), 64 * DRIFT_WORDS), np.float32)
    spreads = np.zeros((len(cells), 2))
    for i in range(len(cells)):
        rows = signs[which == i]
        means[i] = rows.mean(axis=0)
        spread = float(((rows - means[i]) ** 2).sum(axis=1).mean())
        spreads[i] = spread * len(rows) / max(len(rows) - 1, 1), len(rows)
    speaks = spreads[which, 1] >= LEAST_OF_A_CELL
    chances = _played(signs[speaks], which[speaks], means, spreads, seed)
    return DriftReference(cells.astype(np.int64), means, spreads, chances)


def _played(
    signs: Matrix, which: Indices, means: Matrix, spreads: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.float64]:
    """Togetherness of labelled samples in random order, each left out of its own reference."""
    if len(which) == 0:
        return np.zeros(0)
    rng = np.random.default_rng(seed)
    together, found = Togetherness(signs.shape[1]), []
    n_rounds = -(-(CHANCES + WARM_UP) // len(which))
    order = np.concatenate([rng.permutation(len(which)) for _ in range(n_rounds)])
    for i in order[: CHANCES + WARM_UP].tolist():
        cell, (spread, n) = int(which[i]), spreads[which[i]]
        off = (signs[i] - means[cell]) * np.float32(n / max(n - 1, 1))
        found.append(together.take(off, {cell: 1.0}, {cell: float(spread / n)}))
    return np.sort(np.array(found[WARM_UP:]))

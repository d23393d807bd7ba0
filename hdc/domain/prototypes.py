"""Class hypervectors: the bits of each cell's mean, and how similar a sample's bits are to them.

A projection gets one coordinate more, which never changes, so that where a mean lies counts as well
as its direction. Bits come from one fixed random projection (`hdc.vectors.projection`), the same on
every machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdc.domain.cells import ClassMembers
from hdc.vectors.hypervector import hamming
from hdc.vectors.projection import SignedHadamard

Matrix = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint64]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Length of the constant coordinate; projections have about unit length.
CONSTANT = 0.5


class Prototypes:
    """One hypervector for each cell of class and slot, of so many dimensions.

    Parameters
    ----------
    seed : of the random projection; hypervectors of one seed and width can be compared.
    """

    def __init__(self, n_features: int, n_dims: int, seed: int) -> None:
        self.n_dims = n_dims
        self._projection = SignedHadamard(n_features + 1, n_dims, seed)
        self.bits: Bits = np.zeros((0, n_dims // 64), np.uint64)

    def encode(self, U: Matrix) -> Bits:
        """Hypervectors (n, n_dims // 64) of projections (n, p)."""
        constant = np.full((len(U), 1), CONSTANT, np.float32)
        return self._projection.bits(np.concatenate([U, constant], axis=1))

    def derive(self, means: Matrix, rows: Indices | None = None) -> None:
        """Take the cells' means (n_cells, p) for prototypes: those of `rows` alone, if given."""
        if rows is None:
            rows = np.arange(len(means))
        missing = max(len(means) - len(self.bits), 0)
        self.bits = np.pad(self.bits[: len(means)], ((0, missing), (0, 0)))
        if len(rows):
            self.bits[rows] = self.encode(means[rows])

    def similarities(self, bits: Bits) -> Scores:
        """Cosines (n, n_cells) of hypervectors to the prototypes."""
        distances = hamming(bits, self.bits)
        return np.asarray(1 - distances * (2.0 / self.n_dims), np.float64)

    @property
    def n_bytes(self) -> int:
        """Bytes held: prototypes and the projection."""
        return int(self.bits.nbytes + self._projection.n_bytes)


def by_class(similarities: Scores, members: ClassMembers, n_classes: int) -> Scores:
    """Highest cosine of each class (n, n_classes); -1 for a class without a cell."""
    scores = np.full((len(similarities), n_classes), -1.0)
    scores[:, members.classes] = members.highest(similarities)
    return scores

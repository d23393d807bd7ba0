"""Integer accumulators of class hypervectors, and the two mistake-driven rules that change them.

**Overflow rule.** Sums are int32, in units of 1/64 of a hypervector. When a step could take any
dimension of a class beyond 2**30, all of that class is halved first: its direction stays, and
older samples count half from then on. That is after 16 million steps at the earliest.

Sources: M. Imani et al., "AdaptHD: adaptive efficient training for brain-inspired
hyperdimensional computing", BioCAS 2019; A. Hernández-Cano et al., "OnlineHD: robust, efficient,
and single-pass online learning using hyperdimensional system", DATE 2021. Both as torchhd has
them: nothing is learned from a sample that is classified correctly.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hdc._checks import Bits, IntArray, check_dims
from hdc.hypervector import majority, similarity, unpack_bits

Rule: TypeAlias = Literal["adapt", "online"]

UNIT = 64  # steps of the learning rate are 1/64
LIMIT = 2**30


class Accumulators:
    """Sums of bipolar hypervectors, one row a class, with their packed majority.

    Attributes
    ----------
    sums : (n_classes, n_dims) int32; (n_classes, 0) if only ``bits`` are kept
    bits : (n_classes, n_dims // 64) uint64, the majority of each row

    Examples
    --------
    >>> accumulators = Accumulators(64)
    >>> accumulators.insert(0)
    >>> sample = np.array([5], dtype=np.uint64)
    >>> accumulators.add(0, sample)
    >>> bool((accumulators.bits == sample).all())
    True
    """

    def __init__(self, n_dims: int, *, has_sums: bool = True) -> None:
        width = check_dims(n_dims) if has_sums else 0
        self.sums: NDArray[np.int32] = np.empty((0, width), np.int32)
        self.bits: Bits = np.empty((0, n_dims // 64), np.uint64)

    def insert(self, at: int) -> None:
        """Add an empty class before row ``at``."""
        self.sums = np.insert(self.sums, at, 0, axis=0)
        self.bits = np.insert(self.bits, at, 0, axis=0)

    def remove(self, at: int) -> None:
        """Remove the class of one row."""
        self.sums = np.delete(self.sums, at, axis=0)
        self.bits = np.delete(self.bits, at, axis=0)

    def add(self, at: int, hypervector: Bits, weight: float = 1.0) -> None:
        """Add a packed hypervector ``weight`` times (up to 10**6), to a resolution of 1/64."""
        step = round(UNIT * weight)
        row = self.sums[at]
        if int(np.abs(row).max()) + abs(step) > LIMIT:
            row[:] = np.trunc(row / 2)
        row += np.int32(step) * unpack_bits(hypervector).astype(np.int32)
        self.bits[at] = majority(row)

    def bundle(self, rows: IntArray, hypervectors: Bits) -> None:
        """Add each hypervector to the class of its row."""
        for at, hypervector in zip(rows.tolist(), hypervectors, strict=True):
            self.add(at, hypervector)

    def learn(self, rows: IntArray, hypervectors: Bits, rule: Rule, learning_rate: float) -> int:
        """Learn samples in order from mistakes; return how many there were.

        The first sample of a class is added in any case. On a mistake the sample is added to its
        class and taken from the class that was predicted: ``learning_rate`` times by "adapt", and
        by "online" times one less the similarity too.
        """
        mistakes = 0
        for at, hypervector in zip(rows.tolist(), hypervectors, strict=True):
            if self.sums[at].any():
                mistakes += self._correct(at, hypervector, rule, learning_rate)
            else:
                self.add(at, hypervector)
        return mistakes

    def _correct(self, at: int, hypervector: Bits, rule: Rule, learning_rate: float) -> bool:
        similar = similarity(hypervector, self.bits)
        similar[~self.sums.any(axis=1)] = -1.0
        guess = int(np.argmax(similar))
        if guess == at:
            return False
        online = rule == "online"
        self.add(at, hypervector, learning_rate * (1 - similar[at] if online else 1))
        self.add(guess, hypervector, -learning_rate * (1 - similar[guess] if online else 1))
        return True

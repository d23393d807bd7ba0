"""Whether samples have moved together: recent hypervectors against those of a domain at rest.

P-values say how strange one sample is. A new domain need not be strange at all: it may lie well
inside an old one, each of its samples as typical as any. What gives it away is that all of them are
off in the same direction. Here each sample is compared with what samples of its class were like at
rest, bit by bit, and the differences are averaged: chance differences cancel, a shift stays. Since
each class has its own reference, a stream that brings classes one after the other is no shift.

Not here: when a domain is at rest, and what follows from a shift (`hdc.drift` has the alarm).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hdc.hypervector import hamming

Words = npt.NDArray[np.uint64]
Means = npt.NDArray[np.float32]

# Bits of a hypervector that are compared.
BITS = 1024
# Samples at rest that make the reference, and from which on it says anything.
KEPT, LEAST = 256, 64
# Samples of one class in it at the most: sums of so many signs fit into a byte.
MOST_OF_A_CLASS = 127
# Samples by which the mean of all classes counts in the reference of one: it may have few.
PRIOR = 10
# Share by which each sample moves the recent mean: it is that of about the last twenty.
RATE = np.float32(1 / 20)
# Share of bits up to which a sample is the one before over again, and tells nothing new: a camera
# that looks at the same scene has not moved to another domain.
SAME_SHARE = 0.05


class MeanShift:
    """How far recent samples of one domain are off together, as a share of their spread.

    Examples
    --------
    >>> import numpy as np
    >>> rng, shift = np.random.default_rng(0), MeanShift(1024)
    >>> def samples(n, moved):  # of which the first bits are moved
    ...     bits = rng.random((n, 1024)) < 0.5
    ...     bits[:, :moved] = True
    ...     return np.packbits(bits, axis=1).view(np.uint64)
    >>> shares = [shift.take(bits, 0) for bits in samples(200, 0)]
    >>> shares[0], round(float(np.mean(shares[100:])), 2)
    (None, 0.0)
    >>> shares = [shift.take(bits, 0, is_kept=False) for bits in samples(100, 256)]
    >>> round(float(np.mean(shares[50:])), 2)
    0.25
    """

    def __init__(self, n_bits: int = BITS) -> None:
        self.n_bits = n_bits
        self.forget()

    def forget(self) -> None:
        """Forget what the domain was like at rest."""
        self._sums: npt.NDArray[np.int8] = np.zeros((0, self.n_bits), np.int8)
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._count_all()
        self._recent: Means = np.zeros(self.n_bits, np.float32)
        self._last: Words | None = None

    def take(self, bits: Words, k: int, is_kept: bool = True) -> float | None:
        """Take a sample that seems to be of class `k`, as the first words of its hypervector.

        Returns the share of its spread by which it is off where recent ones were, 0 on average at
        rest; None while the reference has too few samples, or the sample is the last over again.

        Parameters
        ----------
        is_kept : whether the domain is at rest, so that the sample may join the reference.
        """
        words, last = bits[: self.n_bits // 64], self._last
        self._last = words
        if last is not None and hamming(words, last) <= SAME_SHARE * self.n_bits:
            return None
        signs = np.unpackbits(words.view(np.uint8)).astype(np.float32)
        signs += signs
        signs -= 1
        share = self._share(signs, k) if self._n >= LEAST else None
        if is_kept and self._n < KEPT:
            self._keep(signs, k)
        return share

    def _count_all(self) -> None:
        self._n = int(self._counts.sum())
        self._total: npt.NDArray[np.int16] = self._sums.sum(axis=0, dtype=np.int16)

    def _share(self, signs: Means, k: int) -> float:
        n = int(self._counts[k]) if k < len(self._counts) else 0
        reference = self._total * np.float32(PRIOR / self._n)
        if n:
            reference += self._sums[k]
        reference *= np.float32(1 / (n + PRIOR))
        off = signs - reference
        share = float(off @ self._recent) / self.n_bits
        self._recent += RATE * (off - self._recent)
        return share

    def _keep(self, signs: Means, k: int) -> None:
        missing = k + 1 - len(self._counts)
        if missing > 0:
            self._sums = np.pad(self._sums, ((0, missing), (0, 0)))
            self._counts = np.pad(self._counts, (0, missing))
        if self._counts[k] < MOST_OF_A_CLASS:
            self._sums[k] += signs.astype(np.int8)
            self._counts[k] += 1
            self._total += signs.astype(np.int16)
            self._n += 1

    def remove_class(self, k: int) -> None:
        """Forget a class; those behind it move up by one."""
        if k < len(self._counts):
            self._sums = np.delete(self._sums, k, axis=0)
            self._counts = np.delete(self._counts, k)
            self._count_all()

    def n_bytes(self, n_classes: int) -> int:
        """Bytes that it has with so many classes: its room from the start."""
        return n_classes * (self.n_bits + 8) + 6 * self.n_bits + self.n_bits // 8

    # -- state ------------------------------------------------------------------------------

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything learned, as a flat dict of arrays."""
        return {
            "sums": self._sums,
            "counts": self._counts,
            "recent": self._recent,
            "last": np.zeros(0, np.uint64) if self._last is None else self._last,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]], n_bits: int) -> MeanShift:
        """What `to_state` was called on.

        Raises
        ------
        ValueError, KeyError
            Arrays do not fit together.
        """
        shift = cls(n_bits)
        sums, counts, recent, last = (state[k] for k in ("sums", "counts", "recent", "last"))
        fits = sums.shape == (len(counts), n_bits) and recent.shape == (n_bits,)
        if not fits or last.shape not in ((0,), (n_bits // 64,)):
            raise ValueError(
                f"reference of {sums.shape} for {len(counts)} classes, recent mean of "
                f"{recent.shape}: expected {n_bits} bits"
            )
        are_counts = (counts >= 0).all() and (counts <= MOST_OF_A_CLASS).all()
        if not are_counts or counts.sum() > KEPT or not np.isfinite(recent).all():
            raise ValueError("reference has counts or means that no samples can have made")
        if sums.dtype != np.int8 or (np.abs(sums.astype(np.int16)) > counts[:, None]).any():
            raise ValueError(
                f"reference has sums of {sums.dtype} that no such counts can have made"
            )
        shift._sums, shift._counts = sums.copy(), np.array(counts, np.int64)
        shift._count_all()
        shift._recent = np.array(recent, np.float32)
        shift._last = np.array(last, np.uint64) if len(last) else None
        return shift

"""Which classes to rehearse beside a label, so that learning some does not unlearn the others.

An adaptor that is taught one class after the other forgets. It is therefore shown samples of
classes that have been missing lately, in proportion: none where labels come as mixed as ever.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Samples rehearsed beside a label of a class that is all that has come for long.
MOST = 16
# Labels over which the recent mix of classes is measured, as a rate.
RATE = 1 / 32


class ClassMix:
    """Shares of classes among recent labels, beside their shares among all."""

    def __init__(self) -> None:
        self.recent: npt.NDArray[np.float64] = np.zeros(0)

    def missing(
        self, k: int, counts: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """Take a label of class `k`; return classes to rehearse, drawn by how much each is missed.

        `counts` (n_classes,) are the labels of each class so far.

        Examples
        --------
        >>> mix, rng = ClassMix(), np.random.default_rng(0)
        >>> for _ in range(100):
        ...     drawn = mix.missing(1, np.array([100, 100]), rng)
        >>> drawn.tolist()  # half of all labels were of class 0, of late none
        [0, 0, 0, 0, 0, 0, 0, 0]
        """
        shares = counts / max(counts.sum(), 1)
        if len(self.recent) == 0:
            self.recent = shares.copy()
        elif len(self.recent) < len(counts):
            self.recent = np.pad(self.recent, (0, len(counts) - len(self.recent)))
        self.recent *= 1 - RATE
        self.recent[k] += RATE
        missed = np.where(counts > 1, np.maximum(shares - self.recent[: len(counts)], 0.0), 0.0)
        missed[k] = 0.0
        n = int(MOST * missed.sum() + rng.random())
        if n == 0:
            return np.zeros(0, np.int64)
        return np.asarray(rng.choice(len(counts), size=n, p=missed / missed.sum()))

    def remove_class(self, k: int) -> None:
        """Forget a class; those behind it move up by one."""
        if k < len(self.recent):
            self.recent = np.delete(self.recent, k)

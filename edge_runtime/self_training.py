"""What a slot with few labels teaches itself: where the classes are, of samples it is sure about.

A new domain gets a few labels of each class; the samples that follow say far more of where the
classes lie. Known ones are taken for the class they seem to be, and count for less than a label
(self-training; Scudder, IEEE Transactions on Information Theory 11, 1965). What was inferred is
kept apart from what was told: it moves the prototypes that answer, and nothing else. What a sample
seems to be, how strange it is and which slot it belongs to is still judged by labels alone, so that
a slot cannot talk itself into an error, nor into another domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hdc.subspace import Classes, Matrix, Vector

# Weight of a sample whose class was inferred, in labels: some of them are wrong.
WEIGHT = 1 / 3
# Samples that a slot may teach itself of; and labels from which it needs nothing but labels. Ten
# labels of each class of PACS and as many as 600 more samples: 81.8 % on held-out training rows
# instead of 79.7 %, and no more with 1,000 (three seeds, slots given).
MOST_SAMPLES = 600
ENOUGH_LABELS = 200
# Share of known samples that are not sure enough, and the rate at which that limit follows.
UNSURE_SHARE = 0.1
LEVEL_RATE = 0.02
FIRST_LEVEL = 0.5


class SelfTraining:
    """Means of samples whose classes were inferred, in the frame of a domain.

    Examples
    --------
    >>> import numpy as np
    >>> taught = SelfTraining(n_features=1)
    >>> for _ in range(3):
    ...     taught.learn(np.array([1.0], np.float32), 0)
    >>> taught.means(np.array([[0.0]], np.float32), np.array([1])).tolist()  # 3 count as one label
    [[0.5]]
    """

    def __init__(self, n_features: int) -> None:
        self.level = FIRST_LEVEL
        self.inferred: Matrix = np.zeros((0, n_features), np.float32)
        self.counts: Classes = np.zeros(0, np.int64)

    def is_sure(self, certainty: float) -> bool:
        """Take the probability of an answer; return whether it is sure, as most are.

        The limit is a running quantile (Robbins and Monro, 1951): one number.
        """
        is_sure = certainty >= self.level
        self.level += LEVEL_RATE * (UNSURE_SHARE - (not is_sure))
        return is_sure

    @property
    def is_full(self) -> bool:
        """Whether it has seen all that it may."""
        return bool(self.counts.sum() >= MOST_SAMPLES)

    def learn(self, z: Vector, k: int) -> None:
        """Take a standardised sample (d,) for one of class `k`."""
        missing = k + 1 - len(self.counts)
        if missing > 0:
            self.inferred = np.pad(self.inferred, ((0, missing), (0, 0)))
            self.counts = np.pad(self.counts, (0, missing))
        self.counts[k] += 1
        self.inferred[k] += (z - self.inferred[k]) / self.counts[k]

    def means(self, class_means: Matrix, counts: Classes) -> Matrix:
        """Class means (n_classes, d) of `counts` labels, and of what was inferred besides."""
        n = min(len(counts), len(self.counts))
        means = class_means.copy()
        weights = WEIGHT * self.counts[:n]
        shares = weights / np.maximum(counts[:n] + weights, 1e-12)
        means[:n] += shares[:, None].astype(np.float32) * (self.inferred[:n] - means[:n])
        return means

    def remove_class(self, k: int) -> None:
        """Forget a class; those behind it move up by one."""
        if k < len(self.counts):
            self.inferred = np.delete(self.inferred, k, axis=0)
            self.counts = np.delete(self.counts, k)

    @property
    def n_bytes(self) -> int:
        """Bytes of what was inferred."""
        return self.inferred.nbytes + self.counts.nbytes

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything learned, as a flat dict of arrays."""
        level = np.array([self.level])
        return {"inferred": self.inferred, "counts": self.counts, "level": level}

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]], n_features: int) -> SelfTraining:
        """What `to_state` was called on; `ValueError` or `KeyError` if it does not fit."""
        taught = cls(n_features)
        inferred, counts, level = state["inferred"], state["counts"], state["level"]
        if inferred.shape != (len(counts), n_features) or level.shape != (1,):
            raise ValueError(
                f"self-training has means of shape {inferred.shape} and a level of shape "
                f"{level.shape}, expected ({len(counts)}, {n_features}) and (1,): was it cut?"
            )
        is_finite = np.isfinite(inferred).all() and np.isfinite(level).all()
        if not is_finite or (counts < 0).any():
            raise ValueError("self-training has means or counts that no sample can have made")
        taught.inferred, taught.counts = np.array(inferred, np.float32), np.array(counts, np.int64)
        taught.level = float(level[0])
        return taught

"""Which slot answers for a sample, and how sure that is.

Every class of every slot is a point in one frame that all slots share; a sample belongs to the slot
of the nearest one. The frame is whitened by the covariance that the slots have in common, so that
distances to all points differ by a linear function of the sample: routing is one small product,
however many slots there are. The frame serves routing alone: a slot answers in its own.

What a stream has been is a guide to what comes: weights carry over from sample to sample, the less
so the more often the stream changes (`StreamPrior`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.slots import Slot
from hdc.common import common_scatter
from hdc.density import Matrix

Scores = npt.NDArray[np.float64]

NONE: Mapping[tuple[int, int], int] = MappingProxyType({})

# Slots with less weight than this take no part in an answer, nor in its cost.
MIN_WEIGHT = 1e-3
# Share of the isotropic covariance mixed into the common one.
SHRINKAGE = 0.1
# Directions of the common covariance, in those of one slot: several slots have more to say.
RANK_FACTOR = 1.5

# Of consecutive samples, the share that change their slot in a stream that stays where it is: one
# in twenty goes astray, there and back. Beyond that the past counts for less and less.
SLOW_CHANGE = 0.15
# Samples after which the measured rate of change has followed by two thirds, as a rate.
CHANGE_RATE = 1 / 50
# Chance that the stream has moved since the sample before: never taken for less.
LEAST_LEAK = 0.05


class Router:
    """One linear function of the features for each class of each slot."""

    def __init__(self, n_features: int, rank: int) -> None:
        self.n_features, self.rank = n_features, round(RANK_FACTOR * rank)
        self.temperature = float(np.sqrt(n_features / 8))
        self._fitted: list[tuple[int, int, int]] = []  # numbers, revisions, classes of the slots
        self._metric: dict[str, npt.NDArray[Any]] = {}
        self._slopes = np.zeros((0, n_features), np.float32)
        self._offsets: Scores = np.zeros(0)
        self._rows: dict[tuple[int, int], int] = {}  # (slot, class) -> row
        self._starts: list[int] = []

    @property
    def frame_bytes(self) -> int:
        """Bytes of the common frame, which there is from the second slot on."""
        rank = min(self.rank, self.n_features)
        return 4 * self.n_features * (rank + 2) + 4 * rank

    @property
    def point_bytes(self) -> int:
        """Bytes of each class of each slot."""
        return 4 * self.n_features + 8

    def scores(self, X: Matrix, slots: Sequence[Slot]) -> Scores:
        """Log-likelihoods (n, n_slots) of each slot's nearest class, less what all share."""
        if len(slots) == 1:
            return np.zeros((len(X), 1))
        self.follow(slots)
        values = X @ self._slopes.T + self._offsets
        return np.asarray(np.maximum.reduceat(values, self._starts, axis=1), np.float64)

    def release(self) -> None:
        """Let go of the common frame: there is nothing to compare."""
        self._metric, self._fitted = {}, []

    def follow(self, slots: Sequence[Slot]) -> None:
        """Take note of what slots have learned: moved classes, refitted, added and lost slots."""
        now = _key_of(slots)
        if now != self._fitted:
            self._metric = _metric_of(slots, self.rank)
            self._fitted = now
            self._place(slots)
        for slot in slots:
            for k in sorted(slot.moved):
                row = self._rows[slot.number, k]
                self._slopes[row], self._offsets[row] = self._line(slot, k)
            slot.moved.clear()

    def fork(self, slots: Sequence[Slot], other: int) -> Router:
        """A router in the same frame where the slot of one number is another, or is not there."""
        fork = copy.copy(self)
        fork._fitted = _key_of(slots)
        fork._place(slots, {at: row for at, row in self._rows.items() if at[0] != other})
        return fork

    def _place(self, slots: Sequence[Slot], rows: Mapping[tuple[int, int], int] = NONE) -> None:
        """Compute the lines of all slots, or take those that are in `rows` already."""
        known = [(s, k) for s in slots for k in np.flatnonzero(s.domain.counts).tolist()]
        at = [rows.get((slot.number, k)) for slot, k in known]
        lines = [
            self._line(slot, k) if row is None else (self._slopes[row], self._offsets[row])
            for (slot, k), row in zip(known, at, strict=True)
        ]
        self._slopes = np.array([slope for slope, _ in lines], np.float32)
        self._offsets = np.array([offset for _, offset in lines])
        self._rows = {(slot.number, k): row for row, (slot, k) in enumerate(known)}
        counts = [np.count_nonzero(slot.domain.counts) for slot in slots]
        self._starts = [0, *np.cumsum(counts)[:-1].tolist()]
        for slot in slots:
            slot.moved.clear()

    def _line(self, slot: Slot, k: int) -> tuple[Matrix, float]:
        """Slope and offset of ``-|W (x - m)|^2 / 2``, less what is the same for every class.

        A mean of n samples is off by noise of its own, which makes it look farther away by d / n.
        """
        m, domain = self._metric, slot.domain
        point = domain.class_means[k] * domain.scale + domain.mean
        at = (point - m["mean"]) / m["scale"]
        leading = m["basis"] @ at
        pulled = (at * m["rest"] + (leading * m["extra"]) @ m["basis"]).astype(np.float32)
        slope = pulled / m["scale"]
        noise = float(m["noise"][0]) / max(int(domain.counts[k]), 1)
        offset = -0.5 * (float(pulled @ at) - noise) - float(slope @ m["mean"])
        return slope, offset

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """The common frame; the linear functions follow from it and from the slots."""
        fitted = np.array(self._fitted, np.int64).reshape(-1, 3)
        return {"fitted": fitted, **self._metric} if self._fitted else {}

    def restore(self, state: Mapping[str, npt.NDArray[Any]], slots: Sequence[Slot]) -> None:
        """Go on with the frame that `to_state` gave."""
        if not state:
            return
        shapes = {name: state[name].shape for name in ("mean", "scale", "basis", "extra")}
        d, rank = self.n_features, len(state["extra"])
        if shapes != {"mean": (d,), "scale": (d,), "basis": (rank, d), "extra": (rank,)}:
            raise ValueError(f"router has shapes {shapes}, expected {d} features: was it cut?")
        self._metric = {name: np.array(state[name], np.float32) for name in METRIC}
        self._fitted = [(int(a), int(b), int(c)) for a, b, c in state["fitted"]]
        self._place(slots)


def _key_of(slots: Sequence[Slot]) -> list[tuple[int, int, int]]:
    return [(s.number, s.revision, int(np.count_nonzero(s.domain.counts))) for s in slots]


class StreamPrior:
    """Where the stream is, before the next sample is seen: a filter with a learned rate of change.

    A stream that stays in its domain for long lends its past to a doubtful sample; one that jumps
    from domain to domain lends nothing.
    """

    def __init__(self) -> None:
        self.weights: dict[int, float] = {}  # by slot number, after the last sample
        self.change = 0.0  # how often the likelihood alone has named another slot than before
        self.last: int | None = None

    def before(self, numbers: Sequence[int]) -> Scores:
        """Weights (n_slots,) of the slots before the next sample is seen."""
        n = len(numbers)
        leak = min(max((self.change - SLOW_CHANGE) / (1 - SLOW_CHANGE), LEAST_LEAK), 1.0)
        stay = np.array([self.weights.get(number, 0.0) for number in numbers])
        total = float(stay.sum())
        if total <= 0:
            return np.full(n, 1.0 / n)
        return np.asarray((1 - leak) * stay / total + leak / n)

    def take(self, numbers: Sequence[int], scores: Scores, weights: Scores) -> None:
        """Take note of a sample: its log-likelihoods, and its weights with the prior."""
        claim = numbers[int(np.argmax(scores))]
        if self.last is not None:
            self.change += CHANGE_RATE * ((claim != self.last) - self.change)
        self.last = claim
        self.weights = dict(zip(numbers, weights.tolist(), strict=True))

    def settle(self, number: int) -> None:
        """The stream is known to be in this slot."""
        self.weights, self.last = {number: 1.0}, number

    def to_state(self) -> dict[str, Any]:
        """Plain values, JSON-able."""
        weights = [[number, weight] for number, weight in self.weights.items()]
        return {"weights": weights, "change": self.change, "last": self.last}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `to_state` gave."""
        self.weights = {int(number): float(weight) for number, weight in state["weights"]}
        self.change, self.last = float(state["change"]), state["last"]


METRIC = ("mean", "scale", "basis", "extra", "rest", "noise")


def _metric_of(slots: Sequence[Slot], rank: int) -> dict[str, npt.NDArray[Any]]:
    mean, scale, energy, basis, rest = common_scatter([slot.domain for slot in slots], rank)
    d = len(mean)
    n_rest = max(d - len(energy), 1)
    isotropic = SHRINKAGE * (float(energy.sum()) + rest * n_rest) / d
    leading, beyond = (1 - SHRINKAGE) * energy + isotropic, (1 - SHRINKAGE) * rest + isotropic
    noise = float((energy / leading).sum() + n_rest * rest / beyond)
    return {
        "mean": mean,
        "scale": scale,
        "basis": basis,
        "extra": (1 / leading - 1 / beyond).astype(np.float32),
        "rest": np.array([1 / beyond], np.float32),
        "noise": np.array([noise], np.float32),
    }


def weigh(scores: Scores, temperature: float, prior: Scores | None = None) -> Scores:
    """Slot weights (n, n_slots), each row summing to 1; the largest is the slot's claim.

    Features are not as Gaussian, nor as many, as they look: the log-likelihoods are divided by
    half the standard deviation of that of a sample of d white features, sqrt(d / 2), with which
    the weights of held-out samples are most likely. `prior` (n_slots,) are the weights before the
    sample was seen.
    """
    scaled = scores / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    if prior is not None:
        weights = weights * prior
    weights /= weights.sum(axis=1, keepdims=True)
    weights[weights < MIN_WEIGHT] = 0.0
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))

"""Conformal p-values: how often a fresh normal sample would look at least as strange as this one.

Scores are higher for more normal samples, so a low score gives a low p-value. If the calibration
scores and a new normal score are exchangeable, and the calibration samples took no part in
fitting, then ``P(p <= rate) <= rate`` for every rate, with any number of samples and any
distribution (V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005).
That holds on average over calibration sets; one set of n has an alarm rate that varies about it
with a standard deviation of about ``sqrt(rate * (1 - rate) / n)``.

With n scores the smallest p-value is ``1 / (n + 1)``: a rate below it can never be signalled, and
`Calibration.can_meet` says so. Scores are in `hdc.ood`; drift is not looked for here.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hdc import _state
from hdc._checks import Float64, check_count, check_rate

Policy: TypeAlias = Literal["sliding", "reservoir"]

_KIND, _MONDRIAN, _VERSION = "hdc.Calibration", "hdc.MondrianCalibration", 1
_ROUNDING = 1e-9  # 0.05 * 20 must count as one whole rank


def conformal_p_values(
    calibration: Float64, scores: ArrayLike, u: ArrayLike | None = None
) -> Float64:
    """P-values of scores; low is strange.

    Parameters
    ----------
    calibration : (n,) scores of normal samples, ascending
    scores : any shape; higher is more normal
    u : uniform numbers in [0, 1] of the shape of ``scores`` break ties at random, which makes
        p-values exactly uniform; None counts every tie as at least as strange (conservative)

    Returns
    -------
    same shape, in [1 / (n + 1), 1] without ``u``; all 1 where n is 0

    Examples
    --------
    >>> conformal_p_values(np.array([1.0, 2.0, 3.0]), [0.0, 2.0, 9.0]).tolist()
    [0.25, 0.75, 1.0]
    """
    scores = check_scores(scores)
    up_to = np.searchsorted(calibration, scores, side="right")
    if u is None:
        return np.asarray((up_to + 1.0) / (len(calibration) + 1.0))
    below = np.searchsorted(calibration, scores, side="left")
    ties = up_to - below + 1.0
    return np.asarray((below + np.asarray(u) * ties) / (len(calibration) + 1.0))


def conformal_threshold(calibration: Float64, rate: float) -> float:
    """Return the score below which p-values are at most ``rate``; -inf if none can be.

    ``score < threshold`` is the same as ``p <= rate`` (without random ties).

    Parameters
    ----------
    calibration : (n,) scores of normal samples, ascending
    """
    rank = int(check_rate(rate, "rate") * (len(calibration) + 1) + _ROUNDING)
    return float(calibration[rank - 1]) if rank else -np.inf


class Calibration:
    """A bounded set of scores of normal samples, updated on line.

    Parameters
    ----------
    capacity : scores kept at most, 8 bytes each
    policy : "sliding" keeps the latest; "reservoir" keeps a uniform sample of all
        (J. S. Vitter, "Random sampling with a reservoir", 1985)

    Examples
    --------
    >>> calibration = Calibration(capacity=100).add([1.0, 2.0, 3.0])
    >>> calibration.min_p_value, calibration.can_meet(0.05)
    (0.25, False)
    """

    def __init__(self, capacity: int = 1000, policy: Policy = "sliding") -> None:
        self.capacity = check_count(capacity, "capacity")
        if policy not in ("sliding", "reservoir"):
            raise ValueError(f"policy is {policy!r}, expected 'sliding' or 'reservoir'")
        self.policy = policy
        self.n_seen = 0
        self._kept: Float64 = np.empty(0)  # in order of arrival, or of the slots of the reservoir
        self._sorted: Float64 = np.empty(0)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return self._kept.nbytes + self._sorted.nbytes

    @property
    def scores(self) -> Float64:
        """The scores kept, ascending."""
        return self._sorted.copy()

    @property
    def min_p_value(self) -> float:
        """The smallest p-value that so many scores can give."""
        return 1.0 / (len(self) + 1.0)

    def can_meet(self, rate: float) -> bool:
        """Whether an alarm rate can be signalled at all with so few scores."""
        return self.threshold(rate) > -np.inf

    def threshold(self, rate: float) -> float:
        """Return the score below which a sample is strange at this rate of false alarms."""
        return conformal_threshold(self._sorted, rate)

    def p_values(self, scores: ArrayLike, u: ArrayLike | None = None) -> Float64:
        """P-values of scores, see `conformal_p_values`."""
        return conformal_p_values(self._sorted, scores, u)

    def add(self, scores: ArrayLike, rng: np.random.Generator | None = None) -> Calibration:
        """Learn scores of normal samples that took no part in fitting.

        Parameters
        ----------
        scores : (n,)
        rng : decides which scores a full reservoir keeps; needed for that policy only
        """
        new = check_scores(scores).ravel()
        if self.policy == "sliding":
            self._kept = np.append(self._kept, new)[-self.capacity :]
            self.n_seen += len(new)
        else:
            self._sample(new, rng)
        self._sorted = np.sort(self._kept)
        return self

    def _sample(self, new: Float64, rng: np.random.Generator | None) -> None:
        free = self.capacity - len(self)
        self._kept = np.append(self._kept, new[:free])
        self.n_seen += len(new[:free])
        for score in new[free:]:
            if rng is None:
                raise TypeError("a full reservoir needs a generator: add(scores, rng)")
            self.n_seen += 1
            slot = int(rng.integers(self.n_seen))
            if slot < self.capacity:
                self._kept[slot] = score

    def to_state(self) -> tuple[_state.Header, _state.Arrays]:
        """Return header and arrays; `from_state` continues identically."""
        header = _state.make_header(
            _KIND, _VERSION, capacity=self.capacity, policy=self.policy, n_seen=self.n_seen
        )
        return header, {"scores": self._kept.copy()}

    @classmethod
    def from_state(cls, header: _state.Header, arrays: _state.Arrays) -> Calibration:
        """Rebuild what `to_state` gave; raises `ValueError` for anything else."""
        _state.check_header(header, _KIND, _VERSION)
        new = cls(_state.integer(header, "capacity"), _state.field(header, "policy"))
        new._kept = _state.take(arrays, "scores", (None,), np.float64)
        new.n_seen = _state.integer(header, "n_seen")
        if not len(new._kept) <= min(new.capacity, new.n_seen):
            raise ValueError(f"state holds {len(new._kept)} scores, more than seen or allowed")
        new._sorted = np.sort(new._kept)
        return new


class MondrianCalibration:
    """One calibration for each class: the alarm rate holds for every class on its own.

    Source: V. Vovk, D. Lindsay, I. Nouretdinov, A. Gammerman, "Mondrian confidence machine", 2003.
    A class without scores gives p-value 1: nothing is known to be strange for it.

    Examples
    --------
    >>> calibration = MondrianCalibration().add([1.0, 2.0, 30.0], [0, 0, 1])
    >>> calibration.p_values([0.0, 0.0, 0.0], [0, 1, 2]).round(2).tolist()
    [0.33, 0.5, 1.0]
    """

    def __init__(self, capacity: int = 1000, policy: Policy = "sliding") -> None:
        empty = Calibration(capacity, policy)  # which checks both
        self.capacity, self.policy = empty.capacity, empty.policy
        self.by_class: dict[int, Calibration] = {}

    def add(
        self, scores: ArrayLike, y: ArrayLike, rng: np.random.Generator | None = None
    ) -> MondrianCalibration:
        """Learn scores (n,) of normal samples of the classes ``y`` (n,)."""
        scores, y = _same_length(scores, y)
        for label in np.unique(y).tolist():
            group = self.by_class.setdefault(label, Calibration(self.capacity, self.policy))
            group.add(scores[y == label], rng)
        return self

    def p_values(self, scores: ArrayLike, y: ArrayLike) -> Float64:
        """P-values of scores (n,), each against the class (n,) that the sample seems to have."""
        scores, y = _same_length(scores, y)
        out = np.ones(len(scores))
        for label in np.unique(y).tolist():
            if label in self.by_class:
                out[y == label] = self.by_class[label].p_values(scores[y == label])
        return out

    def thresholds(self, rate: float) -> dict[int, float]:
        """Return the threshold of every class."""
        return {label: group.threshold(rate) for label, group in self.by_class.items()}

    def threshold(self, rate: float) -> float:
        """Return one threshold for all classes together, where only one can be shown."""
        kept = [group.scores for group in self.by_class.values()]
        return conformal_threshold(np.sort(np.concatenate([np.empty(0), *kept])), rate)

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return sum(group.n_bytes for group in self.by_class.values())

    @property
    def min_p_value(self) -> float:
        """The smallest p-value that every class can give."""
        return max((group.min_p_value for group in self.by_class.values()), default=1.0)

    def can_meet(self, rate: float) -> bool:
        """Whether an alarm rate can be signalled for every class."""
        return bool(self.by_class) and all(c.can_meet(rate) for c in self.by_class.values())

    def to_state(self) -> tuple[_state.Header, _state.Arrays]:
        """Return header and arrays; `from_state` continues identically."""
        headers: _state.Header = {}
        arrays: _state.Arrays = {}
        for label, group in self.by_class.items():
            headers[str(label)], scores = group.to_state()
            arrays |= _state.nest(str(label), scores)
        fields = {"capacity": self.capacity, "policy": self.policy, "by_class": headers}
        return _state.make_header(_MONDRIAN, _VERSION, **fields), arrays

    @classmethod
    def from_state(cls, header: _state.Header, arrays: _state.Arrays) -> MondrianCalibration:
        """Rebuild what `to_state` gave; raises `ValueError` for anything else."""
        _state.check_header(header, _MONDRIAN, _VERSION)
        new = cls(_state.integer(header, "capacity"), _state.field(header, "policy"))
        groups, _ = _state.nested("by_class", header, {})
        for label in groups:
            new.by_class[int(label)] = Calibration.from_state(*_state.nested(label, groups, arrays))
        return new


def check_scores(scores: ArrayLike) -> Float64:
    """Return scores as float64; NaN and infinity are refused."""
    array = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("scores contain NaN or infinity")
    return array


def _same_length(scores: ArrayLike, y: ArrayLike) -> tuple[Float64, Float64]:
    array, labels = check_scores(scores).ravel(), np.asarray(y).ravel()
    if len(array) != len(labels):
        raise ValueError(f"{len(array)} scores but {len(labels)} classes")
    return array, labels

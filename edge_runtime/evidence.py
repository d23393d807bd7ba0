"""Evidence that grows label by label, and may be looked at after each: three sequential tests.

Both multiply likelihood ratios or fair bets, so that the rate of false alarms holds however often
one looks. Values in, values out: what is done on an alarm is decided in `guard`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[np.float64]

# Shares of wrong labels that are looked for: a few, many, most.
WRONG_SHARES = np.array([0.1, 0.3, 0.8])
# Shares of the stake put on the next pair: shy bets gain by a small difference, bold by a large.
STAKES = np.array([0.25, 0.5, 0.75])


class Contradictions:
    """Says when labels contradict what is certain more often than they may (CUSUM).

    E. S. Page, "Continuous inspection schemes" (1954), once for each of `WRONG_SHARES`; at least
    `run_length` labels pass on average between false alarms (G. Lorden, 1971) while labels
    contradict at `rate` or less.

    Examples
    --------
    >>> labels = Contradictions(rate=0.02, run_length=10_000)
    >>> any(labels.update(i % 50 == 0) for i in range(1000))
    False
    >>> next(n for n in range(1, 1000) if labels.update(n % 10 == 0))  # one in ten
    120
    """

    def __init__(self, rate: float, run_length: float) -> None:
        if not 0 < rate < WRONG_SHARES[0]:
            raise ValueError(f"rate is {rate}, expected a share in (0, {WRONG_SHARES[0]})")
        if not run_length > 1:
            raise ValueError(f"run_length is {run_length}, expected a number of labels above 1")
        self._limit = math.log(run_length * len(WRONG_SHARES))
        self._if_wrong = np.log(WRONG_SHARES / rate)
        self._if_right = np.log((1 - WRONG_SHARES) / (1 - rate))
        self.sums: Sums = np.zeros(len(WRONG_SHARES))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing at all speaks against the labels."""
        return not self.sums.any()

    @property
    def is_loud(self) -> bool:
        """Whether the alarm rings."""
        return bool(self.sums.max() >= self._limit)

    def update(self, contradicts: bool) -> bool:
        """Take the next label of a sample that was certain; return whether the alarm rings."""
        step = self._if_wrong if contradicts else self._if_right
        # No higher than twice the limit: what was bad for long may become good again.
        self.sums = np.clip(self.sums + step, 0.0, 2 * self._limit)
        return self.is_loud

    def reset(self) -> None:
        """Forget all evidence."""
        self.sums = np.zeros(len(WRONG_SHARES))


class Decline:
    """Says when one answerer has come to lose to another, whatever it won before.

    The bets of `Losses` as a cumulative sum that is never below 0 (CUSUM, as above): while it loses
    no more often than it wins, `run_length` different answers pass between false alarms on average.

    Examples
    --------
    >>> decline = Decline(run_length=200)
    >>> any(decline.update(is_win=True) for _ in range(1000))
    False
    >>> next(n for n in range(1, 100) if decline.update(is_win=False))
    12
    """

    def __init__(self, run_length: float) -> None:
        if not run_length > 1:
            raise ValueError(f"run_length is {run_length}, expected a number of answers above 1")
        self._limit = math.log(run_length * len(STAKES))
        self.sums: Sums = np.zeros(len(STAKES))

    def update(self, is_win: bool) -> bool:
        """Take a sample that one of both answered rightly; return whether the alarm rings."""
        step = np.log1p(-STAKES) if is_win else np.log1p(STAKES)
        self.sums = np.maximum(self.sums + step, 0.0)
        return bool(self.sums.max() >= self._limit)

    def restore(self, sums: Sums) -> None:
        """Go on from `sums` that were saved; `ValueError` if they cannot have been."""
        is_sound = sums.shape == self.sums.shape and sums.dtype == np.float64
        if not is_sound or not ((sums >= 0) & (sums < self._limit)).all():
            raise ValueError(f"evidence against an adaptor is {sums.tolist()}: is it damaged?")
        self.sums = sums.copy()


class Losses:
    """Says when one answerer loses to another beyond chance, on samples that both answered.

    Bets at fair odds that of two different answers the first is the wrong one (J. Ville, 1939;
    G. Shafer, "Testing by betting", 2021): if it is wrong no more often than the other, the stake
    grows to ``1 / false_rate`` in a share `false_rate` of all cases at most, however long one bets.

    Examples
    --------
    >>> losses = Losses(false_rate=0.001)
    >>> losses.update(wins=10, losses=10)
    False
    >>> losses.update(wins=0, losses=30)
    True
    """

    def __init__(self, false_rate: float) -> None:
        if not 0 < false_rate < 1:
            raise ValueError(f"false_rate is {false_rate}, expected a share in (0, 1)")
        self.false_rate = false_rate
        self.wins = self.losses = 0

    @property
    def evidence(self) -> float:
        """What a stake of 1 has become, on the mean of all bets."""
        logs = self.losses * np.log1p(STAKES) + self.wins * np.log1p(-STAKES)
        return float(np.exp(np.minimum(logs, 600.0)).mean())

    def update(self, wins: int, losses: int) -> bool:
        """Take samples where one alone was right; return whether the evidence suffices."""
        self.wins += wins
        self.losses += losses
        return self.evidence >= 1 / self.false_rate

"""Drift from a stream of p-values: an alarm whose false rate is stated beforehand.

An e-detector of Shiryaev-Roberts type (Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric
framework for sequential change detection", 2022): each p-value is bet against by power functions
``kappa * p ** (kappa - 1)``, which pay on average 1 under no drift. Memory is one number per bet.

A p-value ranked against n calibration scores is uniform only on average over calibration samples;
for the one at hand, the share below p is off by a standard error of ``sqrt(p * (1 - p) / n)``, and
bets that go on for ever would find that out and call it drift. So each p-value is first raised by
`SLACK` standard errors. Not here: where p-values come from (`hdc.conformal`).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

# Bets from bold (pays when p-values are tiny) to shy (pays when they are merely low).
KAPPAS = np.array([0.2, 0.4, 0.6, 0.8])
# No p-value counts for less than this, so that one stranger alone is never a drift.
SMALLEST_P = 0.01
# Standard errors by which a p-value is raised: one calibration sample in forty misleads at two.
SLACK = 2.0


class DriftDetector:
    """Alarms when low p-values go on; at least `run_length` uniform ones pass between false alarms.

    That is the mean run length; the detector needs a few more samples the fewer the calibration
    scores are.

    Examples
    --------
    >>> detector = DriftDetector(run_length=10_000)
    >>> any(detector.update(0.5) for _ in range(1000))
    False
    >>> next(n for n in range(1, 100) if detector.update(0.01))
    5
    """

    def __init__(self, run_length: float) -> None:
        if not run_length > 1:
            raise ValueError(f"run_length is {run_length}, expected a number of samples above 1")
        self.run_length = run_length
        self._sums: npt.NDArray[np.float64] = np.zeros(len(KAPPAS))

    @property
    def evidence(self) -> float:
        """Mean of the bets' Shiryaev-Roberts sums: the alarm rings at `run_length`."""
        return float(self._sums.mean())

    def update(self, p_value: float, n_calibration: float = math.inf) -> bool:
        """Take the next p-value in (0, 1]; return whether the evidence suffices for an alarm.

        `n_calibration` is the number of scores that the p-value was ranked against.
        """
        if not (0 < p_value <= 1 and n_calibration > 0):
            raise ValueError(
                f"p-value {p_value} from {n_calibration} scores: expected a p-value in (0, 1] and "
                "at least one score"
            )
        p_value = min(p_value + SLACK * math.sqrt(p_value * (1 - p_value) / n_calibration), 1.0)
        bets = KAPPAS * np.exp((KAPPAS - 1) * math.log(max(p_value, SMALLEST_P)))
        self._sums = np.minimum((1 + self._sums) * bets, 1e300)
        return self.evidence >= self.run_length

    def reset(self) -> None:
        """Forget all evidence."""
        self._sums = np.zeros(len(KAPPAS))

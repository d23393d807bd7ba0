"""Drift from a stream of p-values: an alarm whose false rate is stated beforehand.

An e-detector of Shiryaev-Roberts type (Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric
framework for sequential change detection", 2022): each p-value is bet against by power functions
``kappa * p ** (kappa - 1)``, which pay when some p-values are very low, and by ``a * (1 - p) **
(a - 1)``, which pay when none is high: a new domain may lie well inside an old one. All pay on
average 1 under no drift. Memory is one number per bet.

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
# Bets that there are no high p-values, the bolder the larger.
BULKS = np.array([1.5, 2.0, 3.0])
N_BETS = len(KAPPAS) + len(BULKS)
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
    >>> any(detector.update(p) for _ in range(100) for p in (0.1, 0.9, 0.5, 0.3, 0.7))
    False
    >>> next(n for n in range(1, 100) if detector.update(0.01))
    5
    """

    def __init__(self, run_length: float) -> None:
        if not run_length > 1:
            raise ValueError(f"run_length is {run_length}, expected a number of samples above 1")
        self.run_length = run_length
        self.sums: npt.NDArray[np.float64] = np.zeros(N_BETS)

    @property
    def evidence(self) -> float:
        """Mean of the bets' Shiryaev-Roberts sums: the alarm rings at `run_length`."""
        return float(self.sums.mean())

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
        low = KAPPAS * np.exp((KAPPAS - 1) * math.log(max(p_value, SMALLEST_P)))
        bets = np.concatenate([low, BULKS * (1 - p_value) ** (BULKS - 1)])
        self.sums = np.minimum((1 + self.sums) * bets, 1e300)
        return self.evidence >= self.run_length

    def reset(self) -> None:
        """Forget all evidence."""
        self.sums = np.zeros(N_BETS)


# Error rates that are looked for, as shares of what is left above the stated one.
MORE_ERRORS = np.array([0.1, 0.25, 0.5])


class ErrorDetector:
    """Alarms when errors come more often than stated; the same kind of detector as above.

    Each label bets for an error rate above the stated one: likelihood ratios of a coin. At least
    `run_length` labels pass on average between false alarms while errors keep to the stated rate.

    Examples
    --------
    >>> detector = ErrorDetector(run_length=10_000)
    >>> any(detector.update(i % 10 == 0, stated=0.1, n_stated=500) for i in range(1000))
    False
    >>> next(n for n in range(1, 100) if detector.update(n % 2 == 0, stated=0.1, n_stated=500))
    22
    """

    def __init__(self, run_length: float) -> None:
        if not run_length > 1:
            raise ValueError(f"run_length is {run_length}, expected a number of labels above 1")
        self.run_length = run_length
        self.sums: npt.NDArray[np.float64] = np.zeros(len(MORE_ERRORS))

    @property
    def evidence(self) -> float:
        """Mean of the bets' Shiryaev-Roberts sums: the alarm rings at `run_length`."""
        return float(self.sums.mean())

    def update(self, is_wrong: bool, stated: float, n_stated: int) -> bool:
        """Take whether an answer was wrong; return whether the evidence suffices for an alarm.

        `stated` is the share of errors measured on `n_stated` held-out labels; it is raised by
        `SLACK` standard errors, as the share measured is not the true one.
        """
        if not (0 <= stated <= 1 and n_stated > 0):
            raise ValueError(f"{stated} errors of {n_stated} labels: expected a share of some")
        share = (stated * n_stated + 1) / (n_stated + 2)
        share = min(share + SLACK * math.sqrt(share * (1 - share) / n_stated), 0.95)
        wanted = share + (1 - share) * MORE_ERRORS
        bets = wanted / share if is_wrong else (1 - wanted) / (1 - share)
        self.sums = np.minimum((1 + self.sums) * bets, 1e300)
        return self.evidence >= self.run_length

    def reset(self) -> None:
        """Forget all evidence."""
        self.sums = np.zeros(len(MORE_ERRORS))

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
from collections.abc import Sequence

# Bets from bold (pays when p-values are tiny) to shy (pays when they are merely low).
KAPPAS = (0.2, 0.4, 0.6, 0.8)
# Bets that there are no high p-values, the bolder the larger.
BULKS = (1.5, 2.0, 3.0)
N_BETS = len(KAPPAS) + len(BULKS)
# No sum grows beyond this: it would be infinite, and infinity times nothing is no number.
LARGEST_SUM = 1e300
# No p-value counts for less than this, so that one stranger alone is never a drift.
SMALLEST_P = 0.01
# Standard errors by which a p-value is raised: one calibration sample in forty misleads at two.
SLACK = 2.0


class _Sums:
    """Shiryaev-Roberts sums of a few bets, as plain floats: an array of seven would cost more."""

    def __init__(self, run_length: float, n_bets: int) -> None:
        if not run_length > 1:
            raise ValueError(f"run_length is {run_length}, expected a number of samples above 1")
        self.run_length = run_length
        self.sums = [0.0] * n_bets

    @property
    def evidence(self) -> float:
        """Mean of the bets' sums: the alarm rings at `run_length`."""
        return sum(self.sums) / len(self.sums)

    def _pay(self, bets: Sequence[float]) -> bool:
        paid = zip(self.sums, bets, strict=True)
        self.sums = [min((1 + each) * bet, LARGEST_SUM) for each, bet in paid]
        return self.evidence >= self.run_length

    def reset(self) -> None:
        """Forget all evidence."""
        self.sums = [0.0] * len(self.sums)


class DriftDetector(_Sums):
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
        super().__init__(run_length, N_BETS)

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
        log_p = math.log(max(p_value, SMALLEST_P))
        low = [kappa * math.exp((kappa - 1) * log_p) for kappa in KAPPAS]
        return self._pay(low + [bulk * (1 - p_value) ** (bulk - 1) for bulk in BULKS])


# Error rates that are looked for, as shares of what is left above the stated one.
MORE_ERRORS = (0.1, 0.25, 0.5)


class ErrorDetector(_Sums):
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
        super().__init__(run_length, len(MORE_ERRORS))

    def update(self, is_wrong: bool, stated: float, n_stated: int) -> bool:
        """Take whether an answer was wrong; return whether the evidence suffices for an alarm.

        `stated` is the share of errors measured on `n_stated` held-out labels; it is raised by
        `SLACK` standard errors, as the share measured is not the true one.
        """
        if not (0 <= stated <= 1 and n_stated > 0):
            raise ValueError(f"{stated} errors of {n_stated} labels: expected a share of some")
        share = (stated * n_stated + 1) / (n_stated + 2)
        share = min(share + SLACK * math.sqrt(share * (1 - share) / n_stated), 0.95)
        wanted = [share + (1 - share) * more for more in MORE_ERRORS]
        if is_wrong:
            return self._pay([each / share for each in wanted])
        return self._pay([(1 - each) / (1 - share) for each in wanted])

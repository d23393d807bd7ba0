"""Conformal p-values: the share of in-distribution samples at least as far out as this one.

Scores are higher further out of distribution, so a high score gives a low p-value. If the reference
scores and a new in-distribution score are exchangeable, and the samples of the reference took no
part in fitting, then ``P(p <= rate) <= rate`` for every rate, with any number of samples and any
distribution (V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005).
That holds on average over references; one of n scores has an alarm rate that varies about it with a
standard deviation of about ``sqrt(rate * (1 - rate) / n)``. Samples that come in scenes are fewer
than they look: with 8 scenes of a class, n is nearer to 8 than to the number of frames.

With n scores the smallest p-value is ``1 / (n + 1)``: a rate below it can never be signalled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]

_ROUNDING = 1e-9  # 0.05 * 20 must count as one whole rank


def p_value(reference: Scores, score: float) -> float:
    """Share of a reference, ascending, at least as far out as one sample; 1 where it is empty.

    Examples
    --------
    >>> p_value(np.array([1.0, 2.0, 3.0]), 3.0)
    0.5
    """
    n = len(reference)
    return float((n - np.searchsorted(reference, score, side="left") + 1) / (n + 1))


def p_values(reference: Scores, scores: ArrayLike) -> Scores:
    """The p-value of each of many scores, in their shape; `p_value` of one by one.

    Examples
    --------
    >>> p_values(np.array([1.0, 2.0, 3.0]), [0.0, 2.0, 9.0]).tolist()
    [1.0, 0.75, 0.25]
    """
    n = len(reference)
    return np.asarray((n - np.searchsorted(reference, scores, side="left") + 1.0) / (n + 1.0))


def threshold(reference: Scores, rate: float) -> float:
    """Score above which p-values are at most `rate`; infinity where none can be so low.

    Parameters
    ----------
    reference : (n,) scores of in-distribution samples, ascending.

    Examples
    --------
    >>> threshold(np.arange(19.0), 0.05), threshold(np.arange(18.0), 0.05)
    (18.0, inf)
    """
    rank = int(rate * (len(reference) + 1) + _ROUNDING)
    return float(reference[-rank]) if rank else np.inf

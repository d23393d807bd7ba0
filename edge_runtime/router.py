"""Which slot answers for a sample, and how sure that is.

Slots compete by the likelihood that their domain gives the sample: a Gaussian per class in the
slot's own frame, so that slots need no common whitening and growing one changes no other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Slots with less weight than this take no part in an answer, nor in its cost.
MIN_WEIGHT = 1e-3


def route(log_likelihoods: npt.NDArray[np.float64], n_features: int) -> npt.NDArray[np.float64]:
    """Slot weights (n, n_slots), each row summing to 1; the largest is the slot's claim.

    `log_likelihoods` (n, n_slots) are those of each slot's most likely class. The temperature is
    the standard deviation of the log-likelihood of a sample of `n_features` white features,
    sqrt(d / 2): two slots are told apart when their likelihoods differ by more than chance makes
    them differ.
    """
    scaled = log_likelihoods / np.sqrt(n_features / 2)
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    weights[weights < MIN_WEIGHT] = 0.0
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))

"""Which slot answers for a sample, and how sure that is.

Slots compete by the likelihood that their domain gives the sample: a Gaussian per class in the
slot's own frame, so that slots need no common whitening and growing one changes no other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_runtime.slots import SlotScores

# Slots with less weight than this take no part in an answer.
MIN_WEIGHT = 1e-3


def route(scores: Sequence[SlotScores], n_features: int) -> npt.NDArray[np.float64]:
    """Slot weights (n, n_slots), each row summing to 1; the largest is the slot's claim.

    The temperature is the standard deviation of the log-likelihood of a sample of `n_features`
    white features, sqrt(d / 2): two slots are told apart when their likelihoods differ by more
    than chance makes them differ.
    """
    likelihoods = np.stack([each.log_likelihoods for each in scores], axis=1)
    scaled = likelihoods / np.sqrt(n_features / 2)
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    weights[weights < MIN_WEIGHT] = 0.0
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def mix(weights: npt.NDArray[np.float64], scores: Sequence[SlotScores]) -> npt.NDArray[np.float64]:
    """Class probabilities (n, n_classes) of all slots together."""
    stacked = np.stack([each.log_probabilities for each in scores], axis=1)
    return np.asarray(np.einsum("ns,nsc->nc", weights, np.exp(stacked)))

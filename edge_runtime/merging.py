"""Merge of slots that have become the same.

Two domains that looked different while labels were few may turn out to be one. Values in, values
out but for `merge`, which changes the slot that takes over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_runtime.canary import CanarySet
from edge_runtime.slots import Slot

# Two slots are the same if each answers the other's class means as the other does, this often.
SAME_SHARE = 0.9


def find_twins(slots: Sequence[Slot], canaries: CanarySet) -> tuple[Slot, Slot] | None:
    """The first two slots that have become the same, the older one first; None if none have."""
    for i, first in enumerate(slots):
        for second in slots[i + 1 :]:
            if are_same(first, second) and do_canaries_agree(first, second, canaries):
                return first, second
    return None


def do_canaries_agree(first: Slot, second: Slot, canaries: CanarySet) -> bool:
    """Whether each answers what was confirmed of the other no worse than that one, beyond chance.

    Means that are near say nothing of how far samples lie apart: photographs and paintings of the
    same things have been taken for one domain.
    """
    for one, other in ((first, second), (second, first)):
        rows = canaries.slots == other.number
        if not rows.any():
            continue
        X, y = other.lift(canaries.X[rows]), canaries.y[rows]
        n_classes = max(int(y.max()) + 1, len(one.domain.counts), len(other.domain.counts))
        ours, theirs = (
            slot.score_lifted(X, n_classes).told.argmax(axis=1) == y for slot in (one, other)
        )
        losses, wins = int(np.sum(theirs & ~ours)), int(np.sum(ours & ~theirs))
        # Each has learned its own, and answers them a little too well.
        if losses - wins > 2 * math.sqrt(losses + wins):
            return False
    return True


def are_same(first: Slot, second: Slot) -> bool:
    """Whether each slot knows, and answers alike, the class means of the other."""
    return _answers_for(first, second) and _answers_for(second, first)


def _answers_for(one: Slot, other: Slot) -> bool:
    known = np.flatnonzero(other.domain.counts)
    if len(known) == 0 or not one.domain.counts.any():
        return False
    means = other.domain.class_means[known] * other.domain.scale + other.domain.mean
    n_classes = max(len(one.domain.counts), len(other.domain.counts))
    answered = np.argmax(one.score_lifted(means, n_classes).cosines, axis=1)
    if np.mean(answered == known) < SAME_SHARE:
        return False
    # A typical sample lies at squared distance d: means farther than that are elsewhere.
    whitened = one.domain.whiten(means) - one.domain.whitened_means()[answered]
    return bool(np.einsum("ij,ij->i", whitened, whitened).max() <= one.domain.n_features)

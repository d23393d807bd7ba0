"""What a slot's p-values have been like since it last learned: a change is a change of those.

A slot with few labels is calibrated on models that have seen fewer still, so its p-values are too
high, and a new domain that makes them merely uniform would go unnoticed. Ranked among the p-values
that the slot gave when it had come to rest, they are uniform whatever the calibration was.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any

# P-values kept of each slot; the first ones after it has learned, so that no drift creeps in.
KEPT = 256
# P-values from which ranks are given: with fewer a rank says too little.
LEAST = 48
# Share of new labels after which a slot is another, and its p-values are collected anew.
LEARNED_SHARE = 0.05
# Slots whose p-values are kept at the most.
MOST_SLOTS = 64


class References:
    """P-values of each slot at rest, ascending, and how many labels it had.

    Examples
    --------
    >>> references = References()
    >>> ranks = [references.rank(0, 100, 0.6 + i / 1000) for i in range(100)]
    >>> ranks[0], references.rank(0, 100, 0.1)[0] < 0.02
    (None, True)
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[int, list[float]]] = {}

    def rank(
        self, slot: int, n_labels: int, p_value: float, is_kept: bool = True
    ) -> tuple[float, int] | None:
        """P-value among those of the slot at rest, and how many those are; None if too few."""
        labels, kept = self._kept.get(slot, (n_labels, []))
        if not labels <= n_labels <= labels * (1 + LEARNED_SHARE):
            labels, kept = n_labels, []
        self._kept[slot] = labels, kept
        if len(self._kept) > MOST_SLOTS:  # of slots that are no more
            del self._kept[min(self._kept)]
        ranked = (bisect_right(kept, p_value) + 1) / (len(kept) + 1), len(kept)
        is_enough = len(kept) >= LEAST
        if is_kept and len(kept) < KEPT:
            insort(kept, p_value)
        return ranked if is_enough else None

    def to_state(self) -> list[list[Any]]:
        """Plain values, JSON-able."""
        return [[slot, labels, kept] for slot, (labels, kept) in self._kept.items()]

    def restore(self, state: list[list[Any]]) -> None:
        """Go on from what `to_state` gave."""
        self._kept = {
            int(slot): (int(labels), sorted(float(p) for p in kept[:KEPT]))
            for slot, labels, kept in state
        }

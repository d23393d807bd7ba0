"""How strange a sample is for one slot, on the scale of that slot's own known samples.

Two measurements are added, each standardised on held-out known samples: minus the cosine to the
best prototype, and the logarithm of the whitened norm. The cosine alone throws the norm away,
which is half of what a Mahalanobis distance uses. The sum is ranked against held-out sums: that
rank is the conformal p-value, and nothing about the shape of the distribution is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.mixing import FIRST, Mix, MixLosses
from hdc.conformal import Calibration

Scores = npt.NDArray[np.float64]


class SlotCalibration:
    """Held-out scores of known samples, at most `capacity`; the oldest leave first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.mixing = MixLosses()
        self._centre = np.zeros(2)
        self._spread = np.ones(2)
        self._normality = Calibration(capacity)

    def __len__(self) -> int:
        return len(self._normality)

    def fit(
        self,
        best_cosines: Scores,
        log_norms: Scores,
        losses: Scores,
        judged: npt.NDArray[np.int64],
        alone: Mix = FIRST,
    ) -> None:
        """Start anew from the held-out measurements of n known samples.

        `losses` are those of every mix of prototypes and densities for samples of the classes
        `judged`, and `alone` is the best one without an adaptor; see `mixing`.
        """
        parts = np.stack([best_cosines, log_norms], axis=1)
        self._centre = parts.mean(axis=0)
        self._spread = np.maximum(parts.std(axis=0), 1e-6)
        self.mixing.start(losses, judged, alone)
        scores = self.nonconformity(best_cosines, log_norms)
        if len(scores) > self.capacity:  # labels may come sorted by class: keep some of each
            scores = scores[np.linspace(0, len(scores) - 1, self.capacity).astype(np.int64)]
        self._normality = Calibration(self.capacity).add(-scores)

    def add(self, nonconformity: float) -> None:
        """Keep the score of one more known sample, taken before it was learned."""
        self._normality.add([-nonconformity])

    def merge(self, other: SlotCalibration) -> None:
        """Take over the scores of a slot that has become the same as this one."""
        self._normality.add(other._normality.scores)

    def nonconformity(self, best_cosines: Scores, log_norms: Scores) -> Scores:
        """Strangeness (n,): 0 for an average known sample; higher is stranger."""
        cosine = (best_cosines - self._centre[0]) / self._spread[0]
        norm = (log_norms - self._centre[1]) / self._spread[1]
        return np.asarray(norm - cosine)

    def p_values(self, nonconformity: Scores) -> Scores:
        """Share of known samples at least as strange, the sample itself counted: in (0, 1]."""
        return self._normality.p_values(-nonconformity)

    @property
    def n_bytes(self) -> int:
        """Bytes of the scores and their sorted copy, which have their room from the start."""
        return 16 * self.capacity + self.mixing.n_bytes

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything learned, as a flat dict of arrays."""
        _, arrays = self._normality.to_state()
        frame = np.concatenate([self._centre, self._spread])
        return {"frame": frame, "normality": arrays["scores"], **self.mixing.to_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]], capacity: int) -> SlotCalibration:
        """The calibration that `to_state` was called on."""
        frame, normality = state["frame"], state["normality"]
        if frame.shape != (4,) or normality.ndim != 1 or not np.isfinite(frame).all():
            raise ValueError(
                f"calibration has a frame of shape {frame.shape} and scores of shape "
                f"{normality.shape}, expected (4,), finite, and (n,)"
            )
        restored = cls(capacity)
        restored._centre, restored._spread = frame[:2].copy(), frame[2:4].copy()
        restored.mixing = MixLosses.from_state(state)
        restored._normality.add(normality)
        return restored

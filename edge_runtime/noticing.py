"""What speaks for a change of the world: strangers, p-values, certainties, and wrong answers.

Each kind of evidence is a detector of its own; what follows from it is decided in `policy`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from edge_runtime.bank import Answer
from edge_runtime.reference import References
from edge_runtime.thresholds import PolicySettings
from hdc.drift import DriftDetector, ErrorDetector

# What a share of shifted samples is taken to be measured on: it is stated, not measured.
SHIFTS = 1_000_000
# The last samples whose shift is that of now.
SHIFT_NOW = 20


class Noticing:
    """Detectors, and which of the last samples were strange."""

    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self.strange: deque[bool] = deque(maxlen=settings.calm_window)
        self._as_such = DriftDetector(settings.drift_run_length)
        # The same of p-values, and of certainties, among those of the slot at rest.
        self._relative = DriftDetector(settings.drift_run_length)
        self._doubts = DriftDetector(settings.drift_run_length)
        self._errors = ErrorDetector(settings.drift_run_length)
        self._moved = ErrorDetector(settings.drift_run_length)
        self.shifts: deque[float] = deque(maxlen=2 * settings.gradual_samples)
        self._p_values, self._certainties = References(), References()

    @property
    def _detectors(self) -> tuple[DriftDetector | ErrorDetector, ...]:
        return self._as_such, self._relative, self._doubts, self._errors, self._moved

    def take(
        self,
        answer: Answer,
        slot: int,
        is_learning: bool,
        is_asking: bool = False,
        shift: float | None = None,
    ) -> bool:
        """Take an answered sample; return whether the alarm rings.

        Unless slots are learning, samples are compared with what their slot was like at rest: in a
        new domain that lies inside an old one they are not strange, but p-values lack their high
        half, and answers are less certain than they used to be. Those that come while labels are
        asked for may be of a new domain, and are no rest. `shift` is what `hdc.shift` says of it.
        """
        is_alarm = self._as_such.update(answer.p_value, answer.n_scores)
        if is_learning:
            return is_alarm
        certainty = answer.certainty
        if shift is not None:
            self.shifts.append(shift)
            share = self.settings.shifted_samples
            is_alarm |= self._moved.update(shift > self.settings.shift, share, SHIFTS)
        for values, value, detector in (
            (self._p_values, answer.p_value, self._relative),
            (self._certainties, certainty, self._doubts),
        ):
            ranked = values.rank(slot, answer.n_labels, value, is_kept=not is_asking)
            if ranked is not None:
                is_alarm |= detector.update(*ranked)
        return is_alarm

    def take_label(self, is_wrong: bool, stated: float, n_stated: int, is_asking: bool) -> bool:
        """Take whether an answer was wrong; return whether the alarm rings.

        Where samples look as they always have, it is the labels that are odd: see `guard`.
        """
        if not is_asking and not self.is_unlike:
            self._errors.reset()
            return False
        return self._errors.update(is_wrong, stated, n_stated)

    @property
    def is_unlike(self) -> bool:
        """Whether samples are suspect: unlike what slots know, more than chance makes them."""
        detectors = (self._as_such, self._relative, self._doubts, self._moved)
        evidence = max(detector.evidence for detector in detectors)
        return evidence >= self.settings.suspect_run_length

    @property
    def shift(self) -> float:
        """Part of their spread by which the last samples are off together."""
        now = list(self.shifts)[-SHIFT_NOW:]
        return sum(now) / max(len(now), 1)

    @property
    def has_moved(self) -> bool:
        """Whether that is beyond chance: enough of it for an alarm."""
        return self._moved.evidence >= self.settings.drift_run_length

    @property
    def is_slow(self) -> bool | None:
        """Whether samples are off together, and were so long before, if less; None if unknown."""
        if self.is_blind:
            return None
        if self.shift < self.settings.shift:
            is_where_it_was = self.shift < self.settings.still_share * self.settings.shift
            return False if is_where_it_was else None
        before = list(self.shifts)[: self.settings.gradual_samples]
        return sum(before) / len(before) >= self.settings.slow_share * self.shift

    @property
    def is_blind(self) -> bool:
        """Whether too little is known of the last samples to say that they are not off."""
        return len(self.shifts) < 2 * self.settings.gradual_samples

    @property
    def is_calm(self) -> bool:
        """Whether nothing speaks for a change."""
        return (
            sum(self.strange) <= self.settings.calm_strangers
            and not self.is_unlike
            and self._errors.evidence < self.settings.suspect_run_length
        )

    @property
    def strange_share(self) -> float:
        """Share of strangers among the last samples."""
        return sum(self.strange) / max(len(self.strange), 1)

    def forget(self, with_strangers: bool = True) -> None:
        """Forget all evidence; what slots were like at rest is kept."""
        for detector in self._detectors:
            detector.reset()
        self.shifts.clear()
        if with_strangers:
            self.strange.clear()

    def to_state(self) -> dict[str, Any]:
        """Plain values, JSON-able."""
        return {
            "strange": [int(each) for each in self.strange],
            "sums": [list(each.sums) for each in self._detectors],
            "shifts": list(self.shifts),
            "p_values": self._p_values.to_state(),
            "certainties": self._certainties.to_state(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `to_state` gave; `ValueError` or `KeyError` if it does not fit."""
        self.strange.extend(bool(each) for each in saved["strange"])
        self.shifts.extend(float(each) for each in saved["shifts"])
        self._p_values.restore(saved["p_values"])
        self._certainties.restore(saved["certainties"])
        for detector, sums in zip(self._detectors, saved["sums"], strict=True):
            if len(sums) != len(detector.sums):
                raise ValueError(f"a detector has {len(sums)} sums, not {len(detector.sums)}")
            detector.sums = [float(each) for each in sums]

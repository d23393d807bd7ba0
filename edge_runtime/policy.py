"""Every decision by a threshold, in one place: keep, ask for labels, then adapt or grow.

The policy sees p-values, slots, predicted classes and labels, and answers with what to do; it
holds no embedding, no model and no clock: time is counted in samples. Its states:

    state      leaves it when                                          for
    ---------  ------------------------------------------------------  --------
    learning   the first slot can keep the promised false-alarm rate   stable
    stable     the drift detector alarms                               asking
    asking     the strangers have ended                                stable
    asking     labels say that nothing helps                           stable
    asking     labels say that a new slot, or an adapted one, helps    filling
    filling    a class has all its labels, or patience has run out     stable
    filling    the drift detector alarms                               asking
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import Literal

from edge_runtime.bank import Answer
from edge_runtime.records import Event
from hdc.drift import DriftDetector

State = Literal["learning", "stable", "asking", "filling"]
LabelUse = Literal["learn", "collect", "decide"]
Verdict = Literal["wait", "grow", "adapt", "reject"]


@dataclass(frozen=True)
class PolicySettings:
    """Every threshold, with its unit and its reason."""

    # Share of known samples that may be called strange: the promise that the user sets.
    false_alarm_rate: float = 0.05
    # Known samples between two false drift alarms, on average, at the least: at one sample a
    # second, one in a day.
    drift_run_length: float = 100_000.0
    # Labels of one class that a new domain may cost: what a person answers without anger.
    labels_per_class: int = 10
    # Samples after an alarm within which labels must come; later, what came has to do.
    patience_samples: int = 1000
    # Labels at which a new slot is tried for the first time, and between two trials.
    first_trial_labels: int = 20
    trial_every_labels: int = 10
    # Standard errors by which an early trial must win; the last one needs the plain gain only.
    early_confidence: float = 2.0
    # Share of held-out labels that a new slot must answer better than what exists. A slot costs
    # about a megabyte, so it must earn it.
    growth_gain: float = 0.03
    # Samples looked back on to say that the strangers have ended, and how many of them may still
    # be strange: at 5 % two of forty are expected, at 25 % two or fewer come once in a thousand.
    calm_window: int = 40
    calm_strangers: int = 2
    # Share of strangers that means yet another domain while a young slot is still being filled:
    # fewer are classes that it has not met.
    filling_strangers: float = 0.5
    # Consecutive samples of another slot that mean that the stream has moved there.
    switch_samples: int = 8
    # Samples after a rejected growth during which the detector rests, so as not to nag.
    rest_samples: int = 500
    # Probability from which the best class of a known sample is certain: half of all samples of
    # PACS, whose true labels contradict in 0.3 to 3.6 % of cases, by domain.
    certainty: float = 0.99
    # Labels of a class in a slot from which a contradiction counts: with fewer it is being learned.
    confirmed_labels: int = 10
    # Share of certain samples whose labels may contradict: slips of a person and of the runtime.
    contradiction_rate: float = 0.03
    # Such labels between two false alarms on contradictions, on average, at the least.
    contradiction_run_length: float = 10_000.0
    # Share of changes that may be undone although they did no harm, at the most.
    false_undo_rate: float = 0.001
    # Labels after which a change is trusted, if nothing speaks against it.
    trusted_after_labels: int = 64
    # Confirmed samples kept to judge changes by, and doubtful labels held back in a slot.
    canaries: int = 256
    doubtful_labels: int = 32

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm_rate < 0.5:
            raise ValueError(f"false_alarm_rate is {self.false_alarm_rate}, expected in (0, 0.5)")
        if self.labels_per_class < 2 or self.first_trial_labels < 2:
            raise ValueError(
                f"labels_per_class {self.labels_per_class}, first_trial_labels "
                f"{self.first_trial_labels}: expected 2 or more, one to learn from and one to check"
            )

    @property
    def calibration_samples(self) -> int:
        """Known samples without which the rate cannot be kept: the least p-value is 1 / (n + 1)."""
        return round(1 / self.false_alarm_rate)


class Policy:
    """The state machine: what to do with each sample and each label."""

    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self.state: State = "learning"
        self.slot: int | None = None  # where the stream is
        self._detector = DriftDetector(settings.drift_run_length)
        self._strange: deque[bool] = deque(maxlen=settings.calm_window)
        self._rest = 0
        self._elsewhere = 0
        self._start_asking()

    def _start_asking(self) -> None:
        self._since_alarm = 0
        self._n_trials = 0
        self._asked: dict[int, int] = {}  # sample id -> class it seemed to be
        self._labelled: Counter[int] = Counter()

    # -- samples ----------------------------------------------------------------------------

    def observe(self, sample_id: int, answer: Answer, seems: int) -> tuple[list[Event], bool]:
        """Take one answered sample; return the events and whether its label is wanted.

        `seems` is the class it seems to have, by what has been collected of a new domain.
        """
        slot, p_value = answer.slot, answer.p_value
        if self.state == "learning" or slot is None:
            return [Event("label_wanted", sample_id, "the first domain is being learned")], True
        self._strange.append(p_value <= self.settings.false_alarm_rate)
        events = self._strange_event(sample_id, p_value, slot) if self._strange[-1] else []
        if self.state != "asking":
            events += self._watch(sample_id, p_value, slot, answer.n_scores)
        if self.state != "stable":
            events += self._ask(sample_id, slot, seems)
        return events, any(event.kind == "label_wanted" for event in events)

    def _strange_event(self, sample_id: int, p_value: float, slot: int) -> list[Event]:
        evidence = {"p_value": p_value, "threshold": self.settings.false_alarm_rate}
        message = f"unlike all but {p_value:.1%} of what slot {slot} knows"
        return [Event("strange", sample_id, message, slot, evidence)]

    def _watch(self, sample_id: int, p_value: float, slot: int, n_scores: int) -> list[Event]:
        """Follow the stream between slots, and raise the alarm when strangers go on."""
        events = []
        if self.slot is None:
            self.slot = slot
        is_elsewhere = slot != self.slot and not self._strange[-1]
        self._elsewhere = self._elsewhere + 1 if is_elsewhere else 0
        if self._elsewhere >= self.settings.switch_samples:
            message = f"{self._elsewhere} samples in a row belong to slot {slot}"
            events.append(Event("known", sample_id, message, slot, {"previous": self.slot}))
            self.slot, self._elsewhere = slot, 0
        self._rest = max(self._rest - 1, 0)
        share = sum(self._strange) / len(self._strange)
        is_ripe = self.state == "stable" or share >= self.settings.filling_strangers
        if self._detector.update(p_value, n_scores) and is_ripe and not self._rest:
            evidence = {"strange_share": share, "window": len(self._strange)}
            message = f"{share:.0%} of the last {len(self._strange)} samples are strange"
            events.append(Event("drift", sample_id, message, slot, evidence))
            self.state = "asking"
            self._start_asking()
        return events

    def _ask(self, sample_id: int, slot: int, seems: int) -> list[Event]:
        """Ask for a label that would help, unless there is no more reason to ask."""
        self._since_alarm += 1
        window = self.settings.calm_window
        strangers = sum(self._strange)
        if self.state == "asking" and self._since_alarm >= window:
            if strangers <= self.settings.calm_strangers:
                message = f"{strangers} strangers in {window} samples: the drift has ended"
                self._settle()
                return [Event("known", sample_id, message, self.slot)]
        elif self.state == "filling" and self._is_complete():
            self._settle()
            return []
        if self.state == "filling" and slot != self.slot and not self._strange[-1]:
            return []  # an old domain's sample: its slot needs no label
        if not self._would_help(seems):
            return []
        self._asked[sample_id] = seems
        count = sum(self._labelled.values())
        return [Event("label_wanted", sample_id, f"to learn a new domain ({count} labels so far)")]

    def _would_help(self, seems: int) -> bool:
        """Whether a label of this class is missing, and cannot exceed what a class may cost."""
        on_the_way, most = len(self._asked), max(self._labelled.values(), default=0)
        if most + on_the_way >= self.settings.labels_per_class:
            return False  # all on the way could be of the same class
        if self.state == "filling" and self._strange[-1]:
            return True  # what it seems to be is no guide: it may be a class not met before
        alike = sum(1 for other in self._asked.values() if other == seems)
        fair_share = sum(self._labelled.values()) / max(len(self._labelled), 1)
        return self._labelled[seems] + alike <= fair_share + 1

    def _is_complete(self) -> bool:
        """Whether a class has all its labels, or no more can be waited for."""
        most = max(self._labelled.values(), default=0)
        late = self._since_alarm >= self.settings.patience_samples
        return late or most >= self.settings.labels_per_class

    # -- labels -----------------------------------------------------------------------------

    def on_label(self, sample_id: int, k: int) -> LabelUse:
        """What to do with a label: learn it in its slot, collect it, or collect it and decide."""
        if self._asked.pop(sample_id, None) is not None:
            self._labelled[k] += 1
        if self.state != "asking":
            return "learn"
        return "decide" if self.is_decision_due() else "collect"

    def is_decision_due(self) -> bool:
        """Whether a trial is worth its time: every few labels, and when no more can be had."""
        if self.state != "asking":
            return False
        total = sum(self._labelled.values())
        if self._is_complete():
            return True
        waited_for = self._n_trials * self.settings.trial_every_labels
        return total >= self.settings.first_trial_labels + waited_for

    def forget(self, sample_id: int) -> None:
        """A sample has left the buffer: its label can no longer come."""
        self._asked.pop(sample_id, None)

    def on_calibrated(self, n_scores: int, slot: int) -> None:
        """Leave `learning` once the first slot can keep the promised rate."""
        if self.state == "learning" and n_scores >= self.settings.calibration_samples:
            self.state, self.slot = "stable", slot

    def resume(self, slot: int | None) -> None:
        """Go on after a restart: whatever was being asked is forgotten."""
        self.slot = slot
        self._settle()

    # -- the verdict ------------------------------------------------------------------------

    def judge(self, n_labels: int, existing: float, adapted: float, grown: float) -> Verdict:
        """Wait, grow, adapt or reject, by three accuracies (0 to 1) on the same held-out labels.

        While more labels are to come, only a gain beyond chance is taken; the last trial decides.
        """
        is_last = self.state != "asking" or self._is_complete()
        self._n_trials += 1
        if n_labels < self.settings.first_trial_labels:
            return "reject" if is_last else "wait"
        standard_error = 0.5 / math.sqrt(n_labels)
        early = self.settings.early_confidence * standard_error
        # Growing leaves the old slot as it was, so adapting has to be better beyond chance.
        is_adapting_better = adapted > grown + standard_error
        if is_adapting_better and not is_last and adapted >= existing + early:
            return "adapt"
        if not is_adapting_better and grown >= existing + (
            self.settings.growth_gain if is_last else early
        ):
            return "grow"
        if not is_last:
            return "wait"
        return "adapt" if adapted >= existing else "reject"

    def on_verdict(self, verdict: Verdict, slot: int | None) -> None:
        """Go on after a verdict was carried out; `slot` is where the stream is now."""
        if verdict == "wait":
            return
        if verdict == "reject":
            self._rest = self.settings.rest_samples
        if slot is not None:
            self.slot = slot
        was_asking = self.state == "asking"
        labelled, asked, since = self._labelled, self._asked, self._since_alarm
        self._settle()
        if verdict in ("grow", "adapt") and was_asking:
            self.state = "filling"
            self._labelled, self._asked, self._since_alarm = labelled, asked, since

    def _settle(self) -> None:
        self.state = "stable"
        self._detector.reset()
        self._strange.clear()
        self._elsewhere = 0
        self._start_asking()

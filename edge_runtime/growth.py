"""Labels of a drift: collected, put on trial, turned into a new slot, an adapted one, or nothing.

The verdict is the policy's, the trial and the room are the bank's; here they meet, and what came of
it becomes events.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_runtime.bank import Answer, SlotBank, Trial
from edge_runtime.errors import BudgetError
from edge_runtime.labelled import Classes, LabelledSet, Matrix
from edge_runtime.pending import PendingSample
from edge_runtime.policy import Policy
from edge_runtime.records import Event
from edge_runtime.slots import Slot

# Labels collected for one trial, at most: ten of each of fifty classes.
MAX_COLLECTED = 512


class Growth:
    """What has been collected since the alarm, and what is done with it."""

    def __init__(self, policy: Policy, before_growing: Callable[[], None] = lambda: None) -> None:
        self._policy = policy
        self.before_growing = before_growing  # called when a slot is about to be added
        self._collected: LabelledSet | None = None
        self._answered: list[tuple[int, int]] = []  # class and slot answered when they came

    @property
    def n_bytes(self) -> int:
        """Bytes of what has been collected."""
        return 0 if self._collected is None else self._collected.n_bytes

    def seems(self, x: Matrix, answer: Answer) -> int:
        """Class of the most similar sample collected so far: a rough guide in a new domain."""
        if self._collected is None:
            return answer.best
        X, y = self._collected.X, self._collected.y
        gaps = (X - x) / (X.std(axis=0) + 1e-6)
        return int(y[np.argmin(np.einsum("ij,ij->i", gaps, gaps))])

    def collect(self, sample: PendingSample, k: int) -> bool:
        """Keep a labelled sample for the trial; False if it already has `MAX_COLLECTED`."""
        if self._collected is None:
            self._collected = LabelledSet(len(sample.features), MAX_COLLECTED)
        if self._collected.is_full:
            return False
        self._collected.add(sample.features, k)
        self._answered.append((sample.predicted, sample.slot or 0))
        return True

    def tend(self, bank: SlotBank, sample_id: int) -> list[Event]:
        """Decide if a decision is due; learn what was collected if the drift ended by itself."""
        if self._policy.is_decision_due():
            return self.decide(bank, sample_id)
        if self._policy.state != "asking" and self._collected is not None:
            for x, k, (_, slot) in zip(
                self._collected.X, self._collected.y, self._answered, strict=True
            ):
                bank.get(slot).learn(x, int(k))
            self._drop()
            bank.trim()
        return []

    def decide(self, bank: SlotBank, sample_id: int) -> list[Event]:
        """Put what was collected on trial; go on collecting if the verdict is to wait."""
        n = 0 if self._collected is None else len(self._collected)
        if self._collected is None or n < self._policy.settings.first_trial_labels:
            self._policy.on_verdict("reject", None)
            self._drop()
            return [Event("rejected", sample_id, f"{n} labels came: too few to decide anything")]
        answered = np.array(self._answered)
        events = self.put_on_trial(bank, self._collected.X, self._collected.y, answered, sample_id)
        if self._policy.state != "asking":
            self._drop()
        return events

    def put_on_trial(
        self, bank: SlotBank, X: Matrix, y: Classes, answered: Classes, sample_id: int
    ) -> list[Event]:
        """Grow, adapt or leave it; `answered` (n, 2) holds the class and slot answered before."""
        trial = bank.try_out(X, y, answered[:, 0], answered[:, 1])
        verdict = self._policy.judge(len(y), trial.existing, trial.adapted, trial.grown)
        events: list[Event] = []
        if verdict == "grow":
            try:
                events += self._grow(bank, trial, sample_id)
                bank.guard.on_grown(trial.candidate.number, X, y)
            except BudgetError as error:
                events.append(Event("rejected", sample_id, f"no room to grow: {error}"))
                verdict = "adapt" if trial.adapted >= trial.existing else "reject"
        if verdict == "adapt":
            events.append(self._adapt(bank, trial, X, y, sample_id))
        elif verdict == "reject":
            message = "neither a new slot nor the old one would answer the labels better"
            events.append(Event("rejected", sample_id, message, None, trial.accuracies()))
        now = {"grow": trial.candidate.number, "adapt": trial.host}.get(verdict)
        self._policy.on_verdict(verdict, now)
        return events

    def _grow(self, bank: SlotBank, trial: Trial, sample_id: int) -> list[Event]:
        self.before_growing()
        merged = bank.make_room(trial.candidate.n_bytes)
        bank.add(trial.candidate)
        events = []
        if merged is not None:
            message = f"slot {merged[1]} had become the same as slot {merged[0]}"
            events.append(Event("merged", sample_id, message, merged[0]))
        return [*events, grown_event(trial.candidate, trial.existing, sample_id)]

    def _adapt(self, bank: SlotBank, trial: Trial, X: Matrix, y: Classes, sample_id: int) -> Event:
        host = bank.get(trial.host)
        bank.guard.before_change(host, bank.budget_bytes - bank.n_bytes)
        for x, k in zip(X, y, strict=True):
            host.learn(x, int(k))
        bank.trim()
        evidence = {"labels": len(y), **trial.accuracies()}
        message = f"slot {host.number} learned {len(y)} labels in place"
        return Event("adapted", sample_id, message, host.number, evidence)

    def _drop(self) -> None:
        self._collected, self._answered = None, []


def grown_event(slot: Slot, existing: float | None, sample_id: int) -> Event:
    """What is said of a slot that has just been added; `existing` is the accuracy without it."""
    evidence = {
        "labels": slot.n_labels,
        "existing": existing,
        "grown": slot.cross_accuracy,
        "adaptor": slot.adaptor is not None,
        "bytes": slot.n_bytes,
    }
    instead = "" if existing is None else f" instead of {existing:.0%}"
    message = f"slot {slot.number}: held-out accuracy {slot.cross_accuracy:.0%}{instead}"
    return Event("grown", sample_id, message, slot.number, evidence)

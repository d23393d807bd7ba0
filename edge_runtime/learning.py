"""The half of the loop that takes labels: learn in a slot, or collect for a trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.bank import Answer
from edge_runtime.classes import indices_of
from edge_runtime.errors import LabelError
from edge_runtime.growth import HARDLY_KNOWN, grown_event
from edge_runtime.inputs.features import Matrix
from edge_runtime.parts import RuntimeParts
from edge_runtime.pending import PendingSample
from edge_runtime.records import Event, Label
from edge_runtime.undoing import learn_guarded


class Learning(RuntimeParts):
    """What a runtime does with labels."""

    def learn(self, sample_id: int, label: Label) -> list[Event]:
        """Learn the label of a sample seen before, and return what came of it.

        Raises
        ------
        LabelError
            The sample was never seen, is forgotten, or has had its label; nothing has changed.
        """
        sample = self._pending.get(sample_id)
        (k,), classes = indices_of([label], self.classes)
        self.bank.check_class_fits(k)
        self._note_label(sample_id)
        self.classes = classes
        self._pending.remove(sample_id)
        self._counters["labels"] += 1
        self._has_unsaved = True
        if sample.is_faulty:
            message = "its sample came from a broken sensor: the label is not learned"
            return [Event("rejected", sample_id, message)]
        events = self._take_label(sample, k, sample_id)
        self._follow_slots()
        return events

    def _take_label(self, sample: PendingSample, k: int, sample_id: int) -> list[Event]:
        """Learn, hold back or collect a label, as the policy has it."""
        events = self._check_answer(sample, k, sample_id)
        use = self._policy.on_label(sample_id, k)
        if use == "hold" and self._is_known(k):
            return events + self._hold(sample, k, sample_id)
        if use in ("learn", "hold") or not self._growth.collect(sample, k):
            return events + self._learn_in_slot(sample, k, sample_id)
        return events + (self._growth.decide(self.bank, sample_id) if use == "decide" else [])

    def _check_answer(self, sample: PendingSample, k: int, sample_id: int) -> list[Event]:
        """Let the policy know whether the answer was wrong, where the slot should have known."""
        if sample.slot is None:
            return []
        slot = self.bank.get(sample.slot)
        counts = slot.domain.counts
        if k >= len(counts) or counts[k] <= HARDLY_KNOWN or math.isnan(slot.cross_accuracy):
            return []
        n = min(slot.n_labels, slot.settings.young_labels)
        stated = 1 - slot.cross_accuracy
        events = self._policy.check_answer(sample_id, slot.number, sample.predicted != k, stated, n)
        self._explain(events)
        return events

    def _is_known(self, k: int) -> bool:
        """Whether any slot knows a class well: the first labels of a class are learned at once."""
        return any(
            k < len(slot.domain.counts) and slot.domain.counts[k] > HARDLY_KNOWN
            for slot in self.slots
        )

    def _hold(self, sample: PendingSample, k: int, sample_id: int) -> list[Event]:
        """Hold a label back; the oldest one is learned after all where there are too many."""
        oldest = self._growth.hold(sample, k)
        return [] if oldest is None else self._learn_in_slot(*oldest, sample_id)

    def _explain(self, events: Sequence[Event]) -> None:
        """A drift explains labels that contradict what is certain: they are not wrong."""
        if any(event.kind == "drift" for event in events):
            self.bank.guard.on_drift()

    def learn_many(self, X: Sequence[Any], labels: Sequence[Label]) -> list[Event]:
        """Learn a labelled batch of one domain at once: the first domain, or a new one.

        The first batch becomes the first slot. A later one is put on trial as a drift's labels
        are: a new slot is grown only if held-out labels say that it helps. Too few for that are
        taken as if they came one by one.
        """
        if len(X) != len(labels) or len(X) == 0:
            raise LabelError(f"{len(X)} samples and {len(labels)} labels: expected as many, > 0")
        indices, classes = indices_of(labels, self.classes)
        features, y = self._reader.read(X), np.array(indices)
        self.bank.check_class_fits(len(classes) - 1)
        self._note_label(None, len(y))
        self.classes = classes
        self._counters["labels"] += len(y)
        self._has_unsaved = True
        events = self._learn_all(features, y, self._pending.next_id)
        self._follow_slots()
        return events

    def _learn_all(self, X: Matrix, y: npt.NDArray[np.int64], sample_id: int) -> list[Event]:
        bank = self.bank
        if bank.slots:
            answers = bank.answer(X, len(self.classes))
            if len(y) < self._policy.settings.first_trial_labels:
                return self._learn_few(X, y.tolist(), answers, sample_id)
            answered = np.array([(answer.best, answer.slot or 0) for answer in answers])
            return self._growth.put_on_trial(bank, X, y, answered, sample_id)
        slot = bank.new_slot().start(X, y)
        bank.add(slot)
        bank.guard.on_grown(slot.number, X, y)
        self._policy.on_calibrated(len(slot.calibration), slot.number, slot.labelled())
        return [grown_event(slot, None, sample_id), *bank.keep_budget(sample_id)]

    def _learn_few(
        self, X: Matrix, y: Sequence[int], answers: Sequence[Answer], sample_id: int
    ) -> list[Event]:
        """Take labels that are too few for a trial as if they had come one by one."""
        events: list[Event] = []
        for x, k, answer in zip(X, y, answers, strict=True):
            is_strange = answer.p_value <= self._policy.settings.false_alarm_rate
            certainty = 0.0 if is_strange else answer.certainty
            sample = PendingSample(x.copy(), answer.slot, answer.best, certainty)
            events += self._take_label(sample, k, sample_id)
        return events

    def _learn_in_slot(self, sample: PendingSample, k: int, sample_id: int) -> list[Event]:
        bank = self.bank
        if not bank.slots:
            bank.add(bank.new_slot())
        slot = bank.get(sample.slot) if sample.slot is not None else bank.slots[0]
        is_moving = self._policy.is_moving(slot.number)
        events = learn_guarded(bank, slot, sample, k, sample_id, is_moving=is_moving)
        events += bank.keep_budget(sample_id)
        slot = bank.get(slot.number)
        self._policy.on_calibrated(len(slot.calibration), slot.number, slot.labelled())
        return events

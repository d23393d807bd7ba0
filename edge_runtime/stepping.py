"""The half of the loop that takes samples: predict, notice, ask for labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edge_runtime.bank import Answer
from edge_runtime.errors import SampleError
from edge_runtime.inputs.features import Matrix
from edge_runtime.learning import Learning
from edge_runtime.pending import PendingSample
from edge_runtime.records import Event, Prediction


class Stepping(Learning):
    """What a runtime does with samples; labels held back are learned when nothing is suspect."""

    def step(self, x: Any, now_s: float | None = None) -> Prediction:
        """Predict one sample, and say what it makes the runtime notice.

        `now_s` is the time, for the budget of labels in an hour; without it a sample is a second.

        Raises
        ------
        SampleError
            The sample cannot be used; nothing has changed.
        """
        return self._take([x], now_s)[0]

    def step_many(self, X: Sequence[Any]) -> list[Prediction]:
        """The same as `step` for each sample in order, faster; a bad one refuses them all."""
        if len(X) == 0:
            raise SampleError("an empty batch of samples: is the stream empty?")
        return self._take(X, None)

    def run(self, stream: Iterable[Any]) -> Iterator[Prediction | Event]:
        """Predict every sample of a stream; a bad one is counted and answered by an event.

        Yields a `Prediction` for each good sample and a `rejected` event for each bad one.
        """
        for x in stream:
            try:
                yield self.step(x)
            except SampleError as error:
                self._counters["rejected"] += 1
                yield Event("rejected", self._pending.next_id, f"bad sample skipped: {error}")

    def peek(self, x: Any) -> Prediction:
        """What `step` would answer to a sample from anywhere: nothing changes, its id is -1.

        Where the stream has been is no guide here, as it is for `step`.
        """
        return self.peek_many([x])[0]

    def peek_many(self, X: Sequence[Any]) -> list[Prediction]:
        """`peek` at many samples at once."""
        answers = self.bank.answer(self._reader.read(X), len(self.classes))
        return [self._prediction(-1, answer, False, []) for answer in answers]

    def _take(self, X: Sequence[Any], now_s: float | None) -> list[Prediction]:
        features = self._reader.read(X)
        settings = self._policy.settings
        may_teach = settings.self_training and any(slot.may_teach_itself for slot in self.slots)
        if (settings.follow_rate or may_teach) and len(X) > 1:  # each moves what answers the next
            rows = zip(X, features, strict=True)
            return [self._take_row(raw, x, self._answers(x[None])[0], now_s) for raw, x in rows]
        answers = self._answers(features)
        together = zip(X, features, answers, strict=True)
        return [self._take_row(*row, now_s) for row in together]

    def _answers(self, features: Matrix) -> list[Answer]:
        return self.bank.answer(features, len(self.classes), is_stream=True)

    def _take_row(self, raw: Any, x: Matrix, answer: Answer, now_s: float | None) -> Prediction:
        """Let the policy see one answered sample, and keep it for its label."""
        sample_id = self._pending.next_id
        is_strange = answer.p_value <= self._policy.settings.false_alarm_rate
        certainty = 0.0 if is_strange or answer.best < 0 else answer.certainty
        events, self._news = self._news, []
        events += self._look_at_sensor(raw, x, sample_id)
        wants_label, is_faulty = False, self._sensor.fault is not None
        if not is_faulty:
            seems, tells = self._growth.seems(x, answer)
            now = float(sample_id) if now_s is None else now_s
            noticed, wants_label = self._policy.observe(
                sample_id, answer, seems, tells, now, self._shift_of(answer)
            )
            events += noticed
            self._explain(noticed)
            if any(event.kind == "drift" for event in noticed):  # what came was about another one
                events += self._growth.settle(self.bank, sample_id)
            self._follow(x, answer, noticed)
            self._teach(x, answer)
        pending = PendingSample(x.copy(), answer.slot, answer.best, float(certainty), is_faulty)
        forgotten = self._pending.add(pending)
        if forgotten is not None:
            self._policy.forget(forgotten)
        events += self._tend(sample_id)
        self._counters["samples"] += 1
        self._counters["strange"] += is_strange
        self._counters["asked"] += wants_label
        return self._prediction(sample_id, answer, wants_label, events)

    def _tend(self, sample_id: int) -> list[Event]:
        """Learn labels that were held back, and go on with a trial."""
        released = self._growth.released()
        events = [e for sample, k in released for e in self._learn_in_slot(sample, k, sample_id)]
        events += self._growth.tend(self.bank, sample_id)
        if released or events:
            self._follow_slots()
        return events

    def _follow(self, x: Matrix, answer: Answer, noticed: Sequence[Event]) -> None:
        """Let the claiming slot's frame follow a known sample; go back if that led astray."""
        settings = self._policy.settings
        if answer.slot is None or settings.follow_rate == 0:
            return
        slot = self.bank.get(answer.slot)
        if any(event.kind == "drift" for event in noticed):
            recent = self._pending.newest(settings.calm_window, slot.number)
            if len(recent) and slot.follower.has_moved:
                slot.revert_if_better(recent)
        elif self._policy.state != "asking" and answer.p_value > settings.false_alarm_rate:
            slot.follow(x, answer.best, settings.follow_rate, settings.follow_limit)

    def _shift_of(self, answer: Answer) -> float | None:
        """How far a sample is off where recent ones of its slot were; None if that is unknown."""
        policy = self._policy
        is_here = answer.slot is not None and answer.slot == policy.slot
        if not is_here or answer.bits is None or policy.state in ("growing", "adapting"):
            return None
        is_known = answer.p_value > policy.settings.false_alarm_rate
        is_kept = is_known and policy.state in ("stable", "full")
        return self.bank.get(answer.slot or 0).mean_shift.take(answer.bits, answer.told, is_kept)

    def _teach(self, x: Matrix, answer: Answer) -> None:
        """Let the slot where the stream is take a known sample for what it seems to be."""
        policy, settings = self._policy, self._policy.settings
        is_here = answer.slot is not None and answer.slot == policy.slot
        is_known = answer.p_value > settings.false_alarm_rate
        if settings.self_training and policy.state == "stable" and is_here and is_known:
            slot = self.bank.get(answer.slot or 0)
            if slot.may_teach_itself:
                slot.teach_itself(x, answer.told, answer.certainty)

    def _look_at_sensor(self, raw: Any, x: Matrix, sample_id: int) -> list[Event]:
        """Say once that the sensor is broken, and once that it is not any more."""
        was_broken = self._sensor.fault is not None
        is_raw = self.encoder is not None and not isinstance(raw, Mapping)
        fault = self._sensor.look(np.asarray(raw) if is_raw else x)
        if fault is None or was_broken:
            repaired = was_broken and fault is None
            return [Event("repaired", sample_id, "the sensor moves again")] if repaired else []
        before = fault.n_samples - 1
        self._pending.spoil_last(before)
        self._growth.drop_last(before)
        self._policy.on_broken()
        evidence = {"fault": fault.kind, "samples": fault.n_samples, "channels": fault.channels}
        return [Event("broken", sample_id, f"{fault}: not learned from", None, evidence)]

    def _prediction(
        self, sample_id: int, answer: Answer, wants_label: bool, events: list[Event]
    ) -> Prediction:
        threshold = self._policy.settings.false_alarm_rate
        return Prediction(
            sample_id=sample_id,
            label=self.classes[answer.best] if answer.best >= 0 else None,
            probabilities=answer.probabilities,
            slot=answer.slot,
            ood_score=answer.ood_score,
            p_value=answer.p_value,
            is_ood=answer.p_value <= threshold,
            wants_label=wants_label,
            events=tuple(events),
            threshold=threshold,
            generation=self.generation,
        )

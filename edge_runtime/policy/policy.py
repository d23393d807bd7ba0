"""What to do with each sample and each label: a table of states, and one function that moves in it.

The policy sees answers, slots and labels; it holds no feature, no model and no clock.

    state      what is done in it                              leaves it when                for
    ---------  ----------------------------------------------  ----------------------------  -------
    learning   every label is requested                        p-values can meet the rate    filling
    filling    labels of the slot are requested                a class has all it may cost,
                                                               or patience ends              stable
    stable     nothing is requested
    stable, filling                                            the drift alarm rings         asking
    asking     labels are requested, learned where they were   the alarm rings again         asking
               answered, and put on trial                      a new slot helps              filling
                                                               one model does                filling
                                                               labels refute the drift       stable
                                                               labels help nothing           stable
                                                               there is no room for a slot   filling
                                                               nobody answers, or it is over stable

Labels are learned in every state; none is thrown away. A faulty sensor is no evidence of anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edge_runtime.policy.drift import SceneDriftDetector
from edge_runtime.policy.requests import LabelRequests
from edge_runtime.policy.settings import Settings
from edge_runtime.records import MOST_SLOTS, Answer, Event

State = Literal["learning", "filling", "stable", "asking"]
Cause = Literal[
    "calibrated", "filled", "drift", "grown", "adapted", "refuted", "rejected", "no_room", "over",
]  # fmt: skip

TABLE: Mapping[tuple[State, Cause], State] = {
    ("learning", "calibrated"): "filling",
    ("filling", "filled"): "stable",
    ("filling", "drift"): "asking",
    ("stable", "drift"): "asking",
    ("asking", "drift"): "asking",
    ("asking", "grown"): "filling",
    ("asking", "adapted"): "filling",
    ("asking", "refuted"): "stable",
    ("asking", "rejected"): "stable",
    ("asking", "no_room"): "filling",
    ("asking", "over"): "stable",
}

# Labels at which a trial is held for the first time, and between two trials.
FIRST_TRIAL, TRIAL_EVERY = 20, 10
# Samples after a drift within which labels must come; later, what came has to do.
PATIENCE = 1000
# Samples looked back on to say that a drift is over, and how many of them may be out of
# distribution: at 5 % two of forty are expected, at 25 % two or fewer come once in a thousand.
WINDOW, CALM = 40, 2
CALM_EVIDENCE = 30.0
# Samples after a slot has been started or taught for which nothing is called a drift.
SETTLING = 80
# Share by which samples out of distribution must have grown, while labels are requested, to be
# another drift.
WORSE = 0.5
# Samples in a row in another slot that mean that the stream is there now.
SWITCH = 8


class Policy:
    """The state machine."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state: State = "learning"
        self.slot: int | None = None  # where the stream is
        self.drift = SceneDriftDetector(settings.drift_run_length)
        self.requests = LabelRequests(settings.labels_per_class, settings.labels_per_hour)
        self.is_answered_right: list[bool] = []  # of the labels since the drift
        self._ood: deque[bool] = deque(maxlen=WINDOW)
        self._elsewhere = self._since = self._n_trials = 0
        self._calmest = 1.0

    def go(self, cause: Cause) -> None:
        """Take the step of the table.

        Raises
        ------
        ValueError
            The table has no such step: whoever calls has lost track of the state.
        """
        if (self.state, cause) not in TABLE:
            raise ValueError(f"no step from {self.state!r} by {cause!r}")
        self.state = TABLE[self.state, cause]
        if self.state in ("asking", "stable"):
            self.requests.start_anew()
            self.is_answered_right = []
        self._since = self._n_trials = self._elsewhere = 0
        self._calmest = 1.0

    # -- samples ----------------------------------------------------------------------------

    def observe(
        self, sample_id: int, answer: Answer, now_s: float, group: int | None = None
    ) -> tuple[list[Event], bool]:
        """Take one answered sample; returns the events, and whether its label is wanted."""
        if self.state == "learning" or answer.slot is None:
            return self._ask_for_first(sample_id, now_s)
        is_ood = answer.p_value <= self.settings.false_alarm_rate
        self._ood.append(is_ood)
        self._since += 1
        events = [self._ood_event(sample_id, answer)] if is_ood else []
        events += self._follow(sample_id, answer.slot, is_ood)
        is_young = self.state == "filling" and self._since < SETTLING
        if is_young:
            self.drift.start_anew()  # a slot of few labels has no reference of its own yet
        # A few samples that another slot claims are off together for that alone: no cell speaks.
        seen = answer if answer.slot == self.slot else replace(answer, cell=None)
        is_alarm = not is_young and self.drift.take(seen, group, is_at_rest=self.state != "asking")
        if self.state == "asking":  # what is asked about goes on: only something worse is news
            self._calmest = min(self._calmest, self.ood_share) if self._since > WINDOW else 1.0
            is_alarm = self.ood_share - self._calmest >= WORSE
        if is_alarm:
            events.append(self._on_alarm(sample_id, answer.slot))
        events += self._end(sample_id)
        wanted = self._request(sample_id, answer, is_ood, now_s, group)
        return events + wanted, bool(wanted)

    def _ask_for_first(self, sample_id: int, now_s: float) -> tuple[list[Event], bool]:
        if not self.requests.has_budget(now_s):
            return [], False
        self.requests.spend(now_s)
        message = "The first domain is being learned: the label of every sample helps."
        return [Event("label_request", sample_id, message)], True

    def _ood_event(self, sample_id: int, answer: Answer) -> Event:
        evidence = {"p_value": answer.p_value, "threshold": self.settings.false_alarm_rate}
        message = (
            f"This sample is out of distribution for slot {answer.slot}: "
            f"{answer.p_value:.1%} of its held-out samples are at least as far out."
        )
        return Event("ood", sample_id, message, answer.slot, evidence)

    def _follow(self, sample_id: int, slot: int, is_ood: bool) -> list[Event]:
        """Follow the stream from slot to slot."""
        if self.slot is None:
            self.slot = slot
        self._elsewhere = self._elsewhere + 1 if slot != self.slot and not is_ood else 0
        if self._elsewhere < SWITCH:
            return []
        before, self.slot, self._elsewhere = self.slot, slot, 0
        message = (
            f"A known domain is back: the last {SWITCH} samples belong to slot {slot}, "
            f"those before to slot {before}."
        )
        return [Event("returned", sample_id, message, slot, {"previous": before})]

    def _on_alarm(self, sample_id: int, slot: int) -> Event:
        share, rate = self.ood_share, self.settings.false_alarm_rate
        scene = self.drift.scene_length
        message = (
            f"Drift in slot {slot}: {share:.0%} of the last {len(self._ood)} samples are out of "
            f"distribution (promised {rate:.0%}), or all are off in the same direction."
        )
        evidence = {
            "ood_share": share,
            "window": len(self._ood),
            "scene_length": scene,
            "evidence": self.drift.evidence,
        }
        self.drift.start_anew()
        self.go("drift")
        return Event("drift", sample_id, message, slot, evidence)

    def _end(self, sample_id: int) -> list[Event]:
        """Stop requesting where there is no more reason to."""
        if self.state == "filling" and (self.requests.is_full or self._since >= PATIENCE):
            self.go("filled")
            self.drift.start_anew()
            return []
        if self.state != "asking" or self.requests.n_labels:
            return []  # labels decide
        is_calm = (
            self._since >= WINDOW and sum(self._ood) <= CALM and self.drift.evidence < CALM_EVIDENCE
        )
        if not is_calm and self._since < PATIENCE:
            return []
        self.go("over")
        if not is_calm:
            return []  # nobody answers: the next alarm will say what is there then
        message = (
            f"The drift is over: {sum(self._ood)} of the last {WINDOW} samples are out of "
            "distribution."
        )
        return [Event("returned", sample_id, message, self.slot)]

    def _request(
        self, sample_id: int, answer: Answer, is_ood: bool, now_s: float, group: int | None
    ) -> list[Event]:
        if self.state not in ("asking", "filling"):
            return []
        is_here = answer.slot == self.slot or is_ood
        if self.state == "filling" and not is_here:
            return []  # a sample of another domain: its slot needs no label
        if not self.requests.would_help(answer.best, is_ood, group):
            return []
        if not self.requests.has_budget(now_s):
            return []
        self.requests.request(sample_id, answer.best, now_s, group)
        n = self.requests.n_labels
        message = f"The label of this sample would help: {n} labels since the last change so far."
        return [Event("label_request", sample_id, message, answer.slot)]

    @property
    def ood_share(self) -> float:
        """Share of the last samples that are out of distribution."""
        return sum(self._ood) / max(len(self._ood), 1)

    # -- labels -----------------------------------------------------------------------------

    def on_label(self, sample_id: int, k: int, is_right: bool) -> None:
        """A label has come; `is_right` says whether the sample had been answered with it."""
        self.requests.answered(sample_id, k)
        self.is_answered_right.append(is_right)

    @property
    def is_trial_due(self) -> bool:
        """Whether a trial is worth its time: every few labels, and when no more can be had."""
        if self.state != "asking" or self.requests.n_labels < 2:
            return False
        if self.is_last_trial:
            return True
        return self.requests.n_labels >= FIRST_TRIAL + self._n_trials * TRIAL_EVERY

    @property
    def is_last_trial(self) -> bool:
        """Whether no more labels are to be waited for."""
        return self.requests.is_full or self._since >= PATIENCE

    def on_trial(self) -> None:
        """A trial has not decided yet."""
        self._n_trials += 1

    def on_verdict(self, cause: Cause, slot: int | None) -> None:
        """A trial has decided; the stream is taken to be in `slot`."""
        if cause == "refuted":
            self.drift.on_refuted()
        self.go(cause)  # while a slot fills, what came since the drift goes on counting
        self.slot = self.slot if slot is None else slot
        self._ood.clear()

    def on_fitted(self, n_scores: int, chances: npt.NDArray[np.float64]) -> None:
        """A model has been fitted anew: evidence against the one before counts no more."""
        self.drift.start_anew(chances)
        if self.state == "learning" and self.settings.false_alarm_rate * (n_scores + 1) >= 1:
            self.go("calibrated")

    def on_sensor_fault(self) -> None:
        """What came was no evidence."""
        self.drift.start_anew()
        self._ood.clear()

    def forget(self, sample_id: int) -> None:
        """A sample has left the buffer: its label can no longer come."""
        self.requests.forget(sample_id)

    def remove_class(self, k: int) -> None:
        """A class is no more; those behind it move up by one."""
        self.requests.remove_class(k)

    # -- state ------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """What is kept over a restart, JSON-able; what was being asked about is not."""
        state = self.state if self.state in ("learning", "filling") else "stable"
        return {"state": state, "slot": self.slot, "drift": self.drift.to_state()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `to_state` gave; `ValueError`, `KeyError`, `TypeError` if it is wrong."""
        if saved["state"] not in get_args(State):
            raise ValueError(f"state {saved['state']!r}, expected one of {get_args(State)}")
        self.state = saved["state"]
        self.slot = None if saved["slot"] is None else int(saved["slot"])
        if self.slot is not None and not 0 <= self.slot < MOST_SLOTS:
            raise ValueError(f"slot {self.slot}, expected 0 to {MOST_SLOTS - 1}")
        self.drift.restore(saved["drift"])

"""What to do with each sample and each label: keep, ask, then adapt or grow. A table of states.

The policy sees p-values, slots, predicted classes and labels; it holds no embedding, no model and
no clock: times come in as arguments. Every threshold is in `thresholds`.

    state      what is done in it                            leaves it when             for
    ---------  --------------------------------------------  -------------------------  --------
    learning   every label is asked for and learned          the rate can be promised   growing
    stable     labels are learned where they belong          evidence of change grows   suspect
    suspect    labels are held back from slots               it is gone: they are       stable
                                                             learned after all
    stable, suspect, growing, adapting, full                 the alarm rings            asking
    stable, suspect, adapting, full                          it does, where the domain  adapting
                                                             is known to be moving
    asking     what came is learned where it was answered    another drift comes        asking
    asking     labels are asked for, collected, and put      the strangers have ended   stable
               on trial                                      nothing helps              stable
                                                             a new slot helps           growing
                                                             an old one, adapted, does  adapting
                                                             an old one answers anyway  stable
                                                             a new slot helps, but      full
                                                             there is no room
    growing    the new slot is filled with labels            a class has all it may     stable
    adapting   the adapted slot is; if its domain moves,     cost, or patience ends     stable
               what it knew counts for little
    full       as stable; the next growth needs room first   there is room              stable

Alarms come from p-values, which need no labels; where those are merely suspect, from labels that
slots answer wrongly more often than they should. A broken sensor is no evidence (`inputs.sensors`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

from edge_runtime.asking import LabelRequests
from edge_runtime.bank import Answer
from edge_runtime.noticing import Noticing
from edge_runtime.records import Event
from edge_runtime.thresholds import PolicySettings
from edge_runtime.verdict import Case, Verdict, judge

__all__ = ["TABLE", "Policy", "PolicySettings"]

State = Literal["learning", "stable", "suspect", "asking", "growing", "adapting", "full"]
Cause = Literal[
    "calibrated", "suspicion", "relief", "alarm", "moving", "calm", "grow", "adapt", "keep",
    "reject", "no room", "filled", "room",
]  # fmt: skip
LabelUse = Literal["learn", "hold", "collect", "decide"]

TABLE: Mapping[tuple[State, Cause], State] = {
    ("learning", "calibrated"): "growing",
    ("stable", "suspicion"): "suspect",
    ("suspect", "relief"): "stable",
    ("stable", "alarm"): "asking",
    ("suspect", "alarm"): "asking",
    ("growing", "alarm"): "asking",
    ("adapting", "alarm"): "asking",
    ("full", "alarm"): "asking",
    ("asking", "alarm"): "asking",
    ("stable", "moving"): "adapting",
    ("suspect", "moving"): "adapting",
    ("adapting", "moving"): "adapting",
    ("full", "moving"): "adapting",
    ("asking", "calm"): "stable",
    ("asking", "reject"): "stable",
    ("asking", "grow"): "growing",
    ("asking", "adapt"): "adapting",
    ("asking", "keep"): "stable",
    ("asking", "no room"): "full",
    ("growing", "filled"): "stable",
    ("adapting", "filled"): "stable",
    ("full", "room"): "stable",
}

NONE: Mapping[int, int] = MappingProxyType({})
COUNTS = ("_rest", "_elsewhere", "_suspected", "_since_alarm", "_n_trials")


class Policy:
    """The state machine."""

    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self.state: State = "learning"
        self.slot: int | None = None  # where the stream is
        self.is_gradual = False  # whether the last alarm was long in coming
        self.moving: int | None = None  # the slot whose domain has moved: it may well go on
        self.requests = LabelRequests(settings)
        self._noticing = Noticing(settings)
        self._rest = self._elsewhere = self._suspected = 0
        self._since_alarm = self._n_trials = 0
        self._calmest = 1.0  # least share of strangers while labels are asked for

    def _go(self, cause: Cause) -> None:
        """Take the step of the table; a cause that it does not name here leads to `stable`."""
        self.state = TABLE.get((self.state, cause), "stable")
        if self.state == "stable" or cause == "no room":
            self._noticing.forget()
            self._elsewhere = self._suspected = 0
        if self.state in ("stable", "asking", "full") or cause == "moving":
            self._since_alarm = self._n_trials = 0
            self.requests.start_anew()

    # -- samples ----------------------------------------------------------------------------

    def observe(
        self,
        sample_id: int,
        answer: Answer,
        seems: int,
        tells: float = 0.0,
        now_s: float = 0.0,
        shift: float | None = None,
    ) -> tuple[list[Event], bool]:
        """Take one answered sample; return the events and whether its label is wanted.

        `seems` is the class it seems to have, by what has been collected of a new domain; `tells`
        is higher the more its label would tell; `now_s` is the time for the budget of labels;
        `shift` says how far it is off where recent samples were (`hdc.shift`), if that is known.
        """
        slot, p_value = answer.slot, answer.p_value
        if self.state == "learning" or slot is None:
            return self._ask_for_first(sample_id, now_s)
        is_strange = p_value <= self.settings.false_alarm_rate
        self._noticing.strange.append(is_strange)
        events = self._strange_event(sample_id, p_value, slot) if is_strange else []
        if self.state == "asking":
            self._noticing.take(answer, slot, is_learning=False, is_asking=True, shift=shift)
            events += self._watch_further(sample_id, slot)
        else:
            events += self._watch(sample_id, answer, slot, shift)
        if self.state in ("asking", "growing", "adapting"):
            events += self._ask(sample_id, slot, seems, tells, now_s)
        return events, any(event.kind == "label_wanted" for event in events)

    def _ask_for_first(self, sample_id: int, now_s: float) -> tuple[list[Event], bool]:
        if not self.requests.has_budget(now_s):
            return [], False
        self.requests.spend(now_s)
        return [Event("label_wanted", sample_id, "the first domain is being learned")], True

    def _strange_event(self, sample_id: int, p_value: float, slot: int) -> list[Event]:
        evidence = {"p_value": p_value, "threshold": self.settings.false_alarm_rate}
        message = f"unlike all but {p_value:.1%} of what slot {slot} knows"
        return [Event("strange", sample_id, message, slot, evidence)]

    def _watch(self, sample_id: int, answer: Answer, slot: int, shift: float | None) -> list[Event]:
        """Follow the stream between slots, and raise the alarm when strangers go on."""
        events = []
        if self.slot is None:
            self.slot = slot
        is_elsewhere = slot != self.slot and not self._noticing.strange[-1]
        self._elsewhere = self._elsewhere + 1 if is_elsewhere else 0
        if self._elsewhere >= self.settings.switch_samples:
            message = f"{self._elsewhere} samples in a row belong to slot {slot}"
            events.append(Event("known", sample_id, message, slot, {"previous": self.slot}))
            self.slot, self._elsewhere, self._suspected = slot, 0, 0
        self._rest = max(self._rest - 1, 0)
        is_at_rest = self.state in ("stable", "suspect", "full")
        is_alarm = self._noticing.take(answer, slot, is_learning=not is_at_rest, shift=shift)
        share, n = self._noticing.strange_share, len(self._noticing.strange)
        is_ripe = is_at_rest or share >= self.settings.filling_strangers
        if is_alarm and is_ripe and not self._rest:
            message = f"{share:.0%} of the last {n} samples are strange"
            if self._noticing.has_moved:
                off = self._noticing.shift
                message += (
                    f", and they differ from slot {slot} together, by {off:.0%} of its spread"
                )
            return [*events, self._alarm(sample_id, slot, message)]
        self._suspect()
        return events

    def _watch_further(self, sample_id: int, slot: int) -> list[Event]:
        """Raise the alarm again where another drift comes while one is being asked about."""
        if self._since_alarm < self.settings.calm_window:
            return []
        share, n = self._noticing.strange_share, len(self._noticing.strange)
        self._calmest = min(self._calmest, share)
        if share - self._calmest < self.settings.filling_strangers:
            return []
        message = f"another one: {share:.0%} of the last {n} samples are strange"
        return [self._alarm(sample_id, slot, message)]

    def _suspect(self) -> None:
        """Grow suspicious, or be relieved."""
        is_suspicious = self._noticing.is_unlike and not self._rest
        self._suspected = self._suspected + 1 if is_suspicious else 0
        if self.state == "stable" and is_suspicious:
            self.state = TABLE["stable", "suspicion"]
        elif self.state == "suspect" and not is_suspicious:
            self.state = TABLE["suspect", "relief"]

    def _alarm(self, sample_id: int, slot: int, message: str, is_by_labels: bool = False) -> Event:
        share = self._noticing.strange_share
        is_slow = self._noticing.is_slow
        if is_slow is None:  # then by how long it was suspected, of the slot where the stream is
            is_slow = slot == self.slot and self._suspected >= self.settings.gradual_samples
            is_slow = is_slow and share < self.settings.filling_strangers
        # Where samples look as ever, and labels alone are odd, nothing has moved.
        self.is_gradual = not is_by_labels and (is_slow or slot == self.moving)
        evidence = {
            "strange_share": share,
            "shift": self._noticing.shift,
            "window": len(self._noticing.strange),
            "pace": "gradual" if self.is_gradual else "sudden",
            "suspected_samples": self._suspected,
        }
        goes_on = self.is_gradual and slot == self.moving and is_slow
        self._go("moving" if goes_on and (self.state, "moving") in TABLE else "alarm")
        self._calmest = 1.0
        self._noticing.forget(with_strangers=False)
        return Event("drift", sample_id, message, slot, evidence)

    def _ask(
        self, sample_id: int, slot: int, seems: int, tells: float, now_s: float
    ) -> list[Event]:
        """Ask for a label that would help, unless there is no more reason to ask."""
        self._since_alarm += 1
        window, strangers = self.settings.calm_window, sum(self._noticing.strange)
        is_over = self._since_alarm >= window and self._noticing.is_calm
        if self.state == "asking" and is_over:
            self._go("calm")
            message = f"{strangers} strangers in {window} samples: the drift has ended"
            return [Event("known", sample_id, message, self.slot)]
        if self.state != "asking" and self._is_complete():
            self._go("filled")
            return []
        is_young, is_strange = self.state != "asking", self._noticing.strange[-1]
        if is_young and slot != self.slot and not is_strange:
            return []  # an old domain's sample: its slot needs no label
        if not self.requests.would_help(seems, is_young and is_strange):
            return []
        if not self.requests.is_telling(tells) or not self.requests.has_budget(now_s):
            return []
        self.requests.ask(sample_id, seems, now_s)
        count = self.requests.n_labels
        return [Event("label_wanted", sample_id, f"to learn a new domain ({count} labels so far)")]

    def _is_complete(self) -> bool:
        """Whether a class has all its labels, or no more can be waited for."""
        return self._is_late or self.requests.is_full

    @property
    def _is_late(self) -> bool:
        return self._since_alarm >= self.settings.patience_samples

    @property
    def _is_waiting_over(self) -> bool:
        """Whether what came has to do: a domain that moves on does not wait for more."""
        return self._is_late or (self.is_gradual and self.requests.are_in_vain)

    # -- labels -----------------------------------------------------------------------------

    def on_label(self, sample_id: int, k: int) -> LabelUse:
        """What to do with a label: learn it in its slot, hold it, collect it, or decide as well."""
        self.requests.answered(sample_id, k)
        if self.state == "suspect":
            return "hold"
        if self.state != "asking":
            return "learn"
        return "decide" if self.is_decision_due() else "collect"

    def check_answer(
        self, sample_id: int, slot: int, is_wrong: bool, stated: float, n_stated: int
    ) -> list[Event]:
        """Take whether a slot's answer was wrong, of one that errs at a `stated` rate."""
        if self.state not in ("stable", "suspect", "full", "asking") or n_stated == 0:
            return []
        is_asking = self.state == "asking"
        is_alarm = self._noticing.take_label(is_wrong, stated, n_stated, is_asking)
        if is_alarm and not is_asking and not self._rest:
            message = f"slot {slot} answers more labels wrongly than the {stated:.0%} it should"
            return [self._alarm(sample_id, slot, message, is_by_labels=True)]
        return []

    def is_decision_due(self) -> bool:
        """Whether a trial is worth its time: every few labels, and when no more can be had."""
        if self.state != "asking":
            return False
        if self._is_waiting_over or (self.requests.is_full and not self.requests.are_coming):
            return True
        waited_for = self._n_trials * self.settings.trial_every_labels
        return self.requests.n_labels >= self.settings.first_trial_labels + waited_for

    def forget(self, sample_id: int) -> None:
        """A sample has left the buffer: its label can no longer come."""
        self.requests.forget(sample_id)

    def on_calibrated(self, n_scores: int, slot: int, labelled: Mapping[int, int] = NONE) -> None:
        """Leave `learning` once the first slot can keep the promised rate.

        `labelled` are the labels it has of each class: it is filled up with more where few came.
        """
        if self.state == "learning" and n_scores >= self.settings.calibration_samples:
            self._go("calibrated")
            self.slot = slot
            self.requests.labelled = Counter(labelled)
            if not labelled or self.requests.is_full:
                self._go("filled")

    def on_broken(self) -> None:
        """The sensor is found broken: what it said lately is no evidence."""
        if self.state in ("stable", "suspect", "full"):
            self.state = TABLE.get((self.state, "relief"), self.state)
            self._noticing.forget()
            self._suspected = 0

    def give_up(self) -> None:
        """Ask no more for this alarm; the next one may ring at once."""
        if self.state == "asking":
            self._go("reject")

    def on_room(self) -> None:
        """There is room for a new slot again."""
        if self.state == "full":
            self._go("room")

    def to_state(self) -> dict[str, Any]:
        """Plain values, JSON-able. Samples that wait for a label are not saved, nor who asked."""
        return {
            "state": self.state,
            "slot": self.slot,
            "is_gradual": self.is_gradual,
            "moving": self.moving,
            "calmest": self._calmest,
            "counts": [getattr(self, name) for name in COUNTS],
            "labelled": sorted(self.requests.labelled.items()),
            "unasked": self.requests.n_unasked,
            "noticing": self._noticing.to_state(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `to_state` gave.

        Raises
        ------
        ValueError, KeyError
            It does not fit.
        """
        if saved["state"] not in get_args(State):
            raise ValueError(f"state {saved['state']!r}, expected one of {get_args(State)}")
        self.state, self.slot = saved["state"], saved["slot"]
        self.is_gradual, self.moving = bool(saved["is_gradual"]), saved["moving"]
        self._calmest = float(saved["calmest"])
        for name, count in zip(COUNTS, saved["counts"], strict=True):
            setattr(self, name, int(count))
        self.requests.labelled = Counter({int(k): int(n) for k, n in saved["labelled"]})
        self.requests.n_unasked = int(saved["unasked"])
        self._noticing.restore(saved["noticing"])

    # -- the verdict ------------------------------------------------------------------------

    def judge(self, case: Case) -> Verdict:
        """The verdict on a trial, carried out by the caller and told to `on_verdict`."""
        # Labels that come anyway are waited for, but not where the slot lacks their classes.
        is_waiting = self.requests.are_coming and case.new_share < self.settings.new_class_share
        is_complete = self._is_waiting_over or (self.requests.is_full and not is_waiting)
        is_last = self.state != "asking" or is_complete
        self._n_trials += 1
        return judge(case, self.settings, is_last=is_last)

    def is_moving(self, slot: int) -> bool:
        """Whether what a slot knew is to count for little beside a label: its domain moves on."""
        return self.state == "adapting" and slot == self.moving

    @property
    def may_have_moved(self) -> bool:
        """Whether labels may be of a domain that has moved: the alarm was slow in coming.

        It is followed by few labels; where all come, a slot of its own forgets nothing.
        """
        is_asked = self.state == "asking" and not self.requests.come_anyway
        return self.is_gradual and is_asked

    def is_off(self, case: Case) -> bool:
        """Whether samples are off together although their labels are answered: a domain moves."""
        is_answered = case.existing + case.standard_error >= case.stated
        is_off = self._noticing.shift >= self.settings.shift and not self.requests.come_anyway
        return is_off and is_answered and not case.new_share

    def on_verdict(
        self,
        verdict: Verdict,
        slot: int | None,
        has_room: bool = True,
        is_moving: bool = False,
    ) -> None:
        """Go on after a verdict was carried out; `slot` is where the stream is now.

        `is_moving` says that its domain has moved, and may well go on.
        """
        if verdict == "wait":
            return
        is_moving = is_moving and verdict in ("adapt", "keep")
        if verdict in ("grow", "adapt") or is_moving:
            self.moving = slot if is_moving else None
        if (verdict in ("keep", "reject") and not is_moving) or not has_room:
            self._rest = self.settings.rest_samples
        if slot is not None:
            self.slot = slot
        was_asking = self.state == "asking"
        self._go(verdict if has_room or not was_asking else "no room")
        if was_asking and self.state in ("growing", "adapting"):
            self._noticing.forget()

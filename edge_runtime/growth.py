"""Labels of a drift: collected, put on trial, turned into a new slot, an adapted one, or nothing.

The verdict is the policy's, the trial and the room are the bank's; here they meet, and what came of
it becomes events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.bank import ALL_AT_STAKE, Answer, SlotBank, Trial, classes_at_stake
from edge_runtime.classes import without
from edge_runtime.labelled import Classes, LabelledSet, Matrix
from edge_runtime.pending import PendingSample
from edge_runtime.policy import Policy
from edge_runtime.records import Event
from edge_runtime.slots import Slot
from edge_runtime.verdict import Case, standard_error

# Samples between two looks whether there is room for a slot, after there was none.
ROOM_EVERY = 64
# Labels of a class up to which a slot hardly knows it, and their share of the mean over classes: a
# class that has just been met has few even after it was learned.
HARDLY_KNOWN = 5
NEWER_SHARE = 0.5
# Share of labels of such classes, and how many, from which they are not merely rare ones.
MANY_NEWER, NEWER_LABELS = 0.3, 20
COLLECTED = "collected/"  # leads the names of arrays


class Growth:
    """What has been held back or collected, and what is done with it."""

    def __init__(self, policy: Policy, before_growing: Callable[[], None] = lambda: None) -> None:
        self._policy = policy
        self.before_growing = before_growing  # called when a slot is about to be added
        self._collected: LabelledSet | None = None
        self._answered: list[tuple[int, int]] = []  # class and slot answered when they came
        self._held: list[tuple[PendingSample, int]] = []  # while the stream is suspect

    @property
    def n_bytes(self) -> int:
        """Bytes of what has been collected and held back."""
        held = sum(sample.features.nbytes for sample, _ in self._held)
        return held + (0 if self._collected is None else self._collected.n_bytes)

    def seems(self, x: Matrix, answer: Answer) -> tuple[int, float]:
        """Class that a sample seems to have, and how much its label would tell.

        The class is that of the most similar sample collected so far: a rough guide in a new
        domain. A label tells more the less certain the answer is, by the gap of the two best
        classes, and the farther away that sample is, as a share of the mean distance: up to 2.
        """
        best = np.sort(answer.probabilities)[-2:]
        doubt = 1.0 - float(best[-1] - best[0]) if len(best) == 2 else 1.0
        if self._collected is None:
            return answer.best, 1.0 + doubt
        X, y = self._collected.X, self._collected.y
        gaps = (X - x) / (X.std(axis=0) + 1e-6)
        squares = np.einsum("ij,ij->i", gaps, gaps)
        nearest = int(np.argmin(squares))
        novelty = float(np.sqrt(squares[nearest] / max(squares.mean(), 1e-12)))
        return int(y[nearest]), novelty + doubt

    def hold(self, sample: PendingSample, k: int) -> tuple[PendingSample, int] | None:
        """Keep a labelled sample until it is clear where it belongs; return what must give way."""
        self._held.append((sample, k))
        is_full = len(self._held) > self._policy.settings.held_labels
        return self._held.pop(0) if is_full else None

    def collect(self, sample: PendingSample, k: int) -> bool:
        """Keep a labelled sample for the trial; False if it has all that it may have."""
        held, self._held = self._held, []
        return all([self._collect(*each) for each in (*held, (sample, k))])

    def _collect(self, sample: PendingSample, k: int) -> bool:
        if self._collected is None:
            most = self._policy.settings.collected_labels
            self._collected = LabelledSet(len(sample.features), most)
        if self._collected.is_full:
            return False
        self._collected.add(sample.features, k)
        self._answered.append((sample.predicted, sample.slot or 0))
        return True

    def released(self) -> list[tuple[PendingSample, int]]:
        """Labels held back, once nothing is suspect any more: they may be learned."""
        if self._policy.state in ("suspect", "asking"):
            return []
        held, self._held = self._held, []
        return held

    def drop_last(self, n: int) -> None:
        """Forget the last labels held back: their samples came from a broken sensor."""
        del self._held[len(self._held) - min(n, len(self._held)) :]

    def tend(self, bank: SlotBank, sample_id: int) -> list[Event]:
        """Decide if a decision is due; learn what was collected if the drift ended by itself."""
        if self._policy.is_decision_due():
            return self.decide(bank, sample_id)
        if self._policy.state == "full" and sample_id % ROOM_EVERY == 0:
            if bank.could_grow():
                self._policy.on_room()
        elif self._policy.state != "asking":
            return self.settle(bank, sample_id)
        return []

    def settle(self, bank: SlotBank, sample_id: int) -> list[Event]:
        """Have what was collected learned by the slots that answered it: no trial is to come."""
        if self._collected is None:
            return []
        collected, answered = self._collected, self._answered
        for x, k, (_, slot) in zip(collected.X, collected.y, answered, strict=True):
            bank.get(slot).learn(x, int(k))
        self._drop()
        return bank.keep_budget(sample_id)

    def decide(self, bank: SlotBank, sample_id: int) -> list[Event]:
        """Put what was collected on trial; go on collecting if the verdict is to wait."""
        n = 0 if self._collected is None else len(self._collected)
        if self._collected is None or n < self._policy.settings.labels_to_decide(bank.n_classes):
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
        host, existing = bank.host_of(answered[:, 1]), float(np.mean(answered[:, 0] == y))
        is_new = new_to(host.domain.counts, y)
        # Where a domain has moved, what was known of it counts for little: but not where labels say
        # nothing of some classes, nor where new classes explain them.
        has_moved = (
            self._policy.may_have_moved
            and int(np.sum(is_new)) < self._policy.settings.new_class_labels
            and covers(host.domain.counts, y)
            and bank.may_loosen(host, X, y)
        )
        trial = bank.try_out(host, X, y, existing)
        if has_moved:
            trial = followed(bank, trial, host, X, y)
        case = Case(
            n_labels=len(y),
            **trial.accuracies(),
            new_share=float(is_new.mean()),
            stated=host.cross_accuracy,
            has_moved=has_moved,
            is_partial=len(y) >= ALL_AT_STAKE and not covers(host.domain.counts, y),
            among=accuracy_among(host, X, y),
        )
        verdict = self._policy.judge(case)
        events: list[Event] = []
        has_room = True
        if verdict == "grow":
            events += self._grow(bank, trial, sample_id)
            if trial.candidate in bank.slots:
                bank.guard.on_grown(trial.candidate.number, X, y)
            else:
                has_room = False
                verdict = "adapt" if trial.adapted >= trial.existing else "reject"
        if verdict == "keep":  # nothing has moved, whatever the alarm looked like
            trial = replace(trial, is_loose=False)
        if verdict in ("adapt", "keep"):
            events.append(self._adapt(bank, trial, X, y, sample_id))
            events += bank.keep_budget(sample_id)
        elif verdict == "reject":
            message = "neither a new slot nor the old one would answer the labels better"
            events.append(Event("rejected", sample_id, message, None, trial.accuracies()))
        now = {"grow": trial.candidate.number, "adapt": trial.host, "keep": trial.host}.get(verdict)
        is_moving = trial.is_loose or self._policy.is_off(case)
        self._policy.on_verdict(verdict, now, has_room, is_moving)
        return events

    def _grow(self, bank: SlotBank, trial: Trial, sample_id: int) -> list[Event]:
        self.before_growing()
        candidate = trial.candidate
        n_bytes = bank.bytes_to_add(candidate.n_bytes, len(candidate.domain.counts))
        reliefs = bank.make_room(n_bytes, n_slots=1)
        events = [relief.event(sample_id, len(bank.slots)) for relief in reliefs]
        if not bank.has_room(n_bytes, n_slots=1):
            message = (
                f"no room to grow: {len(bank.slots)} of {bank.max_slots} slots use {bank.n_bytes} "
                f"of {bank.budget_bytes} bytes, and {n_bytes} more are needed"
            )
            return [*events, Event("rejected", sample_id, message)]
        if candidate.parent not in bank.slots:
            candidate.parent = None
        bank.add(candidate)
        return [*events, grown_event(candidate, trial.existing, sample_id)]

    def _adapt(self, bank: SlotBank, trial: Trial, X: Matrix, y: Classes, sample_id: int) -> Event:
        host = bank.get(trial.host)
        bank.guard.before_change(host, bank.budget_bytes - bank.n_bytes)
        if trial.is_loose:
            host.loosen()
        host.learn_batch(X, y)
        if trial.is_loose:
            host.settle()
        evidence = {"labels": len(y), **trial.accuracies()}
        message = f"slot {host.number} learned {len(y)} labels in place"
        return Event("adapted", sample_id, message, host.number, evidence)

    def give_up(self) -> None:
        """Forget the labels of a trial, whose verdict was not wanted; new ones may be asked for."""
        self._policy.give_up()
        self._drop()

    def _drop(self) -> None:
        self._collected, self._answered = None, []

    # -- state ------------------------------------------------------------------------------

    def remove_class(self, k: int) -> None:
        """Forget labels of a class; those behind it move up by one."""
        self._held = [
            (replace(sample, predicted=without(sample.predicted, k)), without(j, k))
            for sample, j in self._held
            if j != k
        ]
        if self._collected is None:
            return
        kept = self._collected.y != k
        self._answered = [
            (without(j, k), slot)
            for (j, slot), is_kept in zip(self._answered, kept.tolist(), strict=True)
            if is_kept
        ]
        self._collected = self._collected.without_class(k)

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Labels collected and held back."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        if self._collected is not None:
            arrays |= {COLLECTED + k: v for k, v in self._collected.to_state().items()}
            arrays["collected/answered"] = np.array(self._answered, np.int64)
        if self._held:
            rows = [(k, -1 if s.slot is None else s.slot, s.predicted) for s, k in self._held]
            arrays["held/X"] = np.stack([sample.features for sample, _ in self._held])
            arrays["held/rows"] = np.array(rows, np.int64)
            arrays["held/certainty"] = np.array([sample.certainty for sample, _ in self._held])
        return arrays

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], n_features: int) -> None:
        """Go on from what `to_state` gave.

        Raises
        ------
        ValueError, KeyError
            Arrays are missing or do not fit.
        """
        if "collected/X" in arrays:
            part = {
                k.removeprefix(COLLECTED): v for k, v in arrays.items() if k.startswith(COLLECTED)
            }
            most = self._policy.settings.collected_labels
            self._collected = LabelledSet.from_state(part, n_features, most)
            answered = arrays["collected/answered"]
            if answered.shape != (len(self._collected), 2):
                raise ValueError(f"answers of a trial have shape {answered.shape}: were they cut?")
            self._answered = [(int(best), int(slot)) for best, slot in answered]
        if "held/X" not in arrays:
            return
        X, rows, certainty = (arrays[f"held/{name}"] for name in ("X", "rows", "certainty"))
        if X.shape != (len(rows), n_features) or rows.shape != (len(certainty), 3):
            raise ValueError(
                f"labels held back have shapes {X.shape}, {rows.shape}: were they cut?"
            )
        for x, (k, slot, best), sure in zip(X, rows.tolist(), certainty.tolist(), strict=True):
            where = None if slot < 0 else slot
            self._held.append((PendingSample(np.array(x, np.float32), where, best, sure), k))


def new_to(counts: Classes, y: Classes) -> npt.NDArray[np.bool_]:
    """Which classes `y` (n,) are new to a slot with so many labels of each class.

    Those of which it has hardly any; and where many are of classes that it has met less than half
    as often as others, these too: classes come in steps, and have not ceased to be new.
    """
    padded = np.concatenate([counts, np.zeros(max(int(y.max()) + 1 - len(counts), 0), np.int64)])
    met = counts[counts > 0]
    is_newer = padded[y] <= max(HARDLY_KNOWN, NEWER_SHARE * met.mean() if len(met) else 0.0)
    share, n = is_newer.mean(), is_newer.sum()
    is_a_step = share >= 0.5 or (share >= MANY_NEWER and n >= NEWER_LABELS)
    return np.asarray(is_newer if is_a_step else padded[y] <= HARDLY_KNOWN)


def followed(bank: SlotBank, trial: Trial, host: Slot, X: Matrix, y: Classes) -> Trial:
    """The trial of a domain that has moved: what was known of it is to count for little.

    Unless that costs accuracy beyond chance. While most answers are still right labels say little,
    and samples have said that the domain moves.
    """
    loose = bank.adapted_accuracy(host, X, y, is_loose=True)
    if loose < trial.adapted - standard_error(len(y)):
        return trial
    return replace(trial, adapted=loose, is_loose=True)


def accuracy_among(slot: Slot, X: Matrix, y: Classes) -> float:
    """Accuracy of a slot on labelled samples, had it to tell apart their classes alone."""
    n_classes = max(int(y.max()) + 1, len(slot.domain.counts))
    classes = classes_at_stake(y, n_classes)
    logs = slot.score(X, n_classes).told
    return float(np.mean(classes[np.argmax(logs[:, classes], axis=1)] == y))


def covers(counts: Classes, y: Classes) -> bool:
    """Whether labels `y` (n,) are of every class of which a slot has so many labels."""
    return bool(np.isin(np.flatnonzero(counts > HARDLY_KNOWN), y).all())


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

"""What a change has made of a slot, judged by later labels; and taken back if it made it worse.

Before a slot changes, a copy of it is kept. Slots share nothing, so each is judged alone:

    evidence                                                      what follows
    ------------------------------------------------------------  ------------------------------
    later labels: the copy would have answered better, beyond     the copy is put back
    chance, and the canaries do not say otherwise
    a grown slot: the others would have answered better           the grown slot is taken out
    labels contradict what is certain, far more often than they   the copy is put back, unless
    may                                                           canaries prove the change; from
                                                                  then on a label that contradicts
                                                                  is doubtful, and held back
    doubtful labels of one kind outnumber those that agree        they are confirmed, and learned

The copy is let go of, and the next one is newer, once enough labels have come and nothing speaks
against them. Thresholds are in `policy`; the tests in `evidence`; putting back in `undoing`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_runtime.canary import CanarySet
from edge_runtime.labelled import Classes, Matrix
from edge_runtime.watch import Finding, Reason, Watch, copy_of

if TYPE_CHECKING:
    from edge_runtime.bank import SlotBank
    from edge_runtime.pending import PendingSample
    from edge_runtime.policy import PolicySettings
    from edge_runtime.slots import Slot

Bools = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]

# Labels between two comparisons of a slot with its copy: one pass of a matrix instead of many.
CHECK_EVERY = 16
# Labels that wait for that, of all slots together.
MOST_WAITING = 64


class Guard:
    """Copies of slots that change, canaries, and what labels say of both."""

    def __init__(self, settings: PolicySettings, n_features: int, seed: int) -> None:
        self.settings = settings
        self.canaries = CanarySet(n_features, settings.canaries, seed)
        self._watches: dict[int, Watch] = {}

    @staticmethod
    def most_bytes(settings: PolicySettings, n_features: int) -> int:
        """Bytes that canaries, labels held back and labels to be compared may come to need."""
        rows = settings.doubtful_labels + MOST_WAITING
        return CanarySet(n_features, settings.canaries, 0).most_bytes + 4 * n_features * rows

    def watch(self, slot: int) -> Watch:
        """What is known of a slot's changes."""
        if slot not in self._watches:
            self._watches[slot] = Watch(self.settings)
        return self._watches[slot]

    # -- before a slot changes ---------------------------------------------------------------

    def before_change(self, slot: Slot, spare_bytes: int) -> None:
        """Keep a copy of a slot that is about to change, if there is none and room for one."""
        watch = self.watch(slot.number)
        is_new = watch.is_grown or slot.n_labels == 0
        if watch.before is None and not is_new and slot.n_bytes <= spare_bytes:
            watch.before, watch.since = copy_of(slot), self.canaries.n_shown

    def on_grown(self, slot: int, X: Matrix, y: Classes) -> None:
        """Watch a slot that has just learned (X, y): the others are what it is compared with."""
        self.watch(slot).is_grown = slot > 0
        for x, k in zip(X, y.tolist(), strict=True):
            self.canaries.add(x, k, slot)

    # -- labels ------------------------------------------------------------------------------

    def judged(self, bank: SlotBank, sample: PendingSample, slot: int) -> PendingSample:
        """The sample with what the copy of its slot answers, where there is one.

        The slot itself grows less certain of everything the more of its labels are wrong.
        """
        watch = self.watch(slot)
        if watch.before is None:
            return sample
        n_classes = max(len(each.domain.counts) for each in bank.slots)
        answer = _without_change(bank, slot, watch).answer(sample.features[None], n_classes)[0]
        is_strange = answer.p_value <= self.settings.false_alarm_rate
        certainty = 0.0 if is_strange else answer.certainty
        return replace(sample, predicted=answer.best, certainty=certainty)

    def is_doubtful(self, sample: PendingSample, k: int, slot: Slot) -> bool:
        """Take note of the label of a judged sample; return whether to hold it back."""
        watch = self.watch(slot.number)
        counts = (watch.before or slot).domain.counts  # of the one that is certain
        known = [int(counts[c]) if 0 <= c < len(counts) else 0 for c in (k, sample.predicted)]
        if min(known) < self.settings.confirmed_labels:
            return False
        if sample.certainty >= self.settings.certainty:
            watch.note(contradicts=k != sample.predicted)
        elif not self.is_surer(np.array(sample.certainty), slot.number):
            return False
        return watch.doubts(sample.predicted, k)

    def is_surer(self, certainty: Scores, slot: int) -> Bools:
        """Whether answers (any shape) are more likely to be right than labels lately were."""
        return np.asarray(certainty >= 1 - self.watch(slot).wrong_share)

    def hold(self, judged: PendingSample, k: int, slot: int) -> None:
        """Keep a doubtful label until it is confirmed; of all slots, the most held lose one."""
        self.watch(slot).hold(judged.features, k, judged.predicted)
        if sum(len(watch.held) for watch in self._watches.values()) > self.settings.doubtful_labels:
            del max(self._watches.values(), key=lambda watch: len(watch.held)).held[0]

    def on_learned(
        self, sample: PendingSample, judged: PendingSample, k: int, is_first: bool, slot: int
    ) -> None:
        """Take note of a label that a slot has learned, the first of its class or not.

        What contradicts an answer that is certain is not confirmed, and no canary.
        """
        watch = self.watch(slot)
        watch.n_labels += 1
        watch.rows.append((sample.features, k, sample.predicted == k))
        if is_first or judged.predicted == k or judged.certainty < self.settings.certainty:
            self.canaries.add(sample.features, k, slot)

    # -- what came of it ---------------------------------------------------------------------

    def check(self, bank: SlotBank, number: int) -> Finding | None:
        """What should be undone of a slot, if anything; to be asked after each label."""
        watch = self.watch(number)
        if watch.contradictions.is_loud and not watch.is_closed:
            watch.is_closed = True
            finding = self._weigh_contradictions(bank, number, watch)
            self._compare_later(bank, number, watch)
            return finding
        if len(watch.rows) < CHECK_EVERY:
            if sum(len(each.rows) for each in self._watches.values()) < MOST_WAITING:
                return None
            number = max(self._watches, key=lambda slot: len(self._watches[slot].rows))
            watch = self._watches[number]
        finding = self._compare_later(bank, number, watch)
        if finding is None and watch.n_labels >= self.settings.trusted_after_labels:
            self._trust(watch)
        return finding

    def _weigh_contradictions(self, bank: SlotBank, number: int, watch: Watch) -> Finding | None:
        """Whether canaries prove the change, although the labels it came from are doubtful."""
        before, after = self._on_canaries(bank, number, watch)
        wins, losses = int(np.sum(after & ~before)), int(np.sum(before & ~after))
        if watch.before is None or wins - losses > math.sqrt(wins + losses):
            return None
        shares = (float(before.mean()), float(after.mean())) if len(after) else (1.0, 1.0)
        evidence = float(watch.contradictions.sums.max())
        return Finding(number, "contradictions", *shares, len(after), evidence)

    def _compare_later(self, bank: SlotBank, number: int, watch: Watch) -> Finding | None:
        """Let the copy answer the labels that have come since the last time."""
        rows, watch.rows = watch.rows, []
        if (watch.before is None and not watch.is_grown) or len(bank.slots) < 1 + watch.is_grown:
            return None
        X, y = np.stack([row[0] for row in rows]), np.array([row[1] for row in rows])
        after = np.array([row[2] for row in rows])
        before = _right(_without_change(bank, number, watch), X, y)
        watch.n_right += before.sum(), after.sum(), len(y)
        wins, losses = int(np.sum(after & ~before)), int(np.sum(before & ~after))
        if not watch.losses.update(wins, losses) or not self._canaries_agree(bank, number, watch):
            return None
        then, now, n = watch.n_right.tolist()
        reason: Reason = "growth" if watch.is_grown else "labels"
        return Finding(number, reason, then / n, now / n, n, watch.losses.evidence)

    def _canaries_agree(self, bank: SlotBank, number: int, watch: Watch) -> bool:
        """Whether going back would not answer fewer canaries rightly than staying."""
        before, after = self._on_canaries(bank, number, watch)
        return bool(before.sum() >= after.sum())

    def _on_canaries(self, bank: SlotBank, number: int, watch: Watch) -> tuple[Bools, Bools]:
        """Which canaries of a slot are answered rightly without its change, and with it."""
        rows = self.canaries.slots == number
        if watch.before is not None:  # what only the change has learned would speak for it
            rows &= self.canaries.order < watch.since
        X, y = self.canaries.X[rows], self.canaries.y[rows]
        return _right(_without_change(bank, number, watch), X, y), _right(bank, X, y)

    def _trust(self, watch: Watch) -> None:
        """Let go of the copy, so that the next one is newer, if nothing speaks against it."""
        if watch.contradictions.is_quiet and watch.losses.evidence <= 1:
            watch.start_anew()

    # -- changes from outside ----------------------------------------------------------------

    def take_copy(self, slot: int) -> Slot | None:
        """The copy to put back, or None if the slot was grown; the watch starts anew."""
        watch = self.watch(slot)
        before = watch.before
        watch.start_anew()
        return before

    def on_gone(self, slot: int, taken_over_by: int | None = None) -> None:
        """Forget a slot that is no more, or count it as the one that has taken it over."""
        self._watches.pop(slot, None)
        if taken_over_by is None:
            self.canaries.remove_slot(slot)
        else:
            self.canaries.rename_slot(slot, taken_over_by)
            self.watch(taken_over_by).start_anew()

    def on_drift(self) -> None:
        """The world has changed: labels that contradict are no longer held against those before."""
        for watch in self._watches.values():
            watch.contradictions.reset()
            watch.trust_labels()

    def drop_copies(self) -> None:
        """Let go of all copies: the memory is needed for what is in use."""
        for watch in self._watches.values():
            watch.start_anew()

    def copies_n_bytes(self, bank: SlotBank) -> int:
        """Bytes of the copies, but for the labels that they share with their slots."""
        total = 0
        for slot in bank.slots:
            watch = self._watches.get(slot.number)
            if watch is not None and watch.before is not None:
                total += watch.before.n_bytes
                young = watch.before.young
                if young is not None and young.shares_rows_with(slot.young):
                    total -= young.n_bytes
        return total

    @property
    def n_bytes(self) -> int:
        """Bytes of canaries, of labels held back, and of those that wait to be compared."""
        return self.canaries.n_bytes + sum(watch.n_bytes for watch in self._watches.values())

    def remove_class(self, k: int) -> None:
        """Forget a class, and all copies that knew it."""
        self.canaries.remove_class(k)
        for watch in self._watches.values():
            watch.remove_class(k)

    # -- state -------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Canaries, doubts and labels held back. Copies are not saved: a generation is one."""
        watches: dict[str, Any] = {}
        arrays = {f"canaries/{k}": v for k, v in self.canaries.to_state().items()}
        for number, watch in sorted(self._watches.items()):
            watches[str(number)], held = watch.to_state()
            arrays |= {f"{number}/{k}": v for k, v in held.items()}
        return watches, arrays

    def restore(self, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `to_state` gave.

        Raises
        ------
        ValueError, KeyError
            Arrays are missing or do not fit.
        """
        n, capacity = self.canaries.n_features, self.canaries.capacity
        part = {k.removeprefix("canaries/"): v for k, v in arrays.items()}
        self.canaries = CanarySet.from_state(part, n, capacity, self.canaries.seed)
        for number, saved in header.items():
            lead = f"{number}/"
            held = {k.removeprefix(lead): v for k, v in arrays.items() if k.startswith(lead)}
            self.watch(int(number)).restore(saved, held, n)


def _without_change(bank: SlotBank, number: int, watch: Watch) -> SlotBank:
    """The bank as it would be, had the slot not changed, or not been grown."""
    other = copy.copy(bank)
    other.slots = []
    for slot in bank.slots:
        then = slot if slot.number != number else watch.before
        other.slots += [] if then is None else [then]
    if len(other.slots) > 1:
        bank.router.follow(bank.slots)
        other.router = bank.router.fork(other.slots, number)
    return other


def _right(bank: SlotBank, X: Matrix, y: Classes) -> Bools:
    if len(y) == 0 or not bank.slots:  # the only slot, of which there was no room for a copy
        return np.zeros(len(y), bool)
    n_classes = max(int(y.max()) + 1, *(len(slot.domain.counts) for slot in bank.slots))
    best = np.array([answer.best for answer in bank.answer(X, n_classes)])
    return np.asarray(best == y)

"""All slots together: one answer from many, growth on trial, merging, and the byte budget.

The bank carries out what the policy decides; it decides nothing by a threshold of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.budget import GROUP_BYTES, MEASURES, Measure, Relief, Usage, make_room
from edge_runtime.crossfit import folds_of
from edge_runtime.errors import BudgetError
from edge_runtime.guard import Guard
from edge_runtime.labelled import Classes, Matrix
from edge_runtime.lifting import Lift
from edge_runtime.mixing import MIX_BYTES
from edge_runtime.records import Event
from edge_runtime.router import Router, StreamPrior, weigh
from edge_runtime.slots import Scores, Slot, SlotSettings
from hdc.projection import SignedHadamard

Bits = npt.NDArray[np.uint64]

# Share of its confirmed samples that a slot may lose when it follows its domain.
LOOSENING_LOSS = 0.03
# Labels from which a class that none of them is of is not at stake: of few it may lack by chance.
ALL_AT_STAKE = 40


def classes_at_stake(y: Classes, n_classes: int) -> Classes:
    """Classes among which an old slot has to answer labels `y` (n,), to be compared with a new one.

    A new slot would have to tell apart none but those of the labels.
    """
    return np.unique(y) if len(y) >= ALL_AT_STAKE else np.arange(n_classes)


@dataclass(frozen=True)
class Answer:
    """What the bank says of one sample."""

    probabilities: Scores  # (n_classes,)
    best: int = -1  # index of the most probable class; -1 before anything is learned
    slot: int | None = None  # number of the slot that claims the sample
    ood_score: float = 0.0  # strangeness for that slot; higher is stranger
    p_value: float = 1.0  # for that slot
    told: int = -1  # best class by labels alone, without what slots have taught themselves
    certainty: float = 0.0  # probability of that class
    n_scores: int = 0  # calibration scores that the p-value was ranked against
    n_labels: int = 0  # labels that the slot has learned
    bits: Bits | None = None  # hypervector in the frame of that slot


@dataclass(frozen=True)
class Trial:
    """Three ways to answer the same labelled samples, each judged on held-out ones."""

    existing: float  # accuracy of the answers that were given when the samples came
    adapted: float  # cross-fitted accuracy of the best old slot, had it learned the labels
    grown: float  # cross-fitted accuracy of a new slot
    host: int  # number of that best old slot
    candidate: Slot  # the new slot, fitted on all labels
    is_loose: bool = False  # what the host has learned is to count for little

    def accuracies(self) -> dict[str, float]:
        """The three, by name."""
        return {"existing": self.existing, "adapted": self.adapted, "grown": self.grown}


class SlotBank:
    """The slots of a runtime, oldest first, within `budget_bytes`."""

    def __init__(
        self,
        settings: SlotSettings,
        *,
        budget_bytes: int,
        max_slots: int,
        seed: int,
        guard: Guard,
        when_full: tuple[Measure, ...] = MEASURES,
    ) -> None:
        self.settings = settings
        self.budget_bytes, self.max_slots, self.seed = budget_bytes, max_slots, seed
        self._lift = Lift(settings.tap_widths, settings.n_fourier, seed)
        self.n_features = sum(self._lift.widths)
        self.projection = SignedHadamard(self.n_features, settings.n_dims, seed)
        self.slots: list[Slot] = []
        self.guard = guard
        self._heirs: dict[int, int] = {}  # who answers for slots that are no more
        self.router = Router(self.n_features, settings.rank)
        self.prior = StreamPrior()
        self.usage, self.when_full = Usage(), when_full
        self._next_number = 0
        least = self.bytes_of_one(2)
        if least > budget_bytes:
            raise BudgetError(
                f"{budget_bytes} bytes are left for slots, but one slot of {self.n_features} "
                f"features needs {least}: raise budget_bytes, or lower rank or pending_samples"
            )

    def new_slot(self, parent: Slot | None = None) -> Slot:
        """An empty slot with the next number, grown from `parent`; it joins the bank by `add`."""
        number, settings = self._next_number, self.settings
        return Slot(number, settings, self.projection, self.seed, self.lift, parent)

    @property
    def lift(self) -> Lift:
        """The map that all slots share: that of the first, which it is fitted with."""
        return self.slots[0].lift if self.slots else self._lift

    @lift.setter
    def lift(self, lift: Lift) -> None:
        self._lift = lift

    def add(self, slot: Slot) -> None:
        """Take a slot in; the others do not change, and the stream is taken to be there."""
        self.slots.append(slot)
        if len(self.slots) > 1:
            lift = slot.lift.fixed()
            for each in self.slots:
                each.lift = lift
        self.prior.settle(slot.number)
        self.usage.take(slot.number, slot.n_labels)
        self._next_number = max(self._next_number, slot.number) + 1

    @property
    def n_classes(self) -> int:
        """Classes known to the slot that knows most of them."""
        known = (np.count_nonzero(slot.domain.counts) for slot in self.slots)
        return int(max(known, default=0))

    def get(self, number: int) -> Slot:
        """The slot of this number, or the one that has taken its place."""
        while number in self._heirs:
            number = self._heirs[number]
        return next((slot for slot in self.slots if slot.number == number), self.slots[0])

    def remove(self, slot: Slot, heir: Slot | None = None) -> None:
        """Take a slot out; `heir` answers for it from now on, or else the oldest slot does."""
        self.slots.remove(slot)
        if len(self.slots) < 2:
            self.router.release()
        if heir is not None:
            self._heirs[slot.number] = heir.number
        for other in self.slots:
            other.parent = heir if other.parent is slot else other.parent
        self.usage.forget(slot.number)
        self.guard.on_gone(slot.number, None if heir is None else heir.number)

    def replace(self, slot: Slot, by: Slot) -> None:
        """Put a slot in the place of another of the same number."""
        if by.lift is not slot.lift and by.young is not None:  # from before the map was fixed
            by.lift, by.parent = slot.lift, None
            by.fit(by.young.X, by.young.y)
        by.revision = max(by.revision, slot.revision) + 1
        self.slots[self.slots.index(slot)] = by
        for other in self.slots:
            other.parent = by if other.parent is slot else other.parent

    # -- answers ----------------------------------------------------------------------------

    def answer(self, X: Matrix, n_classes: int, *, is_stream: bool = False) -> list[Answer]:
        """Class probabilities, claiming slot and strangeness of features (n, d).

        Where they are the next samples of the stream, each lends its weights to the one after it;
        otherwise nothing is known of where they come from.
        """
        if not self.slots:
            return [Answer(np.full(n_classes, 1 / max(n_classes, 1))) for _ in X]
        X = self.lift(X)
        weights = self._weights(X, is_stream)
        claims = np.argmax(weights, axis=1)
        for claim in claims.tolist() if is_stream else ():
            self.usage.take(self.slots[claim].number)
        probabilities = np.zeros((len(X), n_classes))
        told = np.zeros((len(X), n_classes))
        measures = np.zeros((2, len(X)))  # score and p-value for the claiming slot
        bits = np.zeros((len(X), self.settings.n_dims // 64), np.uint64)
        for s, slot in enumerate(self.slots):
            rows = np.flatnonzero(weights[:, s])  # most slots are certain not to be meant
            if len(rows) == 0:
                continue
            scores = slot.score_lifted(X[rows], n_classes)
            share = weights[rows, s, None] * np.exp(scores.log_probabilities)
            has_taught = scores.told is not scores.log_probabilities
            probabilities[rows] += share
            told[rows] += weights[rows, s, None] * np.exp(scores.told) if has_taught else share
            ours = claims[rows] == s
            measures[:, rows[ours]] = scores.nonconformity[ours], scores.p_values[ours]
            bits[rows[ours]] = scores.bits[ours]
        return self._answers(probabilities, told, claims, measures, bits)

    def _weights(self, X: Matrix, is_stream: bool) -> Scores:
        """Weights (n, n_slots) of the slots: by likelihood, and by where the stream has been."""
        scores, scale = self.router.scores(X, self.slots), self.router.temperature
        numbers = [slot.number for slot in self.slots]
        if not is_stream or len(numbers) == 1:
            return weigh(scores, scale)
        rows = []
        for row in scores[:, None]:
            rows.append(weigh(row, scale, self.prior.before(numbers))[0])
            self.prior.take(numbers, row[0], rows[-1])
        return np.array(rows)

    def _answers(
        self, probabilities: Scores, told: Scores, claims: Classes, measures: Scores, bits: Bits
    ) -> list[Answer]:
        best = np.argmax(probabilities, axis=1).tolist()
        scores, p_values = measures.tolist()
        best_told = np.argmax(told, axis=1).tolist()
        return [
            Answer(
                probabilities=probabilities[row],
                best=best[row],
                slot=self.slots[claim].number,
                ood_score=scores[row],
                p_value=p_values[row],
                told=best_told[row],
                certainty=float(told[row, best_told[row]]),
                n_scores=len(self.slots[claim].calibration),
                n_labels=self.slots[claim].n_labels,
                bits=bits[row],
            )
            for row, claim in enumerate(claims.tolist())
        ]

    # -- growth -----------------------------------------------------------------------------

    def host_of(self, claimed: Classes) -> Slot:
        """The slot that most samples claimed by slots of these numbers belong to."""
        numbers, counts = np.unique(claimed, return_counts=True)
        return self.get(int(numbers[np.argmax(counts)]))

    def try_out(self, host: Slot, X: Matrix, y: Classes, existing: float) -> Trial:
        """Judge growing against adapting `host` on labelled samples; nothing in the bank changes.

        `existing` is the accuracy of the answers that were given when they came.
        """
        candidate = self.new_slot(host).start(X, y)
        return Trial(
            existing=existing,
            adapted=self.adapted_accuracy(host, X, y),
            grown=candidate.cross_accuracy,
            host=host.number,
            candidate=candidate,
        )

    def may_loosen(self, host: Slot, X: Matrix, y: Classes) -> bool:
        """Whether `host`, loosened and taught (X, y), would still answer its confirmed samples.

        If not, what looks like a domain that has moved is another one.
        """
        canaries = self.guard.canaries
        rows = canaries.slots == host.number
        if not rows.any():
            return True
        trial = self._taught(host, X, y, is_loose=True)
        n_classes = max(int(y.max()) + 1, int(canaries.y[rows].max()) + 1)
        before, after = (
            np.mean(slot.score(canaries.X[rows], n_classes).told.argmax(axis=1) == canaries.y[rows])
            for slot in (host, trial)
        )
        return bool(after >= before - LOOSENING_LOSS)

    def adapted_accuracy(
        self, host: Slot, X: Matrix, y: Classes, *, is_loose: bool = False
    ) -> float:
        """Cross-fitted accuracy of a slot, had it learned (X, y); see `classes_at_stake`."""
        n_classes = max(int(y.max()) + 1, len(host.domain.counts))
        classes = classes_at_stake(y, n_classes)
        n_folds = min(self.settings.n_folds, len(y))
        fold = folds_of(y, n_folds, np.random.default_rng(self.seed))
        right = 0
        for held in range(n_folds):
            trial = self._taught(host, X[fold != held], y[fold != held], is_loose=is_loose)
            scores = trial.score(X[fold == held], n_classes)
            best = classes[np.argmax(scores.log_probabilities[:, classes], axis=1)]
            right += int(np.sum(best == y[fold == held]))
        return right / len(y)

    def _taught(self, host: Slot, X: Matrix, y: Classes, *, is_loose: bool) -> Slot:
        """A copy of `host` whose domain has learned (X, y), loosened before if that is asked."""
        trial = host.copy_domain()
        if is_loose:
            trial.loosen()
        for x, k in zip(X, y.tolist(), strict=True):
            trial.domain.update(trial.lift(x[None])[0], k)
        if is_loose:
            trial.settle()
        else:
            trial.derive_prototypes()
        return trial

    # -- room -------------------------------------------------------------------------------

    def make_room(self, n_bytes: int = 0, n_slots: int = 0) -> list[Relief]:
        """Make room for so many bytes and slots more; see `budget`."""
        return make_room(self, n_bytes, n_slots)

    def keep_budget(self, sample_id: int) -> list[Event]:
        """Come back within the budget after something was learned; what was done for it."""
        return [each.event(sample_id, len(self.slots)) for each in self.make_room()]

    def has_room(self, n_bytes: int = 0, n_slots: int = 0) -> bool:
        """Whether so many bytes and slots more would fit."""
        has_places = not n_slots or len(self.slots) + n_slots <= self.max_slots
        return has_places and self.n_bytes + n_bytes <= self.budget_bytes

    def could_grow(self) -> bool:
        """Whether the least of slots could be added."""
        return self.has_room(self.bytes_to_add(self.bytes_of_slot(2), 2), n_slots=1)

    def check_class_fits(self, k: int) -> None:
        """Refuse a class that not even a bank of one bare slot would have room for.

        Raises
        ------
        BudgetError
            Says how many bytes are missing; nothing has changed.
        """
        needed = self.bytes_of_one(k + 1)
        if needed > self.budget_bytes:
            raise BudgetError(
                f"{k + 1} classes of {self.n_features} features need {needed} bytes, but "
                f"{self.budget_bytes} are left for slots: raise budget_bytes, or forget a class"
            )

    def bytes_of_one(self, n_classes: int) -> int:
        """Bytes of a bank of one slot without adaptor that has learned so many classes."""
        return self.shared_bytes(n_classes) - self._bytes_of_frame + self.bytes_of_slot(n_classes)

    def bytes_of_slot(self, n_classes: int) -> int:
        """Bytes of a slot without adaptor that has learned so many classes."""
        slot, settings = self.new_slot(), self.settings
        rank = min(settings.rank, self.n_features)
        of_a_class = 4 * self.n_features + 4 * rank + 12 + settings.n_dims // 8
        of_a_class += slot.mean_shift.n_bytes(1) - slot.mean_shift.n_bytes(0) + MIX_BYTES
        return int(slot.n_bytes + n_classes * of_a_class)

    def shared_bytes(self, n_points: int) -> int:
        """Bytes of what slots share, with so many classes of slots: projection, router, counts."""
        of_points = n_points * (GROUP_BYTES + self.router.point_bytes)
        apart = self.projection.n_bytes + self.lift.n_bytes + self._bytes_of_frame
        return int(apart + of_points)

    @property
    def _bytes_of_frame(self) -> int:
        """Bytes of the frame in which slots are compared, if there are two."""
        return self.router.frame_bytes if len(self.slots) > 1 else 0

    def bytes_to_add(self, slot_bytes: int, n_points: int) -> int:
        """Bytes that one more slot of so many classes takes, and what it adds to the shared."""
        shared = self.shared_bytes(n_points) - self.shared_bytes(0)
        return slot_bytes + shared + (self.router.frame_bytes if len(self.slots) == 1 else 0)

    @property
    def n_bytes(self) -> int:
        """Bytes of all slots, of their copies, of the projection and of the router."""
        shared = self.shared_bytes(sum(len(slot.domain.counts) for slot in self.slots))
        return shared + sum(slot.n_bytes for slot in self.slots) + self.guard.copies_n_bytes(self)

"""A slot: all that one domain needs, and nothing that another domain could change.

While it is young it keeps its labels (bounded) and is fitted anew each time their number has grown
by a quarter; a mature slot learns one labelled sample at a time. Not here: what it is made of and
how it answers (`slot_model`), which slot answers (`router`), when a slot is grown (`policy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.calibration import SlotCalibration
from edge_runtime.crossfit import cross_fit
from edge_runtime.evidence import Decline
from edge_runtime.labelled import Classes, LabelledSet, Matrix
from edge_runtime.lifting import Lift
from edge_runtime.self_training import ENOUGH_LABELS, SelfTraining
from edge_runtime.slot_model import (
    OUTLEARNED_RUN_LENGTH,
    Scores,
    SlotModel,
    SlotScores,
    SlotSettings,
    log_of,
)
from hdc.projection import SignedHadamard
from hdc.shift import MeanShift
from hdc.subspace import DomainModel, Framed

__all__ = ["Scores", "Slot", "SlotScores", "SlotSettings"]

# A young slot is fitted anew when its labels have grown by this factor since the last time.
REFIT_GROWTH = 1.25
# Rates at which the adaptor of a mature slot goes on learning, one label at a time: at full rates,
# the last few labels would count as much as all that were fitted.
MATURE_RATE = 0.3
# What was learned counts as once a domain has moved: samples of each class, degrees of freedom.
# Of what three drifts of a motion sensor took, five labels of each class at their end brought back
# 84, 38 and 81 %, and windows from before are still answered at 96.2 % (98.3 before); with 1000 and
# 2000 it is 65, 16, 62 and 96.9 %, with 5 and 10 85, 32, 85 and 94.8 % (other splits of them).
LOOSE_COUNT, LOOSE_DOF = 20, 100


class Slot(SlotModel):
    """One domain's model, prototypes, calibration and adaptor, and how they learn."""

    # -- learning ---------------------------------------------------------------------------

    def fit(self, X: Matrix, y: Classes) -> Slot:
        """Learn a labelled batch from nothing; cross-fitting calibrates, and proves the adaptor."""
        if self.parent is None:
            self.lift = self.lift.fitted(X)
        result = cross_fit(self, X, y)
        self.fit_domain(X, y, result.shrinkage)
        measured = result.best_cosines, result.log_norms
        self.calibration.fit(*measured, result.losses, result.judged, result.alone)
        self.adaptor = self.fit_adaptor(X, y) if result.adaptor_helps else None
        self._forget_taught()
        self._forget_rest(len(y))
        self.cross_accuracy = result.accuracy
        self.n_labels = self._n_fitted = len(y)
        return self

    def start(self, X: Matrix, y: Classes) -> Slot:
        """Learn a first labelled batch, and keep its labels while they are few."""
        self.fit(X, y)
        if len(y) >= self.settings.many_labels:
            self.young = self.parent = None
        for x, k in zip(X, y, strict=True):
            if self.young is not None:
                self.young.add(x, int(k))
        return self

    def learn(self, x: npt.NDArray[np.float32], k: int) -> None:
        """Learn one labelled sample of this domain."""
        self.n_labels += 1
        if self.young is not None:
            # What was lifted cannot be put back; else labels are kept as the frame sees them.
            self.young.add(x if self.lift.n_fourier else self.corrected(x[None])[0], k)
            if len(self.young) >= REFIT_GROWTH * self._n_fitted or self.young.is_full:
                self.fit(self.young.X, self.young.y)
                if self.young.is_full:
                    self.young = self.parent = None
                return
        if self.n_labels > REFIT_GROWTH * self._n_compared:
            self._forget_rest(self.n_labels)
        x = self.corrected(x[None])[0]
        framed = self.domain.frame(x[None])
        scores = self.score_framed(framed, max(k + 1, len(self.domain.counts)))
        self._learn_mix(framed, scores, k)
        self._judge_adaptor(framed, scores, k)
        self.moved.add(k)
        if self.domain.update(x, k) or k >= len(self._bits):
            self.derive_prototypes()
        else:
            self._bits[k] = self.projection.bits(self.domain.whitened_mean(k))[0]
            self._derive_taught()
        self.calibration.add(float(scores.nonconformity[0]))
        self._teach_adaptor(self.domain.standardise(x[None]), k)

    def _learn_mix(self, framed: Framed, scores: SlotScores, k: int) -> None:
        """Learn what prototypes and densities are worth, of a sample that is to be learned yet."""
        known = np.flatnonzero(self.domain.counts)
        if self.young is not None or k not in known or self.is_quantised:
            return
        of_adaptor = None
        if self.adaptor is not None:
            of_adaptor = self.adaptor.classes_, log_of(self.adaptor, framed.Z)
        densities = self.domain.log_likelihoods(framed)
        self.calibration.mixing.take(k, scores.cosines, densities, known, of_adaptor)

    def _judge_adaptor(self, framed: Framed, scores: SlotScores, k: int) -> None:
        """Let go of an adaptor that learns no more where labels say that it does harm.

        A quantised one knows nothing of classes that come later, and would go on outvoting them.
        """
        if self.adaptor is None or not self.is_quantised:
            return
        known, mix = np.flatnonzero(self.domain.counts), self.calibration.mixing.alone
        alone = self._prototype_logs(framed, scores.cosines, known, mix)
        is_right, is_right_alone = scores.told[0].argmax() == k, alone[0].argmax() == k
        if is_right != is_right_alone and self.outlearned.update(is_win=bool(is_right)):
            self.drop_adaptor()

    def drop_adaptor(self) -> None:
        """Answer by prototypes and densities alone from now on."""
        if self.adaptor is not None:
            self.adaptor, self.outlearned = None, Decline(OUTLEARNED_RUN_LENGTH)
            self.calibration.mixing.forget_adaptor()

    def _teach_adaptor(self, z: Matrix, k: int) -> None:
        """Let the adaptor learn a standardised sample beside those that it must not unlearn."""
        from adaptors import QuantisedClassifier

        rng = np.random.default_rng((self.seed, self.n_labels))
        others = self.mix.missing(k, self.domain.counts, rng)
        if self.adaptor is None or isinstance(self.adaptor, QuantisedClassifier):
            return
        others = others[np.isin(others, self.adaptor.classes_)]
        if len(others) == 0:
            rehearsed = z[:0]
        elif self.young is not None:
            held = self.young.y
            others = others[np.isin(others, held)]
            rehearsed = self.domain.standardise(self.lift(self.young.pick(others, rng)))
        else:
            rehearsed = self.domain.draw(others, rng)
        if self.young is None and self.adaptor.learning_rate > MATURE_RATE:
            rates = {"learning_rate": MATURE_RATE, "hidden_learning_rate": MATURE_RATE}
            self.adaptor.set_params(**rates)
        self.adaptor.partial_fit(np.concatenate([z, rehearsed]), np.array([k, *others]))

    def mature(self) -> None:
        """Let go of the labels of its youth, after a last fit to all of them."""
        if self.young is None:
            return
        if len(self.young) > self._n_fitted:
            self.fit(self.young.X, self.young.y)
        self.young = self.parent = None

    def learn_batch(self, X: Matrix, y: Classes) -> None:
        """Learn labelled samples of this domain: at once while it is young, or one by one."""
        if self.young is not None and len(self.young) + len(y) < self.young.capacity:
            for x, k in zip(self.corrected(X) if not self.lift.n_fourier else X, y, strict=True):
                self.young.add(x, int(k))
            self.fit(self.young.X, self.young.y)
            return
        for row in np.random.default_rng((self.seed, self.n_labels)).permutation(len(y)):
            self.learn(X[row], int(y[row]))

    @property
    def may_teach_itself(self) -> bool:
        """Whether it has so few labels that samples without them can tell it more."""
        is_full = self.taught is not None and self.taught.is_full
        return 0 < self.n_labels < ENOUGH_LABELS and not is_full and not self.is_quantised

    def teach_itself(self, x: npt.NDArray[np.float32], k: int, certainty: float) -> None:
        """Take a known sample for one of class `k`, if that is sure; see `self_training`."""
        if self.taught is None:
            self.taught = SelfTraining(self.domain.n_features)
        if self.may_teach_itself and self.taught.is_sure(certainty):
            self.taught.learn(self.domain.standardise(self.corrected(x[None]))[0], k)
            self._derive_taught()

    def _forget_taught(self) -> None:
        """Let go of what was inferred in another frame."""
        self.taught = None
        self._derive_taught()

    def _forget_rest(self, n_labels: int) -> None:
        """What it was like at rest is out of date: it is another model, of so many labels."""
        self.mean_shift.forget()
        self._n_compared = n_labels

    def follow(self, x: npt.NDArray[np.float32], k: int, rate: float, limit: float) -> None:
        """Let the frame follow a known sample that seems to be of class `k`; see `following`."""
        corrected = self.corrected(x[None])
        residual = self.domain.standardise(corrected)[0] - self.domain.class_means[k]
        self.follower.follow(residual, rate, limit)

    def revert_if_better(self, X: Matrix) -> bool:
        """Take the frame's shift back if features (n, d) are less strange without it."""
        n_classes = len(self.domain.counts)
        with_shift = self.score(X, n_classes).p_values.mean()
        without = self.score_framed(self.domain.frame(self.lift(X)), n_classes).p_values.mean()
        if without > with_shift:
            self.follower.revert()
        return not self.follower.has_moved

    def loosen(self) -> None:
        """Let what was learned count for little: the domain has moved, and few labels say where.

        Labels of a young slot go, as they are of where the domain was, and so does the adaptor,
        which would outvote them. The mix stays: that which was best without an adaptor brought back
        73, 38 and 63 % of what the drifts below took, this one 81, 36 and 76 %.
        """
        self.young = self.parent = self.taught = self.adaptor = None
        self.outlearned = Decline(OUTLEARNED_RUN_LENGTH)
        self.domain.loosen(LOOSE_COUNT, LOOSE_DOF)
        self.revision += 1
        self._forget_rest(self.n_labels)
        self.derive_prototypes()

    def settle(self) -> None:
        """Let whitening and prototypes follow the last few labels now, rather than with the next.

        What was loosened is given another shape by few: until then it would whiten as before.
        """
        self.domain.settle()
        self.derive_prototypes()

    def absorb(self, other: Slot) -> None:
        """Take over what a slot has learned that has become the same as this one."""
        self.domain.merge(other.domain)
        self.calibration.merge(other.calibration)
        self.n_labels += other.n_labels
        self._forget_rest(self.n_labels)
        self.young = self.parent = self.taught = None
        self.revision += 1
        self.derive_prototypes()

    def remove_class(self, k: int, X: Matrix, y: Classes) -> None:
        """Forget a class; those behind it move up by one.

        A young slot is fitted anew without it. A mature one forgets its mean, count and prototype;
        an adaptor is let go of, and trained anew where (X, y), confirmed samples of the other
        classes, prove one useful. The scatter, which no class has to itself, stays.
        """
        had_adaptor = self.adaptor is not None
        self.drop_adaptor()
        self.domain.remove_class(k)
        if self.taught is not None:
            self.taught.remove_class(k)
        self.mean_shift.remove_class(k)
        self.calibration.mixing.remove_class(k)
        if self.young is not None:
            self.young = self.young.without_class(k)
            if len(self.young):
                self.fit(self.young.X, self.young.y)
        elif had_adaptor and len(y) and not self.is_quantised:
            self.adaptor = self.fit_adaptor(X, y) if cross_fit(self, X, y).adaptor_helps else None
        self.derive_prototypes()
        self.mix.remove_class(k)
        self.moved.clear()
        self.revision += 1

    def quantise(self) -> None:
        """Keep statistics as float16 and the adaptor as int8; the adaptor learns no more.

        Labels of a young slot go, since a refit would make everything float32 again.
        """
        from adaptors import QuantisedClassifier

        self.young = self.parent = None
        self.domain.compress()
        self.calibration.mixing.freeze()
        if self.adaptor is not None and not isinstance(self.adaptor, QuantisedClassifier):
            self.adaptor = QuantisedClassifier.of(self.adaptor, "int8")
        self.derive_prototypes()
        self.revision += 1

    @property
    def n_bytes(self) -> int:
        """Bytes of everything this slot has learned and holds."""
        adaptor = self.adaptor.n_bytes_ if self.adaptor is not None else 0
        young = self.young.n_bytes if self.young is not None else 0
        shift = self.follower.shift.nbytes
        taught = self.taught.n_bytes + self._bits.nbytes if self.taught is not None else 0
        return (
            shift
            + taught
            + self.mean_shift.n_bytes(len(self.domain.counts))
            + self.domain.n_bytes
            + self._bits.nbytes
            + self.calibration.n_bytes
            + adaptor
            + young
        )

    # -- state ------------------------------------------------------------------------------

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything learned, as a flat dict of arrays."""
        arrays = {f"domain/{k}": v for k, v in self.domain.to_state().items()}
        arrays |= {f"calibration/{k}": v for k, v in self.calibration.to_state().items()}
        if self.young is not None:
            arrays |= {f"young/{k}": v for k, v in self.young.to_state().items()}
        if self.follower.has_moved:
            arrays["shift"] = self.follower.shift
        arrays |= {f"rest/{k}": v for k, v in self.mean_shift.to_state().items()}
        if self.taught is not None:
            arrays |= {f"taught/{k}": v for k, v in self.taught.to_state().items()}
        if len(self.mix.recent):
            arrays["mix"] = self.mix.recent
        if self.outlearned.sums.any():
            arrays["outlearned"] = self.outlearned.sums
        parent = -1 if self.parent is None else self.parent.number
        arrays["scalars"] = np.array(
            [
                *(self.number, self.n_labels, self.cross_accuracy, self.seed, parent),
                *(self.revision, self._n_compared),
            ],
            np.float64,
        )
        return arrays

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, npt.NDArray[Any]],
        settings: SlotSettings,
        projection: SignedHadamard,
        lift: Lift,
        older: Mapping[int, Slot],
    ) -> Slot:
        """The slot that `to_state` was called on; its adaptor is restored by the caller.

        `older` holds the slots it may have been grown from, by number.
        """
        number, n_labels, accuracy, seed, parent, revision, compared = state["scalars"].tolist()
        slot = cls(int(number), settings, projection, int(seed), lift, older.get(int(parent)))
        slot.domain = DomainModel.from_state(_part(state, "domain/"))
        if slot.domain.tap_widths != lift.widths:
            raise ValueError(
                f"slot {slot.number} has taps of widths {slot.domain.tap_widths}, expected "
                f"{lift.widths}: was it learned on another encoder?"
            )
        slot.calibration = SlotCalibration.from_state(
            _part(state, "calibration/"), settings.calibration_scores
        )
        young = _part(state, "young/")
        slot.young = (
            LabelledSet.from_state(young, sum(settings.tap_widths), settings.most_young)
            if young
            else None
        )
        if "shift" in state:
            if state["shift"].shape != (slot.domain.n_features,):
                raise ValueError(f"slot {slot.number} has a shift of {state['shift'].shape}")
            slot.follower.shift = np.array(state["shift"], np.float32)
            slot.follower.has_moved = True
        if "mix" in state:
            slot.mix.recent = np.array(state["mix"], np.float64)
            if slot.mix.recent.ndim != 1 or len(slot.mix.recent) > len(slot.domain.counts):
                raise ValueError(f"slot {slot.number} has a mix of {slot.mix.recent.shape}")
        if "outlearned" in state:
            slot.outlearned.restore(state["outlearned"])
        taught = _part(state, "taught/")
        if taught:
            slot.taught = SelfTraining.from_state(taught, slot.domain.n_features)
        slot.n_labels = slot._n_fitted = int(n_labels)
        slot.cross_accuracy, slot.revision = accuracy, int(revision)
        slot.mean_shift = MeanShift.from_state(_part(state, "rest/"), slot.mean_shift.n_bits)
        slot._n_compared = int(compared)
        slot.derive_prototypes()
        return slot


def _part(state: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

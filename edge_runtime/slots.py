"""A slot: all that one domain needs, and nothing that another domain could change.

A slot holds a `DomainModel` (frame, whitening, class means), binary prototypes derived from it, a
calibration, and an adaptor where cross-validation proved one useful. While it is young it also
keeps its labels (bounded) and is fitted anew each time their number has grown by a quarter; a
mature slot learns one labelled sample at a time. Not here: which slot answers (`router`), when a
slot is grown (`policy`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_runtime.calibration import SlotCalibration
from edge_runtime.crossfit import SHRINKAGES, combined, cross_fit, log_softmax
from edge_runtime.following import Follower
from edge_runtime.labelled import Classes, LabelledSet, Matrix
from edge_runtime.lifting import Lift
from edge_runtime.rehearsal import ClassMix
from hdc.hypervector import hamming
from hdc.projection import SignedHadamard
from hdc.subspace import DomainModel, Framed

if TYPE_CHECKING:
    from adaptors import QuantisedClassifier, TargetProjectionClassifier

Scores = npt.NDArray[np.float64]

# A young slot is fitted anew when its labels have grown by this factor since the last time.
REFIT_GROWTH = 1.25
# What was learned counts as once a domain has moved: samples of each class, degrees of freedom.
# On held-back people's motion under three drifts, 30 and 30 brought back 73, 46 and 79 % of what
# was lost with five labels of each class; 1000 and 2000 brought back 39, 38 and 58 %.
LOOSE_COUNT, LOOSE_DOF = 30, 30
# Bytes that labels of a young slot may take in any case: a few measures can be kept for long.
YOUNG_BYTES = 2**17


@dataclass(frozen=True)
class SlotSettings:
    """Sizes and rates of a slot; all of them count in the byte budget."""

    tap_widths: tuple[int, ...]
    n_dims: int = 8192
    rank: int = 128
    young_labels: int = 1024  # labels that a slot keeps while it is young
    calibration_scores: int = 1024  # scores kept to rank a new sample against
    hidden: tuple[int, ...] = (128,)
    loss: str = "cross_entropy"  # as good as l2 on PACS, better where classes are subtle
    epochs: int = 12
    n_folds: int = 5
    n_fourier: int = 0  # random Fourier features of raw measures; see `lifting`

    @property
    def most_young(self) -> int:
        """Labels that a slot keeps while it is young: more where each takes few bytes."""
        return max(self.young_labels, YOUNG_BYTES // (2 * sum(self.tap_widths) + 8))


@dataclass(frozen=True)
class SlotScores:
    """What one slot says of n samples."""

    cosines: Scores  # (n, n_classes); -1 for classes that the slot does not know
    log_norms: Scores  # (n,)
    nonconformity: Scores  # (n,) higher is stranger
    p_values: Scores  # (n,)
    log_probabilities: Scores  # (n, n_classes)


class Slot:
    """One domain's model, prototypes, calibration and adaptor."""

    def __init__(
        self,
        number: int,
        settings: SlotSettings,
        projection: SignedHadamard,
        seed: int,
        lift: Lift,
        parent: Slot | None = None,
    ) -> None:
        self.number, self.settings, self.seed = number, settings, seed
        self.projection, self.lift = projection, lift
        self.parent = parent  # the slot it was grown from: what it knows is where this one starts
        self.domain = DomainModel(lift.widths, rank=settings.rank)
        self.calibration = SlotCalibration(settings.calibration_scores)
        self.adaptor: TargetProjectionClassifier | QuantisedClassifier | None = None
        self.young: LabelledSet | None = self._no_labels()
        self.n_labels = self._n_fitted = 0
        self.cross_accuracy = math.nan
        # What the router has to take note of: refits, and classes whose means have moved since.
        self.revision = 0
        self.moved: set[int] = set()
        self.follower = Follower(self.domain.n_features)
        self.mix = ClassMix()
        self._bits = np.zeros((0, settings.n_dims // 64), np.uint64)

    def _no_labels(self) -> LabelledSet:
        return LabelledSet(sum(self.settings.tap_widths), self.settings.most_young)

    # -- learning ---------------------------------------------------------------------------

    def fit(self, X: Matrix, y: Classes) -> Slot:
        """Learn a labelled batch from nothing; cross-fitting calibrates, and proves the adaptor."""
        if self.parent is None:
            self.lift = self.lift.fitted(X)
        result = cross_fit(self, X, y)
        self.fit_domain(X, y, result.shrinkage)
        self.calibration.fit(result.best_cosines, result.log_norms, result.temperature)
        self.adaptor = self.fit_adaptor(X, y) if result.adaptor_helps else None
        self.cross_accuracy = result.accuracy
        self.n_labels = self._n_fitted = len(y)
        return self

    def start(self, X: Matrix, y: Classes) -> Slot:
        """Learn a first labelled batch, and keep its labels while there is room for more."""
        self.fit(X, y)
        if len(y) >= self.settings.most_young:
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
        x = self.corrected(x[None])[0]
        framed = self.domain.frame(x[None])
        scores = self.score_framed(framed, max(k + 1, len(self.domain.counts)))
        self.moved.add(k)
        if self.domain.update(x, k) or k >= len(self._bits):
            self.derive_prototypes()
        else:
            self._bits[k] = self.projection.bits(self.domain.whitened_mean(k))[0]
        self.calibration.add(float(scores.nonconformity[0]))
        self._teach_adaptor(self.domain.standardise(x[None]), k)

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
        self.adaptor.partial_fit(np.concatenate([z, rehearsed]), np.array([k, *others]))

    def learn_batch(self, X: Matrix, y: Classes) -> None:
        """Learn labelled samples of this domain: at once while it is young, or one by one."""
        if self.young is not None and len(self.young) + len(y) < self.young.capacity:
            for x, k in zip(self.corrected(X) if not self.lift.n_fourier else X, y, strict=True):
                self.young.add(x, int(k))
            self.fit(self.young.X, self.young.y)
            return
        for row in np.random.default_rng((self.seed, self.n_labels)).permutation(len(y)):
            self.learn(X[row], int(y[row]))

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

    def fit_adaptor(self, X: Matrix, y: Classes) -> TargetProjectionClassifier:
        """An adaptor trained on a labelled batch in the frame of this domain."""
        from adaptors import TargetProjectionClassifier

        adaptor = TargetProjectionClassifier(
            hidden=self.settings.hidden,
            loss=self.settings.loss,
            epochs=self.settings.epochs,
            random_state=self.seed,
        )
        return adaptor.fit(self.domain.standardise(self.lift(X)), y)

    def copy_domain(self) -> Slot:
        """A slot with a copy of the domain and calibration, to try something out on."""
        copy = self.empty()
        copy.domain = DomainModel.from_state(self.domain.to_state())
        copy.calibration = SlotCalibration.from_state(
            self.calibration.to_state(), self.settings.calibration_scores
        )
        copy.adaptor, copy.follower = self.adaptor, self.follower
        return copy

    def empty(self) -> Slot:
        """A slot like this one that has learned nothing."""
        return Slot(self.number, self.settings, self.projection, self.seed, self.lift, self.parent)

    def loosen(self) -> None:
        """Let what was learned count for little: the domain has moved, and few labels say where.

        Labels of a young slot go, as they are of where the domain was.
        """
        self.young = self.parent = None
        self.domain.loosen(LOOSE_COUNT, LOOSE_DOF)
        self.revision += 1
        self.derive_prototypes()

    def absorb(self, other: Slot) -> None:
        """Take over what a slot has learned that has become the same as this one."""
        self.domain.merge(other.domain)
        self.calibration.merge(other.calibration)
        self.n_labels += other.n_labels
        self.young = self.parent = None
        self.revision += 1
        self.derive_prototypes()

    def remove_class(self, k: int, X: Matrix, y: Classes) -> None:
        """Forget a class; those behind it move up by one.

        A young slot is fitted anew without it. A mature one forgets its mean, count and prototype;
        an adaptor is let go of, and trained anew where (X, y), confirmed samples of the other
        classes, prove one useful. The scatter, which no class has to itself, stays.
        """
        had_adaptor, self.adaptor = self.adaptor is not None, None
        self.domain.remove_class(k)
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

    def fit_domain(self, X: Matrix, y: Classes, shrinkage: float = SHRINKAGES[0]) -> None:
        """Learn the domain and its prototypes from a labelled batch, and nothing else."""
        prior = self.parent.domain if self.parent is not None else None
        model = DomainModel(self.lift.widths, rank=self.settings.rank, shrinkage=shrinkage)
        self.domain = model.fit(self.lift(X), y, prior)
        self.revision += 1
        self.derive_prototypes()

    def shrink(self, shrinkage: float) -> None:
        """Take another share of isotropic covariance; the same is learned of the samples."""
        self.domain.shrink(shrinkage)
        self.derive_prototypes()

    def derive_prototypes(self) -> None:
        """Binary prototypes from the class means, so that they follow every change of whitening."""
        means = range(len(self.domain.counts))
        rows = [self.projection.bits(self.domain.whitened_mean(k)) for k in means]
        self._bits = np.concatenate([self._bits[:0], *rows])

    # -- answers ----------------------------------------------------------------------------

    def score(self, X: Matrix, n_classes: int) -> SlotScores:
        """Similarity, strangeness and class probabilities of features (n, d)."""
        return self.score_lifted(self.lift(X), n_classes)

    def score_lifted(self, X: Matrix, n_classes: int) -> SlotScores:
        """`score` of what `lift` gave of features."""
        X = self.follower.correct(X, self.domain)
        return self.score_framed(self.domain.frame(X), n_classes)

    def corrected(self, X: Matrix) -> Matrix:
        """Features (n, d), lifted, and less what the frame has followed."""
        return self.follower.correct(self.lift(X), self.domain)

    def score_framed(self, framed: Framed, n_classes: int) -> SlotScores:
        """`score` of what is in the frame of this slot's domain already."""
        n = len(framed.Z)
        cosines = np.full((n, n_classes), -1.0)
        known = np.flatnonzero(self.domain.counts)
        bits = self.projection.bits(self.domain.whiten_framed(framed))
        distance = hamming(bits, self._bits[known])
        cosines[:, known] = np.cos(np.pi / self.settings.n_dims * distance)
        squares = self.domain.whitened_squares(framed)
        log_norms = 0.5 * np.log(np.maximum(squares, 1e-30))
        nonconformity = self.calibration.nonconformity(cosines.max(axis=1), log_norms)
        return SlotScores(
            cosines=cosines,
            log_norms=log_norms,
            nonconformity=nonconformity,
            p_values=self.calibration.p_values(nonconformity),
            log_probabilities=self._log_probabilities(framed.Z, cosines, known),
        )

    def _log_probabilities(self, Z: Matrix, cosines: Scores, known: Classes) -> Scores:
        """Of prototypes and adaptor; classes that are not known get almost nothing."""
        logits = np.full(cosines.shape, -30.0)
        logits[:, known] = log_softmax(self.calibration.temperature * cosines[:, known])
        if self.adaptor is not None:
            return combined(logits, self.adaptor.classes_, _log_of(self.adaptor, Z))
        return logits

    def adaptor_logs(self, adaptor: TargetProjectionClassifier, X: Matrix) -> Scores:
        """What an adaptor trained in this slot's frame says of features: log-probabilities."""
        return _log_of(adaptor, self.domain.standardise(self.lift(X)))

    def labelled(self) -> dict[int, int]:
        """Labels of each class that it knows."""
        counts = self.domain.counts.tolist()
        return {k: n for k, n in enumerate(counts) if n}

    @property
    def is_quantised(self) -> bool:
        """Whether it is kept in fewer bits."""
        return self.domain.is_compressed

    def quantise(self) -> None:
        """Keep statistics as float16 and the adaptor as int8; the adaptor learns no more.

        Labels of a young slot go, since a refit would make everything float32 again.
        """
        from adaptors import QuantisedClassifier

        self.young = self.parent = None
        self.domain.compress()
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
        return (
            shift
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
        if len(self.mix.recent):
            arrays["mix"] = self.mix.recent
        parent = -1 if self.parent is None else self.parent.number
        arrays["scalars"] = np.array(
            [self.number, self.n_labels, self.cross_accuracy, self.seed, parent, self.revision],
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
        number, n_labels, cross_accuracy, seed, parent, revision = state["scalars"].tolist()
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
        slot.n_labels = slot._n_fitted = int(n_labels)
        slot.cross_accuracy, slot.revision = cross_accuracy, int(revision)
        slot.derive_prototypes()
        return slot


def _part(state: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _log_of(adaptor: TargetProjectionClassifier | QuantisedClassifier, Z: Matrix) -> Scores:
    """Log-probabilities, none below that of one in a million."""
    return np.asarray(np.log(np.maximum(adaptor.predict_proba(Z), 1e-6)))

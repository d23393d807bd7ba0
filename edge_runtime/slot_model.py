"""What a slot is made of and how it answers: one domain, its prototypes, a calibration, an adaptor.

A slot holds a `DomainModel` (frame, whitening, class means), binary prototypes derived from it, a
calibration, and an adaptor where cross-validation proved one useful. Not here: how a slot learns
and is saved (`slots`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_runtime.calibration import SlotCalibration
from edge_runtime.crossfit import SHRINKAGES
from edge_runtime.evidence import Decline
from edge_runtime.following import Follower
from edge_runtime.labelled import WIDE, Classes, LabelledSet, Matrix
from edge_runtime.lifting import Lift
from edge_runtime.mixing import Mix, combined, prototype_logs
from edge_runtime.rehearsal import ClassMix
from edge_runtime.self_training import SelfTraining
from hdc.hypervector import hamming
from hdc.projection import SignedHadamard
from hdc.shift import BITS, MeanShift
from hdc.subspace import DomainModel, Framed

if TYPE_CHECKING:
    from typing_extensions import Self

    from adaptors import QuantisedClassifier, TargetProjectionClassifier

Scores = npt.NDArray[np.float64]

# Labels that either an adaptor or the rest alone answers rightly, between two times on average that
# one which learns no more is given up although it does no harm.
OUTLEARNED_RUN_LENGTH = 200
# Bytes that labels of a young slot may take in any case: a few measures can be kept for long.
YOUNG_BYTES = 2**17


@dataclass(frozen=True)
class SlotSettings:
    """Sizes and rates of a slot; all of them count in the byte budget."""

    tap_widths: tuple[int, ...]
    n_dims: int = 8192
    rank: int = 128
    young_labels: int = 1024  # float16 labels that a slot keeps while it is young; twice as int8
    calibration_scores: int = 1024  # scores kept to rank a new sample against
    hidden: tuple[int, ...] = (128,)
    loss: str = "cross_entropy"  # as good as l2 on PACS, better where classes are subtle
    epochs: int = 12
    n_folds: int = 5
    n_fourier: int = 0  # random Fourier features of raw measures; see `lifting`

    @property
    def many_labels(self) -> int:
        """Labels of a first batch that make a slot mature at once."""
        return self.young_labels if self.is_wide else self.most_young

    @property
    def is_wide(self) -> bool:
        """Whether labels of its youth are kept as int8."""
        return sum(self.tap_widths) >= WIDE

    @property
    def most_young(self) -> int:
        """Labels that a slot keeps while it is young: more where each takes few bytes."""
        if self.is_wide:
            return 2 * self.young_labels
        return max(self.young_labels, YOUNG_BYTES // (2 * sum(self.tap_widths) + 8))


@dataclass(frozen=True)
class SlotScores:
    """What one slot says of n samples."""

    cosines: Scores  # (n, n_classes); -1 for classes that the slot does not know
    log_norms: Scores  # (n,)
    nonconformity: Scores  # (n,) higher is stranger
    p_values: Scores  # (n,)
    log_probabilities: Scores  # (n, n_classes)
    told: Scores  # (n, n_classes) the same by labels alone, without what it has taught itself
    bits: npt.NDArray[np.uint64]  # (n, n_dims / 64) hypervectors


class SlotModel:
    """One domain's model, prototypes, calibration and adaptor."""

    def __init__(
        self,
        number: int,
        settings: SlotSettings,
        projection: SignedHadamard,
        seed: int,
        lift: Lift,
        parent: SlotModel | None = None,
    ) -> None:
        self.number, self.settings, self.seed = number, settings, seed
        self.projection, self.lift = projection, lift
        self.parent = parent  # the slot it was grown from: what it knows is where this one starts
        self.domain = DomainModel(lift.widths, rank=settings.rank)
        self.calibration = SlotCalibration(settings.calibration_scores)
        self.adaptor: TargetProjectionClassifier | QuantisedClassifier | None = None
        # What labels say of an adaptor that learns no more.
        self.outlearned = Decline(OUTLEARNED_RUN_LENGTH)
        self.young: LabelledSet | None = self._no_labels()
        self.n_labels = self._n_fitted = 0
        self.cross_accuracy = math.nan
        # What the router has to take note of: refits, and classes whose means have moved since.
        self.revision = 0
        self.moved: set[int] = set()
        self.follower = Follower(self.domain.n_features)
        self.mix = ClassMix()
        self.taught: SelfTraining | None = None  # what it has inferred without labels
        # What hypervectors were like at rest, and the labels it had when that was first measured.
        self.mean_shift = MeanShift(min(BITS, settings.n_dims))
        self._n_compared = 0
        self._bits = np.zeros((0, settings.n_dims // 64), np.uint64)
        self._taught_bits = self._bits  # the same, and what it has taught itself

    def _no_labels(self) -> LabelledSet:
        return LabelledSet(sum(self.settings.tap_widths), self.settings.most_young)

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

    def copy_domain(self) -> Self:
        """A slot with a copy of the domain and calibration, to try something out on."""
        copy = self.empty()
        copy.domain = DomainModel.from_state(self.domain.to_state())
        copy.calibration = SlotCalibration.from_state(
            self.calibration.to_state(), self.settings.calibration_scores
        )
        copy.adaptor, copy.follower = self.adaptor, self.follower
        return copy

    def empty(self) -> Self:
        """A slot like this one that has learned nothing."""
        return type(self)(
            self.number, self.settings, self.projection, self.seed, self.lift, self.parent
        )

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
        classes = range(len(self.domain.counts))
        rows = [self.projection.bits(self.domain.whitened_mean(k)) for k in classes]
        self._bits = np.concatenate([self._bits[:0], *rows])
        self._derive_taught()

    def _derive_taught(self) -> None:
        self._taught_bits = self._bits
        if self.taught is not None:
            means = self.taught.means(self.domain.class_means, self.domain.counts)
            whitened = self.domain.whiten_framed(self.domain.frame_standardised(means))
            self._taught_bits = self.projection.bits(whitened)

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
        cosines[:, known] = self._cosines(bits, self._bits[known])
        squares = self.domain.whitened_squares(framed)
        log_norms = 0.5 * np.log(np.maximum(squares, 1e-30))
        nonconformity = self.calibration.nonconformity(cosines.max(axis=1), log_norms)
        log_probabilities = self._log_probabilities(framed, cosines, known)
        told = log_probabilities
        if self.taught is not None:
            taught = cosines.copy()
            taught[:, known] = self._cosines(bits, self._taught_bits[known])
            log_probabilities = self._log_probabilities(framed, taught, known)
        return SlotScores(
            cosines=cosines,
            log_norms=log_norms,
            nonconformity=nonconformity,
            p_values=self.calibration.p_values(nonconformity),
            log_probabilities=log_probabilities,
            told=told,
            bits=bits,
        )

    def _cosines(self, bits: npt.NDArray[np.uint64], prototypes: npt.NDArray[np.uint64]) -> Scores:
        return np.asarray(np.cos(np.pi / self.settings.n_dims * hamming(bits, prototypes)))

    def _log_probabilities(self, framed: Framed, cosines: Scores, known: Classes) -> Scores:
        """Of prototypes and adaptor; classes that are not known get almost nothing."""
        mixing, adaptor = self.calibration.mixing, self.adaptor
        logits = self._prototype_logs(framed, cosines, known, mixing.best)
        if adaptor is None:
            return logits
        alone = None
        if len(adaptor.classes_) < len(known):
            alone = self._prototype_logs(framed, cosines, known, mixing.alone)
        of_adaptor = log_of(adaptor, framed.Z)
        return combined(logits, adaptor.classes_, of_adaptor, mixing.best.adaptor_weight, alone)

    def _prototype_logs(self, framed: Framed, cosines: Scores, known: Classes, mix: Mix) -> Scores:
        densities = None
        if mix.density_weight:
            densities = self.domain.log_likelihoods(framed)[:, known]
        logits = np.full(cosines.shape, -30.0)
        logits[:, known] = prototype_logs(cosines[:, known], densities, mix)
        return logits

    def adaptor_logs(self, adaptor: TargetProjectionClassifier, X: Matrix) -> Scores:
        """What an adaptor trained in this slot's frame says of features: log-probabilities."""
        return log_of(adaptor, self.domain.standardise(self.lift(X)))

    def labelled(self) -> dict[int, int]:
        """Labels of each class that it knows."""
        counts = self.domain.counts.tolist()
        return {k: n for k, n in enumerate(counts) if n}

    @property
    def is_quantised(self) -> bool:
        """Whether it is kept in fewer bits."""
        return self.domain.is_compressed


def log_of(adaptor: TargetProjectionClassifier | QuantisedClassifier, Z: Matrix) -> Scores:
    """Log-probabilities, none below that of one in a million."""
    return np.asarray(np.log(np.maximum(adaptor.predict_proba(Z), 1e-6)))

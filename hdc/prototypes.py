"""A classifier that keeps one binary hypervector for each class.

Projection is linear, hence the bundle of a class's real hypervectors is the hypervector of its
mean. So `update="bundle"` keeps counts and means in feature space and derives prototypes from
them: one pass, no order, nothing that can overflow, and prototypes that stay valid when the
whitening is made anew. Bundling packed hypervectors instead was as accurate, within 0.2 points, on
PACS (28 classes, EfficientNet-Lite0), for 8 times the memory of the means.

With ``whiten`` samples are rotated to the directions in which whitened class means differ before
they are projected (linear discriminant analysis, see `hdc.whitening`). On the same data that took
8,192 bits from 88.9 to 90.2 % and 2,048 bits from 85.6 to 90.0 %.

All that is linear. Raw inputs, whose classes no plane parts, want ``n_fourier`` random Fourier
features first (`hdc.fourier`), which change none of the properties above.

"adapt" and "online" are the mistake-driven rules of `hdc.accumulators`. They learn hypervectors,
so their whitening is frozen: at `fit`, or by the samples of the first `partial_fit`.
Not done here: telling strangers (`hdc.ood`).
"""

from __future__ import annotations

from copy import copy
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hdc import _state
from hdc._checks import (
    Bits,
    Float32,
    Float64,
    IntArray,
    RandomState,
    check_count,
    derive_seed,
)
from hdc._estimator import (
    ClassifierMixin,
    Estimator,
    check_is_fitted,
    check_random_state,
    check_X,
    check_y,
)
from hdc.accumulators import Accumulators, Rule
from hdc.covariance import PooledCovariance
from hdc.fourier import FourierFeatures
from hdc.hypervector import hamming
from hdc.projection import SignedHadamard
from hdc.whitening import Shrinkage, Whitening, check_options

_KIND, _VERSION = "hdc.PrototypeClassifier", 2
_SHARPNESS = 20.0  # of predict_proba: e-fold for a difference of 0.05 in cosine
_MAX_LEARNING_RATE = 1000.0


class PrototypeClassifier(ClassifierMixin, Estimator):
    """The class whose prototype has the smallest angle to the sample.

    Parameters
    ----------
    n_dims : of the hypervectors, a multiple of 64
    update : "bundle", "adapt" (AdaptHD) or "online" (OnlineHD)
    whiten : whether to decorrelate; costs ``4 * width ** 2`` bytes while learning, width being
        ``n_fourier`` or else the number of features
    n_fourier : random Fourier features made of each sample first, a multiple of 128; 0 for none
    shrinkage : 0 to 1, "ledoit_wolf" or "oas"
    learning_rate, epochs : of "adapt" and "online"
    max_classes : more are refused
    random_state : of the projection and the order of epochs

    Attributes
    ----------
    classes_ : (n_classes,), ascending
    counts_ : (n_classes,) samples seen of each; 0 for a class that was only announced
    prototypes_ : (n_classes, n_dims // 64) uint64
    n_features_in_ : int
    n_bytes_ : int, bytes of the prototypes: n_dims / 8 for each class

    Examples
    --------
    >>> X = np.array([[0.0, 1.0], [0.2, 1.0], [1.0, 0.0], [1.0, 0.2]])
    >>> model = PrototypeClassifier(n_dims=256, random_state=0).fit(X, ["up", "up", "on", "on"])
    >>> model.predict([[0.1, 0.9], [0.8, 0.1]]).tolist()
    ['up', 'on']
    """

    classes_: NDArray[Any]
    n_features_in_: int

    def __init__(
        self,
        n_dims: int = 8192,
        update: Literal["bundle", "adapt", "online"] = "bundle",
        whiten: bool = True,
        shrinkage: Shrinkage = "oas",
        learning_rate: float = 1.0,
        epochs: int = 5,
        max_classes: int = 1024,
        n_fourier: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.n_dims = n_dims
        self.update = update
        self.whiten = whiten
        self.shrinkage = shrinkage
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.max_classes = max_classes
        self.n_fourier = n_fourier
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> PrototypeClassifier:
        """Forget everything and learn samples (n, n_features) of classes (n,)."""
        # On a scratch object: a refused call must leave what was learned before as it was.
        X = check_X(PrototypeClassifier(), X)
        y = check_y(y, len(X))
        self._start(X.shape[1], y)
        rows = self._count(X, y)
        self.refresh()
        if self.update != "bundle":
            self._learn_epochs(self._encode(self._features(X)), rows, self.update)
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None
    ) -> PrototypeClassifier:
        """Learn more samples; classes never seen before are welcome.

        With "bundle", the whitening is made anew when there are new classes or twice as many
        samples as the last time, and whenever `refresh` is called; the prototypes are then the same
        for any order and grouping of the samples. With "adapt" and "online" it stays as it is.

        Parameters
        ----------
        classes : announces classes of which there are no samples yet; never predicted until then
        """
        is_first = not hasattr(self, "n_features_in_")
        X = check_X(self, X)
        y = check_y(y, len(X))
        known = y if classes is None else np.union1d(check_y(classes, len(np.asarray(classes))), y)
        if is_first:
            self._start(X.shape[1], known)
        else:
            self._announce(self._united(self.classes_, known))
        n_classes = len(self.statistics_.classes_)
        rows = self._count(X, y)
        if self.update != "bundle":
            if is_first:
                self.refresh()
            self.accumulators_.learn(
                rows, self._encode(self._features(X)), self.update, self.learning_rate
            )
            return self
        has_new = len(self.statistics_.classes_) > n_classes
        if has_new or self.counts_.sum() >= 2 * self.n_refreshed_:
            self.refresh()
        else:
            self._derive(np.unique(rows))
        return self

    def refresh(self) -> PrototypeClassifier:
        """Make the whitening anew from all samples so far, and with "bundle" the prototypes too."""
        check_is_fitted(self)
        bundled = self.update == "bundle"
        self.n_refreshed_ = float(self.counts_.sum())
        if self.whiten:
            form: Literal["discriminant", "full"] = "discriminant" if bundled else "full"
            self.whitening_ = Whitening.of(self.statistics_, shrinkage=self.shrinkage, form=form)
        self._set_projection()
        if bundled:
            self._derive(self.statistics_.classes_)
        return self

    def remove_class(self, label: Any) -> PrototypeClassifier:
        """Forget one class; `ValueError` if there is none of this name or no other."""
        check_is_fitted(self)
        found = np.flatnonzero(self.classes_ == label)
        if not len(found) or len(self.classes_) == 1:
            raise ValueError(f"cannot remove {label!r} from classes {self.classes_.tolist()}")
        row = int(found[0])
        codes = self.statistics_.classes_
        if row in codes:
            codes = self.statistics_.remove_class(row).classes_
        self.statistics_.classes_ = codes - (codes > row)
        self.classes_ = np.delete(self.classes_, row)
        self.accumulators_.remove(row)
        return self

    def merge(self, other: PrototypeClassifier) -> PrototypeClassifier:
        """Add what another board has learned, as if this one had seen all its samples.

        Raises
        ------
        ValueError
            One of the two is not of "bundle": learned corrections of hypervectors do not add up.
        """
        check_is_fitted(self)
        check_is_fitted(other)
        if self.update != "bundle" or other.update != "bundle":
            raise ValueError(f"updates are {self.update!r} and {other.update!r}, expected 'bundle'")
        self._announce(self._united(self.classes_, other.classes_))
        theirs = copy(other.statistics_)
        moved = np.searchsorted(self.classes_, other.classes_).astype(np.int64)
        theirs.classes_ = moved[theirs.classes_]
        self.statistics_.merge(theirs)
        return self.refresh()

    def decision_function(self, X: ArrayLike) -> Float64:
        """Cosine to each prototype, (n, n_classes); for two classes their difference, (n,)."""
        cosines = self._cosines(X)
        if len(self.classes_) == 2:
            return np.asarray(cosines[:, 1] - cosines[:, 0])
        return cosines

    def predict_proba(self, X: ArrayLike) -> Float64:
        """Softmax of the cosines, (n, n_classes); a ranking, not calibrated."""
        cosines = self._cosines(X)
        odds = np.exp(_SHARPNESS * (cosines - cosines.max(axis=1, keepdims=True)))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class (n,) of the nearest prototype; the first of equals."""
        nearest = np.argmax(self._cosines(X), axis=1)
        return np.asarray(self.classes_[nearest])

    @property
    def prototypes_(self) -> Bits:
        """Packed prototypes, (n_classes, n_dims // 64)."""
        return self.accumulators_.bits

    @property
    def counts_(self) -> Float64:
        """Samples seen of each class, (n_classes,)."""
        counts = np.zeros(len(self.classes_))
        counts[self.statistics_.classes_] = self.statistics_.counts_
        return counts

    @property
    def n_bytes_(self) -> int:
        """Bytes of the prototypes."""
        return self.prototypes_.nbytes

    def to_state(self) -> tuple[_state.Header, _state.Arrays]:
        """Return header and arrays; `from_state` continues identically."""
        check_is_fitted(self)
        parts = {"statistics": self.statistics_.to_state()}
        if self.whiten:
            parts["whitening"] = self.whitening_.to_state()
        header = _state.make_header(
            _KIND,
            _VERSION,
            parameters=self.get_params() | {"random_state": self.seed_},
            classes=self.classes_.tolist(),
            n_features=self.n_features_in_,
            n_refreshed=self.n_refreshed_,
            **{name: part_header for name, (part_header, _) in parts.items()},
        )
        arrays: _state.Arrays = {
            "sums": self.accumulators_.sums.copy(),
            "bits": self.prototypes_.copy(),
        }
        for name, (_, part_arrays) in parts.items():
            arrays |= _state.nest(name, part_arrays)
        return header, arrays

    @classmethod
    def from_state(cls, header: _state.Header, arrays: _state.Arrays) -> PrototypeClassifier:
        """Rebuild what `to_state` gave; raises `ValueError` for anything else."""
        _state.check_header(header, _KIND, _VERSION)
        new = cls(**_state.parameters(header, cls().get_params()))
        labels = _state.field(header, "classes")
        statistics = PooledCovariance.from_state(*_state.nested("statistics", header, arrays))
        n_features = _state.integer(header, "n_features")
        new._start(n_features, check_y(labels, len(labels)))
        if statistics.n_features != new.statistics_.n_features:
            raise ValueError(
                f"state has statistics of {statistics.n_features} features, expected "
                f"{new.statistics_.n_features}"
            )
        if new.classes_.tolist() != labels or not (statistics.classes_ < len(labels)).all():
            raise ValueError(f"state has classes {labels}, expected distinct ascending labels")
        new.statistics_ = statistics
        if new.whiten:
            new.whitening_ = Whitening.from_state(*_state.nested("whitening", header, arrays))
        new._set_projection()
        new.n_refreshed_ = _state.number(header, "n_refreshed")
        kept = new.accumulators_
        kept.sums = _state.take(arrays, "sums", kept.sums.shape, np.int32)
        kept.bits = _state.take(arrays, "bits", kept.bits.shape, np.uint64)
        return new

    def _set_projection(self) -> None:
        width = self.whitening_.n_outputs if self.whiten else self.statistics_.n_features
        self.projection_ = SignedHadamard(width, self.n_dims, self.seed_)

    def _start(self, n_features: int, labels: NDArray[Any]) -> None:
        """Begin with no class, after a check of all parameters."""
        if self.update not in ("bundle", "adapt", "online"):
            raise ValueError(f"update is {self.update!r}, expected bundle, adapt or online")
        if not 0 < self.learning_rate <= _MAX_LEARNING_RATE:
            raise ValueError(f"learning_rate is {self.learning_rate}, expected 0 to 1000, above 0")
        check_count(self.epochs, "epochs", 0)
        check_options("full", self.shrinkage)
        is_bundle, classes = self.update == "bundle", self._united(labels[:0], labels)
        accumulators = Accumulators(self.n_dims, has_sums=not is_bundle)
        seed, fourier = derive_seed(self.random_state), None
        if check_count(self.n_fourier, "n_fourier", 0):
            fourier = FourierFeatures(n_features, self.n_fourier, seed)
        self.seed_ = seed
        self.fourier_ = fourier
        width = n_features if fourier is None else fourier.n_outputs
        self.statistics_ = PooledCovariance(width, np.float32 if self.whiten else None)
        self.accumulators_ = accumulators
        self.classes_ = classes[:0]
        self._announce(classes)
        self.n_features_in_ = n_features

    def _united(self, known: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
        """All classes in ascending order, refused if they are too many or of two kinds."""
        if (labels.dtype.kind == "U") != (known.dtype.kind == "U"):
            raise ValueError(f"labels are {labels.dtype}, expected the kind of {known.dtype}")
        classes = np.union1d(known, labels)
        if len(classes) > check_count(self.max_classes, "max_classes"):
            raise ValueError(f"{len(classes)} classes, expected at most {self.max_classes}")
        return classes

    def _announce(self, classes: NDArray[Any]) -> None:
        """Make room for classes that are new among all ``classes``."""
        moved = np.searchsorted(classes, self.classes_).astype(np.int64)
        for row in np.setdiff1d(np.arange(len(classes)), moved):
            self.accumulators_.insert(int(row))
        self.statistics_.classes_ = moved[self.statistics_.classes_]
        self.classes_ = classes

    def _count(self, X: Float32, y: NDArray[Any]) -> IntArray:
        """Add samples to the statistics; return the row of each sample's class."""
        rows = np.searchsorted(self.classes_, y)
        self.statistics_.update(self._features(X), rows)
        return rows

    def _features(self, X: Float32) -> Float32:
        return X if self.fourier_ is None else self.fourier_.transform(X)

    def _encode(self, features: ArrayLike) -> Bits:
        """Hypervectors of what `_features` gives."""
        whitened = self.whitening_.transform(features) if self.whiten else features
        return self.projection_.bits(whitened)

    def _derive(self, rows: IntArray) -> None:
        """Set the prototypes of some rows to the hypervectors of their means."""
        at = np.searchsorted(self.statistics_.classes_, rows)
        self.accumulators_.bits[rows] = self._encode(self.statistics_.class_means_[at])

    def _learn_epochs(self, hypervectors: Bits, rows: IntArray, rule: Rule) -> None:
        """Bundle every sample once, then repeat until an epoch without mistakes."""
        accumulators, rng = self.accumulators_, check_random_state(self.seed_)
        accumulators.bundle(rows, hypervectors)
        for _ in range(self.epochs):
            order = rng.permutation(len(rows))
            if not accumulators.learn(rows[order], hypervectors[order], rule, self.learning_rate):
                break

    def _cosines(self, X: ArrayLike) -> Float64:
        check_is_fitted(self)
        hypervectors = self._encode(self._features(check_X(self, X)))
        angles = np.pi / self.projection_.n_dims * hamming(hypervectors, self.prototypes_)
        cosines = np.cos(angles)
        cosines[:, self.counts_ == 0] = -1.0
        return np.asarray(cosines)

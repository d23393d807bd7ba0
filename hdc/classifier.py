"""Class hypervectors as an estimator: the prototypes that a board answers with, on their own.

The frame (`hdc.domain.frame`) is made of the rows of `fit`, or of the first `partial_fit`; later
rows change class means and prototypes alone, exactly as labels do on a board until its next fit. In
one frame the sums do not depend on the order of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hdc._checks import Float64, RandomState, check_count, check_dims, derive_seed
from hdc.domain.learned import USUAL_SHRINKAGE, Learned, check_shrinkage, joined
from hdc.domain.prototypes import by_class
from hdc.estimator import ClassifierMixin, Estimator, check_is_fitted, check_X, check_y

# Sharpness of the softmax of cosines: 20 makes odds of e of a difference of 0.05.
_SHARPNESS = 20.0


class PrototypeClassifier(ClassifierMixin, Estimator):
    """The class whose prototype has the smallest angle to the sample.

    Parameters
    ----------
    n_dims : of the hypervectors, a multiple of 64
    shrinkage : above 0 to 1, of the covariance towards a multiple of the identity; 1: no whitening
    max_classes : more are refused
    random_state : of the projection

    Attributes
    ----------
    classes_ : (n_classes,), ascending
    prototypes_ : (n_classes, n_dims // 64) uint64
    counts_ : (n_classes,) rows seen of each; 0 for a class that was only announced
    n_features_in_ : int
    n_bytes_ : int, bytes of what was learned

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.array(["up", "on"] * 20)
    >>> X = rng.normal(size=(40, 4)) + 4 * (y == "up")[:, None]
    >>> model = PrototypeClassifier(n_dims=256, random_state=0).fit(X, y)
    >>> model.predict([[4.0] * 4, [0.0] * 4]).tolist()
    ['up', 'on']
    """

    def __init__(
        self,
        n_dims: int = 8192,
        shrinkage: float = USUAL_SHRINKAGE,
        max_classes: int = 1024,
        random_state: RandomState = None,
    ) -> None:
        self.n_dims = n_dims
        self.shrinkage = shrinkage
        self.max_classes = max_classes
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> PrototypeClassifier:
        """Forget everything and learn rows (n, n_features), or taps, of classes (n,)."""
        matrix, widths = joined(X)
        # On a scratch object: a refused call must leave what was learned before as it was.
        rows = check_X(PrototypeClassifier(), matrix)
        labels = check_y(y, len(rows))
        check_shrinkage(self.shrinkage)
        classes = self._united(labels[:0], labels)
        numbers = np.searchsorted(classes, labels).astype(np.int64)
        self.learned_ = Learned.of(
            rows, numbers, widths or (rows.shape[1],), self.shrinkage, check_dims(self.n_dims),
            derive_seed(self.random_state),
        )  # fmt: skip
        self.classes_, self.n_features_in_ = classes, rows.shape[1]
        self._number = {label: i for i, label in enumerate(classes.tolist())}
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None
    ) -> PrototypeClassifier:
        """Learn more rows in the frame of the first ones; new classes are welcome.

        Parameters
        ----------
        classes : announces classes of which there are no rows yet; never predicted until then
        """
        known = np.zeros(0, np.int64) if classes is None else check_y(classes, np.size(classes))
        if not hasattr(self, "n_features_in_"):
            self.fit(X, y)
            if len(known):
                self._announce(self._united(self.classes_, known))
            return self
        rows = check_X(self, joined(X)[0])
        labels = check_y(y, len(rows))
        named = labels if not len(known) else np.union1d(known, labels)
        self._announce(self._united(self.classes_, named))
        self.learned_.add(rows, np.array([self._number[label] for label in labels.tolist()]))
        return self

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
    def counts_(self) -> Float64:
        """Rows seen of each class, (n_classes,)."""
        counts = self.learned_.cells.counts_of(0, len(self.classes_))
        return counts[self._order()]

    @property
    def prototypes_(self) -> NDArray[np.uint64]:
        """Packed prototypes, (n_classes, n_dims // 64); clear for a class without rows."""
        learned = self.learned_
        bits = np.zeros((len(self.classes_), learned.prototypes.bits.shape[1]), np.uint64)
        bits[learned.cells.classes] = learned.prototypes.bits
        return bits[self._order()]

    @property
    def n_bytes_(self) -> int:
        """Bytes of what was learned."""
        return self.learned_.n_bytes

    def _order(self) -> NDArray[np.int64]:
        """The number of each of `classes_`: numbers are given at first sight."""
        return np.array([self._number[label] for label in self.classes_.tolist()], np.int64)

    def _united(self, known: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
        """All classes in ascending order, refused if they are too many or of two kinds."""
        if len(known) and (labels.dtype.kind == "U") != (known.dtype.kind == "U"):
            raise ValueError(f"labels are {labels.dtype}, expected the kind of {known.dtype}")
        classes = np.union1d(known, labels) if len(known) else np.unique(labels)
        if len(classes) > check_count(self.max_classes, "max_classes"):
            raise ValueError(f"{len(classes)} classes, expected at most {self.max_classes}")
        return classes

    def _announce(self, classes: NDArray[Any]) -> None:
        """Number the classes that are new among all ``classes``."""
        for label in classes.tolist():
            self._number.setdefault(label, len(self._number))
        self.classes_ = classes

    def _cosines(self, X: ArrayLike) -> Float64:
        check_is_fitted(self)
        similarities = self.learned_.similarities(check_X(self, joined(X)[0]))
        members = self.learned_.cells.members
        return by_class(similarities, members, len(self.classes_))[:, self._order()]

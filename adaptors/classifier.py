"""`TargetProjectionClassifier`: a shallow network that learns forward only, as an estimator.

Adds to `TargetProjectionNetwork` what data needs: validation, standardised features, named labels,
shuffled mini-batches, a falling learning rate, and state that can be saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from adaptors._learner import ShallowEstimator, distinct_rows
from adaptors.losses import Labels, softmax
from adaptors.network import checked_weights
from hdc import estimator as contract


class TargetProjectionClassifier(contract.ClassifierMixin, ShallowEstimator):
    """A classifier trained without backpropagation, which can be given new classes at any time.

    Each hidden layer learns to turn its input into a fixed random code of the true label, the
    output layer learns the label itself; nothing travels backwards (tpSGD, arXiv 2208.08503).

    Parameters
    ----------
    hidden : tuple of int
        Width of each hidden layer; () is softmax regression.
    loss
        Local loss: "cross_entropy", "sharp_cross_entropy" (better where samples are many and
        classes subtle), "l2", "l1", "huber", "cosine", "binary_cross_entropy", or an object like
        `losses.LocalLoss`.
    activation
        "tanh", "hard_tanh", "sigmoid", "relu" or "linear".
    learning_rate, hidden_learning_rate
        Of the output layer and of the hidden layers, as fractions of the largest step that is
        certainly stable (see `rule`): no tuning to width or scale. 2 and more may diverge; a step
        that goes too far is not taken, the rate is halved, and a RuntimeWarning says so. A hidden
        rate of None is the one measured best for the loss, but at most 1 for each row of a step:
        for "cross_entropy" 10 and, one row at a time, 1. A hidden rate of 0 leaves the hidden
        layers random: the baseline that every result should be compared with.
    epochs
        Passes of `fit`; the rates fall linearly to zero over them.
    batch_size
        Samples per step. A step follows the sum of their gradients over the Frobenius norm of
        their Gram matrix.
    random_state : None, int or numpy Generator
        Draws weights, label codes and the order of samples.
    codes
        Kind of label codes: "sign", "gaussian" or "orthogonal" (see `codes.label_codes`).
    momentum, noise
        Share of the last step in the next one; relative Gaussian noise on every step (see
        `network.TargetProjectionNetwork`).

    Attributes
    ----------
    classes_ : (n_classes,)
        Labels, int64 or str, one per column of the outputs: sorted by `fit`; classes that
        `partial_fit` meets later are appended.
    n_features_in_ : int
    network_ : TargetProjectionNetwork

    Notes
    -----
    Features are standardised with the mean and variance of all samples learned so far: set by
    `fit`, updated by every `partial_fit` with the weight of the new samples among all, so that the
    scale settles. Standardised values are clipped at ten.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0, 0], [0, 1], [4, 4], [4, 5]])
    >>> clf = TargetProjectionClassifier(hidden=(16,), random_state=0)
    >>> clf.fit(X, ["low", "low", "high", "high"]).predict([[0, 0.5], [4, 4.5]]).tolist()
    ['low', 'high']
    >>> clf.partial_fit([[9, -9]] * 8, ["new"] * 8).predict([[9, -9]]).tolist()
    ['new']
    """

    FORMAT = "adaptors.classifier"
    OUTPUTS = "classes"

    classes_: npt.NDArray[Any]

    def __init__(
        self,
        hidden: tuple[int, ...] = (256,),
        loss: Any = "cross_entropy",
        activation: str = "tanh",
        learning_rate: float = 1.0,
        hidden_learning_rate: float | None = None,
        epochs: int = 20,
        batch_size: int = 16,
        random_state: Any = None,
        codes: str = "sign",
        momentum: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        self.hidden = hidden
        self.loss = loss
        self.activation = activation
        self.learning_rate = learning_rate
        self.hidden_learning_rate = hidden_learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state
        self.codes = codes
        self.momentum = momentum
        self.noise = noise

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None
    ) -> TargetProjectionClassifier:
        """Learn from scratch; the result does not depend on the order of the rows.

        Parameters
        ----------
        X : (n_samples, n_features)
        y : (n_samples,)
            Integers or strings.
        sample_weight : (n_samples,), optional
            Zero or more; a weight of k is the same as k copies of the row.
        """
        self._check_params()
        X = contract.check_X(None, X)
        y = contract.check_y(y, len(X))
        weights = np.ones(len(X)) if sample_weight is None else sample_weight
        X, y, weights = distinct_rows(X, y, checked_weights(weights, len(X)))
        classes, labels = np.unique(y, return_inverse=True)
        rng = contract.check_random_state(self.random_state)
        self._begin(X.shape[1], classes, rng)
        self._scaler.update(X, weights)
        self._epochs(X, labels, weights, rng)
        return self

    def partial_fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        classes: Any = None,
        sample_weight: Any = None,
    ) -> TargetProjectionClassifier:
        """Learn from these rows, once and in order, on top of what was learned before.

        Parameters
        ----------
        X : (n_samples, n_features)
            One row is enough, fastest as a float32 array; ``batch_size`` rows make a step.
        y : (n_samples,)
            Labels; one never seen before becomes a new class.
        classes : optional
            Labels to know of already; needed only to fix their order.
        sample_weight : (n_samples,), optional
            Zero or more, counted as copies within a step; a step of one row has no use for it.
        """
        self._check_params()
        if classes is None and sample_weight is None and self._is_plain_row(X):
            index = self._known_label(y)
            if index is not None:
                self._learn_row(X, index)
                return self
        X = contract.check_X(self, X)
        y = contract.check_y(y, len(X))
        weights = None if sample_weight is None else checked_weights(sample_weight, len(X))
        known = y if classes is None else contract.check_y(classes, len(classes))
        for labels in (known, getattr(self, "classes_", known)):
            _check_same_kind(y, labels)
        self._meet(known, X.shape[1])
        self._meet(y, X.shape[1])
        if weights is not None:
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        self._scaler.update(X, weights)
        self._once(X, self._indices(y), weights)
        return self

    def decision_function(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return logits (n_samples, n_classes), the highest wins; for two classes their difference.

        With two classes the shape is (n_samples,), and positive means ``classes_[1]``.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the probability of each class, (n_samples, n_classes); rows sum to 1."""
        return softmax(self._logits(X))

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the most likely label of each row."""
        winners = self._outputs(X).argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[winners]
        return labels

    def to_state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return a JSON-able header and a flat dict of copied arrays; `from_state` reads them.

        Learning goes on from it exactly as it would have without the detour.
        """
        header, arrays = self._saved()
        return {**header, "classes": self.classes_.tolist()}, arrays

    @classmethod
    def from_state(
        cls, header: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> TargetProjectionClassifier:
        """Return the classifier that `to_state` described; refuse any other shape or version."""
        try:
            classifier = cls._restored(header, arrays)
            classes = contract.check_y(header["classes"], classifier.network_.n_outputs)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"state header is damaged or not a classifier's: {error!r}."
            ) from error
        if len(np.unique(classes)) != len(classes):
            raise ValueError("state names a class twice.")
        classifier._name(classes)
        return classifier

    def _begin(self, n_features: int, classes: npt.NDArray[Any], rng: np.random.Generator) -> None:
        self._build(n_features, len(classes), rng)
        self._name(classes)

    def _meet(self, labels: npt.NDArray[Any], n_features: int) -> None:
        """Begin with these labels, or append those that are new, sorted."""
        if not hasattr(self, "classes_"):
            rng = contract.check_random_state(self.random_state)
            return self._begin(n_features, np.unique(labels), rng)
        new = sorted(set(labels.tolist()) - self._index.keys())
        if new:
            self.network_.add_classes(len(new))
            self._name(np.concatenate([self.classes_, np.array(new)]))
        return None

    def _name(self, classes: npt.NDArray[Any]) -> None:
        self.classes_ = classes
        self._index = {label: i for i, label in enumerate(classes.tolist())}

    def _logits(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return self._outputs(X).astype(np.float64)

    def _known_label(self, y: Any) -> Labels | None:
        """Return the index of the label where y is one label of a known class, else None."""
        if isinstance(y, np.ndarray):
            label = y.item() if y.shape == (1,) and y.dtype.kind in "iU" else None
        else:
            label = y[0] if type(y) in (list, tuple) and len(y) == 1 else None
        index = self._index.get(label) if type(label) in (int, str) else None
        return None if index is None else np.array([index], dtype=np.int64)

    def _indices(self, y: npt.NDArray[Any]) -> Labels:
        return np.array([self._index[label] for label in y.tolist()], dtype=np.int64)


def _check_same_kind(y: npt.NDArray[Any], known: npt.NDArray[Any]) -> None:
    if y.dtype.kind != known.dtype.kind:
        raise ValueError(
            f"labels are {y.dtype}, expected {known.dtype} as the known classes: integers or "
            "strings, never both."
        )

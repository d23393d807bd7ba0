"""`TargetProjectionClassifier`: a shallow network that learns forward only, as an estimator.

Adds to `TargetProjectionNetwork` what data needs: validation, standardised features, named labels,
shuffled mini-batches, a falling learning rate, and state that can be saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adaptors import _estimator as contract
from adaptors._state import check_format
from adaptors.layers import Dense
from adaptors.losses import Labels, local_loss, softmax
from adaptors.network import TargetProjectionNetwork, checked_weights
from adaptors.standardise import Standardiser

Array = npt.NDArray[np.float32]

FORMAT: Final = "adaptors.classifier"
VERSION: Final = 1


class TargetProjectionClassifier(contract.ClassifierMixin, contract.Estimator):
    """A classifier trained without backpropagation, which can be given new classes at any time.

    Each hidden layer learns to turn its input into a fixed random code of the true label, the
    output layer learns the label itself; nothing travels backwards (tpSGD, arXiv 2208.08503).

    Parameters
    ----------
    hidden : tuple of int
        Width of each hidden layer; () is softmax regression.
    loss
        Local loss: "l2", "l1", "cross_entropy", or an object like `losses.LocalLoss`.
    activation
        "tanh", "hard_tanh", "sigmoid", "relu" or "linear".
    learning_rate, hidden_learning_rate
        Of the output layer and of the hidden layers, as fractions of the largest step that is
        certainly stable (see `layers`): no tuning to width or scale. 2 and more may diverge; then
        steps are clipped, the rate is halved, and a RuntimeWarning says so. A hidden rate of 0
        leaves the hidden layers random: the baseline that every result should be compared with.
    epochs
        Passes of `fit`; the rates fall linearly to zero over them.
    batch_size
        Samples per step. A step follows the sum of their gradients over the Frobenius norm of
        their Gram matrix.
    random_state : None, int or numpy Generator
        Draws weights, label codes and the order of samples.

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

    classes_: npt.NDArray[Any]
    n_features_in_: int
    network_: TargetProjectionNetwork

    def __init__(
        self,
        hidden: tuple[int, ...] = (256,),
        loss: Any = "l2",
        activation: str = "tanh",
        learning_rate: float = 1.0,
        hidden_learning_rate: float = 1.0,
        epochs: int = 20,
        batch_size: int = 16,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.loss = loss
        self.activation = activation
        self.learning_rate = learning_rate
        self.hidden_learning_rate = hidden_learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state

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
        X, y, weights = _distinct_rows(X, y, checked_weights(weights, len(X)))
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
            One row is enough. ``batch_size`` rows at a time make one step.
        y : (n_samples,)
            Labels; one never seen before becomes a new class.
        classes : optional
            Labels to know of already; needed only to fix their order.
        sample_weight : (n_samples,), optional
            Zero or more, counted as copies within a step; a step of one row has no use for it.
        """
        self._check_params()
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
        indices = self._indices(y)
        for start in range(0, len(X), self.batch_size):
            rows = slice(start, start + self.batch_size)
            self._step(X[rows], indices[rows], None if weights is None else weights[rows], 1.0)
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
        winners = self._logits(X).argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[winners]
        return labels

    @property
    def n_bytes_(self) -> int:
        """Bytes held in memory: network, label codes and standardisation."""
        contract.check_is_fitted(self)
        return self.network_.n_bytes + self._scaler.n_bytes

    def to_state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return a JSON-able header and a flat dict of copied arrays; `from_state` reads them.

        Learning goes on from it exactly as it would have without the detour.
        """
        contract.check_is_fitted(self)
        network, arrays = self.network_.to_state()
        params = {
            name: value for name, value in self.get_params().items() if name != "random_state"
        }
        header = {
            "format": FORMAT,
            "version": VERSION,
            "params": {**params, "hidden": [int(width) for width in self.hidden]},
            "classes": self.classes_.tolist(),
            "count": self._scaler.count,
            "network": network,
        }
        state: dict[str, npt.NDArray[Any]] = {f"network.{k}": v for k, v in arrays.items()}
        return header, {**state, **self._scaler.arrays()}

    @classmethod
    def from_state(
        cls, header: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> TargetProjectionClassifier:
        """Return the classifier that `to_state` described; refuse any other shape or version."""
        try:
            check_format(header, FORMAT, VERSION)
            params = dict(header["params"])
            classifier = cls(**{**params, "hidden": tuple(params["hidden"])})
            classifier._check_params()
            classifier._restore(header, arrays)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"state header is damaged or not a classifier's: {error!r}."
            ) from error
        return classifier

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        prefix = "network."
        inner = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
        outer = {k: v for k, v in arrays.items() if not k.startswith(prefix)}
        network = TargetProjectionNetwork.from_state(header["network"], inner)
        classes = contract.check_y(header["classes"], network.n_classes)
        widths = tuple(layer.n_units for layer in network.layers)
        if widths != self.hidden or network.loss != self.loss:
            raise ValueError(f"state has layers {widths}, its parameters say {self.hidden}.")
        if len(np.unique(classes)) != len(classes):
            raise ValueError("state names a class twice.")
        self._scaler = Standardiser.restore(network.n_inputs, header["count"], outer)
        self.network_ = network
        self._name(classes)
        self.n_features_in_ = network.n_inputs

    def _begin(self, n_features: int, classes: npt.NDArray[Any], rng: np.random.Generator) -> None:
        layers = [Dense(width, self.activation) for width in self.hidden]
        self.network_ = TargetProjectionNetwork(layers, n_features, len(classes), self.loss, rng)
        self._scaler = Standardiser(n_features)
        self._name(classes)
        self.n_features_in_ = n_features

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

    def _epochs(self, X: Array, labels: Labels, weights: Array, rng: np.random.Generator) -> None:
        n_batches = -(-len(X) // self.batch_size)
        for epoch in range(self.epochs):
            batches = np.array_split(rng.permutation(len(X)), n_batches)
            for i, rows in enumerate(batches):
                fraction = 1.0 - (epoch + i / n_batches) / self.epochs
                self._step(X[rows], labels[rows], weights[rows], fraction)

    def _step(self, X: Array, labels: Labels, weights: Array | None, fraction: float) -> None:
        self.network_.step(
            self._scaler.transform(X),
            labels,
            learning_rate=fraction * self.learning_rate,
            hidden_learning_rate=fraction * self.hidden_learning_rate,
            weights=weights,
        )

    def _logits(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        contract.check_is_fitted(self)
        Z = self._scaler.transform(contract.check_X(self, X))
        return self.network_.decision_function(Z).astype(np.float64)

    def _indices(self, y: npt.NDArray[Any]) -> Labels:
        return np.array([self._index[label] for label in y.tolist()], dtype=np.int64)

    def _check_params(self) -> None:
        for name in ("learning_rate", "hidden_learning_rate"):
            rate = getattr(self, name)
            if not 0.0 <= rate < np.inf:
                raise ValueError(f"{name} is {rate!r}, expected a finite number, 0 or more.")
        for name in ("epochs", "batch_size"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
                raise ValueError(f"{name} is {number!r}, expected an int of 1 or more.")
        if not isinstance(self.hidden, (tuple, list)):
            raise ValueError(f"hidden is {self.hidden!r}, expected a tuple of widths, as (256,).")
        for width in self.hidden:
            Dense(width, self.activation)
        local_loss(self.loss)


def _check_same_kind(y: npt.NDArray[Any], known: npt.NDArray[Any]) -> None:
    if y.dtype.kind != known.dtype.kind:
        raise ValueError(
            f"labels are {y.dtype}, expected {known.dtype} as the known classes: integers or "
            "strings, never both."
        )


def _distinct_rows(
    X: Array, y: npt.NDArray[Any], weights: Array
) -> tuple[Array, npt.NDArray[Any], Array]:
    """Merge equal rows of equal label, add their weights, and order them by their content."""
    X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
    as_bytes = np.ascontiguousarray(X).view(np.dtype((np.void, X.itemsize * X.shape[1])))[:, 0]
    _, row = np.unique(as_bytes, return_inverse=True)
    _, label = np.unique(y, return_inverse=True)
    _, first, same = np.unique(
        row * (label.max() + 1) + label, return_index=True, return_inverse=True
    )
    return X[first], y[first], np.bincount(same, weights).astype(np.float32)

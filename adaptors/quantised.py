"""`QuantisedClassifier`: a trained classifier in a quarter (int8) or half (float16) of its bytes.

For inference and for storage; it does not learn. Weights are widened to float32 a block of rows
at a time, so that inference needs little memory beyond them. It is not faster than float32: NumPy
has no product of int8 matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from adaptors._state import check_format, checked_arrays, positive_int
from adaptors._twins import standardised
from adaptors.activations import activation
from adaptors.losses import softmax
from hdc import estimator as contract

if TYPE_CHECKING:
    from adaptors.classifier import TargetProjectionClassifier

Array = npt.NDArray[np.float32]

FORMAT: Final = "adaptors.quantised"
VERSION: Final = 1
KINDS: Final[dict[str, type[Any]]] = {"int8": np.int8, "float16": np.float16}
# Numbers of a widened block of rows: small against a network, large against the call overhead.
BLOCK: Final = 1 << 14


class Frame(NamedTuple):
    """Half the mean and twice the scale of each feature, as `standardised` takes them."""

    half_mean: Array
    twice_scale: Array


class QuantisedLayer(NamedTuple):
    """Weights (n_units, n_inputs) in few bits, times one scale per row; bias in float32."""

    weights: npt.NDArray[Any]
    scales: Array
    bias: Array
    activation: str

    @classmethod
    def of(cls, weights: Array, bias: Array, activation: str, kind: str) -> QuantisedLayer:
        """Return a layer rounded to the nearest: its largest weight in a row is +-127, or +-1."""
        largest = np.abs(weights).max(axis=1)
        steps = np.float32(127.0 if kind == "int8" else 1.0)
        # A row of zeros has any scale; so small a row that its scale vanishes is zero as well.
        scales = np.maximum(largest / steps, np.finfo(np.float32).tiny)
        rounded = weights / scales[:, None]
        if kind == "int8":
            rounded = np.clip(np.rint(rounded), -127, 127)
        return cls(rounded.astype(KINDS[kind]), scales, bias.copy(), activation)

    def forward(self, X: Array) -> Array:
        """Return the output for each row of X, (n_samples, n_units)."""
        Z = np.empty((len(X), len(self.bias)), dtype=np.float32)
        rows = max(1, BLOCK // X.shape[1])
        for start in range(0, len(self.bias), rows):
            block = slice(start, start + rows)
            np.matmul(X, self.weights[block].astype(np.float32).T, out=Z[:, block])
        Z *= self.scales
        Z += self.bias
        return activation(self.activation).function(Z)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by name, not copied."""
        return {"weights": self.weights, "scales": self.scales, "bias": self.bias}


class QuantisedClassifier:
    """What a `TargetProjectionClassifier` has learned, rounded; made by `of`, never fitted.

    Attributes
    ----------
    kind : "int8" or "float16"
        Type of the stored weights. int8 is symmetric, with one float32 scale per unit.
    classes_ : (n_classes,)
    n_features_in_ : int

    Examples
    --------
    >>> from adaptors import TargetProjectionClassifier
    >>> X = [[0.0, 1.0], [1.0, 0.0]] * 8
    >>> clf = TargetProjectionClassifier(random_state=0).fit(X, ["a", "b"] * 8)
    >>> small = QuantisedClassifier.of(clf, "int8")
    >>> small.predict(X[:2]).tolist(), small.n_bytes_ < clf.n_bytes_ / 2
    (['a', 'b'], True)
    """

    kind: str
    classes_: npt.NDArray[Any]
    n_features_in_: int

    def __init__(
        self, kind: str, classes: npt.NDArray[Any], frame: Frame, layers: list[QuantisedLayer]
    ) -> None:
        self.kind = kind
        self.classes_ = classes
        self.n_features_in_ = len(frame.half_mean)
        self._frame = frame
        self._layers = layers

    @classmethod
    def of(cls, classifier: TargetProjectionClassifier, kind: str = "int8") -> QuantisedClassifier:
        """Return a rounded copy of a fitted classifier; it shares no memory with it."""
        _check_kind(kind)
        contract.check_is_fitted(classifier)
        network, scaler = classifier.network_, classifier._scaler
        layers = [
            QuantisedLayer.of(layer.weights, layer.bias, layer.spec.activation, kind)
            for layer in [*network.layers, network.output]
        ]
        frame = Frame(scaler.half_mean.copy(), scaler.twice_scale.copy())
        return cls(kind, classifier.classes_.copy(), frame, layers)

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
        labels: npt.NDArray[Any] = self.classes_[self._logits(X).argmax(axis=1)]
        return labels

    @property
    def n_bytes_(self) -> int:
        """Bytes held in memory: rounded weights, scales, biases and standardisation."""
        return sum(array.nbytes for array in self._arrays().values())

    def to_state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return a JSON-able header and a flat dict of copied arrays; `from_state` reads them."""
        header = {
            "format": FORMAT,
            "version": VERSION,
            "kind": self.kind,
            "classes": self.classes_.tolist(),
            "n_features": self.n_features_in_,
            "layers": [
                {"n_units": len(layer.bias), "activation": layer.activation}
                for layer in self._layers
            ],
        }
        return header, {name: array.copy() for name, array in self._arrays().items()}

    @classmethod
    def from_state(
        cls, header: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> QuantisedClassifier:
        """Return the classifier that `to_state` described; refuse any other shape or version."""
        try:
            return cls._restored(header, arrays)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"state header is damaged or not a quantised classifier's: {error!r}."
            ) from error

    @classmethod
    def _restored(cls, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> QuantisedClassifier:
        check_format(header, FORMAT, VERSION)
        kind, width = header["kind"], positive_int(header, "n_features")
        _check_kind(kind)
        parts: dict[str, dict[str, Any]] = {}
        for name, array in arrays.items():
            place, _, leaf = name.rpartition(".")
            parts.setdefault(place, {})[leaf] = array
        expected = {"half_mean": (width,), "twice_scale": (width,)}
        frame = Frame(**checked_arrays(parts.pop("frame"), expected, np.float32))
        layers = []
        for i, described in enumerate(header["layers"]):
            layers.append(_restored_layer(described, parts.pop(f"layer{i}"), width, kind))
            width = len(layers[-1].bias)
        if parts or not layers:
            raise ValueError(f"state has {len(layers)} layers and unknown arrays {sorted(parts)}.")
        classes = contract.check_y(header["classes"], width)
        if len(np.unique(classes)) != len(classes):
            raise ValueError("state names a class twice.")
        return cls(kind, classes, frame, layers)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        parts = {"frame": self._frame._asdict()}
        parts |= {f"layer{i}": layer.arrays() for i, layer in enumerate(self._layers)}
        return {f"{place}.{k}": array for place, part in parts.items() for k, array in part.items()}

    def _logits(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        h = standardised(contract.check_X(self, X), *self._frame)
        for layer in self._layers:
            h = layer.forward(h)
        return h.astype(np.float64)


def _check_kind(kind: Any) -> None:
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {list(KINDS)}.")


def _restored_layer(
    described: Mapping[str, Any], arrays: dict[str, Any], n_inputs: int, kind: str
) -> QuantisedLayer:
    n_units = positive_int(described, "n_units")
    weights = {"weights": arrays.pop("weights")}
    checked = checked_arrays(weights, {"weights": (n_units, n_inputs)}, KINDS[kind])
    checked |= checked_arrays(arrays, {"scales": (n_units,), "bias": (n_units,)}, np.float32)
    if not (checked["scales"] > 0).all():
        raise ValueError("state array 'scales' holds numbers that are not positive.")
    return QuantisedLayer(**checked, activation=activation(described["activation"]).name)

"""A stack of layers trained layer by layer, forward only (tpSGD, arXiv 2208.08503).

One step goes through the stack once. Each hidden layer computes its output, moves towards the code
of the true label, hands the output on and forgets it; the output layer follows the delta rule on
the true label. No error travels backwards and no activation outlives its layer.

Inputs are taken as they come: `TargetProjectionClassifier` standardises, shuffles and names labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adaptors._backend import kernels
from adaptors._estimator import check_random_state
from adaptors._state import check_format, positive_int
from adaptors.codes import label_codes
from adaptors.layers import Dense, DenseLayer, Goal
from adaptors.losses import Labels, local_loss, output_delta

Array = npt.NDArray[np.float32]

FORMAT: Final = "adaptors.network"
VERSION: Final = 1
# Features are of order one. The square of anything beyond this would soon leave float32.
MAX_INPUT: Final = np.float32(1e6)


class TargetProjectionNetwork:
    """A network whose layers learn one by one, each from the true label alone.

    Parameters
    ----------
    layers : sequence of Dense
        The hidden layers, first to last; none is allowed.
    n_inputs, n_classes
        Width of the input; number of classes to begin with (see `add_classes`).
    loss
        "l2", "l1", "cross_entropy", or an object with the methods of `losses.LocalLoss`.
    random_state : None, int or numpy Generator
        Draws the weights and the seed of the label codes.

    Examples
    --------
    >>> import numpy as np
    >>> net = TargetProjectionNetwork([Dense(8)], 2, 2, random_state=0)
    >>> X = np.array([[1, 0], [0, 1]], dtype=np.float32)
    >>> for _ in range(50):
    ...     net.step(X, np.array([0, 1]))
    >>> net.decision_function(X).argmax(axis=1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        layers: Sequence[Dense],
        n_inputs: int,
        n_classes: int,
        loss: Any = "l2",
        random_state: Any = None,
    ) -> None:
        rng = check_random_state(random_state)
        self.n_inputs = n_inputs
        self.seed = int(rng.integers(2**63))
        self.loss = loss
        self._loss = local_loss(loss)
        self.layers: list[DenseLayer] = []
        for spec in layers:
            self.layers.append(spec.build(n_inputs, rng))
            n_inputs = spec.n_units
        # Zero weights: every class is equally likely until a label says otherwise.
        self.output = _output_layer(
            np.zeros((n_classes, n_inputs), np.float32), np.zeros(n_classes, np.float32)
        )
        self._codes = [self._codes_of(i, range(n_classes)) for i in range(len(self.layers))]

    @property
    def n_classes(self) -> int:
        """Number of classes, each one an output unit."""
        return self.output.n_units

    @property
    def n_bytes(self) -> int:
        """Bytes held in memory: weights, biases and label codes."""
        held = [a for layer in [*self.layers, self.output] for a in layer.arrays.values()]
        return sum(a.nbytes for a in [*held, *self._codes])

    def add_classes(self, n_new: int) -> None:
        """Append classes; the codes, outputs and weights of the existing ones stay as they are."""
        labels = range(self.n_classes, self.n_classes + n_new)
        weights, bias = self.output.weights, self.output.bias
        factor = self.output.rate_factor
        self.output = _output_layer(
            np.concatenate([weights, np.zeros((n_new, weights.shape[1]), np.float32)]),
            np.concatenate([bias, np.zeros(n_new, np.float32)]),
        )
        self.output.rate_factor = factor
        for i, codes in enumerate(self._codes):
            self._codes[i] = np.concatenate([codes, self._codes_of(i, labels)])

    def step(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        learning_rate: float = 1.0,
        hidden_learning_rate: float = 1.0,
        weights: npt.ArrayLike | None = None,
    ) -> None:
        """Learn one batch in one forward pass; see `layers` for what the rates mean.

        Parameters
        ----------
        X : (n_samples, n_inputs)
            Finite, of order one.
        y : (n_samples,)
            Class indices, 0 to ``n_classes - 1``.
        learning_rate, hidden_learning_rate
            Relative steps of the output layer and of the hidden layers.
        weights : (n_samples,), optional
            Zero or more; a weight of k is the same as k copies of the sample in this batch.
        """
        h = self._checked(X)
        labels = self._checked_labels(y, len(h))
        w = None if weights is None else checked_weights(weights, len(h))
        for layer, codes in zip(self.layers, self._codes, strict=True):
            h = layer.learn(h, Goal(codes, labels, self._loss, w), hidden_learning_rate)
        self._learn_output(h, labels, w, learning_rate)

    def decision_function(self, X: npt.ArrayLike) -> Array:
        """Return the logit of each class, (n_samples, n_classes); the highest wins."""
        return self.output.forward(self.hidden(X))

    def hidden(self, X: npt.ArrayLike) -> Array:
        """Return the output of the last hidden layer, (n_samples, n_units)."""
        h = self._checked(X)
        for layer in self.layers:
            h = layer.forward(h)
        return h

    def to_state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a JSON-able header and a flat dict of copied arrays; `from_state` reads them.

        Codes are not in it: they follow from the seed.
        """
        if not isinstance(self.loss, str):
            raise ValueError(f"a network with the loss object {self.loss!r} has no saved form.")
        arrays = {
            f"{place}.{name}": array.copy()
            for place, layer in self._places()
            for name, array in layer.arrays.items()
        }
        header = {
            "format": FORMAT,
            "version": VERSION,
            "n_inputs": self.n_inputs,
            "n_classes": self.n_classes,
            "layers": [layer.spec.header() for layer in self.layers],
            "loss": self.loss,
            "seed": self.seed,
            "rate_factors": [layer.rate_factor for _, layer in self._places()],
        }
        return header, arrays

    @classmethod
    def from_state(
        cls, header: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> TargetProjectionNetwork:
        """Return the network that `to_state` described; refuse any other shape or version."""
        network = cls.__new__(cls)
        try:
            network._restore(header, arrays)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"state header is damaged or not a network's: {error!r}.") from error
        return network

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        check_format(header, FORMAT, VERSION)
        self.n_inputs = positive_int(header, "n_inputs")
        n_classes = positive_int(header, "n_classes")
        self.seed = positive_int(header, "seed", least=0)
        self.loss, self._loss = header["loss"], local_loss(header["loss"])
        parts: dict[str, dict[str, Any]] = {}
        for name, array in arrays.items():
            place, _, leaf = name.rpartition(".")
            parts.setdefault(place, {})[leaf] = array
        width, self.layers = self.n_inputs, []
        for i, described in enumerate(header["layers"]):
            spec = _spec(described)
            self.layers.append(spec.restore(width, parts.pop(f"hidden{i}")))
            width = spec.n_units
        self.output = Dense(n_classes, "linear").restore(width, parts.pop("output"))
        if parts:
            raise ValueError(f"state has arrays of unknown layers {sorted(parts)}.")
        factors = header["rate_factors"]
        if len(factors) != len(self._places()):
            raise ValueError(f"state has rate factors {factors!r}, expected one per layer.")
        for (_, layer), factor in zip(self._places(), factors, strict=True):
            if not isinstance(factor, float) or not 0.0 < factor <= 1.0:
                raise ValueError(f"state has rate factor {factor!r}, expected within (0, 1].")
            layer.rate_factor = factor
        # Last, because the arrays have now shown that these sizes are real.
        self._codes = [self._codes_of(i, range(n_classes)) for i in range(len(self.layers))]

    def _places(self) -> list[tuple[str, DenseLayer]]:
        hidden = [(f"hidden{i}", layer) for i, layer in enumerate(self.layers)]
        return [*hidden, ("output", self.output)]

    def _codes_of(self, i: int, labels: range) -> Array:
        layer = self.layers[i]
        low, high = layer.code_range
        return label_codes(self.seed, i, labels, layer.n_units, low, high)

    def _learn_output(self, h: Array, y: Labels, weights: Array | None, rate: float) -> None:
        if len(h) > 1:
            logits = h @ self.output.weights.T + self.output.bias
            return self.output.descend(h, output_delta(logits, y), weights, rate)
        p = np.empty(self.n_classes, dtype=np.float32)
        out = self.output
        kernels().softmax_step(h[0], y[0], rate * out.rate_factor, out.weights, out.bias, p)
        return None

    def _checked(self, X: npt.ArrayLike) -> Array:
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(X, dtype=np.float32)
        if array.ndim != 2 or array.shape[1] != self.n_inputs or len(array) == 0:
            raise ValueError(
                f"X has shape {array.shape}, expected (n_samples, {self.n_inputs}), n_samples >= 1:"
                " was the network built for another encoder?"
            )
        if not np.abs(array).max() <= MAX_INPUT:
            raise ValueError(
                f"X holds NaN, infinity or values beyond {MAX_INPUT:g}: standardise the features."
            )
        return array

    def _checked_labels(self, y: npt.ArrayLike, n_samples: int) -> Labels:
        labels = np.asarray(y)
        if labels.shape != (n_samples,) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"y is {labels.dtype} of shape {labels.shape}, expected integers ({n_samples},)."
            )
        if labels.min() < 0 or labels.max() >= self.n_classes:
            raise ValueError(
                f"y holds class indices {labels.min()} to {labels.max()}, expected 0 to "
                f"{self.n_classes - 1}: call add_classes first."
            )
        return labels.astype(np.int64)


def _output_layer(weights: Array, bias: Array) -> DenseLayer:
    return DenseLayer(Dense(len(bias), "linear"), weights, bias)


def _spec(described: Mapping[str, Any]) -> Dense:
    if described["kind"] != "dense" or set(described) != {"kind", "n_units", "activation"}:
        raise ValueError(f"state describes an unknown layer {dict(described)!r}.")
    return Dense(positive_int(described, "n_units"), described["activation"])


def checked_weights(weights: npt.ArrayLike, n_samples: int) -> Array:
    """Return weights as float32: finite, zero or more, not all zero."""
    array: Array = np.asarray(weights, dtype=np.float32)
    if array.shape != (n_samples,):
        raise ValueError(f"sample_weight has shape {array.shape}, expected ({n_samples},).")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("Sample weights must be finite and not negative.")
    if not array.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return array

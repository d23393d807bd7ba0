"""A stack of layers trained layer by layer, forward only (tpSGD, arXiv 2208.08503).

One step goes through the stack once. Each hidden layer computes its output, moves towards the code
of the true label, hands the output on and forgets it; the output layer follows the delta rule on
the truth itself. No error travels backwards and no activation outlives its layer.

Inputs are taken as they come: `TargetProjectionClassifier` standardises, shuffles and names labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adaptors._backend import kernels
from adaptors._network_state import Parts, restore_progress, restored, saved, upgraded
from adaptors._targets import targets
from adaptors.layers import Dense, DenseLayer, as_shape
from adaptors.losses import local_loss
from adaptors.rule import Array, Dynamics, LocalLayer, needs_all_codes, positive
from adaptors.whitening import STATISTICS
from hdc.estimator import check_random_state

# Features are of order one. The square of anything beyond this would soon leave float32.
MAX_INPUT: Final = np.float32(1e6)
# Steps that go too far are refused or clipped, so that weights stay within float32 at any rate.
MAX_RATE: Final = 1e3
MAX_NOISE: Final = 1e3


class TargetProjectionNetwork:
    """A network whose layers learn one by one, each from the truth alone.

    Parameters
    ----------
    layers : sequence of Dense, Conv1d, Conv2d, Recurrent
        The hidden layers, first to last; none is allowed.
    input_shape : int or tuple of int
        Shape of one sample: (n_features,), (length, channels), (height, width, channels).
    n_outputs
        Number of classes to begin with (see `add_classes`), or of values to predict.
    loss
        The name of a local loss, or an object with the methods of `losses.LocalLoss`.
    random_state : None, int or numpy Generator
        Draws the weights and the seed of the label codes.
    outputs
        "classes", or "values": regression on standardised values. Hidden layers then learn random
        functions of the values; a loss that compares classes (cross-entropy) is refused.
    codes
        Kind of label codes: "sign", "gaussian" or "orthogonal" (see `codes.label_codes`).
    momentum
        0 to below 1. A step is ``momentum`` of the last one and ``1 - momentum`` of the new one: a
        running mean, so that rates keep their meaning and rates of 1 or less stay safe.
    noise
        Standard deviation of seeded Gaussian noise on every step, relative to the step's own root
        mean square.
    whiten
        Whether layers remember the second moment of their inputs (of more than `WIDEST` inputs the
        mean alone) and multiply steps by its inverse (see `whitening`): learns in far fewer steps
        behind a relu and in convolutions, for the square of the width in memory. Recurrent and
        depthwise layers go without.

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

    layers: list[LocalLayer]
    output: DenseLayer

    def __init__(
        self,
        layers: Sequence[Any],
        input_shape: int | tuple[int, ...],
        n_outputs: int,
        loss: Any = "l2",
        random_state: Any = None,
        *,
        outputs: str = "classes",
        codes: str = "sign",
        momentum: float = 0.0,
        noise: float = 0.0,
        whiten: bool = False,
    ) -> None:
        rng = check_random_state(random_state)
        shape = checked_shape(input_shape)
        positive("n_outputs", n_outputs)
        seed = int(rng.integers(2**63))
        built: list[LocalLayer] = []
        for spec in layers:
            built.append(spec.build(built[-1].output_shape if built else shape, rng))
        width = prod(built[-1].output_shape if built else shape)
        output = output_layer(np.zeros((n_outputs, width), np.float32))
        self._assemble(Parts(shape, built, output, loss, seed, outputs, codes, momentum, noise))
        for layer in self._all_layers():
            layer.begin()
            if whiten:
                layer.whiten()

    def _assemble(self, parts: Parts) -> None:
        shape, layers = parts.input_shape, parts.layers
        self.input_shape, self.layers, self.output = shape, layers, parts.output
        self.loss, self._loss, self.seed = parts.loss, local_loss(parts.loss), parts.seed
        self._no_frame = np.empty((0, prod(shape)), np.float32)
        is_shallow = len(shape) == len(layers) == 1 and type(layers[0]) is DenseLayer
        # The shape of what `_answer` can answer; of nothing, where there is no such way.
        self._row = (1, *shape) if is_shallow and not layers[0].spec.normalise else ()
        self._begin(parts.outputs, parts.codes, parts.momentum, parts.noise)

    def _begin(self, outputs: str, codes: str, momentum: float, noise: float) -> None:
        for name, value, limit in (("momentum", momentum, 1.0), ("noise", noise, MAX_NOISE)):
            if not 0.0 <= value < limit:
                raise ValueError(f"{name} is {value!r}, expected 0 or more, below {limit:g}.")
        if outputs == "values" and needs_all_codes(self._loss):
            raise ValueError(
                f"loss is {self.loss!r}, which compares classes; outputs are values: use 'l2', "
                "'l1', or another loss of the distance to one target."
            )
        self.codes, self.momentum, self.noise = codes, float(momentum), float(noise)
        self._targets: Any = targets(outputs, codes, self.seed, self.layers, self.output.n_units)
        for i, layer in enumerate(self._all_layers()):
            layer.dynamics = Dynamics(self.momentum, self.noise, (self.seed, i))

    @property
    def outputs(self) -> str:
        """What the outputs are: "classes" or "values"."""
        kind: str = self._targets.kind
        return kind

    @property
    def n_inputs(self) -> int:
        """Number of features of one sample."""
        return prod(self.input_shape)

    @property
    def n_outputs(self) -> int:
        """Number of classes or values, each one an output unit."""
        return self.output.n_units

    n_classes = n_outputs

    @property
    def n_bytes(self) -> int:
        """Bytes held in memory: weights, biases, momentum and label codes."""
        held = sum(a.nbytes for layer in self._all_layers() for a in layer.arrays.values())
        return held + int(self._targets.n_bytes)

    @property
    def whiten(self) -> bool:
        """Whether layers remember statistics of their inputs."""
        return self.output.statistics is not None

    def add_classes(self, n_new: int) -> None:
        """Append classes; the codes, outputs and weights of the existing ones stay as they are."""
        self._targets.grow(n_new)
        old = self.output
        grown = {
            name: np.concatenate([a, np.zeros((n_new, *a.shape[1:]), np.float32)])
            for name, a in old.arrays.items()
            if name not in STATISTICS
        }
        self.output = output_layer(grown["weights"], grown["bias"])
        self.output.inherit(old, grown)

    def step(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        learning_rate: float = 1.0,
        hidden_learning_rate: float = 1.0,
        weights: npt.ArrayLike | None = None,
    ) -> None:
        """Learn one batch in one forward pass; see `rule` for what the rates mean.

        Parameters
        ----------
        X : (n_samples, *input_shape)
            Finite, of order one.
        y : (n_samples,) or (n_samples, n_outputs)
            Class indices, 0 to ``n_classes - 1``; or standardised values.
        learning_rate, hidden_learning_rate
            Relative steps of the output layer and of the hidden layers.
        weights : (n_samples,), optional
            Zero or more; a weight of k is the same as k copies of the sample in this batch.
        """
        for rate in (learning_rate, hidden_learning_rate):
            if not 0.0 <= rate <= MAX_RATE:
                raise ValueError(f"learning rate is {rate!r}, expected 0 to {MAX_RATE:g}.")
        h = self._checked(X)
        y = self._targets.checked(y, len(h))
        w = None if weights is None else checked_weights(weights, len(h))
        if w is not None:
            w /= w.max()  # only ratios matter; small ones would underflow
        for i, layer in enumerate(self.layers):
            goal = self._targets.goal(i, y, self._loss, w)
            # What a layer below put out is of no use to anyone else.
            h = layer.learn(h, goal, hidden_learning_rate, owned=i > 0)
        self._learn_output(h.reshape(len(h), -1), y, w, learning_rate)

    def decision_function(self, X: npt.ArrayLike) -> Array:
        """Return a logit per class (the highest wins) or the values, (n_samples, n_outputs)."""
        quick = self._answer(X, MAX_INPUT, self._no_frame)
        return self._outputs(self._checked(X)) if quick is None else quick

    def hidden(self, X: npt.ArrayLike) -> Array:
        """Return the output of the last hidden layer, (n_samples, ...)."""
        return self._hidden(self._checked(X))

    def to_state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a JSON-able header and a flat dict of copied arrays; `from_state` reads them.

        Codes are not in it: they follow from the seed.
        """
        parts = Parts(
            input_shape=self.input_shape,
            layers=self.layers,
            output=self.output,
            loss=self.loss,
            seed=self.seed,
            outputs=self.outputs,
            codes=self.codes,
            momentum=self.momentum,
            noise=self.noise,
        )
        return saved(parts)

    @classmethod
    def from_state(
        cls, header: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> TargetProjectionNetwork:
        """Return the network that `to_state` described; refuse any other shape or version."""
        network = cls.__new__(cls)
        try:
            header = upgraded(header)
            # Makes the codes too: only now have the arrays shown that their sizes are real.
            network._assemble(restored(header, arrays))
            restore_progress(network._all_layers(), network.momentum, header)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"state header is damaged or not a network's: {error!r}.") from error
        return network

    def _hidden(self, h: Array) -> Array:
        for layer in self.layers:
            h = layer.forward(h)
        return h

    def _outputs(self, X: Array) -> Array:
        """Return `decision_function` of rows that need no check."""
        return self.output.forward(self._hidden(X))

    def _answer(self, X: Any, limit: np.float32, frame: Array) -> Array | None:
        """Return `_outputs` of one row, checked and standardised by ``frame``, in one kernel.

        None where there is no such short way for these layers, or for this X.
        """
        if type(X) is not np.ndarray or X.shape != self._row or X.dtype != np.float32:
            return None
        if not X.flags.c_contiguous:
            return None
        (hidden,), out, code = self.layers, self.output, self.layers[0]._activation.code
        Z: Array = kernels().answer(
            X, limit, frame, hidden.weights, hidden.bias, code, out.weights, out.bias
        )
        return Z if len(Z) else None

    def _all_layers(self) -> list[LocalLayer]:
        return [*self.layers, self.output]

    def _learn_output(self, h: Array, y: Any, weights: Array | None, rate: float) -> None:
        out = self.output
        if len(h) > 1 or self.outputs == "values" or not out.is_plain:
            outputs = h @ out.weights.T + out.bias
            return out.descend(h, self._targets.output_delta(outputs, y), weights, rate)
        scaled = rate * out.rate_factor
        excessive = kernels().softmax_step(h, y[0], scaled, out.weights, out.bias)
        if not (excessive and out._refuse(rate)):
            out.n_steps += 1
        return None

    def _checked(self, X: npt.ArrayLike) -> Array:
        if isinstance(X, np.ndarray) and X.dtype == np.float32 and X.flags.c_contiguous:
            array = X
        else:
            with np.errstate(over="ignore"):
                array = np.ascontiguousarray(X, dtype=np.float32)
        if array.shape[1:] != self.input_shape or len(array) == 0:
            expected = ", ".join(["n_samples", *map(str, self.input_shape)])
            raise ValueError(
                f"X has shape {array.shape}, expected ({expected}), n_samples >= 1:"
                " was the network built for another encoder?"
            )
        if not kernels().within(array.reshape(-1), MAX_INPUT):
            raise ValueError(
                f"X holds NaN, infinity or values beyond {MAX_INPUT:g}: standardise the features."
            )
        return array


def output_layer(weights: Array, bias: Array | None = None) -> DenseLayer:
    """Return a linear layer; of zero weights, every class is equally likely until a label comes."""
    n_outputs, width = weights.shape
    bias = np.zeros(n_outputs, np.float32) if bias is None else bias
    return DenseLayer(Dense(n_outputs, "linear"), width, {"weights": weights, "bias": bias})


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return the shape of one sample as a tuple of positive ints, or refuse it."""
    shape = as_shape(shape)
    if not shape:
        raise ValueError("input_shape is (), expected at least one dimension.")
    for size in shape:
        positive("input_shape", size)
    return tuple(int(size) for size in shape)


def checked_weights(weights: npt.ArrayLike, n_samples: int) -> Array:
    """Return weights as float32: finite, zero or more, not all zero."""
    array: Array = np.array(weights, dtype=np.float32)
    if array.shape != (n_samples,):
        raise ValueError(f"sample_weight has shape {array.shape}, expected ({n_samples},).")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("Sample weights must be finite and not negative.")
    if not array.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return array

"""The local rule that all layers share: what a layer is taught, and how far it steps.

A layer turns its input into its output, and moves its weights so that the output comes nearer to
the code of the true label. It sees neither the layers above nor their errors, and keeps nothing
once it has moved but a running mean of its steps, where momentum is asked for.

The step of a batch is ``W -= rate * D^T X / |G|``, where D holds the derivatives of the local loss
with respect to the pre-activations, X has a constant 1 appended for the bias, and ``|G|`` is the
Frobenius norm of the Gram matrix ``G = X X^T``. It is the batch mean of gradients over ``|G| / n``,
an upper bound of the largest eigenvalue of the inputs' second moment: a rate below 2 / curvature of
the loss (2 for l2) cannot diverge, whatever the width or scale of the input. For one sample it is
normalised LMS, whose rate 1 lands a linear unit on its target. Where weights are shared, over the
positions of a map or the steps of a sequence, every use of them counts as a sample.

At a rate above 1, a step that would move a pre-activation by more than 32, as its derivative says
before anything has moved, is not taken: the layer stays as it is, its rate is halved for good, and
a RuntimeWarning says so. Smaller overshoots are taken. At 1 and below derivatives are clipped.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from adaptors._backend import kernels
from adaptors._twins import MAX_DELTA, MAX_MOVE
from adaptors.activations import activation
from adaptors.losses import L1, L2, Labels, LocalLoss
from adaptors.normalise import normalised
from adaptors.whitening import Statistics, expected_shapes, restored

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]

# Numbers (not bytes) that a layer may hold on top of its input and output while it learns.
WORKSPACE: Final = 1 << 18


class Goal(NamedTuple):
    """What a batch shall teach a layer: codes, the row of each sample's code, a loss, weights."""

    codes: Array
    y: Labels
    loss: LocalLoss
    weights: Array | None = None


class Dynamics(NamedTuple):
    """How steps add up: momentum within [0, 1), relative noise, and the seed of that noise."""

    momentum: float = 0.0
    noise: float = 0.0
    seed: tuple[int, int] = (0, 0)


class LocalLayer:
    """What every layer is to a network: a map, its learned arrays, and a step of its own.

    A subclass sets ``input_shape`` and ``output_shape`` (of one sample), has ``forward`` and
    ``learn``, and hands its gradient to `_move`.
    """

    input_shape: Shape
    output_shape: Shape

    def __init__(self, spec: Any, arrays: Mapping[str, Array]) -> None:
        self.spec = spec
        self.weights = arrays["weights"]
        self.bias = arrays["bias"]
        self.dynamics = Dynamics()
        self.n_steps = 0
        # Halved whenever the layer's rate proved too large; part of the state.
        self.rate_factor = 1.0
        self.velocity = velocity_of(arrays)
        self.statistics: Statistics | None = restored(arrays)
        self._activation = activation(spec.activation)

    @property
    def arrays(self) -> dict[str, Array]:
        """The learned arrays by name, not copied."""
        momentum = {f"{name}_velocity": array for name, array in self.velocity.items()}
        inputs = self.statistics.arrays if self.statistics else {}
        return {"weights": self.weights, "bias": self.bias, **momentum, **inputs}

    @property
    def n_units(self) -> int:
        """Number of outputs, or of output channels."""
        return len(self.bias)

    @property
    def code_size(self) -> int:
        """Number of entries in the code of a label."""
        return self.n_units

    @property
    def code_range(self) -> tuple[float, float]:
        """The two values that an entry of a label code may take."""
        return self._activation.low, self._activation.high

    def forward(self, X: Array) -> Array:
        """Return the output for each sample of X."""
        raise NotImplementedError

    def learn(self, X: Array, goal: Goal, rate: float, *, owned: bool = False) -> Array:
        """Take one step towards the goal's codes; return the output from before it.

        An input that is ``owned`` by the layer may be overwritten.
        """
        raise NotImplementedError

    @property
    def is_plain(self) -> bool:
        """Whether a step depends on its own gradient alone: no momentum, noise or statistics."""
        return not self.velocity and not self.dynamics.noise and self.statistics is None

    def begin(self) -> None:
        """Start momentum from rest, where it is asked for."""
        if self.dynamics.momentum:
            self.velocity = {
                "weights": np.zeros_like(self.weights),
                "bias": np.zeros_like(self.bias),
            }

    def inherit(self, other: LocalLayer, arrays: Mapping[str, Array]) -> None:
        """Go on where a layer of fewer units stopped, with its momentum among ``arrays``."""
        self.dynamics, self.n_steps = other.dynamics, other.n_steps
        self.rate_factor = other.rate_factor
        self.velocity = velocity_of(arrays)
        self.statistics = other.statistics

    def whiten(self) -> None:
        """Begin to remember statistics of the inputs, if this kind of layer can use them."""

    def _inward(self, X: Array) -> Array:
        """Return X as this layer reads it: of its input shape, normalised if it asked for that."""
        X = X.reshape(len(X), *self.input_shape)
        return normalised(X, len(self.input_shape)) if self.spec.normalise else X

    def _scale(self, size: Any, rate: float) -> Any:
        """Return the factor of a gradient in a step: the rate over the inputs' Gram norm."""
        return np.asarray(rate * self.rate_factor / size, dtype=np.float32)

    def _move(self, steps: dict[str, Array]) -> None:
        """Subtract the steps, one for weights and one for bias, and use them up."""
        if self.statistics:
            steps = self.statistics.straighten(steps)
        for name, step in steps.items():
            if self.dynamics.noise:
                self._disturb(step, name)
            if self.velocity:
                v = self.velocity[name]
                step -= v
                step *= np.float32(1 - self.dynamics.momentum)
                v += step
                step = v
            array = self.weights if name == "weights" else self.bias
            array -= step
        self.n_steps += 1

    def _disturb(self, step: Array, name: str) -> None:
        key = (*self.dynamics.seed, self.n_steps, int(name == "bias"))
        rng = np.random.default_rng(key)
        size = np.sqrt(np.mean(np.square(step))) * np.float32(self.dynamics.noise)
        step += size * rng.standard_normal(step.shape, dtype=np.float32)

    def _refuse(self, rate: float) -> bool:
        """Refuse a step that goes too far, and halve the rate, if it is above 1; return whether.

        At 1 and below a clipped step leads back, if slowly.
        """
        rate *= self.rate_factor
        if rate <= 1.0:
            return False
        self.rate_factor /= 2
        self.n_steps += 1
        warnings.warn(
            f"a layer of {self.n_units} units diverges at learning rate {rate:g}: its step was "
            f"not taken and its rate halved. Rates of 1 or less are safe.",
            RuntimeWarning,
            stacklevel=2,
        )
        return True


def velocity_of(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the running mean of steps among a layer's arrays; empty without momentum."""
    end = "_velocity"
    return {name[: -len(end)]: array for name, array in arrays.items() if name.endswith(end)}


def with_extras(shapes: Mapping[str, Shape], arrays: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the shapes to expect of saved arrays: with momentum and statistics, if there."""
    velocity = any(name.endswith("_velocity") for name in arrays)
    moving = {f"{name}_velocity": shape for name, shape in shapes.items()} if velocity else {}
    return {**shapes, **moving, **expected_shapes(shapes["weights"][1], arrays)}


def clipped(delta: Array, rate: float) -> tuple[Array, bool]:
    """Return a derivative within bounds, and whether a step at this rate would go too far.

    A sample's own step moves its pre-activations by ``rate * delta``. Codes are of order one, and
    a move beyond `MAX_MOVE` at a rate above 1 is divergence.
    """
    if np.abs(delta).max() <= (MAX_MOVE / rate if rate > 1.0 else MAX_DELTA):
        return delta, False
    return np.clip(np.nan_to_num(delta), -MAX_DELTA, MAX_DELTA), True


def checked_delta(loss: LocalLoss, h: Array, codes: Array, y: Labels) -> Array:
    """Return the loss's derivative with respect to ``h``, or raise for a loss that is broken."""
    delta = loss.delta(h, codes, y)
    if delta.shape != h.shape or not np.isfinite(delta).all():
        raise ValueError(
            f"{type(loss).__name__}.delta returned shape {delta.shape} or non-finite values, "
            f"expected finite values of shape {h.shape}; this layer was not changed."
        )
    return delta


def needs_all_codes(loss: LocalLoss) -> bool:
    """Whether a loss compares an output with the codes of all classes, not with its own alone."""
    return bool(getattr(loss, "needs_all_codes", not isinstance(loss, (L1, L2))))


def gram_norm(X: Array, weights: Array | None = None) -> float:
    """Return the Frobenius norm of the rows' Gram matrix, a 1 appended to each row.

    Of the two products with these eigenvalues the smaller is formed.

    >>> gram_norm(np.ones((2, 3), dtype=np.float32))
    8.0
    """
    root = np.ones(len(X), np.float32) if weights is None else np.sqrt(weights)
    if weights is not None:
        X = X * root[:, None]
    if len(X) <= X.shape[1]:
        return float(kernels().gram_norm(np.ascontiguousarray(X), root))
    ones = root @ X
    total = np.linalg.norm(X.T @ X) ** 2 + 2 * (ones @ ones) + np.square(root @ root)
    return float(np.sqrt(total))


def positive(name: str, value: Any, least: int = 1) -> None:
    """Raise unless ``value`` is an int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}, expected an int.")
    if value < least:
        raise ValueError(f"{name} is {value}, expected {least} or more.")

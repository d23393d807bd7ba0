"""Layers: what a user writes down (`Dense`), and what learns (`DenseLayer`).

A layer turns its input into its output, and moves its weights so that the output comes nearer to
the code of the true label. It sees neither the layers above nor their errors, and keeps nothing
once it has moved.

The step of a batch is ``W -= rate * D^T X / |G|``, where D holds the derivatives of the local loss
with respect to the pre-activations, X has a constant 1 appended for the bias, and ``|G|`` is the
Frobenius norm of the Gram matrix ``G = X X^T``. It is the batch mean of gradients over ``|G| / n``,
an upper bound of the largest eigenvalue of the inputs' second moment: a rate below 2 / curvature of
the loss (2 for l2) cannot diverge, whatever the width or scale of the input. For one sample it is
normalised LMS, whose rate 1 lands a linear unit on its target.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from adaptors._backend import kernels
from adaptors._state import checked_arrays
from adaptors._twins import MAX_DELTA
from adaptors.activations import activation
from adaptors.losses import L1, L2, Labels, LocalLoss

Array = npt.NDArray[np.float32]

# Losses whose derivative needs only the unit's own target, by their number in `dense_step`.
_FUSED: Final[dict[type, int]] = {L2: 0, L1: 1}


class Goal(NamedTuple):
    """What a batch shall teach a layer: codes of all classes, labels, a loss, sample weights."""

    codes: Array
    y: Labels
    loss: LocalLoss
    weights: Array | None = None


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: ``n_units`` outputs, each seeing the whole input.

    Parameters
    ----------
    n_units
        Number of outputs.
    activation
        "tanh", "hard_tanh", "sigmoid", "relu" or "linear".

    Examples
    --------
    >>> Dense(64)
    Dense(n_units=64, activation='tanh')
    """

    n_units: int
    activation: str = "tanh"

    def __post_init__(self) -> None:
        if isinstance(self.n_units, bool) or not isinstance(self.n_units, (int, np.integer)):
            raise TypeError(f"n_units is {self.n_units!r}, expected an int.")
        if self.n_units < 1:
            raise ValueError(f"n_units is {self.n_units}, expected 1 or more.")
        activation(self.activation)

    def build(self, n_inputs: int, rng: np.random.Generator) -> DenseLayer:
        """Return a layer with random weights, uniform within 1 / sqrt(n_inputs), and no bias."""
        bound = 1.0 / np.sqrt(n_inputs)
        weights = rng.uniform(-bound, bound, (self.n_units, n_inputs)).astype(np.float32)
        return DenseLayer(self, weights, np.zeros(self.n_units, dtype=np.float32))

    def restore(self, n_inputs: int, arrays: Mapping[str, Any]) -> DenseLayer:
        """Return a layer with the given weights, copied; refuse any other shape, dtype or name."""
        expected = {"weights": (self.n_units, n_inputs), "bias": (self.n_units,)}
        checked = checked_arrays(arrays, expected, np.float32)
        return DenseLayer(self, checked["weights"], checked["bias"])

    def header(self) -> dict[str, Any]:
        """Return the layer's description for a saved state."""
        return {"kind": "dense", **asdict(self), "n_units": int(self.n_units)}


class DenseLayer:
    """Weights (n_units, n_inputs) and bias (n_units,) of a `Dense` layer, and its local rule."""

    def __init__(self, spec: Dense, weights: Array, bias: Array) -> None:
        self.spec = spec
        self.weights = weights
        self.bias = bias
        # Halved whenever the layer's rate proved too large; part of the state.
        self.rate_factor = 1.0
        self._activation = activation(spec.activation)

    @property
    def arrays(self) -> dict[str, Array]:
        """The learned arrays by name, not copied."""
        return {"weights": self.weights, "bias": self.bias}

    @property
    def n_units(self) -> int:
        """Number of outputs."""
        return len(self.bias)

    @property
    def code_range(self) -> tuple[float, float]:
        """The two values that an entry of a label code may take."""
        return self._activation.low, self._activation.high

    def forward(self, X: Array) -> Array:
        """Return the output for each row of X, (n_samples, n_units), independent of other rows."""
        Z = np.empty((len(X), self.n_units), dtype=np.float32)
        kernels().affine(X, self.weights, self.bias, Z)
        return self._activation.function(Z)

    def learn(self, X: Array, goal: Goal, rate: float) -> Array:
        """Take one step towards the goal's codes; return the output from before it."""
        fused = _FUSED.get(type(goal.loss))
        if len(X) == 1 and fused is not None:
            return self._learn_one(X[0], goal.codes[goal.y[0]], fused, rate)
        h = self._activation.function(X @ self.weights.T + self.bias)
        delta = goal.loss.delta(h, goal.codes, goal.y)
        if delta.shape != h.shape or not np.isfinite(delta).all():
            raise ValueError(
                f"{type(goal.loss).__name__}.delta returned shape {delta.shape} or non-finite "
                f"values, expected finite values of shape {h.shape}; this layer was not changed."
            )
        self.descend(X, delta * self._activation.slope(h), goal.weights, rate)
        return h

    def descend(self, X: Array, delta: Array, weights: Array | None, rate: float) -> None:
        """Move against ``delta`` (n_samples, n_units), the derivative of the pre-activations."""
        rate *= self.rate_factor
        if np.abs(delta).max() > MAX_DELTA:
            delta = np.clip(delta, -MAX_DELTA, MAX_DELTA)
            self._slow_down(rate)
        gram = X @ X.T + np.float32(1.0)
        if weights is not None:
            weights = weights / weights.max()  # only ratios matter; small ones would underflow
            delta = delta * weights[:, None]
            gram *= np.sqrt(np.outer(weights, weights))
        step = delta * np.float32(rate / np.linalg.norm(gram))
        self.weights -= step.T @ X
        self.bias -= step.sum(axis=0)

    def _learn_one(self, x: Array, target: Array, loss: int, rate: float) -> Array:
        h = np.empty((1, self.n_units), dtype=np.float32)
        rate *= self.rate_factor
        code = self._activation.code
        step = kernels().dense_step
        if step(x, target, code, loss, rate, self.weights, self.bias, h[0]):
            self._slow_down(rate)
        return h

    def _slow_down(self, rate: float) -> None:
        """Halve a rate above 1; at 1 a clipped step already leads back, if slowly."""
        if rate <= 1.0:
            return
        self.rate_factor /= 2
        warnings.warn(
            f"a layer of {self.n_units} units diverges at learning rate {rate:g}: its step was "
            f"clipped and its rate halved. Rates of 1 or less are safe.",
            RuntimeWarning,
            stacklevel=2,
        )

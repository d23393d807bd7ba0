"""`Dense`, and what it shares with convolutions: rows of inputs times one matrix of weights.

A `Dense` layer is what a user writes down; ``build`` makes of it a `DenseLayer`, which learns by
the rule of `rule`. Nothing of a batch outlives `learn`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Final

import numpy as np

from adaptors._backend import kernels
from adaptors._state import checked_arrays
from adaptors.activations import activation
from adaptors.losses import L1, L2, CrossEntropy
from adaptors.rule import (
    WORKSPACE,
    Array,
    Goal,
    LocalLayer,
    Shape,
    checked_delta,
    clipped,
    gram_norm,
    needs_all_codes,
    positive,
    with_extras,
)
from adaptors.whitening import Mean, Statistics, Sums, statistics_for

# Losses whose derivative needs only the unit's own target, by their number in `dense_step`.
_FUSED: Final[dict[type, int]] = {L2: 0, L1: 1}


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: ``n_units`` outputs, each seeing the whole input.

    An input of higher rank is flattened.

    Parameters
    ----------
    n_units
        Number of outputs.
    activation
        "tanh", "hard_tanh", "sigmoid", "relu" or "linear".
    normalise
        Whether each sample is given mean 0 and variance 1 before it enters (layer normalisation).

    Examples
    --------
    >>> Dense(64)
    Dense(n_units=64, activation='tanh', normalise=False)
    """

    n_units: int
    activation: str = "tanh"
    normalise: bool = False

    def __post_init__(self) -> None:
        positive("n_units", self.n_units)
        activation(self.activation)

    def build(self, input_shape: int | Shape, rng: np.random.Generator) -> DenseLayer:
        """Return a layer with random weights, uniform within 1 / sqrt(n_inputs), and no bias."""
        n_inputs = prod(as_shape(input_shape))
        return DenseLayer(self, n_inputs, uniform_start(self.n_units, n_inputs, rng))

    def restore(self, input_shape: int | Shape, arrays: Mapping[str, Any]) -> DenseLayer:
        """Return a layer with the given weights, copied; refuse any other shape, dtype or name."""
        n_inputs = prod(as_shape(input_shape))
        expected = {"weights": (self.n_units, n_inputs), "bias": (self.n_units,)}
        return DenseLayer(
            self, n_inputs, checked_arrays(arrays, with_extras(expected, arrays), np.float32)
        )

    def header(self) -> dict[str, Any]:
        """Return the layer's description for a saved state."""
        return {"kind": "dense", **asdict(self), "n_units": int(self.n_units)}


class MatrixLayer(LocalLayer):
    """Rows times one matrix: one row for a sample (dense), or one for each position (a map).

    The batch is worked through in chunks, so that what a layer needs on top of its input and
    output does not grow with the batch.
    """

    def forward(self, X: Array) -> Array:
        """Return the output, (n_samples, ...), of each sample independent of the others."""
        X = self._inward(X)
        out = np.empty((len(X), *self.output_shape), dtype=np.float32)
        for rows in self._chunks(len(X)):
            Z = self._affine(self._rows(X[rows]))
            out[rows] = self._outward(self._activation.function(Z))
        return out

    def learn(self, X: Array, goal: Goal, rate: float, *, owned: bool = False) -> Array:
        """Take one step towards the goal's codes; return the output from before it.

        An input that is ``owned`` by the layer makes room for the output, chunk by chunk.
        """
        owned = owned or self.spec.normalise
        X = self._inward(X)
        out = _room(X, self.output_shape) if owned else None
        if out is None:
            out = np.empty((len(X), *self.output_shape), dtype=np.float32)
        scale = self._scale(self._length(X, goal.weights), rate)
        steps: dict[str, Array] = {}
        excessive = False
        for rows in self._chunks(len(X)):
            A = self._rows(X[rows])
            h = self._activation.function(self._affine(A))
            delta = self._delta(h, goal, rows)
            delta *= self._activation.slope(h)
            delta, over = clipped(delta, rate * self.rate_factor)
            excessive |= over
            delta *= scale if goal.weights is None else goal.weights[rows, None, None] * scale
            for name, part in self._gradient(delta, A).items():
                steps[name] = steps[name] + part if name in steps else part
            out[rows] = self._outward(h)  # last: it may take the place of A
        if not (excessive and self._refuse(rate)):
            self._move(steps)
        return out

    def _chunks(self, n_samples: int) -> Iterator[slice]:
        size = max(1, WORKSPACE // self._workspace)
        return (slice(start, start + size) for start in range(0, n_samples, size))

    @property
    def _workspace(self) -> int:
        """Numbers that one sample needs while the layer learns."""
        return 3 * prod(self.output_shape)

    def _rows(self, X: Array) -> Array:
        """Return the rows that meet the weights, (n_samples, n_positions, n_weights)."""
        return X.reshape(len(X), 1, -1)

    def _affine(self, A: Array) -> Array:
        # One product for all samples of one row; else one for each, so that they do not mix.
        Z: Array = (A[:, 0] @ self.weights.T)[:, None] if A.shape[1] == 1 else A @ self.weights.T
        Z += self.bias
        return Z

    def _outward(self, h: Array) -> Array:
        """Return activations (n_samples, n_positions, n_units) as the next layer shall see them."""
        return h.reshape(len(h), *self.output_shape)

    def _gradient(self, delta: Array, A: Array) -> dict[str, Array]:
        flat = delta.reshape(-1, self.n_units)
        return {"weights": flat.T @ A.reshape(len(flat), -1), "bias": flat.sum(axis=0)}

    def whiten(self) -> None:
        """Begin to remember the second moment of the inputs, or of many inputs the mean."""
        self.statistics = statistics_for(self.weights.shape[1])

    def _length(self, X: Array, weights: Array | None) -> Any:
        """Return the norm of the inputs' Gram matrix, as the step will see them."""
        if self.statistics is None:
            return self._size(X, weights)
        return self._observe(self.statistics, X, weights)

    def _size(self, X: Array, weights: Array | None) -> Any:
        return gram_norm(X, weights)

    def _observe(self, statistics: Statistics, X: Array, weights: Array | None) -> float:
        """Count inputs in; return the norm of their Gram matrix, straightened."""
        if isinstance(statistics, Mean):
            return gram_norm(statistics.observe_rows(X, weights), weights)
        return statistics.observe(Sums.of_rows(X, weights), len(X))

    def _delta(self, h: Array, goal: Goal, rows: slice) -> Array:
        """Return the loss's derivative with respect to activations, at every position."""
        n, n_positions, n_units = h.shape
        y = goal.y[rows]
        if n_positions == 1 or self.code_size > n_units:
            whole = h.reshape(n, n_positions * n_units)
            return checked_delta(goal.loss, whole, goal.codes, y).reshape(h.shape)
        if needs_all_codes(goal.loss):
            # Similarities are averaged over positions, and their derivative is spread evenly.
            mean = checked_delta(goal.loss, h.mean(axis=1), goal.codes, y)
            return np.repeat(mean[:, None, :], n_positions, axis=1)
        each = h.reshape(n * n_positions, n_units)
        y = np.repeat(y, n_positions)
        return checked_delta(goal.loss, each, goal.codes, y).reshape(h.shape)


class DenseLayer(MatrixLayer):
    """Weights (n_units, n_inputs) and bias (n_units,) of a `Dense` layer, and its local rule."""

    spec: Dense

    def __init__(self, spec: Dense, n_inputs: int, arrays: Mapping[str, Array]) -> None:
        super().__init__(spec, arrays)
        self.input_shape = (n_inputs,)
        self.output_shape = (spec.n_units,)

    def forward(self, X: Array) -> Array:
        """Return the output for each row of X, (n_samples, n_units), independent of other rows."""
        return self._output(self._inward(X))

    def learn(self, X: Array, goal: Goal, rate: float, *, owned: bool = False) -> Array:
        """Take one step towards the goal's codes; return the output from before it."""
        if len(X) > 1 or not self.is_plain:
            return super().learn(X, goal, rate, owned=owned)
        return self._learn_one(self._inward(X), goal, rate)

    def descend(self, X: Array, delta: Array, weights: Array | None, rate: float) -> None:
        """Move against ``delta`` (n_samples, n_units), the derivative of the pre-activations."""
        scale = self._scale(self._length(X, weights), rate)
        delta, excessive = clipped(delta, rate * self.rate_factor)
        if excessive and self._refuse(rate):
            return
        delta = delta * (scale if weights is None else weights[:, None] * scale)
        self._move(self._gradient(delta, X))

    def _learn_one(self, X: Array, goal: Goal, rate: float) -> Array:
        fused = _FUSED.get(type(goal.loss))
        scaled = rate * self.rate_factor
        if fused is None:
            h = self._output(X)
            delta = self._delta_one(h, goal)
            excessive = kernels().rank_one_step(X[0], delta[0], scaled, self.weights, self.bias)
        else:
            h = np.empty((1, self.n_units), dtype=np.float32)
            target, code = goal.codes[goal.y[0]], self._activation.code
            excessive = kernels().dense_step(
                X, target, code, fused, scaled, self.weights, self.bias, h
            )
        if not (excessive and self._refuse(rate)):
            self.n_steps += 1
        return h

    def _delta_one(self, h: Array, goal: Goal) -> Array:
        """Return the derivative of one sample's loss with respect to its pre-activations."""
        if type(goal.loss) is not CrossEntropy:
            delta = checked_delta(goal.loss, h, goal.codes, goal.y)
            return delta * self._activation.slope(h)
        delta, code = np.empty_like(h), self._activation.code
        tau = goal.loss.temperature(self.n_units)
        kernels().similarity_delta(h[0], goal.codes, int(goal.y[0]), code, tau, delta[0])
        return delta

    def _output(self, X: Array) -> Array:
        h = np.empty((len(X), self.n_units), dtype=np.float32)
        kernels().dense(X, self.weights, self.bias, self._activation.code, h)
        return h


def _room(X: Array, shape: Shape) -> Array | None:
    """Return the front of X's memory as an array of samples of this shape, if they fit."""
    if prod(shape) > prod(X.shape[1:]) or not X.flags.c_contiguous or not X.flags.writeable:
        return None
    return X.reshape(-1)[: len(X) * prod(shape)].reshape(len(X), *shape)


def as_shape(shape: int | Shape) -> Shape:
    """Return a shape as a tuple: a single number is the length of a vector."""
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)


def uniform_start(n_units: int, n_inputs: int, rng: np.random.Generator) -> dict[str, Array]:
    """Return weights uniform within 1 / sqrt(n_inputs), and no bias."""
    bound = 1.0 / np.sqrt(n_inputs)
    weights = rng.uniform(-bound, bound, (n_units, n_inputs)).astype(np.float32)
    return {"weights": weights, "bias": np.zeros(n_units, dtype=np.float32)}

"""`Recurrent`: Elman and GRU cells that learn by the local rule, one step of time at a time.

At each step the state moves towards the code of the label, and the derivative stops at the state
of the step before: no error travels back in time, and learning needs no more memory for a long
sequence than for a short one. A GRU is differentiated inside the current cell only. Weights are
those at the beginning of the sequence; its steps are summed and applied at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from adaptors._backend import kernels
from adaptors._state import checked_arrays
from adaptors.activations import activation
from adaptors.rule import (
    Array,
    Goal,
    LocalLayer,
    Shape,
    checked_delta,
    clipped,
    gram_norm,
    positive,
    with_velocity,
)

# Matrices of weights in a cell.
CELLS: Final = {"elman": 1, "gru": 3}
TARGETS: Final = ("each", "last")
# A state that could grow without bound would, over a long sequence.
BOUNDED: Final = ("tanh", "hard_tanh", "sigmoid")


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer over samples (n_steps, n_features), from a state of zero.

    Parameters
    ----------
    n_units
        Size of the state.
    cell
        "elman", ``h' = f(W [x, h] + b)``, or "gru" (arXiv 1406.1078), ``h' = (1 - z) h + z n``.
    activation
        Of the state, bounded: "tanh", "hard_tanh" or "sigmoid".
    sequences
        Whether the output is the state at every step, (n_steps, n_units), or the last one.
    target
        "last": the last state moves towards the code; "each": every state does.
    normalise
        Whether each step's features are given mean 0 and variance 1 first (layer normalisation).

    Examples
    --------
    >>> Recurrent(8, cell="gru").build((20, 3), np.random.default_rng(0)).output_shape
    (8,)
    """

    n_units: int
    cell: str = "elman"
    activation: str = "tanh"
    sequences: bool = False
    target: str = "last"
    normalise: bool = False

    def __post_init__(self) -> None:
        positive("n_units", self.n_units)
        activation(self.activation)
        if self.activation not in BOUNDED:
            raise ValueError(
                f"activation is {self.activation!r}, expected one of {list(BOUNDED)}: the state of "
                "a recurrent layer must be bounded."
            )
        if self.cell not in CELLS:
            raise ValueError(f"cell is {self.cell!r}, expected one of {list(CELLS)}.")
        if self.target not in TARGETS:
            raise ValueError(f"target is {self.target!r}, expected 'each' or 'last'.")

    def build(self, input_shape: Shape, rng: np.random.Generator) -> RecurrentLayer:
        """Return a layer with uniform weights, inputs and state on the same scale, and no bias."""
        shapes = self._shapes(input_shape)
        n_rows, width = shapes["weights"]
        bounds = np.full(width, 1.0 / np.sqrt(width - self.n_units))
        bounds[-self.n_units :] = 1.0 / np.sqrt(self.n_units)
        weights = rng.uniform(-1.0, 1.0, (n_rows, width)) * bounds
        arrays = {"weights": weights.astype(np.float32), "bias": np.zeros(n_rows, np.float32)}
        return RecurrentLayer(self, input_shape, arrays)

    def restore(self, input_shape: Shape, arrays: Mapping[str, Any]) -> RecurrentLayer:
        """Return a layer with the given weights, copied; refuse any other shape, dtype or name."""
        shapes = with_velocity(self._shapes(input_shape), arrays)
        return RecurrentLayer(self, input_shape, checked_arrays(arrays, shapes, np.float32))

    def header(self) -> dict[str, Any]:
        """Return the layer's description for a saved state."""
        return {"kind": "recurrent", **asdict(self), "n_units": int(self.n_units)}

    def _shapes(self, input_shape: Shape) -> dict[str, Shape]:
        if len(input_shape) != 2:
            raise ValueError(
                f"Recurrent has an input of shape {input_shape}, expected (n_steps, n_features)."
            )
        n_rows = CELLS[self.cell] * self.n_units
        return {"weights": (n_rows, input_shape[1] + self.n_units), "bias": (n_rows,)}


class Gates(NamedTuple):
    """What a GRU did in one step: its gates, its candidate, and the inputs of that."""

    update: Array
    reset: Array
    candidate: Array
    inputs: Array


class Cell(NamedTuple):
    """One step of a cell for a batch: what its derivative needs, until the next step."""

    inputs: Array  # (n_samples, n_features + n_units): features and the state before
    state: Array  # the state after
    gates: Gates | None = None


class RecurrentLayer(LocalLayer):
    """Weights and bias of a recurrent layer, and its local rule.

    ``weights`` is (n_units, n_features + n_units) for an Elman cell; a GRU has three such blocks,
    one below the other: update gate, reset gate, candidate.
    """

    spec: Recurrent

    def __init__(self, spec: Recurrent, input_shape: Shape, arrays: Mapping[str, Array]) -> None:
        super().__init__(spec, arrays)
        self.input_shape = input_shape
        self.output_shape = (spec.n_units,)
        if spec.sequences:
            self.output_shape = (input_shape[0], spec.n_units)

    @property
    def n_units(self) -> int:
        """Size of the state."""
        return int(self.spec.n_units)

    def forward(self, X: Array) -> Array:
        """Return the last state or all of them, of each sample independent of the others."""
        X = self._inward(X)
        n_kept = self.input_shape[0] if self.spec.sequences else 1
        states = np.empty((len(X), n_kept, self.n_units), dtype=np.float32)
        run = kernels().elman if self.spec.cell == "elman" else kernels().gru
        run(X, self.weights, self.bias, self._activation.code, states)
        return states.reshape(len(X), *self.output_shape)

    def learn(self, X: Array, goal: Goal, rate: float) -> Array:
        """Take one step towards the goal's codes; return the output from before it."""
        X = self._inward(X)
        n, n_steps = X.shape[:2]
        out = np.empty((n, *self.output_shape), dtype=np.float32)
        state = np.zeros((n, self.n_units), dtype=np.float32)
        steps = {"weights": np.zeros_like(self.weights), "bias": np.zeros_like(self.bias)}
        sizes = np.zeros(len(self.bias), dtype=np.float32)
        excessive = False
        for t in range(n_steps):
            cell = self._cell(X[:, t], state)
            state = cell.state
            if self.spec.sequences:
                out[:, t] = state
            if self.spec.target == "each" or t == n_steps - 1:
                delta, over = clipped(checked_delta(goal.loss, state, goal.codes, goal.y))
                excessive |= over
                self._add(steps, sizes, cell, delta, goal.weights)
        if excessive:
            self._slow_down(rate)
        scale = self._scale(sizes, rate)
        steps["weights"] *= scale[:, None]
        steps["bias"] *= scale
        self._move(steps)
        return out if self.spec.sequences else state

    def _cell(self, x: Array, state: Array) -> Cell:
        inputs = np.concatenate([x, state], axis=1)
        if self.spec.cell == "elman":
            return Cell(inputs, self._activation.function(inputs @ self.weights.T + self.bias))
        u = self.n_units
        gates = _sigmoid(inputs @ self.weights[: 2 * u].T + self.bias[: 2 * u])
        update, reset = gates[:, :u], gates[:, u:]
        again = np.concatenate([x, reset * state], axis=1)
        candidate = self._activation.function(again @ self.weights[2 * u :].T + self.bias[2 * u :])
        after = state + update * (candidate - state)
        return Cell(inputs, after, Gates(update, reset, candidate, again))

    def _add(
        self,
        steps: dict[str, Array],
        sizes: Array,
        cell: Cell,
        delta: Array,
        weights: Array | None,
    ) -> None:
        """Add one step of time: the gradient, and by its Gram norm the length of its inputs."""
        if weights is not None:
            delta = delta * weights[:, None]
        u, gates = self.n_units, cell.gates
        if gates is None:
            through = delta * self._activation.slope(cell.state)
            return _accumulate(steps, sizes, slice(None), through, (cell.inputs, weights))
        before = cell.inputs[:, -u:]
        through = delta * gates.update * self._activation.slope(gates.candidate)
        d_update = delta * (gates.candidate - before) * gates.update * (1 - gates.update)
        d_again = through @ self.weights[2 * u :, -u:]
        d_reset = d_again * before * gates.reset * (1 - gates.reset)
        both = np.concatenate([d_update, d_reset], axis=1)
        _accumulate(steps, sizes, slice(0, 2 * u), both, (cell.inputs, weights))
        return _accumulate(steps, sizes, slice(2 * u, None), through, (gates.inputs, weights))


def _accumulate(
    steps: dict[str, Array],
    sizes: Array,
    rows: slice,
    delta: Array,
    inputs: tuple[Array, Array | None],
) -> None:
    steps["weights"][rows] += delta.T @ inputs[0]
    steps["bias"][rows] += delta.sum(axis=0)
    # A sum of Gram matrices has at most the sum of their norms.
    sizes[rows] += np.float32(gram_norm(*inputs))


def _sigmoid(z: Array) -> Array:
    return activation("sigmoid").function(z)

"""`Recurrent`: Elman and GRU cells that learn by the local rule, one step of time at a time.

At each step the state moves towards the code of the label. No error travels back in time, and
learning needs no more memory for a long sequence than for a short one.

A part of each state is the state before, kept, so a weight of long ago still shows in it. With
``trace`` every weight remembers how much: an eligibility trace ``p = keep p + gain v``, the
derivative of its unit's state by that weight along the unit's own past, as in RFLO (Murray, 2019)
and e-prop (Bellec et al., 2020). The step is the local loss's derivative times the trace. What a
weight did by way of *other* units is left out; so is a trace of the reset gates, which act on
others only. Without traces the derivative stops at the state before.

Weights are those at the beginning of the sequence; its steps are summed and applied at the end.
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
    with_extras,
)

# Matrices of weights in a cell.
CELLS: Final = {"elman": 1, "gru": 3}
TARGETS: Final = ("each", "last")
# A state that could grow without bound would, over a long sequence.
BOUNDED: Final = ("tanh", "hard_tanh", "sigmoid")
# Numbers that traces may take: one for each weight and sample, of as many samples as fit.
TRACE_ROOM: Final = 1 << 21


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer over samples (n_steps, n_features), from a state of zero.

    Parameters
    ----------
    n_units
        Size of the state.
    cell
        "elman", ``h' = (1 - leak) h + leak f(W [x, h] + b)``, or "gru" (arXiv 1406.1078),
        ``h' = (1 - z) h + z n``.
    activation
        Of the state, bounded: "tanh", "hard_tanh" or "sigmoid".
    sequences
        Whether the output is the state at every step, (n_steps, n_units), or the last one.
    target
        "last": the last state moves towards the code; "each": every state does.
    normalise
        Whether each step's features are given mean 0 and variance 1 first (layer normalisation).
    leak
        Share of its state that a unit renews in one step: of an Elman cell always (1: all of it,
        the plain cell), of a GRU to begin with (the bias of its update gate), there below 1.
    trace
        Whether weights are credited for what they did at earlier steps of the sequence; see above.

    Notes
    -----
    The defaults, with the loss "cross_entropy" and rates of 10 for hidden layers and output, are
    those that did best on held-out training data of images read row by row and of motion sensors.
    A trace needs memory for each weight and sample at once (`TRACE_ROOM` bounds it: larger batches
    are gone through in parts), and a leak of 1 leaves it nothing to keep.

    Examples
    --------
    >>> Recurrent(8, cell="gru").build((20, 3), np.random.default_rng(0)).output_shape
    (8,)
    """

    n_units: int
    cell: str = "elman"
    activation: str = "tanh"
    sequences: bool = False
    target: str = "each"
    normalise: bool = False
    leak: float = 0.3
    trace: bool = True

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
        is_number = isinstance(self.leak, (int, float)) and not isinstance(self.leak, bool)
        if not is_number or not 0.0 < self.leak <= 1.0:
            raise ValueError(f"leak is {self.leak!r}, expected a number above 0, at most 1.")
        if self.cell == "gru" and self.leak == 1.0:
            raise ValueError("leak is 1, expected below 1: no gate of a GRU is open for good.")
        if not isinstance(self.trace, bool):
            raise ValueError(f"trace is {self.trace!r}, expected True or False.")

    def build(self, input_shape: Shape, rng: np.random.Generator) -> RecurrentLayer:
        """Return a layer with uniform weights, inputs and state on the same scale.

        There is no bias but that of a GRU's update gate.
        """
        shapes = self._shapes(input_shape)
        n_rows, width = shapes["weights"]
        bounds = np.full(width, 1.0 / np.sqrt(width - self.n_units))
        bounds[-self.n_units :] = 1.0 / np.sqrt(self.n_units)
        weights = rng.uniform(-1.0, 1.0, (n_rows, width)) * bounds
        arrays = {"weights": weights.astype(np.float32), "bias": np.zeros(n_rows, np.float32)}
        if self.cell == "gru":
            arrays["bias"][: self.n_units] = np.log(self.leak / (1.0 - self.leak))
        return RecurrentLayer(self, input_shape, arrays)

    def restore(self, input_shape: Shape, arrays: Mapping[str, Any]) -> RecurrentLayer:
        """Return a layer with the given weights, copied; refuse any other shape, dtype or name."""
        shapes = with_extras(self._shapes(input_shape), arrays)
        return RecurrentLayer(self, input_shape, checked_arrays(arrays, shapes, np.float32))

    def header(self) -> dict[str, Any]:
        """Return the layer's description for a saved state."""
        own = {"n_units": int(self.n_units), "leak": float(self.leak)}
        return {"kind": "recurrent", **asdict(self), **own}

    def _shapes(self, input_shape: Shape) -> dict[str, Shape]:
        if len(input_shape) != 2:
            raise ValueError(
                f"Recurrent has an input of shape {input_shape}, expected (n_steps, n_features)."
            )
        n_rows = CELLS[self.cell] * self.n_units
        return {"weights": (n_rows, input_shape[1] + self.n_units), "bias": (n_rows,)}


class Cell(NamedTuple):
    """One step of a cell for a batch: what its derivative needs, until the next step."""

    inputs: Array  # (n_samples, n_features + n_units): features and the state before
    candidate: Array  # what the state moves to
    state: Array  # the state after
    inward: Array  # what the candidate is computed from: the inputs, in a GRU behind its reset gate
    gates: tuple[Array, Array] | None = None  # update and reset of a GRU


class Block(NamedTuple):
    """Rows of the weights, what they read, and what they do to their own unit's state.

    A change of a row's pre-activation changes the state of its unit ``gain`` times as much.
    """

    rows: slice
    inputs: Array
    gain: Array


class Sums:
    """Gradients of weights and bias added up over the steps of time, and the size of the inputs."""

    def __init__(self, weights: Array, bias: Array) -> None:
        self.steps = {"weights": np.zeros_like(weights), "bias": np.zeros_like(bias)}
        self.sizes = np.zeros(len(bias), dtype=np.float32)

    def add(self, rows: slice, through: Array, inputs: Array) -> None:
        """Add the gradient of one step, from the derivatives of its pre-activations."""
        self.steps["weights"][rows] += through.T @ inputs
        self.steps["bias"][rows] += through.sum(axis=0)


class Trace:
    """Eligibility of the weights of one block: how the states of now depend on each of them."""

    def __init__(self, n_samples: int, n_rows: int, width: int) -> None:
        self.weights = np.zeros((n_samples, n_rows, width), dtype=np.float32)
        self.bias = np.zeros((n_samples, n_rows), dtype=np.float32)

    def add(self, sums: Sums, block: Block, keep: Array, delta: Array) -> None:
        """Take one step of time, and add ``delta`` times the traces to the gradient."""
        weights, bias = sums.steps["weights"][block.rows], sums.steps["bias"][block.rows]
        kernels().trace_step(block.inputs, keep, block.gain, delta, self.weights, weights)
        self.bias *= keep
        self.bias += block.gain
        bias += (delta * self.bias).sum(axis=0)


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
        cell = (X, self.weights, self.bias, self._activation.code)
        if self.spec.cell == "gru":
            kernels().gru(*cell, states)
        elif self.spec.leak == 1.0:
            kernels().elman(*cell, states)
        else:
            kernels().leaky(*cell, self.spec.leak, states)
        return states.reshape(len(X), *self.output_shape)

    def learn(self, X: Array, goal: Goal, rate: float, *, owned: bool = False) -> Array:
        """Take one step towards the goal's codes; return the output from before it."""
        X = self._inward(X)
        n = len(X)
        out = np.empty((n, *self.output_shape), dtype=np.float32)
        sums = Sums(self.weights, self.bias)
        excessive = False
        together = max(TRACE_ROOM // self.weights.size, 1) if self.spec.trace else n
        for start in range(0, n, together):
            part = slice(start, start + together)
            weights = None if goal.weights is None else goal.weights[part]
            own = goal._replace(y=goal.y[part], weights=weights)
            excessive |= self._follow(X[part], own, rate, sums, out[part])
        if not (excessive and self._refuse(rate)):
            scale = self._scale(sums.sizes, rate)
            sums.steps["weights"] *= scale[:, None]
            sums.steps["bias"] *= scale
            self._move(sums.steps)
        return out

    def _follow(self, X: Array, goal: Goal, rate: float, sums: Sums, out: Array) -> bool:
        """Go through sequences, add their gradient, write the output; whether it was clipped."""
        n, n_steps = X.shape[:2]
        u, width, excessive = self.n_units, self.weights.shape[1], False
        state = np.zeros((n, u), dtype=np.float32)
        untaught = np.zeros_like(state)
        n_traced = len(self.weights) // u - (self.spec.cell == "gru") if self.spec.trace else 0
        traces = [Trace(n, u, width) for _ in range(n_traced)]
        for t in range(n_steps):
            cell = self._cell(X[:, t], state)
            state = cell.state
            if self.spec.sequences:
                out[:, t] = state
            delta, is_taught = untaught, self.spec.target == "each" or t == n_steps - 1
            if is_taught:
                delta = checked_delta(goal.loss, state, goal.codes, goal.y)
                delta, over = clipped(delta, rate * self.rate_factor)
                excessive |= over
                if goal.weights is not None:
                    delta = delta * goal.weights[:, None]
            self._add(sums, cell, traces, delta, is_taught)
            self._measure(sums, cell, goal.weights, is_taught)
        if not self.spec.sequences:
            out[:] = state
        return excessive

    def _cell(self, x: Array, state: Array) -> Cell:
        inputs = np.concatenate([x, state], axis=1)
        if self.spec.cell == "elman":
            new = self._activation.function(inputs @ self.weights.T + self.bias)
            after = new if self.spec.leak == 1.0 else state + self._leak * (new - state)
            return Cell(inputs, new, after, inputs)
        u = self.n_units
        gates = _sigmoid(inputs @ self.weights[: 2 * u].T + self.bias[: 2 * u])
        update, reset = gates[:, :u], gates[:, u:]
        inward = np.concatenate([x, reset * state], axis=1)
        new = self._activation.function(inward @ self.weights[2 * u :].T + self.bias[2 * u :])
        return Cell(inputs, new, state + update * (new - state), inward, (update, reset))

    def _add(
        self, sums: Sums, cell: Cell, traces: list[Trace], delta: Array, is_taught: bool
    ) -> None:
        """Add one step of time to the gradient, and to the traces if there are any."""
        blocks, kept = self._blocks(cell)
        if traces:
            keep = np.broadcast_to(np.asarray(kept, np.float32), delta.shape)
            keep = np.ascontiguousarray(keep)
            for trace, block in zip(traces, blocks, strict=True):
                trace.add(sums, block, keep, delta)
        elif is_taught:
            for block in blocks:
                sums.add(block.rows, delta * block.gain, block.inputs)
        if cell.gates is not None and is_taught:
            # A reset gate has no state of its own: it acts on the candidates of all units.
            u, reset = self.n_units, cell.gates[1]
            through = (delta * blocks[-1].gain) @ self.weights[2 * u :, -u:]
            opening = through * cell.inputs[:, -u:] * reset * (1 - reset)
            sums.add(slice(u, 2 * u), opening.astype(np.float32, copy=False), cell.inputs)

    def _blocks(self, cell: Cell) -> tuple[list[Block], Any]:
        """Return the blocks that act on their own unit, and the share of the state that is kept."""
        slope = self._activation.slope(cell.candidate)
        if cell.gates is None:
            return [Block(slice(None), cell.inputs, self._leak * slope)], 1 - self._leak
        u, update = self.n_units, cell.gates[0]
        swing = (cell.candidate - cell.inputs[:, -u:]) * update * (1 - update)
        gate = Block(slice(0, u), cell.inputs, swing)
        return [gate, Block(slice(2 * u, None), cell.inward, update * slope)], 1 - update

    def _measure(self, sums: Sums, cell: Cell, weights: Array | None, is_taught: bool) -> None:
        """Count the size of the inputs, by their Gram norm.

        A sum of Gram matrices has at most the sum of their norms. A trace is a mean of inputs, and
        no larger than the largest of them: that counts where the last step alone is taught.
        """
        u, sizes = self.n_units, sums.sizes
        parts = [(slice(None), cell.inputs)]
        if cell.gates is not None:
            parts = [(slice(0, 2 * u), cell.inputs), (slice(2 * u, None), cell.inward)]
        if self.spec.target == "each":
            for rows, inputs in parts:
                sizes[rows] += np.float32(gram_norm(inputs, weights))
        elif self.spec.trace or is_taught:
            for rows, inputs in parts:
                sizes[rows] = np.maximum(sizes[rows], np.float32(gram_norm(inputs, weights)))

    @property
    def _leak(self) -> Any:
        return np.float32(self.spec.leak)


def completed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a saved layer, with what was so before there were traces."""
    return {"leak": 0.5 if fields.get("cell") == "gru" else 1.0, "trace": False, **fields}


def _sigmoid(z: Array) -> Array:
    return activation("sigmoid").function(z)

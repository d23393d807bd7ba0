"""The weights of one candidate, and its forward-only learning; see `candidates` for the kinds.

Inputs are standardised taps. Units with few inputs stay as they were drawn. Convolutions taught a
label code at every position lost 1 to 42 points of accuracy against their random selves (digits and
MNIST, one seed), mostly more at higher rates; DRTP's authors report the same. Scale and shift so
taught lost in 41 of 42 runs, up to 83 points (seven tasks, none of `benchmarks/search.py`): a unit
of one input cannot turn it into a random code of many classes, and spoils it in trying. Nothing is
chosen here, and no labels are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from adaptors._state import checked_arrays
from adaptors.activations import activation
from adaptors.candidates import DEPTHWISE_INPUTS, FIXED_KINDS, MAP_KINDS, Candidate
from adaptors.codes import label_codes
from adaptors.losses import Labels, output_delta
from adaptors.standardise import Standardiser

Array = npt.NDArray[np.float32]
Inputs = Mapping[str, Array]


class LocalLayer:
    """Weights (n_units, n_inputs), bias and activation; learns its codes by tpSGD-l2.

    Input is (n_rows, n_inputs), shared by all units, or (n_rows, n_units, n_inputs), where each
    unit has its own; the latter does not learn. The step is that of `layers`: the batch gradient
    over the Frobenius norm of the inputs' Gram matrix.
    """

    def __init__(self, weights: Array, bias: Array, activation_name: str):
        self.weights, self.bias = weights, bias
        self._activation = activation(activation_name)

    @property
    def code_range(self) -> tuple[float, float]:
        """The two values that an entry of a label code may take."""
        return self._activation.low, self._activation.high

    def forward(self, X: Array) -> Array:
        """Return the outputs, (n_rows, n_units)."""
        product = X @ self.weights.T if X.ndim == 2 else np.einsum("nuk,uk->nu", X, self.weights)
        return self._activation.function(product + self.bias)

    def learn(self, X: Array, targets: Array, rate: float) -> Array:
        """Take one step towards the targets (n_rows, n_units); return the output before it."""
        h = self.forward(X)
        self.descend(X, (h - targets) * self._activation.slope(h), rate)
        return h

    def descend(self, X: Array, delta: Array, rate: float) -> None:
        """Move against ``delta`` (n_rows, n_units), the derivative of the pre-activations."""
        step = np.float32(rate) / np.linalg.norm(X @ X.T + np.float32(1.0))
        self.weights -= step * (delta.T @ X)
        self.bias -= step * delta.sum(axis=0)


class AdaptorNetwork:
    """One candidate with weights: random at first, then trained by `step`.

    Parameters
    ----------
    candidate
        What to build.
    rng
        Draws the weights and the seed of the label codes.

    Examples
    --------
    >>> from adaptors.candidates import Tap
    >>> candidate = Candidate("residual", (Tap("x", (4,)),), n_classes=2, widths=(3,))
    >>> network = AdaptorNetwork(candidate, np.random.default_rng(0))
    >>> [h.shape for h in network.outputs({"x": np.ones((5, 4), np.float32)})]
    [(5, 4), (5, 3), (5, 7)]
    """

    def __init__(self, candidate: Candidate, rng: np.random.Generator) -> None:
        seed = int(rng.integers(2**63))
        weights: dict[str, Array] = {}
        for name, shape in _shapes(candidate).items():
            # The softmax starts at zero: every class is equally likely until a label says more.
            bound = 1.0 / np.sqrt(shape[-1]) if name.endswith("weights") else 0.0
            bound *= not name.startswith("output")
            weights[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
        self._assemble(candidate, weights, seed)

    @classmethod
    def restored(cls, candidate: Candidate, arrays: Mapping[str, Any], seed: int) -> AdaptorNetwork:
        """Return the network with copies of saved weights; refuse any other name or shape."""
        network = cls.__new__(cls)
        weights = checked_arrays(arrays, _shapes(candidate), np.float32)
        network._assemble(candidate, weights, seed)
        return network

    def _assemble(self, candidate: Candidate, weights: Mapping[str, Array], seed: int) -> None:
        self.candidate, self.seed = candidate, seed
        self.layers = []
        for i in range(len(candidate.layers)):
            pair = weights[f"hidden{i}.weights"], weights[f"hidden{i}.bias"]
            self.layers.append(LocalLayer(*pair, candidate.activation))
        pair = weights["output.weights"], weights["output.bias"]
        self.output = LocalLayer(*pair, "linear")
        n_learning = 0 if candidate.kind in FIXED_KINDS else len(self.layers)
        self._codes = [self._codes_of(i, range(self.n_classes)) for i in range(n_learning)]
        # Averages over positions share a mean far larger than their spread, which would slow down
        # the softmax.
        n_pooled = sum(layer.n_units for layer in candidate.layers)
        self.pooled = Standardiser(n_pooled) if candidate.kind in MAP_KINDS else None

    @property
    def n_classes(self) -> int:
        """Outputs of the softmax."""
        return len(self.output.bias)

    @property
    def n_bytes(self) -> int:
        """Bytes held in memory: weights, biases and label codes."""
        held = sum(a.nbytes for a in [*self.arrays().values(), *self._codes])
        return held + (0 if self.pooled is None else self.pooled.n_bytes)

    def arrays(self) -> dict[str, Array]:
        """Return the learned arrays by name, not copied."""
        places = {f"hidden{i}": layer for i, layer in enumerate(self.layers)}
        return {
            f"{place}.{name}": array
            for place, layer in {**places, "output": self.output}.items()
            for name, array in (("weights", layer.weights), ("bias", layer.bias))
        }

    def add_classes(self, n_new: int) -> None:
        """Append classes; codes and weights of the existing ones stay as they are."""
        n_old = self.n_classes
        self.candidate = replace(self.candidate, n_classes=n_old + n_new)
        for name in ("weights", "bias"):
            old: Array = getattr(self.output, name)
            new = np.zeros((n_new, *old.shape[1:]), np.float32)
            setattr(self.output, name, np.concatenate([old, new]))
        for i, codes in enumerate(self._codes):
            more = self._codes_of(i, range(n_old, n_old + n_new))
            self._codes[i] = np.concatenate([codes, more])

    def outputs(self, inputs: Inputs) -> list[Array]:
        """Return taps side by side, every layer's output, and the softmax's input if another.

        Each is (n_samples, width), averaged over positions.
        """
        return self._through(inputs, None, 0.0)

    def logits(self, inputs: Inputs) -> Array:
        """Return the logit of each class, (n_samples, n_classes)."""
        return self.output.forward(self.outputs(inputs)[-1])

    def step(self, inputs: Inputs, y: Labels, rate: float, hidden_rate: float) -> None:
        """Learn one batch in one forward pass; the rates are those of `layers`."""
        h = self._through(inputs, y, hidden_rate)[-1]
        delta = output_delta(self.output.forward(h), y)
        self.output.descend(h, delta, rate)

    def _through(self, inputs: Inputs, y: Labels | None, rate: float) -> list[Array]:
        kind = self.candidate.kind
        if kind in MAP_KINDS:
            return self._through_maps(inputs, learns=y is not None)
        h = np.concatenate([inputs[tap.name] for tap in self.candidate.taps], axis=1)
        outputs = [h]
        for i in range(len(self.layers)):
            h = self._one(i, h[:, :, None] if kind == "scale_shift" else h, y, rate)
            outputs.append(h)
        if kind == "residual":
            outputs.append(np.concatenate([outputs[0], h], axis=1))
        return outputs

    def _through_maps(self, inputs: Inputs, *, learns: bool) -> list[Array]:
        taps = self.candidate.taps
        vectors = [inputs[tap.name] for tap in taps if not tap.is_map]
        maps = [inputs[tap.name] for tap in taps if tap.is_map]
        pooled = []
        for layer, X in zip(self.layers, maps, strict=True):
            rows = _patches(X) if self.candidate.kind == "depthwise" else X
            h = layer.forward(rows.reshape(-1, *rows.shape[3:]))
            pooled.append(h.reshape(len(X), -1, h.shape[1]).mean(axis=1))
        after = np.concatenate(pooled, axis=1)
        if self.pooled is not None and learns:
            self.pooled.update(after)
        if self.pooled is not None and self.pooled.count:
            after = self.pooled.transform(after)
        before = np.concatenate([*vectors, *map(averaged, maps)], axis=1)
        return [before, np.concatenate([*vectors, after], axis=1)]

    def _one(self, i: int, X: Array, y: Labels | None, rate: float) -> Array:
        if y is None or self.candidate.kind in FIXED_KINDS:
            return self.layers[i].forward(X)
        return self.layers[i].learn(X, self._codes[i][y], rate)

    def _codes_of(self, i: int, labels: range) -> Array:
        low, high = self.layers[i].code_range
        return label_codes(self.seed, i, labels, len(self.layers[i].bias), low, high)


def _shapes(candidate: Candidate) -> dict[str, tuple[int, ...]]:
    """Return the shape of every learned array by name."""
    sizes = {f"hidden{i}": (n, k) for i, (n, k, _) in enumerate(candidate.layers)}
    sizes["output"] = candidate.n_classes, candidate.n_features
    weights: dict[str, tuple[int, ...]] = {f"{k}.weights": size for k, size in sizes.items()}
    return weights | {f"{name}.bias": size[:1] for name, size in sizes.items()}


def averaged(X: Array) -> Array:
    """Return a feature map (n, h, w, c) averaged over positions; a vector as it is."""
    return X if X.ndim == 2 else X.mean(axis=(1, 2))


def _patches(X: Array) -> Array:
    """Return the 3 x 3 neighbourhood of every position, (n, h, w, c, 9), zeros outside."""
    n, h, w, c = X.shape
    padded = np.pad(X, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.ascontiguousarray(windows.reshape(n, h, w, c, DEPTHWISE_INPUTS))

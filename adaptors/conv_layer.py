"""`ConvLayer`: a convolution as a product with patches, and its local rule.

`Convolution` describes one and builds its layer; each needs the other, so both are here.

Every patch is a row of a matrix, and a convolution is one matrix product. The target is met before
pooling, but for the target "grid" after it.

The derivative of a patch's output is multiplied by the patch alone. For the length of a step every
position counts as a sample, through the Gram norm of the patches, or a bound of it where the
patches are long: a matrix of k shifted copies of the input has at most k times the input's own
Gram norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from adaptors._backend import kernels
from adaptors._state import checked_arrays
from adaptors.activations import activation
from adaptors.layers import MatrixLayer, uniform_start
from adaptors.losses import Labels
from adaptors.rule import WORKSPACE, Array, Goal, Shape, checked_delta, positive, with_extras
from adaptors.whitening import Statistics, Sums

Pair = tuple[int, int]

POOLS: Final = (None, "max", "average")
TARGETS: Final = ("channel", "grid", "map")
# Regions of a map, in each direction, that a "grid" target tells apart.
GRID: Final = 4
# Means over a region differ far less than single activations: without this factor on similarities
# every sample would pull alike, learned or not (chosen on held-out rows of Fashion-MNIST).
SHARPNESS: Final = np.float32(16.0)


class Geometry(NamedTuple):
    """Where a convolution looks, in (height, width)."""

    kernel: Pair
    stride: Pair
    padding: Pair
    pool_size: Pair


@dataclass(frozen=True)
class Convolution:
    """What `Conv1d` and `Conv2d` share: they differ in name and in the rank of their sizes."""

    n_channels: int
    kernel: Any = 3
    activation: str = "tanh"
    stride: Any = 1
    padding: Any = 0
    pool: str | None = None
    pool_size: Any = 2
    depthwise: bool = False
    target: str = "channel"
    normalise: bool = False

    _kind = "conv"
    _rank = 2

    def __post_init__(self) -> None:
        positive("n_channels", self.n_channels)
        activation(self.activation)
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("pool_size", 1)):
            object.__setattr__(self, name, _sizes(name, getattr(self, name), self._rank, least))
        if self.pool not in POOLS:
            raise ValueError(f"pool is {self.pool!r}, expected 'max', 'average' or None.")
        if self.target not in TARGETS:
            raise ValueError(f"target is {self.target!r}, expected one of {TARGETS}.")
        if any(p >= k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise ValueError(f"padding is {self.padding}, expected less than kernel {self.kernel}.")

    @property
    def geometry(self) -> Geometry:
        """Kernel, stride, padding and pooling in two dimensions."""
        height, nothing = ((1,), (0,)) if self._rank == 1 else ((), ())
        return Geometry(
            (*height, *self.kernel),
            (*height, *self.stride),
            (*nothing, *self.padding),
            (*height, *self.pool_size),
        )

    def build(self, input_shape: Shape, rng: np.random.Generator) -> ConvLayer:
        """Return a layer with random weights, uniform within 1 / sqrt(patch size), and no bias."""
        start = uniform_start(self.n_channels, self._n_weights(input_shape), rng)
        return ConvLayer(self, input_shape, start)

    def restore(self, input_shape: Shape, arrays: Mapping[str, Any]) -> ConvLayer:
        """Return a layer with the given weights, copied; refuse any other shape, dtype or name."""
        shapes = {
            "weights": (self.n_channels, self._n_weights(input_shape)),
            "bias": (self.n_channels,),
        }
        checked = checked_arrays(arrays, with_extras(shapes, arrays), np.float32)
        return ConvLayer(self, input_shape, checked)

    def header(self) -> dict[str, Any]:
        """Return the layer's description for a saved state."""
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"kind": self._kind, **fields, "n_channels": int(self.n_channels)}

    def _n_weights(self, input_shape: Shape) -> int:
        if len(input_shape) != self._rank + 1:
            raise ValueError(
                f"{type(self).__name__} has an input of shape {input_shape}, expected "
                f"{self._rank + 1} dimensions, channels last."
            )
        if self.depthwise and self.n_channels != input_shape[-1]:
            raise ValueError(
                f"a depthwise convolution has as many channels as its input, {input_shape[-1]}, "
                f"not {self.n_channels}."
            )
        return int(prod(self.kernel)) * (1 if self.depthwise else input_shape[-1])


class ConvLayer(MatrixLayer):
    """Weights (n_channels, patch size) and bias of a convolution, and its local rule.

    A patch is flattened as (kernel height, kernel width, channels).
    """

    spec: Convolution

    def __init__(self, spec: Convolution, input_shape: Shape, arrays: Mapping[str, Array]) -> None:
        super().__init__(spec, arrays)
        self.input_shape = input_shape
        self._at = spec.geometry
        # Height, width, channels, whatever the rank.
        self._shape = ((1,) * (3 - len(input_shape)) + input_shape)[-3:]
        height, width = (
            (size + 2 * p - k) // s + 1
            for size, p, k, s in zip(
                self._shape, self._at.padding, self._at.kernel, self._at.stride, strict=False
            )
        )
        self._map = height, width
        self._pooled = self._map
        if spec.pool:
            self._pooled = height // self._at.pool_size[0], width // self._at.pool_size[1]
        if min(self._pooled) < 1:
            raise ValueError(
                f"{spec} has no output for an input of shape {input_shape}: kernel or pool_size is "
                "larger than what it sees."
            )
        spatial = self._pooled if len(input_shape) == 3 else self._pooled[1:]
        self.output_shape = (*spatial, spec.n_channels)

    @property
    def code_size(self) -> int:
        """Number of entries in the code of a label: one per channel, or one per map entry."""
        places = {"channel": (1, 1), "grid": self._regions, "map": self._map}
        return self.n_units * prod(places[self.spec.target])

    @property
    def _regions(self) -> Pair:
        return min(GRID, self._pooled[0]), min(GRID, self._pooled[1])

    @property
    def _workspace(self) -> int:
        row = prod(self._at.kernel) * self._shape[2] + 3 * self.n_units
        return prod(self._map) * row

    def _rows(self, X: Array) -> Array:
        X = self._padded(X)
        A = np.empty(
            (len(X), prod(self._map), prod(self._at.kernel) * self._shape[2]), dtype=np.float32
        )
        kernels().patches(X, *self._at.kernel, *self._at.stride, A)
        return A

    def _padded(self, X: Array) -> Array:
        X = X.reshape(len(X), *self._shape)
        if not any(self._at.padding):
            return X
        vertical, horizontal = self._at.padding
        sides = ((0, 0), (vertical, vertical), (horizontal, horizontal), (0, 0))
        return np.ascontiguousarray(np.pad(X, sides))

    def _affine(self, A: Array) -> Array:
        if not self.spec.depthwise:
            return super()._affine(A)
        by_channel = A.reshape(*A.shape[:2], -1, self.n_units)
        Z: Array = np.einsum("npkc,ck->npc", by_channel, self.weights)
        Z += self.bias
        return Z

    def _gradient(self, delta: Array, A: Array) -> dict[str, Array]:
        if not self.spec.depthwise:
            return super()._gradient(delta, A)
        by_channel = A.reshape(*A.shape[:2], -1, self.n_units)
        weights = np.einsum("npc,npkc->ck", delta, by_channel)
        return {"weights": weights, "bias": delta.sum(axis=(0, 1))}

    def _outward(self, h: Array) -> Array:
        n, rows, columns = len(h), *self._pooled
        if self.spec.pool:
            high, wide = self._at.pool_size
            h = h.reshape(n, *self._map, self.n_units)[:, : rows * high, : columns * wide]
            parts = [h[:, i::high, j::wide] for i in range(high) for j in range(wide)]
            h = parts[0].copy()
            for part in parts[1:]:
                np.maximum(h, part, out=h) if self.spec.pool == "max" else np.add(h, part, out=h)
            if self.spec.pool == "average":
                h /= np.float32(len(parts))
        return h.reshape(n, *self.output_shape)

    def _delta(self, h: Array, goal: Goal, rows: slice) -> Array:
        if self.spec.target != "grid":
            return super()._delta(h, goal, rows)
        maps = self._outward(h).reshape(len(h), *self._pooled, self.n_units)
        (top, high), (left, wide) = map(_intervals, self._pooled, self._regions)
        mean = np.add.reduceat(np.add.reduceat(maps, top, axis=1), left, axis=2)
        mean /= (high[:, None] * wide)[None, :, :, None].astype(np.float32)
        flat = SHARPNESS * mean.reshape(len(h), -1)
        delta = checked_delta(goal.loss, flat, goal.codes, goal.y[rows]).reshape(mean.shape)
        # A mean's derivative is spread evenly over its region.
        return self._inside(delta.repeat(high, axis=1).repeat(wide, axis=2), h, maps)

    def _inside(self, delta: Array, h: Array, pooled: Array) -> Array:
        """Return derivatives with respect to activations, from those of what leaves the layer."""
        if not self.spec.pool:
            return delta.reshape(h.shape)
        n, (high, wide), (rows, columns) = len(h), self._at.pool_size, self._pooled
        inside = np.zeros((n, *self._map, self.n_units), np.float32)
        part = inside[:, : rows * high, : columns * wide]
        part += delta.repeat(high, axis=1).repeat(wide, axis=2)
        if self.spec.pool == "max":
            seen = h.reshape(inside.shape)[:, : rows * high, : columns * wide]
            part *= seen == pooled.repeat(high, axis=1).repeat(wide, axis=2)
        return inside.reshape(h.shape)

    def whiten(self) -> None:
        """Begin to remember statistics of the patches; filters of one channel alone have none."""
        if not self.spec.depthwise:
            super().whiten()

    def _observe(self, statistics: Statistics, X: Array, weights: Array | None) -> float:
        return statistics.observe(self._patch_sums(X, weights), len(X))

    def _size(self, X: Array, weights: Array | None) -> Any:
        if self.spec.depthwise:
            return self._channel_power(X, weights)
        n_weights = self.weights.shape[1]
        if n_weights <= 2 * self.n_units:
            return self._patch_sums(X, weights).norm()
        return self._gram_bound(X, weights)

    def _weighted(self, X: Array, weights: Array | None) -> Iterator[tuple[Array, Array]]:
        """Yield chunks of samples with the roots of their weights."""
        size = max(1, WORKSPACE // self._workspace)
        for start in range(0, len(X), size):
            part = X[start : start + size]
            root = np.ones(len(part), np.float32)
            if weights is not None:
                root = np.sqrt(weights[start : start + size])
            yield part, root

    def _patch_sums(self, X: Array, weights: Array | None) -> Sums:
        """Return the sums over all patches."""
        gram, ones, count = _nothing(self.weights.shape[1])
        for part, root in self._weighted(X, weights):
            A = self._rows(part)
            if weights is not None:
                A *= root[:, None, None]
            flat = A.reshape(-1, A.shape[2])
            gram = gram + flat.T @ flat
            ones = ones + root @ A.sum(axis=1)
            count += float(root @ root) * A.shape[1]
        return Sums(gram, ones, count)

    def _gram_bound(self, X: Array, weights: Array | None) -> float:
        """Return a bound of the norm of `_patch_sums`, from the Gram matrix of pixels.

        Patches are as many shifted copies of the input as the kernel has places. A stride splits
        pixels into groups, and each place sees one group.
        """
        (high, wide), (down, right), _, _ = self._at
        share = np.float32(1 / np.sqrt(high * wide))
        total = 0.0
        for i in range(min(down, high)):
            for j in range(min(right, wide)):
                places = len(range(i, high, down)) * len(range(j, wide, right))
                gram, ones, count = _nothing(self._shape[2])
                for part, root in self._weighted(X, weights):
                    group = self._padded(part)[:, i::down, j::right]
                    flat = group.reshape(len(part), -1, self._shape[2])
                    if weights is not None:
                        flat = flat * root[:, None, None]
                    pixels = flat.reshape(-1, self._shape[2])
                    gram = gram + pixels.T @ pixels
                    ones = ones + share * (root @ flat.sum(axis=1))
                    count += float(root @ root) * flat.shape[1] * float(share) ** 2
                total += places * Sums(gram, ones, count).norm()
        return total

    def _channel_power(self, X: Array, weights: Array | None) -> Array:
        """Return the sum of squares of each channel's patches: a bound of their Gram norms."""
        power = np.zeros(self.n_units, np.float32)
        for part, root in self._weighted(X, weights):
            A = self._rows(part)
            A *= root[:, None, None]
            power += np.square(A).sum(axis=(0, 1)).reshape(-1, self.n_units).sum(axis=0)
            power += (root @ root) * A.shape[1]
        return power


def _sizes(name: str, value: Any, rank: int, least: int) -> tuple[int, ...]:
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(sizes) != rank:
        raise ValueError(f"{name} is {value!r}, expected one number or {rank}.")
    for size in sizes:
        positive(name, size, least)
    return tuple(int(size) for size in sizes)


def _intervals(length: int, n_parts: int) -> tuple[Labels, Labels]:
    """Return where each of nearly equal parts of a length starts, and how long it is."""
    ends = np.arange(1, n_parts + 1) * length // n_parts
    starts = np.concatenate([[0], ends[:-1]])
    return starts, ends - starts


def _nothing(width: int) -> tuple[Array, Array, float]:
    return np.zeros((width, width), np.float32), np.zeros(width, np.float32), 0.0

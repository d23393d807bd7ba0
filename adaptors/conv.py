"""`Conv1d` and `Conv2d`: what a user writes down of a convolution; `ConvLayer` is what learns.

Samples are (length, channels) or (height, width, channels), channels last. The order is
convolution, activation, pooling. A 1-D convolution is a 2-D one of height 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Final

import numpy as np

from adaptors._state import checked_arrays
from adaptors.activations import activation
from adaptors.conv_layer import ConvLayer, Geometry
from adaptors.layers import uniform_start
from adaptors.rule import Shape, positive, with_extras

POOLS: Final = (None, "max", "average")
TARGETS: Final = ("channel", "grid", "map")


@dataclass(frozen=True)
class _Conv:
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


@dataclass(frozen=True)
class Conv1d(_Conv):
    """A convolution over samples (length, channels); parameters as of `Conv2d`, one size each.

    Examples
    --------
    >>> layer = Conv1d(8, kernel=5, pool="max").build((28, 3), np.random.default_rng(0))
    >>> layer.output_shape
    (12, 8)
    """

    _kind = "conv1d"
    _rank = 1


@dataclass(frozen=True)
class Conv2d(_Conv):
    """A convolution over samples (height, width, channels), channels last.

    Parameters
    ----------
    n_channels
        Number of filters; for a depthwise convolution, that of the input.
    kernel, stride, padding
        One number or (height, width). Padding is with zeros, on all sides alike.
    activation
        "tanh", "hard_tanh", "sigmoid", "relu" or "linear".
    pool, pool_size
        "max", "average" or None, of the activations in windows that do not overlap; what does not
        fill a window is dropped.
    depthwise
        Whether each channel is filtered alone.
    target
        "channel": a code entry for each channel, the same at all positions. A loss that compares
        classes (cross-entropy) sees the mean over positions. "grid": an entry for each channel and
        each region of a 4 x 4 grid laid over the pooled map; the loss sees the means of regions.
        "map": an entry for each channel and position, before pooling. Codes of grids and maps are
        made from the seed when needed.
    normalise
        Whether each sample is given mean 0 and variance 1 before it enters (layer normalisation).

    Notes
    -----
    Filters shared by all positions cannot reach a code everywhere, and targets of distance (l2, l1)
    leave them no better than random ones. What beats random filters is "cross_entropy" with
    ``target="grid"``, "relu", ``normalise=True`` and a network that whitens; see the rows of the
    small CNN in ``benchmarks/results/local_learning.md``. Compare with a hidden learning rate of 0.

    Examples
    --------
    >>> layer = Conv2d(16, kernel=3, pool="max").build((28, 28, 1), np.random.default_rng(0))
    >>> layer.output_shape
    (13, 13, 16)
    """

    _kind = "conv2d"
    _rank = 2


def _sizes(name: str, value: Any, rank: int, least: int) -> tuple[int, ...]:
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(sizes) != rank:
        raise ValueError(f"{name} is {value!r}, expected one number or {rank}.")
    for size in sizes:
        positive(name, size, least)
    return tuple(int(size) for size in sizes)

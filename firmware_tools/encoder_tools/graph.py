"""A small convolutional network as plain data, from which every model format is written.

Three node kinds are enough for an EfficientNet-Lite: convolution, addition, and mean over space,
then one dense layer. Weights are in PyTorch's order, (out, in / groups, height, width); each
writer turns them into its own. Not here: bytes of any format, and where the weights come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Conv:
    """Convolution with "same" padding (the odd pixel goes to the end), optionally ReLU6."""

    source: str
    target: str
    weight: Floats
    bias: Floats
    stride: int
    depthwise: bool
    relu6: bool


@dataclass(frozen=True)
class Add:
    """Sum of two feature maps of equal shape."""

    left: str
    right: str
    target: str


@dataclass(frozen=True)
class SpatialMean:
    """Feature map to vector: the mean over height and width."""

    source: str
    target: str


@dataclass(frozen=True)
class Dense:
    """Vector times ``weight`` transposed, plus ``bias``; weight is (out, in)."""

    source: str
    target: str
    weight: Floats
    bias: Floats


Node: TypeAlias = Conv | Add | SpatialMean | Dense


@dataclass(frozen=True)
class Network:
    """Nodes in the order of execution; the input is a square image named ``image``."""

    name: str
    image_size: int
    image_channels: int
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows to add before and after, so that the output has ``ceil(size / stride)`` rows.

    >>> same_padding(224, 3, 2), same_padding(56, 5, 2), same_padding(28, 5, 1)
    ((0, 1), (1, 2), (2, 2))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def feature_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor without batch: (size, channels) of a map, (width,) of a vector."""
    shapes: dict[str, tuple[int, ...]] = {"image": (network.image_size, network.image_channels)}
    for node in network.nodes:
        if isinstance(node, Conv):
            shapes[node.target] = (-(-shapes[node.source][0] // node.stride), len(node.bias))
        elif isinstance(node, Add):
            shapes[node.target] = shapes[node.left]
        elif isinstance(node, SpatialMean):
            shapes[node.target] = shapes[node.source][1:]
        else:
            shapes[node.target] = (len(node.bias),)
    return shapes

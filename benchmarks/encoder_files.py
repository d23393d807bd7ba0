"""EfficientNet-Lite0 in both formats, float32 and int8: made once, kept in the cache."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_sample_images

from edge_runtime.errors import EdgeRuntimeError
from examples.datasets.archives import LITE0_WEIGHTS, cache_dir, fetch
from firmware_tools.encoder_tools.efficientnet_lite0 import IMAGE_SIZE, convert_lite0, preprocess
from firmware_tools.encoder_tools.quantise import quantise_encoder

N_CALIBRATION = 24
CROPS_SEED, HELD_OUT_SEED = 0, 1
FORMATS = {"ONNX": ".onnx", "TFLite": ".tflite"}


def lite0_files(*, int8_only: bool = False) -> dict[str, Path]:
    """Name to file, of those that the installed tools can make."""
    files: dict[str, Path] = {}
    for name, suffix in FORMATS.items():
        plain = cache_dir() / f"efficientnet_lite0{suffix}"
        small = cache_dir() / f"efficientnet_lite0_photos_int8{suffix}"
        try:
            if not plain.exists():
                convert_lite0(fetch(LITE0_WEIGHTS), plain)
            if not int8_only:
                files[f"Lite0 {name} float32"] = plain
            if not small.exists():
                quantise_encoder(plain, small, in_layout(photo_crops(CROPS_SEED), suffix))
            files[f"Lite0 {name} int8"] = small
        except EdgeRuntimeError as error:
            print(f"SKIPPED: Lite0 {name}: {error}", file=sys.stderr)
    return files


def photo_crops(seed: int, n: int = N_CALIBRATION) -> npt.NDArray[np.float32]:
    """Random crops of scikit-learn's two photographs, prepared, channels last."""
    rng = np.random.default_rng(seed)
    photos = load_sample_images().images
    crops = []
    for i in range(n):
        photo = photos[i % len(photos)]
        top, left = (rng.integers(size - IMAGE_SIZE) for size in photo.shape[:2])
        crops.append(photo[top : top + IMAGE_SIZE, left : left + IMAGE_SIZE])
    return preprocess(np.stack(crops))


def in_layout(images: npt.NDArray[np.float32], suffix: str) -> npt.NDArray[np.float32]:
    """The images as models of this format take them."""
    order = (0, 3, 1, 2) if suffix == ".onnx" else (0, 1, 2, 3)
    return np.ascontiguousarray(images.transpose(order))

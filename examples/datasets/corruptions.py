"""Cameras that went bad: corruptions of images in plain NumPy, seeded.

Each takes and returns uint8 images (n, height, width) and a `severity` from 0 (none) to 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]


def fog(images: Images, severity: float, random_state: int) -> Images:
    """Low contrast under a bright veil whose thickness changes slowly over the picture."""
    n, height, width = images.shape
    rng = np.random.default_rng(random_state)
    coarse = rng.uniform(0.7, 1.0, size=(n, 4, 4))
    veil = _enlarge(coarse, height, width) * 255.0
    return _to_uint8(images * (1.0 - severity) + veil * severity)


def noise(images: Images, severity: float, random_state: int) -> Images:
    """Gaussian sensor noise of `severity` x 255 standard deviation."""
    rng = np.random.default_rng(random_state)
    return _to_uint8(images + rng.normal(0.0, severity * 255.0, size=images.shape))


def _enlarge(coarse: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float64]:
    """Bilinear interpolation of (n, a, b) to (n, height, width): two small matrix products."""
    rows = _interpolation(coarse.shape[1], height)
    columns = _interpolation(coarse.shape[2], width)
    return np.asarray(rows @ coarse @ columns.T)


def _interpolation(n_in: int, n_out: int) -> npt.NDArray[np.float64]:
    position = np.linspace(0, n_in - 1, n_out)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(n_in)[None, :]))


def _to_uint8(images: npt.NDArray[np.float64]) -> Images:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)

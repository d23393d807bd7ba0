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


def motion(images: Images, severity: float, random_state: int = 0) -> Images:
    """Blur along the rows over a third of the picture's width at full severity."""
    length = 1 + round(severity * images.shape[2] / 3)
    padded = np.pad(images.astype(np.float64), ((0, 0), (0, 0), (length // 2, length // 2)), "edge")
    width = images.shape[2]
    shifted = [padded[:, :, i : i + width] for i in range(length)]
    return _to_uint8(np.mean(shifted, axis=0))


def contrast(images: Images, severity: float, random_state: int = 0) -> Images:
    """Grey values drawn together around each picture's own mean."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return _to_uint8(mean + (images - mean) * (1.0 - severity))


def pixelate(images: Images, severity: float, random_state: int = 0) -> Images:
    """Squares of one grey value: up to an eighth of the height at full severity."""
    _, height, width = images.shape
    size = 1 + round(severity * height / 8)
    rows, columns = (np.arange(0, side, size) for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(images.astype(np.float64), rows, 1), columns, 2)
    n_rows, n_columns = (np.diff([*s, e]) for s, e in ((rows, height), (columns, width)))
    means = sums / (n_rows[:, None] * n_columns)
    return _to_uint8(means.repeat(n_rows, axis=1).repeat(n_columns, axis=2))


def dead_pixels(images: Images, severity: float, random_state: int) -> Images:
    """A share of `severity` of all pixels is black or white, others in every picture."""
    rng = np.random.default_rng(random_state)
    is_dead = rng.random(images.shape) < severity
    return np.where(is_dead, 255 * rng.integers(0, 2, images.shape), images).astype(np.uint8)


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

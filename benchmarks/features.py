"""Encoder features of a data set: computed once, kept in the cache, read from there ever after.

A feature file is named after the data set, the digest of its archive and the fingerprint of the
encoder, so that a change of any of them computes anew. Not here: what is done with the features.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.inputs.encoders import Encoder
from examples.datasets import pacs
from examples.datasets.archives import cache_dir
from examples.datasets.digits import to_rgb
from examples.datasets.lite0 import IMAGE_SIZE, open_lite0, to_input

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

ENCODED_AT_ONCE = 64
ENLARGED_AT_ONCE = 512


@dataclass(frozen=True)
class FeatureSet:
    """Features of every sample of a data set, with class and domain.

    Attributes
    ----------
    X : (n_samples, n_features)
        The taps side by side, the embedding last.
    y, domain : (n_samples,)
        Class and domain, as indices into `classes` and `domains`.
    taps
        Width of each tap, in the order of the columns.
    scene : (n_samples,)
        Number of the scene of each row, where rows come in scenes: their order is that of the
        stream then, and whole scenes are held out. None: rows are independent and may be shuffled.
    """

    X: Matrix
    y: Labels
    domain: Labels
    taps: Mapping[str, int]
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    scene: Labels | None = None

    def part(self, rows: Labels) -> FeatureSet:
        """Return these rows alone, in the order given."""
        scene = None if self.scene is None else self.scene[rows]
        return replace(self, X=self.X[rows], y=self.y[rows], domain=self.domain[rows], scene=scene)


def pacs_features(data_dir: Path) -> FeatureSet:
    """Lite0 features of all 9,991 PACS images; the first call takes minutes.

    Raises
    ------
    DataAbsentError
        The archive is not in `data_dir`.
    """
    version = pacs_version(data_dir)
    encoder = open_lite0()
    path = cache_dir() / "features" / f"pacs-{version}-{encoder.fingerprint[:16]}.npz"
    if not path.exists():
        images, y, domain = pacs.load(data_dir)
        save(path, X=encode(encoder, images), y=y, domain=domain)
    with np.load(path, allow_pickle=False) as saved:
        X, y, domain = saved["X"], saved["y"], saved["domain"]
    return FeatureSet(X, y, domain, encoder.dims, pacs.CLASSES, pacs.DOMAINS)


def image_features(name: str, images: npt.NDArray[np.uint8]) -> Matrix:
    """Lite0 features of images, computed once for the pixels.

    Grey ones (n, height, width) are enlarged; coloured ones are (n, 224, 224, 3) already.
    """
    encoder = open_lite0()
    digest = hashlib.sha256(repr(images.shape).encode() + images.tobytes()).hexdigest()[:16]
    path = cache_dir() / "features" / f"{name}-{digest}-{encoder.fingerprint[:16]}.npz"
    if not path.exists():
        parts = [
            encode(encoder, _enlarged(images[start : start + ENLARGED_AT_ONCE]))
            for start in range(0, len(images), ENLARGED_AT_ONCE)
        ]
        save(path, X=np.concatenate(parts))
    with np.load(path, allow_pickle=False) as saved:
        X: Matrix = saved["X"]
    return X


def _enlarged(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return images if images.ndim == 4 else to_rgb(images, IMAGE_SIZE)


def pacs_version(data_dir: Path) -> str:
    """Return the first 16 digits of the archive's SHA-256.

    Raises
    ------
    DataAbsentError
        The archive is not in `data_dir`.
    """
    path = data_dir / pacs.ARCHIVE
    if not path.is_file():
        raise pacs.DataAbsentError(
            f"{path} not found: PACS is no part of this project; name its folder by --data-dir"
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def encode(encoder: Encoder, images: npt.NDArray[np.uint8]) -> Matrix:
    """Features (n, sum of tap widths) of RGB images (n, 224, 224, 3)."""
    rows = []
    for start in range(0, len(images), ENCODED_AT_ONCE):
        batch = to_input(images[start : start + ENCODED_AT_ONCE])
        rows.append(np.concatenate(list(encoder(batch).values()), axis=1))
    return np.concatenate(rows)


def save(path: Path, **arrays: npt.NDArray[np.generic]) -> None:
    """Write arrays to an .npz file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise

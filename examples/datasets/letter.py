"""Letters: 20,000 capital letters in distorted fonts, sixteen measures of each, 26 classes.

Measures are counts, moments and edges of the picture, whole numbers from 0 to 15 (Frey and Slate,
1991); the pictures themselves were never published. 1,332 rows repeat others, so a random split
shares a few samples between its parts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from examples.datasets import keel
from examples.datasets.archives import KEEL, ArchiveUnavailableError, fetch

CLASSES = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def load() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Measures (20000, 16) and class indices 0 to 25, in the package's order, which is mixed."""
    return read(fetch(KEEL))


def read(package: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The same from the package at a given path; ArchiveUnavailableError if it is damaged."""
    values, names = keel.read(package, "letter", 16)
    unknown = sorted(set(names.tolist()) - set(CLASSES))
    if unknown:
        raise ArchiveUnavailableError(f"{package.name}: letters have classes {unknown[:3]}")
    return values, np.searchsorted(np.array(CLASSES), names).astype(np.int64)

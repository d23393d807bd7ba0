"""PACS: four styles (photo, art, cartoon, sketch) of the same seven classes; research use only.

The archive `pacs_128.tar` is not in any package: it is looked for in a folder that the caller
names, and whoever needs it skips with a message where it is absent. Never redistribute it.
"""

from __future__ import annotations

import tarfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
ARCHIVE = "pacs_128.tar"


class DataAbsentError(RuntimeError):
    """A data set that no package carries was not found in the folder given."""


def load(
    data_dir: Path, size: int = 224, domains: Collection[str] = DOMAINS
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Images (9991, size, size, 3), class indices, domain indices, in the order of file names.

    Of some `domains` alone there are fewer; indices are those of `DOMAINS` even then.
    """
    from PIL import Image

    path = data_dir / ARCHIVE
    if not path.is_file():
        raise DataAbsentError(
            f"{path} not found: PACS is no part of this project; name its folder by --data-dir"
        )
    with tarfile.open(path) as archive:
        names = sorted(name for name in archive.getnames() if name.count("/") >= 2)
        names = [name for name in names if not archive.getmember(name).isdir()]
        names = [name for name in names if name.split("/")[-3] in domains]
        images = np.empty((len(names), size, size, 3), np.uint8)
        for row, name in enumerate(names):
            file = archive.extractfile(name)
            picture = Image.open(file).convert("RGB")
            images[row] = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
    parts = [name.removeprefix("./").split("/")[-3:] for name in names]
    labels = np.array([CLASSES.index(kind) for _, kind, _ in parts])
    domains = np.array([DOMAINS.index(domain) for domain, _, _ in parts])
    return images, labels, domains

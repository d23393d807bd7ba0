"""Fashion-MNIST from Debian's package: 60,000 + 10,000 grey images of 28 x 28, ten classes."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile

import numpy as np
import numpy.typing as npt

from examples.datasets.archives import FASHION_MNIST, ArchiveUnavailableError, fetch

Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def load() -> tuple[Split, Split]:
    """((train images, labels), (test images, labels)); images (n, 28, 28) uint8."""
    package = fetch(FASHION_MNIST)
    try:
        listing = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True
        )
    except FileNotFoundError as error:
        raise ArchiveUnavailableError("opening a .deb needs dpkg-deb") from error
    with tarfile.open(fileobj=io.BytesIO(listing.stdout)) as archive:
        members = {name.rsplit("/", 1)[-1]: name for name in archive.getnames()}

        def idx(name: str, offset: int) -> npt.NDArray[np.uint8]:
            file = archive.extractfile(members[f"{name}-ubyte.gz"])
            assert file is not None, "an idx file is a regular file"
            return np.frombuffer(gzip.decompress(file.read()), np.uint8, offset=offset)

        return tuple(  # type: ignore[return-value]
            (
                idx(f"{part}-images-idx3", 16).reshape(-1, 28, 28),
                idx(f"{part}-labels-idx1", 8).astype(np.int64),
            )
            for part in ("train", "t10k")
        )

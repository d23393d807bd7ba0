"""Canaries: a few labelled samples that a pack brings along for its self-test.

One array in NumPy's own format, raw samples along the first axis. Not here: labels, which are in
the manifest, and what the answers mean.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.protocol.npy import read_header
from edge_runtime.protocol.pack.errors import PackError
from edge_runtime.protocol.pack.manifest import MAX_CANARIES


def read_canaries(data: bytes) -> npt.NDArray[Any]:
    """The samples; their size is checked against the bytes before any memory is taken.

    Raises
    ------
    PackError
        For "manifest".
    """
    stream = io.BytesIO(data)
    try:
        shape, is_fortran, dtype = read_header(stream)
    except ValueError as error:
        raise PackError("manifest", f"canaries are no .npy array: {error}") from error
    n_bytes = dtype.itemsize
    for length in shape:
        n_bytes *= int(length)
    left = len(data) - stream.tell()
    if dtype.kind not in "fiu" or is_fortran or n_bytes != left or not shape:
        raise PackError("manifest", f"canaries: {dtype} of shape {shape} in {left} bytes")
    if not 1 <= shape[0] <= MAX_CANARIES:
        raise PackError("manifest", f"{shape[0]} canaries, expected 1 to {MAX_CANARIES}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)


def write_canaries(samples: npt.NDArray[Any]) -> bytes:
    """Samples (n, ...) as the bytes of the member.

    Examples
    --------
    >>> read_canaries(write_canaries(np.eye(2, dtype=np.float32))).shape
    (2, 2)
    """
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(samples), (1, 0), allow_pickle=False)
    data = out.getvalue()
    read_canaries(data)
    return data

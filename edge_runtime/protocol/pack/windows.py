"""Reading a part of a file: exact lengths, constant memory. Not here: what the bytes mean."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import BinaryIO, Final

from edge_runtime.protocol.pack.errors import PackError, Reason

CHUNK_BYTES: Final = 64 * 1024


def size_of(file: BinaryIO) -> int:
    """Bytes in a seekable file."""
    return file.seek(0, io.SEEK_END)


def read_at(file: BinaryIO, offset: int, n_bytes: int, reason: Reason) -> bytes:
    """Exactly these bytes; the caller has bounded ``n_bytes``.

    Raises
    ------
    PackError
        With this ``reason``, if the file ends before.
    """
    file.seek(offset)
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise PackError(reason, f"cut short: {n_bytes} bytes expected at {offset}, {len(data)} are")
    return data


def chunks(file: BinaryIO, offset: int, n_bytes: int, reason: Reason) -> Iterator[bytes]:
    """These bytes in pieces of at most `CHUNK_BYTES`."""
    end = offset + n_bytes
    for start in range(offset, end, CHUNK_BYTES):
        yield read_at(file, start, min(CHUNK_BYTES, end - start), reason)


def sha256(file: BinaryIO, offset: int, n_bytes: int, reason: Reason) -> bytes:
    """SHA-256 of these bytes, in constant memory."""
    digest = hashlib.sha256()
    for chunk in chunks(file, offset, n_bytes, reason):
        digest.update(chunk)
    return digest.digest()

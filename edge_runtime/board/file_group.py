"""Group 8, files: one flat directory, read only. A name is a name there or nothing.

Nothing that a host sends becomes a path: it must be the name of a file that is in the directory.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import BinaryIO, Final

from edge_runtime.board.files import NAME, Files
from edge_runtime.protocol.wire.messages import (
    FileAnswer,
    FileHashAnswer,
    FileHashRequest,
    FileRequest,
    FileStatusAnswer,
    FileStatusRequest,
)
from edge_runtime.protocol.wire.smp import Answer, Group, Rc, Refusal

# Zephyr's ``fs_mgmt_err_code_t``.
INVALID_NAME: Final = Refusal(2, Group.FS)
NOT_FOUND: Final = Refusal(3, Group.FS)
OFFSET_TOO_LARGE: Final = Refusal(12, Group.FS)
NO_SUCH_HASH: Final = Refusal(13, Group.FS)
# Header, keys, numbers of an answer with data.
_OVERHEAD: Final = 48
_CHUNK: Final = 2**16


class FileGroup:
    """Answers the requests of group 8 from one directory."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def read(self, request: FileRequest, limit: int) -> Answer:
        """A piece that fits into a message of `limit` bytes."""
        name = self._named(request.name)
        if isinstance(name, Refusal):
            return name
        size = self._files.size(name)
        if not 0 <= request.off <= size:
            return OFFSET_TOO_LARGE
        with self._files.open(name) as file:
            file.seek(request.off)
            data = file.read(limit - _OVERHEAD)
        return FileAnswer(request.off, data, size if request.off == 0 else None)

    def status(self, request: FileStatusRequest) -> Answer:
        """How long a file is."""
        name = self._named(request.name)
        return name if isinstance(name, Refusal) else FileStatusAnswer(self._files.size(name))

    def hash(self, request: FileHashRequest) -> Answer:
        """SHA-256 or CRC-32 of a file, or of a part of it."""
        name = self._named(request.name)
        if isinstance(name, Refusal):
            return name
        kind, size, off = request.type or "sha256", self._files.size(name), request.off or 0
        if kind not in ("sha256", "crc32"):
            return NO_SUCH_HASH
        if not 0 <= off <= size or (request.len is not None and request.len < 0):
            return OFFSET_TOO_LARGE
        length = size - off if request.len is None else min(request.len, size - off)
        with self._files.open(name) as file:
            file.seek(off)
            output = _sha256(file, length) if kind == "sha256" else _crc32(file, length)
        return FileHashAnswer(kind, length, output, off or None)

    def _named(self, text: str) -> str | Refusal:
        """The file of this name; one leading slash is a habit of clients."""
        name = text.removeprefix("/")
        if not NAME.fullmatch(name) or name.endswith(".part"):
            return INVALID_NAME
        try:
            is_here = name in self._files.names() and not self._files.path(name).is_symlink()
            return name if is_here else NOT_FOUND
        except OSError as error:
            return Refusal(Rc.UNKNOWN, rsn=str(error)[:200])


def _sha256(file: BinaryIO, length: int) -> bytes:
    digest = hashlib.sha256()
    while length > 0 and (chunk := file.read(min(_CHUNK, length))):
        digest.update(chunk)
        length -= len(chunk)
    return digest.digest()


def _crc32(file: BinaryIO, length: int) -> int:
    crc = 0
    while length > 0 and (chunk := file.read(min(_CHUNK, length))):
        crc = zlib.crc32(chunk, crc)
        length -= len(chunk)
    return crc

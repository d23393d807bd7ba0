"""A file arrives in pieces, over hours, across restarts; then it is whole or it is gone.

One upload at a time, in a file named by the SHA-256 of the whole, so that after a reboot its
length says where to go on. Not here: what is in the file, and the messages that carry it.
"""

from __future__ import annotations

import re
from typing import Final

from edge_runtime.board.files import Files
from edge_runtime.protocol.pack.container import MAX_PACK_BYTES
from edge_runtime.protocol.pack.errors import PackError
from edge_runtime.protocol.pack.windows import sha256, size_of

PREFIX: Final = "upload-"
HEX_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Uploads:
    """Uploads into the directory of the image store.

    Examples
    --------
    >>> import hashlib, tempfile
    >>> from pathlib import Path
    >>> uploads = Uploads(Files(Path(tempfile.mkdtemp())))
    >>> whole = hashlib.sha256(b"abcdef").hexdigest()
    >>> uploads.write(whole, 0, b"abc", total=6), uploads.write(whole, 5, b"x", total=6)
    (3, 3)
    >>> uploads.write(whole, 3, b"def", total=6)
    6
    >>> uploads.finish(whole).startswith("upload-")
    True
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def offset(self, digest: str) -> int:
        """Where this upload goes on: bytes that are here."""
        return self._files.size(_name(digest))

    def write(self, digest: str, offset: int, data: bytes, *, total: int) -> int:
        """Take a piece and return where to go on; one from elsewhere changes nothing.

        The first piece of another file ends the upload before it.

        Raises
        ------
        PackError
            Larger than any pack, or than it said.
        OSError
            The disk is full.
        """
        if not 0 < total <= MAX_PACK_BYTES or offset + len(data) > total:
            raise PackError("container", f"{total} bytes announced, {offset + len(data)} sent")
        name = _name(digest)
        here = self._files.size(name)
        if offset != here:
            return here
        if offset == 0:
            self.discard()
        self._files.write_at(name, offset, data)
        return offset + len(data)

    def finish(self, digest: str) -> str:
        """Name of the file, now whole, for `ImageStore.stage`.

        Raises
        ------
        PackError
            For "digest": it is removed, and the upload starts anew.
        """
        name = _name(digest)
        if self._files.size(name):
            with self._files.open(name) as file:
                if sha256(file, 0, size_of(file), "container").hex() == digest:
                    return name
        self._files.remove(name)
        raise PackError("digest", "the upload's digest does not match: send it again")

    def discard(self) -> None:
        """Remove whatever was being uploaded."""
        for name in self._files.names():
            if name.startswith(PREFIX):
                self._files.remove(name)


def _name(digest: str) -> str:
    if not HEX_DIGEST.fullmatch(digest):
        raise PackError("container", f"digest {digest[:80]!r}, expected 64 hexadecimal digits")
    return f"{PREFIX}{digest}"

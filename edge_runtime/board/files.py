"""Every file operation of the image store, few enough to be recorded and replayed by a test.

One directory, flat names. Nothing here is atomic or durable by itself; `images` puts the
operations in an order that is. Not here: learned state (`edge_runtime.state`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO, Final

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class Files:
    """Files of one directory, which must exist.

    Raises
    ------
    OSError
        From every method, as the file system has it: full, read-only, gone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Where a file is; a name that could leave the directory is refused."""
        if not NAME.fullmatch(name):
            raise ValueError(f"file name {name[:80]!r}: letters, digits, '_', '.', '-'")
        return self.root / name

    def names(self) -> list[str]:
        """Names of the regular files."""
        return sorted(each.name for each in self.root.iterdir() if each.is_file())

    def size(self, name: str) -> int:
        """Bytes of a file; 0 if it is not there."""
        path = self.path(name)
        return path.stat().st_size if path.is_file() else 0

    def open(self, name: str) -> BinaryIO:
        """A file, for reading."""
        return self.path(name).open("rb")

    def write(self, name: str, data: bytes) -> None:
        """Replace the content of a file; not yet durable."""
        self.path(name).write_bytes(data)

    def write_at(self, name: str, offset: int, data: bytes) -> None:
        """Write into a file, created if need be, and end it there; not yet durable."""
        handle = os.open(self.path(name), os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.seek(offset)
            file.write(data)
            file.truncate()

    def sync(self, name: str) -> None:
        """Make the content of a file durable; its name is the directory's."""
        self._sync(self.path(name))

    def sync_directory(self) -> None:
        """Make names durable: those that came, went, or were replaced."""
        self._sync(self.root)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of what had it."""
        os.replace(self.path(old), self.path(new))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self.path(name).unlink(missing_ok=True)

    @staticmethod
    def _sync(path: Path) -> None:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

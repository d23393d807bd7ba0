"""Write a file whole or not at all. Not here: what is in it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edge_runtime.errors import EdgeRuntimeError


class FileWriteError(EdgeRuntimeError, OSError):
    """A file could not be written; what was there before is still there."""


def write_atomically(target: str | Path, data: bytes) -> Path:
    """Write ``data`` beside ``target``, then rename: a reader sees the old file or the new one.

    Raises
    ------
    FileWriteError
        If the directory is missing or not writable; nothing is left behind.
    """
    target = Path(target)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private; a model is not
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise FileWriteError(f"cannot write {target}: {error}") from error
    return target

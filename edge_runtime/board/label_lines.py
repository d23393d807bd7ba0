"""Labels from lines of JSON, ``{"sample": 17, "label": "dog"}``: a file, a pipe, standard input.

A thread reads them, for a pipe may stay silent for hours; what is not taken makes it wait, so that
a file of any length takes no memory. A named pipe never ends: writers come and go. Not here: what a
label does (`standalone`).
"""

from __future__ import annotations

import json
import os
import queue
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import LabelError, StreamError
from edge_runtime.records import Label

STDIN: Final = "-"
MAX_LINE_BYTES: Final = 1024
MAX_NUMBER: Final = 2**63 - 1  # of a sample or a class, as in a pack's manifest
READ_AHEAD: Final = 64
EXAMPLE: Final = '{"sample": 17, "label": "dog"}'
_STDIN_FD: Final = 0
_CHUNK_BYTES: Final = 4096

Item = tuple[int, Label] | LabelError


def parse_label(line: bytes) -> tuple[int, Label]:
    """The sample's id and its label.

    Raises
    ------
    LabelError
        It is no such line.

    Examples
    --------
    >>> parse_label(b'{"sample": 17, "label": "dog"}')
    (17, 'dog')
    """
    try:
        value = json.loads(line) if len(line) <= MAX_LINE_BYTES else None
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of too many digits
        value = None
    if isinstance(value, dict) and value.keys() == {"sample", "label"}:
        sample, label = value["sample"], value["label"]
        if type(sample) is int and 0 <= sample <= MAX_NUMBER and _is_label(label):
            return sample, label
    shown = line[:40].decode("utf-8", "replace").strip()
    raise LabelError(f"{shown!r} is no label, expected a line such as {EXAMPLE}")


def _is_label(value: Any) -> bool:
    """Whether it is one that a pack can carry."""
    if type(value) is int:
        return -MAX_NUMBER - 1 <= value <= MAX_NUMBER
    return type(value) is str and not any("\ud800" <= each <= "\udfff" for each in value)


class LabelLines:
    """The labels of one source, in the order in which they come.

    One whose sample has not come yet waits, and so do those behind it.

    Parameters
    ----------
    source : path of a file or a named pipe; ``"-"`` is standard input.

    Raises
    ------
    StreamError
        There is no such file.
    """

    def __init__(self, source: str) -> None:
        if source != STDIN and (not Path(source).exists() or Path(source).is_dir()):
            raise StreamError(f"labels {source}: there is no such file")
        self._came: queue.Queue[Item | None] = queue.Queue(READ_AHEAD)
        self._first: Item | None = None
        self._is_over = False
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def until(self, newest: int, *, is_last: bool = False) -> Iterator[Item]:
        """What has come by now, up to the first label of a sample after `newest`.

        There will be none after that where it `is_last`: such labels are refused then.
        """
        while self._has_next():
            if self.waits_for is None or self.waits_for <= newest:
                yield self._pop()
            elif is_last:
                error = LabelError(f"sample {self.waits_for} has a label, and never came")
                self._pop()
                yield error
            else:
                return

    @property
    def waits_for(self) -> int | None:
        """The sample that the next label belongs to, if one has come."""
        return self._first[0] if isinstance(self._first, tuple) else None

    @property
    def has_ended(self) -> bool:
        """Whether all labels of the source were taken, and no more can come."""
        return not self._has_next() and self._is_over

    def _pop(self) -> Item:
        first, self._first = self._first, None
        assert first is not None
        return first

    def _has_next(self) -> bool:
        if self._first is None and not self._is_over:
            try:
                self._first = self._came.get_nowait()
            except queue.Empty:
                return False
            self._is_over = self._first is None
        return self._first is not None

    def _read(self, source: str) -> None:
        """Thread: by the descriptor, since a lock on a buffer would outlive the interpreter."""
        fd = -1
        try:
            fd = _STDIN_FD if source == STDIN else _opened(source)
            for line in _lines(fd):
                self._came.put(_parsed(line))
        except OSError as error:
            self._came.put(LabelError(f"labels {source} cannot be read on: {error}"))
        finally:
            if fd > _STDIN_FD:
                os.close(fd)
        self._came.put(None)


def _opened(source: str) -> int:
    """A named pipe is opened for writing too: so it does not end where one of its writers does."""
    is_pipe = stat.S_ISFIFO(os.stat(source).st_mode)
    return os.open(source, (os.O_RDWR if is_pipe else os.O_RDONLY) | os.O_CLOEXEC)


def _parsed(line: bytes) -> Item:
    try:
        return parse_label(line)
    except LabelError as error:
        return error


def _lines(fd: int) -> Iterator[bytes]:
    """Lines that are not blank; of one that is too long the beginning, which is too long too."""
    kept = bytearray()
    while chunk := os.read(fd, _CHUNK_BYTES):
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            kept += line
            if kept.strip():
                yield bytes(kept[: MAX_LINE_BYTES + 1])
            kept.clear()
        kept += rest
        del kept[MAX_LINE_BYTES + 1 :]
    if kept.strip():
        yield bytes(kept)

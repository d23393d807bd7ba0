r"""Out of bytes in whatever pieces they come: frames, lines of text, and errors.

The rules of this file:

* `Receiver.feed` takes bytes in any pieces and returns frames, lines of text and errors, in order.
  It never raises on what came over the wire, and it never holds more than two largest frames.
* Both framings are read side by side. Lines are taken as they end; what is no line waits for the
  zero byte that ends a COBS frame.
* Once zero bytes delimit frames, and until a console frame comes, lines are looked for only where
  everything since the last zero byte was lines, and console lines only after a good frame or
  `reset`. So a file that contains console frames cannot speak for the host that sends it by COBS.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Final

from edge_runtime.protocol.wire.framing import (
    CRC,
    LENGTH,
    MAX_MESSAGE_BYTES,
    START,
    Frame,
    FrameError,
    Framing,
    Received,
    Text,
    cobs_decode,
    crc16,
)

_MARKER: Final = re.compile(rb"(\x06\x09|\x04\x14)")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
# Input is taken in pieces, so that one large read does not sit in the buffer as a whole.
_PIECE_BYTES: Final = 1024


class Receiver:
    r"""Turns bytes, in whatever pieces they come, into frames, lines of text and errors.

    >>> receiver = Receiver(max_message=64)
    >>> receiver.feed(b"booted\n\x06\tAA9IZWxsbywgd29y")
    [Text(line='booted')]
    >>> receiver.feed(b"bGQhet4=\n")
    [Frame(message=b'Hello, world!', framing=<Framing.CONSOLE: 'console'>)]
    """

    def __init__(self, *, max_message: int) -> None:
        if not 0 < max_message <= MAX_MESSAGE_BYTES:
            raise ValueError(f"max_message is {max_message}, expected 1 to {MAX_MESSAGE_BYTES}")
        self._max_checked = max_message + CRC.size
        # The longest that a largest message can be: stuffed, or one console line of it.
        self._max_waiting = self._max_checked + self._max_checked // 254 + 8
        self._framing: Framing | None = None
        self._waiting = bytearray()
        self._is_damaged = False  # the last COBS frame was: what follows may be the rest of it
        self._is_after_zero = False  # what waits began after a zero byte
        self._scanned = 0  # so much of what waits has been looked at for lines
        self._partial: bytearray | None = None  # decoded console frame, length field included
        self._out: list[Received] = []

    @property
    def framing(self) -> Framing | None:
        """The framing of the last good frame: what the other side understands."""
        return self._framing

    @property
    def n_bytes(self) -> int:
        """Bytes that wait for the rest of their frame: bounded whatever comes."""
        return len(self._waiting) + len(self._partial or b"")

    @property
    def _is_strict(self) -> bool:
        """Whether a line after something that is no line is rather inside a COBS frame."""
        return self._framing is Framing.COBS or (self._framing is None and self._is_after_zero)

    def reset(self) -> None:
        """Forget what was received in part: the line was silent, or is a new one."""
        self._is_damaged = False
        self._clear()

    def _clear(self) -> None:
        self._waiting.clear()
        self._is_after_zero = False
        self._scanned = 0
        self._partial = None

    def feed(self, data: bytes) -> list[Received]:
        """All that is complete by now, in the order of the wire."""
        for at in range(0, len(data), _PIECE_BYTES):
            self._waiting += data[at : at + _PIECE_BYTES]
            self._take_all()
        out, self._out = self._out, []
        return out

    def _take_all(self) -> None:
        while True:
            zero = self._waiting.find(b"\0", self._scanned)
            end = len(self._waiting) if zero < 0 else zero
            self._take_lines(end)
            if zero < 0:
                break
            zero = self._waiting.find(b"\0")
            segment = bytes(self._waiting[:zero])
            del self._waiting[: zero + 1]
            self._scanned = 0
            self._is_after_zero = True
            if segment:
                self._is_damaged = not self._take_cobs(segment)
        if len(self._waiting) > self._max_waiting:
            self._is_damaged = True
            self._give_up("no end of frame", len(self._waiting))
            self._clear()

    def _take_lines(self, end: int) -> None:
        """Console and text lines before `end` leave the buffer; other lines stay for COBS."""
        while True:
            if self._scanned and self._is_strict:
                self._scanned = end
                return
            newline = self._waiting.find(b"\n", self._scanned, end)
            if newline < 0:
                return
            line = bytes(self._waiting[self._scanned : newline]).rstrip(b"\r")
            if self._take_line(line):
                if self._scanned:
                    self._give_up("noise before a line", self._scanned)
                del self._waiting[: newline + 1]
                end -= newline + 1
                self._scanned = 0
            else:
                self._scanned = newline + 1

    def _take_line(self, line: bytes) -> bool:
        """Whether `line` is one of text or console, so that nothing before it can be COBS."""
        before, *marked = _MARKER.split(line)
        if not marked:
            return self._take_text(line) and not self._scanned
        if self._framing is Framing.COBS and self._is_damaged:
            return False
        if before:
            if self._is_strict:
                return False
            if not self._take_text(before):
                self._give_up("noise before a console line", len(before))
        # More than one pair where newlines were lost.
        for marker, text in zip(marked[::2], marked[1::2], strict=True):
            self._take_console(marker, text)
        return True

    def _take_text(self, line: bytes) -> bool:
        if _CONTROL.search(line):
            return False
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return False
        if text:
            self._out.append(Text(text))
        return True

    def _take_console(self, marker: bytes, text: bytes) -> None:
        if marker == START:
            if self._partial is not None:
                self._drop_partial("console frame without its end")
            self._partial = bytearray()
        elif self._partial is None:
            return self._give_up("continuation without a start", len(text))
        assert self._partial is not None
        try:
            self._partial += b64decode(text, validate=True)
        except ValueError:
            return self._drop_partial("console line is not base64")
        return self._finish_console(self._partial)

    def _finish_console(self, partial: bytearray) -> None:
        if len(partial) < LENGTH.size:
            return self._drop_partial("console frame without a length")
        (length,) = LENGTH.unpack_from(partial)
        if not CRC.size < length <= self._max_checked:
            return self._drop_partial(f"console frame announces {length} bytes")
        if len(partial) > LENGTH.size + length:
            return self._drop_partial(f"console frame longer than its {length} bytes")
        if len(partial) == LENGTH.size + length:
            self._partial = None
            self._take_checked(bytes(partial[LENGTH.size :]), Framing.CONSOLE)
        return None

    def _take_cobs(self, segment: bytes) -> bool:
        try:
            return self._take_checked(cobs_decode(segment), Framing.COBS)
        except ValueError as error:
            self._give_up(str(error), len(segment))
            return False

    def _take_checked(self, checked: bytes, framing: Framing) -> bool:
        """Whether message and CRC are a good frame, which then goes out."""
        message = checked[: -CRC.size]
        if not message or len(checked) > self._max_checked:
            self._give_up(f"frame of {len(checked)} bytes", len(checked))
            return False
        if CRC.unpack(checked[-CRC.size :])[0] != crc16(message):
            self._give_up("check sum does not match", len(checked))
            return False
        self._framing = framing
        self._out.append(Frame(message, framing))
        return True

    def _drop_partial(self, reason: str) -> None:
        self._give_up(reason, len(self._partial or b""))
        self._partial = None

    def _give_up(self, reason: str, n_bytes: int) -> None:
        self._out.append(FrameError(reason, n_bytes))

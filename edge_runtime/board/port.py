"""One serial port: opened when it is there, read and written without waiting, lost and found.

The only place where the agent touches a port. A port that vanishes is tried again until it returns.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Final

import serial

from edge_runtime.protocol.wire.server import Server

RETRY_S: Final = 0.5
READ_BYTES: Final = 4096
# Messages so long at most: (rate up to, buf_size), as clients count their own sending time.
BUF_SIZES: Final = ((115_200, 1024), (1_000_000, 4096))
LARGEST_BUF: Final = 16384
# A USB gadget has no rate.
USB_NAMES: Final = ("ttyGS", "ttyACM")


def buf_size_for(path: str, baud: int) -> int:
    """``buf_size`` for a rate: a message must not take longer than a client waits."""
    if os.path.basename(path).startswith(USB_NAMES):
        return LARGEST_BUF
    return next((size for limit, size in BUF_SIZES if baud <= limit), LARGEST_BUF)


class Port:
    """A serial port with the session on it.

    Attributes
    ----------
    trouble
        Why it is not open; empty while it is.
    """

    def __init__(self, path: str, baud: int, *, buf_size: int | None = None) -> None:
        self.path, self.baud = path, baud
        self.buf_size = buf_size or buf_size_for(path, baud)
        self.trouble = "not opened yet"
        self.server = Server(max_message=self.buf_size)
        self._serial: Any = None
        self._out = bytearray()
        self._retry_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a port."""
        return self._serial is not None

    def fileno(self) -> int:
        """For `select`."""
        return int(self._serial.fileno())

    @property
    def has_unsent(self) -> bool:
        """Whether bytes wait for the line to take them."""
        return bool(self._out)

    def tend(self, now_s: float) -> bool:
        """Open the port if it is time to try; True if it is open now and was not before."""
        if self._serial is not None or now_s < self._retry_s:
            return False
        self._retry_s = now_s + RETRY_S
        try:
            # Two agents on one port would each read half of every message.
            self._serial = serial.Serial(
                self.path, self.baud, timeout=0, write_timeout=0, exclusive=True
            )
        except (OSError, ValueError) as error:  # pyserial's own error is an OSError
            self.trouble = f"{self.path}: {error}; is it plugged in, free, and yours to use?"
            return False
        self.trouble = ""
        self.server = Server(max_message=self.buf_size)
        self._out.clear()
        return True

    def read(self) -> bytes:
        """What has come; OSError if the port is gone, and it is closed then."""
        try:
            data = os.read(self.fileno(), READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            self.close(f"{self.path}: {error}")
            raise
        if not data:
            self.close(f"{self.path}: hung up")
            raise OSError(self.trouble)
        return data

    def write(self, data: bytes) -> None:
        """Put bytes behind those that wait, and write what the line takes now."""
        self._out += data
        if not self._out or self._serial is None:
            self._out.clear()
            return
        try:
            while self._out:
                del self._out[: os.write(self.fileno(), self._out[:READ_BYTES])]
        except BlockingIOError:
            return
        except OSError as error:
            self.close(f"{self.path}: {error}")

    def close(self, why: str = "closed") -> None:
        """Close it; it is opened again when it is time."""
        self.trouble = why
        if self._serial is not None:
            with contextlib.suppress(OSError):
                self._serial.close()
        self._serial = None
        self._out.clear()

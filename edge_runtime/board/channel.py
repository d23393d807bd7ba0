"""Values between the agent and the process that runs the model: one line of JSON each.

The other end may hang, die, or send rubbish: nothing here waits for it, trusts a length, or keeps
more than a bound. Not here: what the values mean.
"""

from __future__ import annotations

import json
import socket
from typing import Any, Final

from edge_runtime.errors import EdgeRuntimeError

MAX_LINE_BYTES: Final = 4 * 2**20
MAX_UNSENT_BYTES: Final = 4 * 2**20
_PIECE_BYTES: Final = 64 * 1024


class ChannelError(EdgeRuntimeError, ConnectionError):
    """The other end is gone, does not read, or does not speak JSON."""


class Channel:
    """One end of a stream socket, which it makes non-blocking.

    >>> here, there = (Channel(end) for end in socket.socketpair())
    >>> here.send({"do": "save"})
    >>> there.receive()
    [{'do': 'save'}]
    >>> here.close(), there.close()
    (None, None)
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._in = bytearray()
        self._out = bytearray()

    def fileno(self) -> int:
        """For `select`."""
        return self._end.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` has something to do once the other end reads."""
        return bool(self._out)

    def send(self, value: Any) -> None:
        """Send a value, as soon as the other end reads."""
        self._out += json.dumps(value).encode() + b"\n"
        if len(self._out) > MAX_UNSENT_BYTES:
            raise ChannelError(f"{len(self._out)} bytes unread by the other process")
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now."""
        try:
            while self._out:
                del self._out[: self._end.send(self._out[:_PIECE_BYTES])]
        except BlockingIOError:
            return
        except OSError as error:
            raise ChannelError(f"the other process is gone: {error}") from error

    def receive(self) -> list[Any]:
        """The values that have come.

        Raises
        ------
        ChannelError
            The other end is closed, and all that it sent has been returned before.
        """
        is_closed = False
        try:
            while len(self._in) <= MAX_LINE_BYTES:
                piece = self._end.recv(_PIECE_BYTES)
                if not piece:
                    is_closed = True
                    break
                self._in += piece
        except BlockingIOError:
            pass
        except OSError:
            is_closed = True
        *lines, rest = self._in.split(b"\n")
        if is_closed and not lines:
            raise ChannelError("the other process is gone")
        if not lines and len(rest) > MAX_LINE_BYTES:
            raise ChannelError(f"a line of more than {MAX_LINE_BYTES} bytes")
        self._in = bytearray(rest)
        try:
            return [json.loads(line) for line in lines]
        except (ValueError, RecursionError) as error:
            raise ChannelError(f"no JSON from the other process: {error}") from error

    def close(self) -> None:
        """End the conversation."""
        self._end.close()

"""A simulated cable between two pseudo-terminals: what `line.Cable` does to bytes, in real time.

The host opens the link, the board `Relay.board_path`, each as it would a serial port.
Pulled, the host's terminal is gone, as a USB adapter is; plugged, there is another one, so a host
should go by a link that is renewed. Not here: the faults themselves (`line`).
"""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Final

from firmware_tools.line import Cable, Line

READ_BYTES: Final = 65536
IDLE_S: Final = 0.05


class Terminal:
    """Both ends of a pseudo-terminal, raw; the far end stays open whoever comes and goes."""

    def __init__(self) -> None:
        self.near, self._far = os.openpty()
        tty.setraw(self._far, termios.TCSANOW)
        os.set_blocking(self.near, False)
        self.path = os.ttyname(self._far)

    def read(self) -> bytes:
        """What the user of the far end has written."""
        try:
            return os.read(self.near, READ_BYTES)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        """How much the far end has taken: a terminal holds 4 KiB that nobody reads."""
        try:
            return os.write(self.near, data) if data else 0
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Hang up: whoever has the far end open gets an error."""
        os.close(self.near)
        os.close(self._far)


class Relay:
    """Moves bytes between a host's terminal and a board's through a cable.

    Parameters
    ----------
    cable : pace, latency and noise, see `line.Cable`.
    link : a symbolic link to the host's terminal, made and removed here.
    """

    def __init__(
        self,
        cable: Cable,
        link: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cable = cable
        self._link, self._clock = link, clock
        self._board = Terminal()
        self._host: Terminal | None = None
        self._to_board = self._to_host = b""
        self.plug()

    @property
    def board_path(self) -> str:
        """The board's terminal."""
        return self._board.path

    def step(self, longest_s: float = IDLE_S) -> None:
        """Wait for bytes, or until some arrive, and move them."""
        now_s = self._clock()
        due = [self.cable.to_board.next_arrival_s(), self.cable.to_host.next_arrival_s()]
        waits = [t - now_s for t in due if t is not None]
        if self._to_board or self._to_host:
            waits.append(0.001)  # the reader is slow: look again soon
        wait_s = max(0.0, min([longest_s, *waits]))
        ends = [self._board.near] + ([] if self._host is None else [self._host.near])
        ready, _, _ = select.select(ends, [], [], wait_s)
        self._move(set(ready))

    def run(self, until: Callable[[], bool]) -> None:
        """Go on until a condition holds, which is looked at 20 times a second at least."""
        while not until():
            self.step()

    def pull(self) -> None:
        """Take the cable out on the host's side."""
        self.cable.pull()
        self._to_board = self._to_host = b""
        if self._host is not None:
            self._host.close()
            self._host = None
        self._link.unlink(missing_ok=True)

    def plug(self) -> None:
        """Put the cable in: the host's terminal is a new one, the link leads to it."""
        self._host = Terminal()
        self.cable.plug(self._clock())
        aside = self._link.with_name(f"{self._link.name}.new")
        aside.unlink(missing_ok=True)
        aside.symlink_to(self._host.path)
        aside.replace(self._link)

    def close(self) -> None:
        """Give both terminals back, and remove the link."""
        self.pull()
        self._board.close()

    def _move(self, ready: set[int]) -> None:
        now_s = self._clock()
        if self._board.near in ready:
            self.cable.to_host.write(self._board.read(), now_s)
        if self._host is not None and self._host.near in ready:
            self.cable.to_board.write(self._host.read(), now_s)
        self._to_board = self._deliver(self.cable.to_board, self._board, self._to_board, now_s)
        if self._host is not None:
            self._to_host = self._deliver(self.cable.to_host, self._host, self._to_host, now_s)

    @staticmethod
    def _deliver(line: Line, end: Terminal, waiting: bytes, now_s: float) -> bytes:
        """Arrived bytes go out, as many as the terminal takes; the others wait."""
        waiting += line.read(now_s)
        return waiting[end.write(waiting) :]

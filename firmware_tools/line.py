"""A serial cable in memory: pace, latency, noise, a full receive buffer, and a hand that pulls it.

Ten bits a byte, as a UART with start and stop bit. Time is an argument and noise is seeded, so a
transfer replays to the last byte. Not here: any port; a test or a relay moves the bytes.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass

BITS_PER_BYTE = 10
# What a receiver is told of at once: as long as a UART's buffer, so that answers need not wait.
PIECE_BYTES = 128


@dataclass(frozen=True)
class Noise:
    """What happens to bytes on their way: shares of bytes, drawn apart for each direction.

    `rate` is the share of single faults, a third each: dropped, one bit flipped, sent twice. At
    `burst_rate`, the next `burst_bytes` become random.
    """

    rate: float = 0.0
    burst_rate: float = 0.0
    burst_bytes: int = 0


class Line:
    """One direction of a cable.

    >>> line = Line(baud=1000)
    >>> line.write(b"hi", 0.0)
    >>> line.read(0.01), line.read(0.03)
    (b'h', b'i')
    """

    def __init__(
        self,
        *,
        baud: float,
        latency_s: float = 0.0,
        noise: Noise | None = None,
        buffer_bytes: int = 2**20,
        seed: int = 0,
    ) -> None:
        if baud <= 0:
            raise ValueError(f"{baud} baud, expected more than 0")
        self.byte_s = BITS_PER_BYTE / baud
        self.latency_s = latency_s
        self.is_plugged = True
        self.n_faults = 0
        self.n_overrun = 0
        self._noise = noise or Noise()
        self._buffer_bytes = buffer_bytes
        self._random = random.Random(seed)
        self._free_s = 0.0  # when the last byte written so far will have left
        self._under_way: deque[tuple[float, float, bytes]] = deque()  # first, step, bytes
        self._arrived = bytearray()
        self._to_fault = self._gap(self._noise.rate)
        self._to_burst = self._gap(self._noise.burst_rate)

    def write(self, data: bytes, now_s: float) -> None:
        """Put bytes on the line behind those that are still leaving; unplugged, they are lost."""
        if not data or not self.is_plugged:
            return
        for at in range(0, len(data), PIECE_BYTES):
            piece = data[at : at + PIECE_BYTES]
            start_s = max(now_s, self._free_s)
            duration_s = len(piece) * self.byte_s
            self._free_s = start_s + duration_s
            heard = self._disturb(piece)
            if heard:
                step_s = duration_s / len(heard)
                self._under_way.append((start_s + self.latency_s + step_s, step_s, heard))

    def read(self, now_s: float, limit: int | None = None) -> bytes:
        """Bytes that have arrived by `now_s`, at most `limit`; what the buffer lost stays lost."""
        self._arrive(now_s)
        taken = bytes(self._arrived[:limit])
        del self._arrived[: len(taken)]
        return taken

    def next_arrival_s(self) -> float | None:
        """When the next bytes, at most `PIECE_BYTES`, will have arrived."""
        if not self._under_way:
            return None
        first_s, step_s, data = self._under_way[0]
        return first_s + step_s * (len(data) - 1)

    def pull(self) -> None:
        """Take the cable out: all that is under way is lost."""
        self.is_plugged = False
        self._under_way.clear()
        self._arrived.clear()

    def plug(self, now_s: float) -> None:
        """Put the cable back."""
        self.is_plugged = True
        self._free_s = now_s

    def _arrive(self, now_s: float) -> None:
        while self._under_way:
            first_s, step_s, data = self._under_way[0]
            # The last bit must not be missed by a rounding error of the clock.
            n_here = min(len(data), math.floor((now_s - first_s) / step_s + 1 + 1e-6))
            if n_here <= 0:
                return
            room = max(0, self._buffer_bytes - len(self._arrived))
            self._arrived += data[: min(n_here, room)]
            self.n_overrun += max(0, n_here - room)
            if n_here < len(data):
                self._under_way[0] = (first_s + step_s * n_here, step_s, data[n_here:])
                return
            self._under_way.popleft()

    def _gap(self, rate: float) -> float:
        """Bytes until the next fault: geometric."""
        if rate <= 0:
            return math.inf
        return math.floor(math.log(1 - self._random.random()) / math.log1p(-rate))

    def _disturb(self, data: bytes) -> bytes:
        out = bytearray(data)
        n_bytes = len(data)
        while self._to_burst < n_bytes:
            at = int(self._to_burst)
            n_burst = len(out[at : at + self._noise.burst_bytes])
            out[at : at + n_burst] = self._random.randbytes(n_burst)
            self.n_faults += n_burst
            self._to_burst += 1 + n_burst + self._gap(self._noise.burst_rate)
        places = []
        while self._to_fault < n_bytes:
            places.append(int(self._to_fault))
            self._to_fault += 1 + self._gap(self._noise.rate)
        for at in reversed(places):
            self._spoil(out, at)
        self._to_burst -= n_bytes
        self._to_fault -= n_bytes
        return bytes(out)

    def _spoil(self, out: bytearray, at: int) -> None:
        self.n_faults += 1
        kind = self._random.randrange(3)
        if kind == 0:
            del out[at]
        elif kind == 1:
            out[at] ^= 1 << self._random.randrange(8)
        else:
            out.insert(at, out[at])


class Cable:
    """Both directions: `to_board` and `to_host`."""

    def __init__(
        self, *, baud: float, latency_s: float = 0.0, noise: Noise | None = None, seed: int = 0
    ) -> None:
        self.to_board, self.to_host = (
            Line(baud=baud, latency_s=latency_s, noise=noise, seed=2 * seed + i) for i in (0, 1)
        )

    @property
    def n_faults(self) -> int:
        """Bytes spoilt so far, both ways."""
        return self.to_board.n_faults + self.to_host.n_faults

    def pull(self) -> None:
        """Take the cable out."""
        self.to_board.pull()
        self.to_host.pull()

    def plug(self, now_s: float) -> None:
        """Put the cable back."""
        self.to_board.plug(now_s)
        self.to_host.plug(now_s)

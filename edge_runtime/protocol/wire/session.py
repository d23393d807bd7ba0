"""What both ends of a conversation share: the law of it, the times, the ear.

    client   request(...), upload(...)  ->  send(now_s)  ->  bytes
             bytes  ->  receive(data, now_s)  ->  events;  receive(b"", now_s) at next_deadline_s
    server   bytes  ->  receive(data, now_s)  ->  Asked  ->  answer(asked, ...)  ->  send()

A request is   event            then         and
queued         room in window   waiting      its bytes are sent                         client
waiting        answer           over         `Answered`
waiting        deadline         waiting      the same bytes again, MAX_TRIES in all
waiting        last deadline    over         `GaveUp`; slow requests have SLOW_S at least
waiting        new connection   waiting      the same bytes again
unknown        arrives          open         `Asked`                                    server
open           arrives again    open         nothing: it is being carried out
open           answered         answered     the answer is sent, in the framing of the request
answered       arrives again    answered     a change: the same answer; a reading: `Asked`
answered       REPEAT_S         unknown      -

Requests are told apart by all their bytes. Time is an argument; nothing here reads a clock.
`client.Client` and `server.Server` are the two ends; `upload.py` has the law of uploads.
"""

from __future__ import annotations

from typing import Final

from edge_runtime.protocol.wire.framing import Received
from edge_runtime.protocol.wire.receiver import Receiver

# A frame that pauses so long was cut off. A busy host pauses for less.
IDLE_S: Final = 0.5
# Before the first answer nothing is known of the board; after it, RFC 6298 within these bounds.
FIRST_TIMEOUT_S: Final = 1.0
MIN_TIMEOUT_S: Final = 0.25
MAX_TIMEOUT_S: Final = 4.0
MAX_TRIES: Final = 6
# A client repeats itself within the time that all its tries take together: 19 s.
REPEAT_S: Final = 20.0
# A client goes no further ahead of a request without answer, so that the server still knows it.
MAX_AHEAD: Final = 64


class RoundTrip:
    """How long an answer takes beyond the wire, and when to stop waiting (RFC 6298)."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._spread_s = 0.0

    def observe(self, seconds: float) -> None:
        """Take one answer into account: the seconds it took, without those on the wire."""
        if self._mean_s is None:
            self._mean_s, self._spread_s = seconds, seconds / 2
            return
        self._spread_s += (abs(seconds - self._mean_s) - self._spread_s) / 4
        self._mean_s += (seconds - self._mean_s) / 8

    def timeout_s(self, n_sent: int) -> float:
        """How long to wait after sending for the `n_sent`-th time: twice as long each time."""
        usual_s = FIRST_TIMEOUT_S
        if self._mean_s is not None:
            usual_s = max(MIN_TIMEOUT_S, self._mean_s + 4 * self._spread_s)
        return min(MAX_TIMEOUT_S, usual_s * 2.0 ** min(n_sent - 1, MAX_TRIES))


class Ear:
    """A receiver that forgets half a frame when the line falls silent."""

    def __init__(self, max_message: int) -> None:
        self.receiver = Receiver(max_message=max_message)
        self._heard_s = 0.0

    @property
    def silence_s(self) -> float | None:
        """When what was received in part will be forgotten, if no more comes."""
        return self._heard_s + IDLE_S if self.receiver.n_bytes else None

    def hear(self, data: bytes, now_s: float) -> list[Received]:
        """What the bytes, heard at `now_s`, complete."""
        if now_s - self._heard_s >= IDLE_S:
            self.receiver.reset()
        if data:
            self._heard_s = now_s
        return self.receiver.feed(data)

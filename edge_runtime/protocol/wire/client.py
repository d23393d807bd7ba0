"""The asking end of the line: a window of requests on their way, repeated until answered."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from edge_runtime.protocol.wire.edge_messages import (
    EventsRequest,
    LabelsRequest,
    PullRequest,
    UndoRequest,
)
from edge_runtime.protocol.wire.framing import Frame, FrameError, Framing, Text, encode
from edge_runtime.protocol.wire.messages import ImageUploadAnswer, SetImageStateRequest
from edge_runtime.protocol.wire.session import MAX_AHEAD, MAX_TRIES, Ear, RoundTrip
from edge_runtime.protocol.wire.smp import (
    Answer,
    Header,
    Message,
    Op,
    Refusal,
    WireError,
    parse_answer,
    request_bytes,
)
from edge_runtime.protocol.wire.upload import Piece, Upload

# An upload that gets no answer for so long has failed.
STALL_S: Final = 60.0
MAX_QUEUED: Final = 256
# A board may think so long about some requests: labels may start a trial of a new slot. All that
# time it is asked again, which it ignores, and it knows the request for twice `REPEAT_S`.
SLOW_S: Final = 36.0
_SLOW: Final = (LabelsRequest, UndoRequest, PullRequest, SetImageStateRequest)


@dataclass(frozen=True)
class Answered:
    """The answer to the request that `Client.request` gave this ticket."""

    ticket: int
    request: Message
    answer: Answer


@dataclass(frozen=True)
class GaveUp:
    """No answer, however often it was asked."""

    ticket: int
    request: Message


@dataclass(frozen=True)
class Progress:
    """So much of the upload has arrived; `upload.state` says whether it is over."""

    upload: Upload
    offset: int


ClientEvent = Answered | GaveUp | Progress | Text | FrameError


@dataclass
class _Request:
    ticket: int
    request: Message
    data: bytes
    piece: Piece | None = None
    n_sent: int = 0
    first_s: float = 0.0
    sent_s: float = 0.0
    wire_s: float = 0.0  # what its own bytes need
    excused_s: float = 0.0  # what the wire needs for all before it, and for a long answer
    deadline_s: float = 0.0


class Client:
    """The asking end: a window of requests on their way, repeated until answered.

    `baud` lets timeouts allow for the time that bytes need on the wire; None where there is no
    pace, as on USB or a pseudo-terminal. `max_message` bounds what an answer may be.
    """

    def __init__(
        self,
        *,
        framing: Framing = Framing.CONSOLE,
        baud: float | None = None,
        window: int = 4,
        max_message: int = 16384,
        first_sequence: int = 0,
    ) -> None:
        if not 1 <= window <= 64:
            raise ValueError(f"window is {window}, expected 1 to 64: sequence numbers wrap at 256")
        self.framing = framing
        self.n_sent = 0
        self._byte_s = 10 / baud if baud else 0.0
        self._reading_s = max_message * self._byte_s * 4 / 3
        self._window = window
        self._ear = Ear(max_message)
        self._queued: deque[_Request] = deque()
        self._waiting: OrderedDict[int, _Request] = OrderedDict()
        self._sequence = first_sequence & 0xFF
        self._ticket = 0
        self._upload: Upload | None = None
        self._progress_s: float | None = None
        self._n_timeouts = 0
        self._round_trip = RoundTrip()

    @property
    def next_deadline_s(self) -> float | None:
        """When to call `receive` at the latest, with no bytes if none have come."""
        return min((waiting.deadline_s for waiting in self._waiting.values()), default=None)

    def request(self, message: Message) -> int:
        """Queue a request; the ticket comes back with its answer."""
        if len(self._queued) >= MAX_QUEUED:
            raise ValueError(f"{MAX_QUEUED} requests are queued already: is anybody answering?")
        self._ticket += 1
        self._queued.append(_Request(self._ticket, message, b""))
        return self._ticket

    def upload(self, upload: Upload) -> None:
        """Send an image, after the requests that are queued; one at a time."""
        if self._upload is not None and not self._upload.is_over:
            raise ValueError("an upload is going on: wait for its end")
        self._upload, self._progress_s, self._n_timeouts = upload, None, 0

    def reconnected(self, now_s: float) -> None:
        """The line is a new one: all that was on its way is said again."""
        self._ear.receiver.reset()
        if self._upload is not None:
            self._upload.restart()
        for sequence, waiting in list(self._waiting.items()):
            waiting.deadline_s = now_s
            waiting.n_sent = 0
            if waiting.piece is not None:
                del self._waiting[sequence]

    def send(self, now_s: float) -> bytes:
        """The bytes to write now: what is due again, queued requests, pieces of the upload."""
        out = bytearray()
        for sequence, waiting in list(self._waiting.items()):
            if waiting.deadline_s <= now_s and waiting.piece is None:
                out += self._say(sequence, waiting, now_s)
        while len(self._waiting) < self._window:
            following = self._following()
            if following is None:
                break
            sequence = self._free_sequence()
            following.data = request_bytes(following.request, sequence)
            self._waiting[sequence] = following
            out += self._say(sequence, following, now_s)
        return bytes(out)

    def receive(self, data: bytes, now_s: float) -> list[ClientEvent]:
        """What the bytes mean, and what has waited too long by now."""
        events: list[ClientEvent] = []
        for heard in self._ear.hear(data, now_s):
            if isinstance(heard, Frame):
                events += self._take(heard.message, now_s)
            else:
                events.append(heard)
        return events + self._expire(now_s)

    def _following(self) -> _Request | None:
        if self._queued:
            oldest = min((w.ticket for w in self._waiting.values() if w.ticket), default=None)
            if oldest is not None and self._queued[0].ticket - oldest >= MAX_AHEAD:
                return None
            return self._queued.popleft()
        if self._upload is None:
            return None
        under_way = sum(waiting.piece is not None for waiting in self._waiting.values())
        piece = self._upload.next_piece(under_way)
        return None if piece is None else _Request(0, piece.request, b"", piece)

    def _free_sequence(self) -> int:
        while self._sequence in self._waiting:
            self._sequence = (self._sequence + 1) & 0xFF
        sequence = self._sequence
        self._sequence = (sequence + 1) & 0xFF
        return sequence

    def _say(self, sequence: int, waiting: _Request, now_s: float) -> bytes:
        framed = encode(waiting.data, self.framing)
        if waiting.n_sent == 0:
            waiting.first_s = now_s
        waiting.n_sent += 1
        self.n_sent += 1
        self._waiting.move_to_end(sequence)
        waiting.sent_s, waiting.wire_s = now_s, len(framed) * self._byte_s
        # It leaves behind all that is on its way.
        waiting.excused_s = sum(other.wire_s for other in self._waiting.values())
        if waiting.request.op is Op.READ:
            waiting.excused_s += self._reading_s
        if isinstance(waiting.request, EventsRequest):
            waiting.excused_s += (waiting.request.wait_ms or 0) / 1000
        n_sent = waiting.n_sent if waiting.piece is None else 1 + self._n_timeouts
        waiting.deadline_s = now_s + waiting.excused_s + self._round_trip.timeout_s(n_sent)
        if self._progress_s is None:
            self._progress_s = now_s
        return framed

    def _take(self, message: bytes, now_s: float) -> list[ClientEvent]:
        try:
            header, answer = parse_answer(message)
        except WireError as error:
            return [FrameError(str(error), len(message))]
        waiting = self._waiting.get(header.sequence)
        if waiting is None or not _is_answer(header, waiting.request):
            return []  # late: it was asked again, and answered
        del self._waiting[header.sequence]
        if waiting.n_sent == 1:
            self._round_trip.observe(max(0.0, now_s - waiting.sent_s - waiting.excused_s))
        if waiting.piece is None:
            return [Answered(waiting.ticket, waiting.request, answer)]
        return self._take_piece(waiting.piece, answer, now_s)

    def _take_piece(self, piece: Piece, answer: Answer, now_s: float) -> list[ClientEvent]:
        assert self._upload is not None
        assert isinstance(answer, (ImageUploadAnswer, Refusal))
        self._n_timeouts = 0
        self._forget_before(piece)
        before = self._upload.acknowledged
        self._upload.answered(piece, answer)
        if self._upload.acknowledged == before and not self._upload.is_over:
            return []
        self._progress_s = now_s
        return [Progress(self._upload, self._upload.acknowledged)]

    def _forget_before(self, piece: Piece) -> None:
        """The line keeps the order: pieces sent before the one answered get no answer now."""
        for sequence, waiting in list(self._waiting.items()):
            if waiting.piece is not None and waiting.piece.number < piece.number:
                del self._waiting[sequence]

    def _expire(self, now_s: float) -> list[ClientEvent]:
        events: list[ClientEvent] = []
        late = [(s, w) for s, w in self._waiting.items() if w.deadline_s <= now_s]
        for sequence, waiting in late:
            if waiting.piece is None and _is_hopeless(waiting, now_s):
                del self._waiting[sequence]
                events.append(GaveUp(waiting.ticket, waiting.request))
        if any(waiting.piece is not None for _, waiting in late):
            events += self._expire_upload(now_s)
        return events

    def _expire_upload(self, now_s: float) -> list[ClientEvent]:
        assert self._upload is not None
        for sequence, waiting in list(self._waiting.items()):
            if waiting.piece is not None:
                del self._waiting[sequence]
        self._n_timeouts += 1
        self._upload.timed_out()
        if self._progress_s is not None and now_s - self._progress_s >= STALL_S:
            self._upload.give_up(f"no answer for {STALL_S:.0f} s")
            return [Progress(self._upload, self._upload.acknowledged)]
        return []


def _is_hopeless(waiting: _Request, now_s: float) -> bool:
    patience_s = SLOW_S if isinstance(waiting.request, _SLOW) else 0.0
    return waiting.n_sent >= MAX_TRIES and now_s - waiting.first_s >= patience_s


def _is_answer(header: Header, request: Message) -> bool:
    asked = (request.op + 1, request.group, request.command)
    return (header.op, header.group, header.command) == asked

"""The answering end of the line: each request once, each answer in the framing of its request."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from edge_runtime.protocol.wire.edge_messages import AuthoriseRequest  # parsing must know group 64
from edge_runtime.protocol.wire.framing import Frame, FrameError, Framing, Text, encode
from edge_runtime.protocol.wire.messages import EchoRequest, ImageUploadRequest
from edge_runtime.protocol.wire.session import MAX_AHEAD, REPEAT_S, Ear
from edge_runtime.protocol.wire.smp import (
    Answer,
    Header,
    Message,
    Op,
    Rc,
    Refusal,
    WireError,
    answer_bytes,
    parse_request,
)

# Answers to changes are small. Enough for two hosts, and less than the sequence numbers there are.
MAX_REMEMBERED: Final = 2 * MAX_AHEAD
MAX_OPEN: Final = 32
# A host that reads too slowly is asked for nothing more than this, in largest messages.
MAX_UNSENT: Final = 8
# Carried out twice, these do no harm, and their answer must be of now.
_REPEATABLE: Final = (EchoRequest, ImageUploadRequest)


@dataclass(frozen=True)
class Asked:
    """A request to carry out and to answer, once."""

    request: Message
    header: Header
    framing: Framing
    data: bytes


ServerEvent = Asked | Text | FrameError


class Server:
    r"""What a board hears and says; `max_message` is the ``buf_size`` that it announces.

    >>> from edge_runtime.protocol.wire.messages import EchoAnswer
    >>> server = Server(max_message=256)
    >>> (asked,) = server.receive(b"\x06\tABAKAAAGAAAAAKFhZGJoaeJ8\n", now_s=0.0)
    >>> asked.request
    EchoRequest(d='hi')
    >>> server.answer(asked, EchoAnswer(r=asked.request.d), now_s=0.0)
    >>> server.send()
    b'\x06\tABALAAAGAAAAAKFhcmJoaaUj\n'
    """

    def __init__(self, *, max_message: int) -> None:
        self._max_message = max_message
        self._ear = Ear(max_message)
        self._out = bytearray()
        self._open: OrderedDict[bytes, float] = OrderedDict()
        self._answered: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    @property
    def framing(self) -> Framing | None:
        """The framing of the last good request."""
        return self._ear.receiver.framing

    @property
    def next_deadline_s(self) -> float | None:
        """When half a frame will be forgotten; `receive` may be called with no bytes then."""
        return self._ear.silence_s

    def receive(self, data: bytes, now_s: float) -> list[ServerEvent]:
        """Requests to carry out. What cannot be understood is answered here, or not at all."""
        self._forget(now_s)
        events: list[ServerEvent] = []
        for heard in self._ear.hear(data, now_s):
            if isinstance(heard, Frame):
                events += self._take(heard, now_s)
            else:
                events.append(heard)
        return events

    def answer(self, asked: Asked, answer: Answer, now_s: float) -> None:
        """Answer a request; a second answer to it is ignored, one too long is refused."""
        if self._open.pop(asked.data, None) is None:
            return
        data = answer_bytes(asked.header, answer)
        if len(data) > self._max_message:
            data = answer_bytes(asked.header, Refusal(Rc.TOO_LARGE))
        framed = encode(data, asked.framing)
        if isinstance(asked.request, AuthoriseRequest) and not isinstance(answer, Refusal):
            # Another host may be at the other end: what the last one was answered is not for it.
            self._answered.clear()
        if asked.header.op is Op.WRITE and not isinstance(asked.request, _REPEATABLE):
            self._answered[asked.data] = now_s, framed
            if len(self._answered) > MAX_REMEMBERED:
                self._answered.popitem(last=False)
        self._out += framed

    def say(self, line: str) -> None:
        """Print a line of telemetry between frames; what is not printable becomes a space.

        Dropped while more is unsent than a host should be behind.
        """
        if self._is_behind:
            return
        text = "".join(letter if letter.isprintable() else " " for letter in line)
        self._out += text.encode(errors="replace") + b"\n"

    def send(self) -> bytes:
        """All that is to be written, in order; whole frames and whole lines."""
        out = bytes(self._out)
        self._out.clear()
        return out

    @property
    def _is_behind(self) -> bool:
        return len(self._out) > MAX_UNSENT * self._max_message

    def _take(self, frame: Frame, now_s: float) -> list[ServerEvent]:
        if self._is_behind:
            return [FrameError("host does not read its answers", len(frame.message))]
        try:
            header, request = parse_request(frame.message)
        except WireError as error:
            if error.header is not None:
                answer = answer_bytes(error.header, Refusal(error.rc))
                self._out += encode(answer, frame.framing)
            return [FrameError(str(error), len(frame.message))]
        if frame.message in self._answered:
            self._out += self._answered[frame.message][1]
            return []
        if frame.message in self._open:
            return []
        self._open[frame.message] = now_s
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)
        return [Asked(request, header, frame.framing, frame.message)]

    def _forget(self, now_s: float) -> None:
        while self._answered and now_s - next(iter(self._answered.values()))[0] >= REPEAT_S:
            self._answered.popitem(last=False)
        while self._open and now_s - next(iter(self._open.values())) >= 2 * REPEAT_S:
            self._open.popitem(last=False)

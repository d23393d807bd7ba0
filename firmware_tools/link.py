"""A link to a board: moves bytes between a port and the I/O-free client, and time along with them.

A port that fails is opened again, as often as it takes, and the client goes on where it was. The
clock and the opening of ports are arguments, so that a test can do without either.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from edge_runtime.protocol.wire import edge_messages  # noqa: F401  parsing must know group 64
from edge_runtime.protocol.wire.client import Answered, Client, ClientEvent, GaveUp, Progress
from edge_runtime.protocol.wire.framing import FrameError, Framing, Text
from edge_runtime.protocol.wire.messages import ParametersAnswer, ParametersRequest
from edge_runtime.protocol.wire.smp import Message, Rc, Refusal
from edge_runtime.protocol.wire.upload import Upload
from firmware_tools.errors import NoLinkError, RefusedError
from firmware_tools.ports import Port

# How long the first answer may take: a board that just got power needs 20 s until it serves.
CONNECT_S: Final = 10.0
# Each framing is tried for so long before the other; the client repeats itself within.
PROBE_S: Final = 1.4
RECONNECT_S: Final = 60.0
BUSY_S: Final = 60.0
PAUSE_S: Final = 0.2
MAX_TEXT: Final = 1000
# Until a board has said how long its messages are.
FIRST_MESSAGE: Final = 1024

_Answer = TypeVar("_Answer", bound=Message)


class Link:
    """Asks a board, sends it an image, and outlives a pulled cable.

    Parameters
    ----------
    open_port : opens the port anew; raises `OSError` while it is not there.
    framing : None tries COBS, the faster one, and then the console's.
    baud : lets timeouts allow for the time on the wire; None where there is no pace.
    on_note : called with a line for a person, as when the cable is out.
    """

    def __init__(
        self,
        open_port: Callable[[], Port],
        *,
        framing: Framing | None = None,
        baud: float | None = None,
        window: int = 4,
        connect_s: float = CONNECT_S,
        reconnect_s: float = RECONNECT_S,
        on_note: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._open_port, self._baud, self._window = open_port, baud, window
        self._reconnect_s, self._on_note = reconnect_s, on_note
        self._clock, self._sleep = clock, sleep
        self._answers: dict[int, Message | Refusal | None] = {}
        self.lines: deque[str] = deque(maxlen=MAX_TEXT)
        self.n_reconnects = self.n_frame_errors = 0
        self._port: Port | None = open_port()
        self._client = self._new_client(framing or Framing.COBS, FIRST_MESSAGE)
        self.parameters = self._connect(framing, connect_s)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back."""
        if self._port is not None:
            self._port.close()
            self._port = None

    @property
    def framing(self) -> Framing:
        """The framing that the board answered in."""
        return self._client.framing

    @property
    def n_sent(self) -> int:
        """Messages sent so far, those that were sent again among them."""
        return self._client.n_sent

    @property
    def window(self) -> int:
        """Requests that may be on their way at once."""
        return min(self._window, self.parameters.buf_count)

    def now_s(self) -> float:
        """The link's clock."""
        return self._clock()

    # -- requests ---------------------------------------------------------------------------

    def ask(self, request: Message, expect: type[_Answer]) -> _Answer:
        """The answer to one request; asked again while the board is busy.

        Raises
        ------
        RefusedError
            The board says no.
        NoLinkError
            Nobody answers.
        """
        until_s = self._clock() + BUSY_S
        while True:
            (answer,) = self.ask_many([request])
            if not isinstance(answer, Refusal):
                break
            if (answer.rc, answer.group) != (Rc.BUSY, None) or self._clock() >= until_s:
                raise RefusedError(request, answer)
            self._sleep(PAUSE_S)
        if not isinstance(answer, expect):
            raise NoLinkError(f"the board answers {answer}, expected {expect.__name__}")
        return answer

    def ask_many(self, requests: list[Message]) -> list[Message | Refusal]:
        """The answers to several requests, in order, with a window of them on their way."""
        tickets = [self._client.request(each) for each in requests]
        while not all(ticket in self._answers for ticket in tickets):
            self._pump(None)
        answers = [self._answers.pop(ticket) for ticket in tickets]
        for request, answer in zip(requests, answers, strict=True):
            if answer is None:
                raise NoLinkError(f"no answer to {type(request).__name__}: is the agent running?")
        return [answer for answer in answers if answer is not None]

    def upload(
        self, image: bytes, number: int, on_progress: Callable[[Upload], None] = lambda _: None
    ) -> Upload:
        """Send an image; `Upload.state` says how it ended."""
        upload = Upload(
            image, number=number, max_message=self.parameters.buf_size, window=self.window
        )
        self._client.upload(upload)
        while not upload.is_over:
            if any(isinstance(event, Progress) for event in self._pump(None)):
                on_progress(upload)
        return upload

    def listen(self, seconds: float) -> None:
        """Let time pass; what the board prints gathers in `lines`."""
        until_s = self._clock() + seconds
        while self._clock() < until_s:
            self._pump(until_s)

    # -- connecting -------------------------------------------------------------------------

    def _new_client(self, framing: Framing, max_message: int) -> Client:
        # Not where another host left off: the board may remember the last one's numbers.
        first = int(self._clock() * 1000) & 0xFF
        return Client(
            framing=framing,
            baud=self._baud,
            window=self._window,
            max_message=max_message,
            first_sequence=first,
        )

    def _connect(self, framing: Framing | None, connect_s: float) -> ParametersAnswer:
        until_s = self._clock() + connect_s
        choices = [framing] if framing else [Framing.COBS, Framing.CONSOLE]
        while self._clock() < until_s:
            for each in choices:
                self._client = self._new_client(each, FIRST_MESSAGE)
                answer = self._probe(min(until_s, self._clock() + self._probe_s))
                if answer is None:
                    continue
                if not isinstance(answer, ParametersAnswer):
                    # Whoever lacks this command takes Zephyr's default.
                    answer = ParametersAnswer(buf_size=384, buf_count=1)
                self._client = self._new_client(each, max(FIRST_MESSAGE, answer.buf_size))
                return answer
        self.close()
        raise NoLinkError(
            f"nobody answers within {connect_s:.0f} s: is the agent running, and is the rate right?"
        )

    @property
    def _probe_s(self) -> float:
        """Long enough for two tries, and for a largest answer that is still on the line."""
        return PROBE_S if self._baud is None else PROBE_S + 20_000 / self._baud

    def _probe(self, until_s: float) -> Message | Refusal | None:
        ticket = self._client.request(ParametersRequest())
        while ticket not in self._answers and self._clock() < until_s:
            self._pump(until_s)
        return self._answers.pop(ticket, None)

    def _reconnect(self, error: OSError) -> None:
        self.close()
        self._on_note(f"the port is gone ({error}): waiting for it")
        until_s = self._clock() + self._reconnect_s
        while self._port is None:
            self._sleep(PAUSE_S)
            try:
                self._port = self._open_port()
            except OSError as still:
                if self._clock() >= until_s:
                    text = f"the port was gone for {self._reconnect_s:.0f} s: {still}"
                    raise NoLinkError(text) from still
        self.n_reconnects += 1
        self._client.reconnected(self._clock())
        self._on_note("the port is back: going on")

    # -- moving bytes -----------------------------------------------------------------------

    def _pump(self, until_s: float | None) -> list[ClientEvent]:
        """Write what is due, wait for what comes or for the next deadline, and take it."""
        if self._port is None:
            raise NoLinkError("the link is closed")
        try:
            out = self._client.send(self._clock())
            if out:
                self._port.write(out)
            due = [t for t in (self._client.next_deadline_s, until_s) if t is not None]
            wait_s = min(due, default=self._clock() + PAUSE_S) - self._clock()
            data = self._port.read(max(0.0, wait_s))
        except OSError as error:
            self._reconnect(error)
            return []
        events = self._client.receive(data, self._clock())
        for event in events:
            self._take(event)
        return events

    def _take(self, event: ClientEvent) -> None:
        if isinstance(event, Answered):
            self._answers[event.ticket] = event.answer
        elif isinstance(event, GaveUp):
            self._answers[event.ticket] = None
        elif isinstance(event, Text):
            self.lines.append(event.line)
        elif isinstance(event, FrameError):
            self.n_frame_errors += 1

"""A board in memory and a host, joined by a simulated cable: time jumps from event to event."""

from __future__ import annotations

import hashlib
from collections import Counter

from edge_runtime.protocol.wire.client import Answered, Client, ClientEvent, Progress
from edge_runtime.protocol.wire.framing import Framing
from edge_runtime.protocol.wire.messages import (
    EchoAnswer,
    EchoRequest,
    ImageUploadAnswer,
    ImageUploadRequest,
    ResetAnswer,
    ResetRequest,
)
from edge_runtime.protocol.wire.server import Asked, Server
from edge_runtime.protocol.wire.smp import Answer, Rc, Refusal
from edge_runtime.protocol.wire.upload import NO_UPLOAD, Upload, UploadState
from firmware_tools.line import Cable


class Board:
    """Answers echo and reset, and takes images: staged under their digest, as an agent does."""

    def __init__(self, *, buf_size: int) -> None:
        self.server = Server(max_message=buf_size)
        self.installed: dict[bytes, bytes] = {}
        self.carried_out: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self._staged: dict[bytes, bytearray] = {}
        self._lengths: dict[bytes, int] = {}
        self._sha: bytes | None = None

    def receive(self, data: bytes, now_s: float) -> bytes:
        for event in self.server.receive(data, now_s):
            self.events[type(event).__name__] += 1
            if isinstance(event, Asked):
                self.carried_out[type(event.request).__name__] += 1
                self.server.answer(event, self._carry_out(event), now_s)
        return self.server.send()

    def restart(self) -> None:
        """As after a power cut: what was staged is still there, who was sending is not."""
        self._sha = None

    def _carry_out(self, asked: Asked) -> Answer:
        request = asked.request
        if isinstance(request, EchoRequest):
            return EchoAnswer(request.d)
        if isinstance(request, ResetRequest):
            return ResetAnswer()
        if isinstance(request, ImageUploadRequest):
            return self._take(request)
        return Refusal(Rc.NOT_SUPPORTED)

    def _take(self, request: ImageUploadRequest) -> Answer:
        if request.off == 0 and request.sha is not None and request.len is not None:
            self._sha = request.sha
            self._staged.setdefault(request.sha, bytearray())
            self._lengths[request.sha] = request.len
        if self._sha is None:
            return NO_UPLOAD
        staged = self._staged[self._sha]
        if request.off == len(staged) and request.data:
            staged += request.data
        length = self._lengths[self._sha]
        if len(staged) < length:
            return ImageUploadAnswer(off=len(staged))
        matches = hashlib.sha256(staged).digest() == self._sha
        if matches:
            self.installed[self._sha] = bytes(staged)
        else:
            self._staged[self._sha] = bytearray()
        return ImageUploadAnswer(off=length, match=matches)


class Conversation:
    """Moves bytes and time; the host's events gather in `events`."""

    def __init__(
        self,
        *,
        baud: float = 921600,
        framing: Framing = Framing.CONSOLE,
        buf_size: int = 4096,
        window: int = 4,
        cable: Cable | None = None,
    ) -> None:
        self.now_s = 0.0
        self.cable = cable or Cable(baud=baud)
        self.board = Board(buf_size=buf_size)
        self.buf_size, self.window = buf_size, window
        self.client = Client(framing=framing, baud=baud, window=window, max_message=buf_size)
        self.events: list[ClientEvent] = []

    def step(self, until_s: float | None = None) -> bool:
        """Let the next thing happen; whether there was one."""
        self.cable.to_board.write(self.client.send(self.now_s), self.now_s)
        times = [
            self.cable.to_board.next_arrival_s(),
            self.cable.to_host.next_arrival_s(),
            self.client.next_deadline_s,
            until_s,
        ]
        due = [time for time in times if time is not None]
        if not due:
            return False
        self.now_s = max(self.now_s, min(due))
        answer = self.board.receive(self.cable.to_board.read(self.now_s), self.now_s)
        self.cable.to_host.write(answer, self.now_s)
        self.events += self.client.receive(self.cable.to_host.read(self.now_s), self.now_s)
        return True

    def run(self, *, until_s: float | None = None) -> None:
        """Go on until nothing is left to do, or until a time."""
        while (until_s is None or self.now_s < until_s) and self.step(until_s):
            self.events = [event for event in self.events if not isinstance(event, Progress)]

    def begin_upload(self, image: bytes) -> Upload:
        upload = Upload(image, max_message=self.buf_size, window=self.window)
        self.client.upload(upload)
        return upload

    def upload(self, image: bytes) -> Upload:
        """Send an image and wait for its end."""
        upload = self.begin_upload(image)
        self.run()
        return upload

    def assert_installed(self, upload: Upload) -> None:
        assert upload.state is UploadState.DONE, upload.refusal
        assert self.board.installed[upload.sha] == upload.image

    def answers(self) -> list[Answer]:
        return [event.answer for event in self.events if isinstance(event, Answered)]

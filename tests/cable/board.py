"""A board in memory that speaks all of the wire, and a port to it through a simulated cable.

Time is the cable's: a test of minutes takes milliseconds, and replays to the last byte.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_runtime.protocol.pack import key_hash
from edge_runtime.protocol.wire import edge_messages as edge
from edge_runtime.protocol.wire import messages as standard
from edge_runtime.protocol.wire.server import Asked, Server
from edge_runtime.protocol.wire.smp import Answer, Group, Rc, Refusal
from edge_runtime.protocol.wire.upload import NO_UPLOAD
from firmware_tools.errors import NoLinkError
from firmware_tools.line import Cable
from firmware_tools.push import open_pack_bytes

NO_ENTRY = Refusal(Rc.NO_ENTRY)


class MemoryBoard:
    """Answers as an agent does; what it has, and what it was told, are attributes."""

    def __init__(self, *, buf_size=1024, buf_count=4, key: Ed25519PublicKey | None = None):
        self.server = Server(max_message=buf_size)
        self.parameters = standard.ParametersAnswer(buf_size, buf_count)
        self.key, self.is_authorised = key, key is None
        self.nonce = b"\x07" * edge.NONCE_BYTES
        self.runtime = {
            "state": "stable", "generation": 4, "classes": ["cat", "dog"], "bytes": 2_000_000,
            "budget_bytes": 32 * 2**20, "current_slot": 1,
            "generations": [1, 2, 3, 4], "unsaved": False, "judged": 40, "right": 30,
            "counters": {"samples": 1200, "labels": 40, "ood": 60, "rejected": 1, "requested": 44},
            "slots": [
                {
                    "number": 0, "n_labels": 400, "n_classes": 2, "accuracy": 0.95,
                    "n_held_out": 400,
                },
                {"number": 1, "n_labels": 40, "n_classes": 2, "accuracy": 0.9, "n_held_out": 40},
            ],
        }  # fmt: skip
        self.agent = {"board": "testboard", "agent_bytes": 20 * 2**20, "worker_bytes": 100 * 2**20}
        self.events = [
            edge.EventEntry(0, "drift", 900, "the world has changed", 0),
            edge.EventEntry(1, "grown", 960, "slot 1: 90% instead of 35%", 1),
        ]
        self.metric_names = ("sample", "ood", "slot", "step_ms")
        self.rows = [(float(i), float(i % 10 == 0), 1.0, 2.0) for i in range(100)]
        self.wanted = [
            edge.LabelWanted(1001, 0.001, "cat", 1),
            edge.LabelWanted(1002, 0.02, "dog", 1),
        ]
        self.learned: dict[int, int | str] = {}
        self.files = {"state-4": bytes(range(256)) * 20}
        self.images = [
            standard.ImageEntry(
                0, "1.0.0", 1, b"\x01" * 32, bootable=True, confirmed=True, active=True
            )
        ]
        self.previous: list[standard.ImageEntry] = []
        self.n_resets = 0
        self.passes_self_test = True
        self._sha: bytes | None = None
        self._length = 0
        self._staged: dict[bytes, bytearray] = {}

    def receive(self, data: bytes, now_s: float) -> bytes:
        for event in self.server.receive(data, now_s):
            if isinstance(event, Asked):
                self.server.answer(event, self.carry_out(event.request), now_s)
        return self.server.send()

    def carry_out(self, request) -> Answer:
        if request.op == 2 and not self.is_authorised and not _is_free(request):
            return Refusal(Rc.ACCESS_DENIED)
        answer = getattr(self, f"on_{type(request).__name__}", None)
        return Refusal(Rc.NOT_SUPPORTED) if answer is None else answer(request)

    def on_EchoRequest(self, request):
        return standard.EchoAnswer(request.d)

    def on_ParametersRequest(self, request):
        return self.parameters

    def on_StatusRequest(self, request):
        return edge.StatusAnswer(self.runtime, self.agent)

    def on_EventsRequest(self, request):
        some = tuple(self.events[request.since : request.since + 5])
        return edge.EventsAnswer(some, request.since + len(some))

    def on_MetricsRequest(self, request):
        some = tuple(self.rows[request.since : request.since + 16])
        return edge.MetricsAnswer(self.metric_names, some, request.since + len(some))

    def on_LabelRequestsRequest(self, request):
        return edge.LabelRequestsAnswer(tuple(self.wanted[: request.limit]), len(self.wanted))

    def on_LabelsRequest(self, request):
        waiting = {each.sample for each in self.wanted}
        taken = [each for each in request.labels if each.sample in waiting]
        refused = tuple(
            edge.LabelRefused(each.sample, "forgotten by now")
            for each in request.labels
            if each.sample not in waiting
        )
        self.learned |= {each.sample: each.label for each in taken}
        self.wanted = [each for each in self.wanted if each.sample not in self.learned]
        return edge.LabelsAnswer(len(taken), refused)

    def on_UndoRequest(self, request):
        if request.to is not None:
            return edge.UndoAnswer(9)
        if not 1 <= request.generation < self.runtime["generation"]:
            return Refusal(Rc.INVALID, rsn=f"no generation {request.generation}")
        self.runtime["generation"] += 1
        return edge.UndoAnswer(self.runtime["generation"])

    def on_CaptureRequest(self, request):
        return edge.CaptureAnswer("capture.npz")

    def on_PullRequest(self, request):
        name = {"state": "state-4", "sample-7": "sample-7.npy"}.get(request.what, "")
        if name not in self.files:
            return Refusal(Rc.INVALID, rsn=f"no {request.what} here")
        data = self.files[name]
        return edge.PullAnswer(name, len(data), hashlib.sha256(data).digest())

    def on_ChallengeRequest(self, request):
        self.nonce = self.nonce[:-1] + bytes([(self.nonce[-1] + 1) % 256])  # good once
        return edge.ChallengeAnswer(self.nonce, "testboard")

    def on_AuthoriseRequest(self, request):
        text = edge.authorisation_text(self.nonce, "testboard")
        if self.key is None or request.key.hex() != key_hash(self.key):
            return Refusal(Rc.ACCESS_DENIED, rsn="this key is not pinned here")
        self.key.verify(request.signature, text)
        self.is_authorised = True
        return edge.AuthoriseAnswer(600)

    def on_FileRequest(self, request):
        data = self.files.get(request.name)
        if data is None:
            return NO_ENTRY
        piece = data[request.off : request.off + 700]
        return standard.FileAnswer(request.off, piece, len(data) if request.off == 0 else None)

    def on_FileHashRequest(self, request):
        data = self.files.get(request.name)
        if data is None:
            return NO_ENTRY
        return standard.FileHashAnswer("sha256", len(data), hashlib.sha256(data).digest())

    def on_ImageStateRequest(self, request):
        return standard.ImageStateAnswer(tuple(self.images))

    def on_SetImageStateRequest(self, request):
        if request.confirm:
            self.images = [
                replace(each, confirmed=each.active, pending=None) for each in self.images
            ]
        else:
            self.images = [
                replace(each, pending=True) if each.hash == request.hash else each
                for each in self.images
            ]
            if not any(each.pending for each in self.images):
                return Refusal(8, Group.IMAGE)
        return standard.SetImageStateAnswer(tuple(self.images))

    def on_ResetRequest(self, request):
        self.n_resets += 1
        pending = [each for each in self.images if each.pending]
        if pending and self.passes_self_test:
            self.images = [
                replace(
                    each,
                    slot=0 if each.pending else 1,
                    active=each.pending,
                    confirmed=None if each.pending else True,
                    pending=None,
                )
                for each in self.images
            ]
        elif pending:
            self.images = [each for each in self.images if not each.pending]
        return standard.ResetAnswer()

    def on_ImageUploadRequest(self, request):
        if request.off == 0 and request.sha is not None:
            self._sha, self._length = request.sha, request.len
            self._staged.setdefault(request.sha, bytearray())
        if self._sha is None:
            return NO_UPLOAD
        staged = self._staged[self._sha]
        if request.off == len(staged):
            staged += request.data
        if len(staged) < self._length:
            return standard.ImageUploadAnswer(len(staged))
        if hashlib.sha256(staged).digest() != self._sha:
            del self._staged[self._sha]
            return standard.ImageUploadAnswer(self._length, match=False)
        self._stage(bytes(staged))
        return standard.ImageUploadAnswer(self._length, match=True)

    def _stage(self, data):
        pack = open_pack_bytes(data)
        if any(each.hash == bytes.fromhex(pack.id) for each in self.images):
            return
        self.images = [each for each in self.images if each.active]
        self.images.append(
            standard.ImageEntry(
                1, str(pack.image.version), pack.manifest.image, bytes.fromhex(pack.id),
                bootable=True,
            )
        )  # fmt: skip


def _is_free(request) -> bool:
    return isinstance(
        request, standard.EchoRequest | standard.ImageUploadRequest | edge.AuthoriseRequest
    )


class World:
    """The clock, the cable and the board; `port` opens the host's end."""

    def __init__(self, board: MemoryBoard | None = None, cable: Cable | None = None):
        self.now_s = 100.0
        self.board = board or MemoryBoard()
        self.cable = cable or Cable(baud=921600)
        self.is_there = True
        self.at: list[tuple[float, object]] = []  # things that happen at a time

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.advance(self.now_s + seconds)

    def port(self) -> WorldPort:
        if not self.is_there:
            raise NoLinkError("cannot open board: No such file or directory")
        return WorldPort(self)

    def pull(self) -> None:
        self.is_there = False
        self.cable.pull()

    def plug(self) -> None:
        self.is_there = True
        self.cable.plug(self.now_s)

    def advance(self, until_s: float, *, wake_on_answer: bool = False) -> None:
        """Let things happen until a time, or until bytes reach the host."""
        self.cable.to_host.write(self.board.server.send(), self.now_s)
        while True:
            due = [self.cable.to_board.next_arrival_s(), self.cable.to_host.next_arrival_s()]
            times = [t for t in due if t is not None] + [t for t, _ in self.at]
            following = min([until_s, *times])
            self.now_s = max(self.now_s, following)
            for thing in [each for each in self.at if each[0] <= self.now_s]:
                self.at.remove(thing)
                thing[1]()
            answer = self.board.receive(self.cable.to_board.read(self.now_s), self.now_s)
            self.cable.to_host.write(answer, self.now_s)
            arrived = due[1] is not None and due[1] <= self.now_s
            if self.now_s >= until_s or (wake_on_answer and (arrived or not self.is_there)):
                return


class WorldPort:
    def __init__(self, world: World):
        self.world = world
        self.is_open = True

    def _check(self) -> None:
        if not self.world.is_there or not self.is_open:
            raise OSError(5, "Input/output error")

    def read(self, timeout_s: float) -> bytes:
        self._check()
        self.world.advance(self.world.now_s + timeout_s, wake_on_answer=True)
        self._check()
        return self.world.cable.to_host.read(self.world.now_s)

    def write(self, data: bytes) -> None:
        self._check()
        self.world.cable.to_board.write(data, self.world.now_s)

    def close(self) -> None:
        self.is_open = False

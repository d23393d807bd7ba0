"""An agent on a desk: real store and files, workers and self-tests that do as they are told."""

from __future__ import annotations

import errno
from pathlib import Path

from edge_runtime.board.access import Access
from edge_runtime.board.agent import Agent
from edge_runtime.board.deployer import Deployer, DeployerSettings
from edge_runtime.board.files import Files
from edge_runtime.board.images import BoardLimits, ImageStore
from edge_runtime.board.journal import Journal
from edge_runtime.board.parts import BoardFacts, Line
from edge_runtime.board.record import Now
from edge_runtime.board.selftest import Places, Verdict
from edge_runtime.board.worker import Order
from edge_runtime.protocol.wire.framing import Framing
from edge_runtime.protocol.wire.messages import (
    ImageStateRequest,
    ImageUploadRequest,
    ResetRequest,
    SetImageStateRequest,
)
from edge_runtime.protocol.wire.server import Asked
from edge_runtime.protocol.wire.smp import Header, Refusal, parse_request, request_bytes

ORDER = Order(Places("", None, "", ""), shared="")


class FakeRunner:
    """A worker that answers what `answers` says, and dies when `trouble` is set."""

    def __init__(self, order, now_s):
        self.order, self.pid = order, 4711
        self.is_ready = True
        self.trouble = ""
        self.learned = "its own"
        self.status = {"generation": 1, "counters": {"samples": 3}, "classes": ["cat"]}
        self.asked, self.said, self.ended = [], [], ""
        self.samples = (0, 0)
        self.answers = {}

    def fileno(self):
        return -1

    def ask(self, command):
        if not self.is_ready:
            return None
        self.asked.append(dict(command))
        ticket = len(self.asked)
        answer = self.answers.get(command["do"], {})
        if answer is not None:
            self.said.append({"say": "answer", "ticket": ticket, "value": answer})
        return ticket

    def listen(self, now_s):
        said, self.said = self.said, []
        return said

    def give_up(self, why):
        self.trouble = why

    def fault(self, now_s):
        return self.trouble

    def stop(self):
        self.ended = "stopped"

    def kill(self):
        self.ended = "killed"


class SickFiles(Files):
    """A directory whose disk is full, or read-only, when `sickness` says so."""

    sickness = 0

    def _check(self):
        if self.sickness:
            raise OSError(self.sickness, errno.errorcode[self.sickness])

    def write(self, name, data):
        self._check()
        super().write(name, data)

    def write_at(self, name, offset, data):
        self._check()
        super().write_at(name, offset, data)

    def rename(self, old, new):
        self._check()
        super().rename(old, new)

    def sync(self, name):
        self._check()
        super().sync(name)


class Desk:
    """The agent, a clock that stands still unless it is moved, and one or two lines."""

    def __init__(self, root: Path, keys=None, *, buf_size=4096, verdict=None):
        self.root, self.keys, self.buf_size = root, keys, buf_size
        for name in ("packs", "shared"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.files, self.shared = SickFiles(root / "packs"), SickFiles(root / "shared")
        self.now = Now(1000.0, 1.7e9)
        self.verdict = verdict or Verdict(True, learned="new")
        self.runners, self.replies, self.sequence = [], [], 0
        self.boot()

    def boot(self):
        """Start, as after a power cut."""
        self.journal = Journal()
        store = ImageStore(self.files, self.keys, BoardLimits("0.1.0", ("desk",)))
        self.deployer = Deployer(
            store, self.journal, DeployerSettings(ORDER, trial_s=100.0),
            launch=self._launch, begin_test=lambda request, timeout_s: lambda: self.verdict,
        )  # fmt: skip
        n_keys = None if self.keys is None else len(self.keys)
        self.agent = Agent(
            BoardFacts("desk", ("desk",), n_keys), self.deployer, self.files, self.shared,
            self.journal,
        )  # fmt: skip
        self.lines = [
            Line(name, self.buf_size, Access(self.keys, "desk", lambda n: bytes(range(n))))
            for name in ("uart", "usb")
        ]
        self.deployer.start(self.now)

    def _launch(self, order, now_s):
        self.runners.append(FakeRunner(order, now_s))
        return self.runners[-1]

    @property
    def runner(self):
        return self.deployer.runner

    @property
    def record(self):
        return self.deployer.store.record

    def later(self, seconds, wall=0.0):
        self.now = Now(self.now.monotonic_s + seconds, self.now.wall_s + seconds + wall)
        self.replies += self.agent.tick(self.now)
        return self.replies

    def ask(self, request, line=0):
        """The answer at once, or after a tick; None if it is still to come."""
        self.sequence = (self.sequence + 1) % 256
        data = request_bytes(request, self.sequence)
        header, parsed = parse_request(data)
        asked = Asked(parsed, header, Framing.COBS, data)
        answer = self.agent.ask(self.lines[line], asked, self.now)
        if answer is None:
            self.replies += self.agent.tick(self.now)
            found = [each for each in self.replies if each[1] is asked]
            self.replies = [each for each in self.replies if each[1] is not asked]
            answer = found[0][2] if found else None
        assert isinstance(header, Header)
        return answer

    def upload(self, data, line=0, piece=1000):
        """The last answer."""
        from hashlib import sha256

        first = ImageUploadRequest(0, data[:piece], len(data), sha256(data).digest(), 0)
        answer = self.ask(first, line)
        while not isinstance(answer, Refusal) and answer.off < len(data):
            off = answer.off
            answer = self.ask(ImageUploadRequest(off, data[off : off + piece]), line)
        return answer

    def images(self):
        return self.ask(ImageStateRequest()).images

    def waiting(self):
        return next(each for each in self.images() if each.slot == 1)

    def try_out(self, data):
        """Push, test, reset: it runs unconfirmed."""
        answer = self.upload(data)
        assert not isinstance(answer, Refusal), answer
        marked = self.ask(SetImageStateRequest(self.waiting().hash))
        assert not isinstance(marked, Refusal), marked
        self.later(0.1)
        self.ask(ResetRequest())
        self.later(0.1)

    def install(self, data):
        self.try_out(data)
        answer = self.ask(SetImageStateRequest(confirm=True))
        assert not isinstance(answer, Refusal), answer

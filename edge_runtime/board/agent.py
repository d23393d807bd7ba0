"""The agent: a request from a line in, an answer out, now or later.

Every command is a row of a table. What changes something is refused to a line that has not proved
a key, once one is pinned. An answer that must wait, for the worker or for an event, is kept with
its deadline. No port is opened and no clock is read here: `serving` does that.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge_runtime import __version__
from edge_runtime.board.access import PERMISSION_S, Access
from edge_runtime.board.deployer import Deployer
from edge_runtime.board.file_group import FileGroup
from edge_runtime.board.files import Files
from edge_runtime.board.image_group import ImageGroup
from edge_runtime.board.journal import Journal
from edge_runtime.board.record import Now
from edge_runtime.board.reporting import agent_status, fit_status, log_bytes, statistics
from edge_runtime.board.uploads import Uploads
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.wire import edge_messages as edge
from edge_runtime.wire import messages as standard
from edge_runtime.wire.edge_messages import LabelRefused, LabelWanted
from edge_runtime.wire.server import Asked
from edge_runtime.wire.smp import Answer, Group, Message, Rc, Refusal

BUF_COUNT: Final = 4
FRAMING_BYTES: Final = 4
MAX_WAIT_S: Final = 10.0
WORKER_S: Final = 30.0  # a trial of a new slot takes seconds on a Pi 3
MAX_DEFERRED: Final = 32
NO_RUNTIME: Final = Refusal(Rc.BAD_STATE, rsn="no model pack runs on this board yet")
NO_SUCH_STAT: Final = Refusal(3, Group.STAT)
# Zephyr's ``OS_MGMT_ERR_QUERY_YIELDS_NO_ANSWER``, ``OS_MGMT_ERR_INVALID_FORMAT``.
NO_ANSWER: Final = Refusal(3, Group.OS)
INVALID_FORMAT: Final = Refusal(2, Group.OS)
_MCUBOOT_SWAP: Final = 3  # mode: swap without scratch; the nearest to two places


@dataclass
class Line:
    """One serial line: how much it carries at once, and what its host may do."""

    name: str
    buf_size: int
    access: Access
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def limit(self) -> int:
        """Bytes of the longest message."""
        return self.buf_size - FRAMING_BYTES


@dataclass
class _Deferred:
    line: Line
    asked: Asked
    deadline_s: float
    ticket: int | None = None  # of the worker's command; None: an event is waited for


@dataclass(frozen=True)
class BoardFacts:
    """What the board says of itself."""

    name: str
    names: tuple[str, ...] = ()
    n_keys: int | None = None
    is_open: bool = False


class Agent:
    """Carries out what hosts ask of a board.

    Parameters
    ----------
    shared
        Files that hosts may read.
    vitals
        Memory, temperature, room on the disk: asked for with each status.
    """

    def __init__(
        self,
        facts: BoardFacts,
        deployer: Deployer,
        files: Files,
        shared: Files,
        journal: Journal,
        vitals: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.facts, self.deployer, self.journal = facts, deployer, journal
        self.images = ImageGroup(deployer, Uploads(files), files)
        self._shared, self._vitals = shared, vitals
        self._files = FileGroup(shared)
        self._deferred: list[_Deferred] = []
        self._runner = deployer.runner
        self.counters = dict.fromkeys(("requests", "refused", "denied"), 0)

    # -- in and out -------------------------------------------------------------------------

    def ask(self, line: Line, asked: Asked, now: Now) -> Answer | None:
        """The answer, or None if it will come from `tick`."""
        self.counters["requests"] += 1
        handler = _TABLE.get(type(asked.request))
        if handler is None:
            return self._counted(Refusal(Rc.NOT_SUPPORTED))
        if isinstance(asked.request, _CHANGES) and not line.access.allows(now.monotonic_s):
            self.counters["denied"] += 1
            return Refusal(Rc.ACCESS_DENIED, rsn="prove a pinned key first (group 64, command 8)")
        try:
            answer = handler(self, asked, line, now)
        except OSError as error:
            return self._counted(Refusal(Rc.NO_MEMORY, rsn=f"the disk: {error}"[:200]))
        except EdgeRuntimeError as error:
            return self._counted(Refusal(Rc.INVALID, rsn=str(error)[:200]))
        return self._counted(answer) if answer is not None else None

    def _counted(self, answer: Answer) -> Answer:
        self.counters["refused"] += isinstance(answer, Refusal)
        return answer

    def tick(self, now: Now) -> list[tuple[Line, Asked, Answer]]:
        """What is due: steps of an update, news of the worker, answers that have waited."""
        self.deployer.tick(now)
        replies = self._hear(now)
        if self.deployer.runner is not self._runner:
            self._runner = self.deployer.runner
            replies += self._resolve(
                lambda each: each.ticket is not None,
                lambda each: Refusal(Rc.BAD_STATE, rsn="the runtime was started anew"),
            )
        replies += self._resolve(self._has_events, self._events_now)
        return replies + self._resolve(
            lambda each: now.monotonic_s >= each.deadline_s, self._too_late
        )

    def forget(self, line: Line) -> None:
        """The line was cut: nobody waits there any more, and nobody has proved anything."""
        line.access.close()
        self._deferred = [each for each in self._deferred if each.line is not line]

    @property
    def next_deadline_s(self) -> float | None:
        """When an answer is due at the latest."""
        return min((each.deadline_s for each in self._deferred), default=None)

    def _resolve(
        self, is_due: Callable[[_Deferred], bool], answer: Callable[[_Deferred], Answer]
    ) -> list[tuple[Line, Asked, Answer]]:
        due = [each for each in self._deferred if is_due(each)]
        self._deferred = [each for each in self._deferred if each not in due]
        return [(each.line, each.asked, self._counted(answer(each))) for each in due]

    def _has_events(self, deferred: _Deferred) -> bool:
        request = deferred.asked.request
        return isinstance(request, edge.EventsRequest) and self.journal.next_event > request.since

    def _events_now(self, deferred: _Deferred) -> Answer:
        request = deferred.asked.request
        assert isinstance(request, edge.EventsRequest)
        return self.journal.events(request.since, deferred.line.limit)

    def _too_late(self, deferred: _Deferred) -> Answer:
        if deferred.ticket is None:
            return self._events_now(deferred)
        return Refusal(Rc.TIMEOUT, rsn=f"the runtime did not answer within {WORKER_S:g} s")

    # -- the worker -------------------------------------------------------------------------

    def _hear(self, now: Now) -> list[tuple[Line, Asked, Answer]]:
        replies: list[tuple[Line, Asked, Answer]] = []
        runner = self.deployer.runner
        for value in runner.listen(now.monotonic_s) if runner is not None else ():
            if value["say"] == "news":
                self._take_news(value)
            elif value["say"] == "ready":
                self.journal.note("deployment", f"running; learned state: {value['learned']}")
            else:
                ticket, answer = int(value.get("ticket") or 0), dict(value.get("value") or {})
                self.deployer.answered(ticket)
                for line, asked, _ in self._resolve(
                    lambda each, ticket=ticket: each.ticket == ticket,  # type: ignore[misc]
                    lambda each: Refusal(Rc.OK),
                ):
                    replies.append((line, asked, _worker_answer(asked.request, answer, line)))
        return replies

    def _take_news(self, news: Mapping[str, Any]) -> None:
        for event in news["events"]:
            self.journal.note(
                event["kind"], event["message"], sample=event["sample_id"], slot=event["slot"],
                evidence=event["evidence"],
            )  # fmt: skip
        self.journal.measure(news["rows"])
        for wanted in news["wanted"]:
            self.journal.want(LabelWanted(**wanted))
        self.journal.settle(news["settled"])
        self.journal.forget_before(int(news["oldest"]))

    def _defer(
        self, asked: Asked, line: Line, now: Now, seconds: float, ticket: int | None = None
    ) -> Answer | None:
        if len(self._deferred) >= MAX_DEFERRED:
            return Refusal(Rc.BUSY, rsn=f"{MAX_DEFERRED} requests wait already")
        self._deferred.append(_Deferred(line, asked, now.monotonic_s + seconds, ticket))
        return None

    def _pass_on(
        self, command: Mapping[str, Any], asked: Asked, line: Line, now: Now
    ) -> Answer | None:
        runner = self.deployer.runner
        ticket = None if runner is None else runner.ask(command)
        if ticket is None:
            trouble = self.deployer.trouble
            return Refusal(Rc.BAD_STATE, rsn=trouble[:200]) if trouble else NO_RUNTIME
        return self._defer(asked, line, now, WORKER_S, ticket)

    # -- group 0 ----------------------------------------------------------------------------

    def _reset(self, request: standard.ResetRequest, line: Line, now: Now) -> Answer:
        self.deployer.reset()
        return standard.ResetAnswer()

    def _info(self, request: standard.InfoRequest, line: Line, now: Now) -> Answer:
        known = {
            "s": "edge-runtime", "n": self.facts.name, "r": __version__, "v": __version__,
            "m": (self.facts.names or ("linux",))[0], "p": "linux", "i": "linux", "o": "Linux",
        }  # fmt: skip
        wanted = request.format or "s"
        if "a" in wanted:
            wanted = "snrvmpio"
        if set(wanted) - set(known):
            return INVALID_FORMAT
        return standard.InfoAnswer(" ".join(known[each] for each in known if each in wanted))

    def _bootloader(self, request: standard.BootloaderRequest, line: Line, now: Now) -> Answer:
        if request.query in (None, ""):
            return standard.BootloaderAnswer("MCUboot")
        return NO_ANSWER

    # -- group 2 ----------------------------------------------------------------------------

    def _statistics(self, line: Line) -> dict[str, dict[str, int]]:
        runner = self.deployer.runner
        runtime = runner.status.get("counters", {}) if runner is not None else {}
        return statistics(self.counters, line.counters, runtime)

    # -- group 64 ---------------------------------------------------------------------------

    def _status(self, request: edge.StatusRequest, line: Line, now: Now) -> Answer:
        runner = self.deployer.runner
        own = agent_status(self, line, now)
        runtime = dict(runner.status) if runner is not None else {}
        return fit_status(runtime, {**own, **self._vitals()}, line.limit)

    def _events(self, asked: Asked, line: Line, now: Now) -> Answer | None:
        request = asked.request
        assert isinstance(request, edge.EventsRequest)
        answer = self.journal.events(request.since, line.limit)
        if answer.events or not request.wait_ms or request.wait_ms < 0:
            return answer
        return self._defer(asked, line, now, min(MAX_WAIT_S, request.wait_ms / 1000))

    def _pull(self, asked: Asked, line: Line, now: Now) -> Answer | None:
        request = asked.request
        assert isinstance(request, edge.PullRequest)
        if request.what == "log":
            return self._share("log.json", log_bytes(self.deployer.store.record))
        if request.what == "status":
            runner = self.deployer.runner
            runtime = dict(runner.status) if runner is not None else {}
            own = {**agent_status(self, line, now), **self._vitals()}
            text = json.dumps({"runtime": runtime, "agent": own}, indent=1, sort_keys=True)
            return self._share("status.json", text.encode())
        return self._pass_on({"do": "pull", "what": request.what}, asked, line, now)

    def _share(self, name: str, data: bytes) -> Answer:
        self._shared.write(f"{name}.part", data)
        self._shared.rename(f"{name}.part", name)
        return edge.PullAnswer(name, len(data), hashlib.sha256(data).digest())

    def _authorise(self, request: edge.AuthoriseRequest, line: Line, now: Now) -> Answer:
        if self.facts.n_keys is None:
            return edge.AuthoriseAnswer(int(PERMISSION_S))
        seconds = line.access.authorise(request.key, request.signature, now.monotonic_s)
        if seconds is None:
            self.counters["denied"] += 1
            self.journal.note("denied", f"no pinned key was proved over {line.name}")
            return Refusal(Rc.ACCESS_DENIED, rsn="no pinned key, or not this challenge's signature")
        return edge.AuthoriseAnswer(int(seconds))


def _worker_answer(request: Message, value: Mapping[str, Any], line: Line) -> Answer:
    """What the worker said, as the answer to what was asked."""
    if "error" in value:
        return Refusal(Rc.INVALID, rsn=str(value["error"])[:200])
    if isinstance(request, edge.LabelsRequest):
        refused = tuple(
            LabelRefused(int(each["sample"]), str(each["reason"])[:100])
            for each in value["refused"]
        )
        while len(refused) * 130 > line.limit:
            refused = refused[: len(refused) // 2]
        return edge.LabelsAnswer(int(value["accepted"]), refused)
    if isinstance(request, edge.UndoRequest):
        return edge.UndoAnswer(int(value["generation"]))
    if isinstance(request, edge.CaptureRequest):
        return edge.CaptureAnswer(str(value["name"]))
    return edge.PullAnswer(str(value["name"]), int(value["len"]), bytes.fromhex(value["sha"]))


_CHANGES: Final = (
    standard.ResetRequest,
    standard.SetImageStateRequest,
    standard.ImageEraseRequest,
    edge.LabelsRequest,
    edge.UndoRequest,
    edge.CaptureRequest,
    edge.PullRequest,
)
_Handler = Callable[[Agent, Asked, Line, Now], "Answer | None"]


def _now(handler: Callable[[Agent, Any, Line, Now], Answer]) -> _Handler:
    """A row whose answer is there at once."""
    return lambda agent, asked, line, now: handler(agent, asked.request, line, now)


def _wall(now: Now) -> str:
    return datetime.datetime.fromtimestamp(now.wall_s, datetime.timezone.utc).isoformat()


def _stat(agent: Agent, request: standard.StatRequest, line: Line, now: Now) -> Answer:
    fields = agent._statistics(line).get(request.name)
    return NO_SUCH_STAT if fields is None else standard.StatAnswer(request.name, fields)


def _labels(agent: Agent, asked: Asked, line: Line, now: Now) -> Answer | None:
    assert isinstance(asked.request, edge.LabelsRequest)
    labels = [[each.sample, each.label] for each in asked.request.labels]
    return agent._pass_on({"do": "labels", "labels": labels}, asked, line, now)


def _undo(agent: Agent, asked: Asked, line: Line, now: Now) -> Answer | None:
    assert isinstance(asked.request, edge.UndoRequest)
    command = {"do": "undo", "generation": asked.request.generation}
    return agent._pass_on(command, asked, line, now)


def _capture(agent: Agent, asked: Asked, line: Line, now: Now) -> Answer | None:
    assert isinstance(asked.request, edge.CaptureRequest)
    command = {"do": "capture", "samples": asked.request.samples}
    return agent._pass_on(command, asked, line, now)


_TABLE: Final[Mapping[type[Message], _Handler]] = {
    standard.EchoRequest: _now(lambda a, r, line, now: standard.EchoAnswer(r.d)),
    standard.DatetimeRequest: _now(lambda a, r, line, now: standard.DatetimeAnswer(_wall(now))),
    standard.ResetRequest: _now(Agent._reset),
    standard.ParametersRequest: _now(
        lambda a, r, line, now: standard.ParametersAnswer(line.buf_size, BUF_COUNT)
    ),
    standard.InfoRequest: _now(Agent._info),
    standard.BootloaderRequest: _now(Agent._bootloader),
    standard.ImageStateRequest: _now(lambda a, r, line, now: a.images.state()),
    standard.SetImageStateRequest: _now(lambda a, r, line, now: a.images.set_state(r, now)),
    standard.ImageUploadRequest: _now(lambda a, r, line, now: a.images.take(r, line.name, now)),
    standard.ImageEraseRequest: _now(lambda a, r, line, now: a.images.erase(r, now)),
    standard.StatRequest: _now(_stat),
    standard.StatListRequest: _now(
        lambda a, r, line, now: standard.StatListAnswer(tuple(a._statistics(line)))
    ),
    standard.FileRequest: _now(lambda a, r, line, now: a._files.read(r, line.limit)),
    standard.FileStatusRequest: _now(lambda a, r, line, now: a._files.status(r)),
    standard.FileHashRequest: _now(lambda a, r, line, now: a._files.hash(r)),
    edge.StatusRequest: _now(Agent._status),
    edge.EventsRequest: Agent._events,
    edge.MetricsRequest: _now(lambda a, r, line, now: a.journal.metrics(r.since, line.limit)),
    edge.LabelRequestsRequest: _now(
        lambda a, r, line, now: a.journal.label_requests(r.limit, line.limit)
    ),
    edge.LabelsRequest: _labels,
    edge.UndoRequest: _undo,
    edge.CaptureRequest: _capture,
    edge.PullRequest: Agent._pull,
    edge.ChallengeRequest: _now(
        lambda a, r, line, now: edge.ChallengeAnswer(
            line.access.challenge(now.monotonic_s), a.facts.name
        )
    ),
    edge.AuthoriseRequest: _now(Agent._authorise),
}

"""The agent: a request from a line in, an answer out, now or later.

What changes something is refused to a line that has not proved a key, once one is pinned. An
answer that must wait, for the worker or for an event, is kept with its deadline. No port is opened
and no clock is read here: `serving` does that. Not here: what each command does (`commands`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge_runtime.board import commands
from edge_runtime.board.deployer import Deployer
from edge_runtime.board.file_group import FileGroup
from edge_runtime.board.files import Files
from edge_runtime.board.image_group import ImageGroup
from edge_runtime.board.journal import Journal
from edge_runtime.board.parts import WORKER_S, BoardFacts, Later, Line, Parts
from edge_runtime.board.record import Now
from edge_runtime.board.uploads import Uploads
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.protocol.wire import edge_messages as edge
from edge_runtime.protocol.wire.edge_messages import LabelWanted
from edge_runtime.protocol.wire.server import Asked
from edge_runtime.protocol.wire.smp import Answer, Rc, Refusal

MAX_DEFERRED: Final = 32


@dataclass
class _Deferred:
    line: Line
    asked: Asked
    deadline_s: float
    ticket: int | None = None  # of the worker's command; None: an event is waited for


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
        self.deployer, self.journal = deployer, journal
        self._deferred: list[_Deferred] = []
        self._runner = deployer.runner
        self._counters = dict.fromkeys(("requests", "refused", "denied"), 0)
        self._parts = Parts(
            facts, deployer, journal, ImageGroup(deployer, Uploads(files), files),
            FileGroup(shared), shared, vitals, self._counters,
        )  # fmt: skip

    # -- in and out -------------------------------------------------------------------------

    def ask(self, line: Line, asked: Asked, now: Now) -> Answer | None:
        """The answer, or None if it will come from `tick`."""
        self._counters["requests"] += 1
        handler = commands.TABLE.get(type(asked.request))
        if handler is None:
            return self._counted(Refusal(Rc.NOT_SUPPORTED))
        if isinstance(asked.request, commands.CHANGES) and not line.access.allows(now.monotonic_s):
            self._counters["denied"] += 1
            return Refusal(Rc.ACCESS_DENIED, rsn="prove a pinned key first (group 64, command 8)")
        try:
            answer = handler(self._parts, asked.request, line, now)
        except OSError as error:
            return self._counted(Refusal(Rc.NO_MEMORY, rsn=f"the disk: {error}"[:200]))
        except EdgeRuntimeError as error:
            return self._counted(Refusal(Rc.INVALID, rsn=str(error)[:200]))
        if not isinstance(answer, Later):
            return self._counted(answer)
        if len(self._deferred) >= MAX_DEFERRED:
            return self._counted(Refusal(Rc.BUSY, rsn=f"{MAX_DEFERRED} requests wait already"))
        deadline_s = now.monotonic_s + answer.seconds
        self._deferred.append(_Deferred(line, asked, deadline_s, answer.ticket))
        return None

    def _counted(self, answer: Answer) -> Answer:
        self._counters["refused"] += isinstance(answer, Refusal)
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
        """Take what the worker says; one that makes no sense is listened to no more."""
        replies: list[tuple[Line, Asked, Answer]] = []
        runner = self.deployer.runner
        try:
            for value in runner.listen(now.monotonic_s) if runner is not None else ():
                if value["say"] == "news":
                    self._take_news(value)
                elif value["say"] == "ready":
                    self.journal.note("deployment", f"running; learned state: {value['learned']}")
                else:
                    replies += self._take_answer(int(value["ticket"]), value["value"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            assert runner is not None
            runner.give_up(f"it does not make sense: {type(error).__name__}: {error}")
        return replies

    def _take_answer(
        self, ticket: int, value: Mapping[str, Any]
    ) -> list[tuple[Line, Asked, Answer]]:
        self.deployer.answered(ticket)
        return self._resolve(
            lambda each: each.ticket == ticket,
            lambda each: commands.worker_answer(each.asked.request, value, each.line.limit),
        )

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

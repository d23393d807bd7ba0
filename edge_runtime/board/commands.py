"""Every command as a row of a table: request in, answer out, or None for one that comes later.

Handlers touch nothing but the agent that they are given. Groups 1 and 8 have files of their own.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from edge_runtime import __version__
from edge_runtime.board.access import PERMISSION_S
from edge_runtime.board.record import Now
from edge_runtime.board.reporting import agent_status, fit_status, log_bytes
from edge_runtime.protocol.wire import edge_messages as edge
from edge_runtime.protocol.wire import messages as standard
from edge_runtime.protocol.wire.edge_messages import LabelRefused
from edge_runtime.protocol.wire.server import Asked
from edge_runtime.protocol.wire.smp import Answer, Group, Message, Rc, Refusal

if TYPE_CHECKING:
    from edge_runtime.board.agent import Agent, Line

BUF_COUNT: Final = 4
MAX_WAIT_S: Final = 10.0
NO_SUCH_STAT: Final = Refusal(3, Group.STAT)
# Zephyr's ``OS_MGMT_ERR_QUERY_YIELDS_NO_ANSWER``, ``OS_MGMT_ERR_INVALID_FORMAT``.
NO_ANSWER: Final = Refusal(3, Group.OS)
INVALID_FORMAT: Final = Refusal(2, Group.OS)
# MCUboot's mode of swapping by moves: as here, what does not confirm itself goes back.
MCUBOOT_SWAP: Final = 3
Handler = Callable[["Agent", Asked, "Line", Now], "Answer | None"]

# -- group 0 ----------------------------------------------------------------------------


def _reset(agent: Agent, request: standard.ResetRequest, line: Line, now: Now) -> Answer:
    agent.deployer.reset()
    return standard.ResetAnswer()


def _info(agent: Agent, request: standard.InfoRequest, line: Line, now: Now) -> Answer:
    known = {
        "s": "edge-runtime", "n": agent.facts.name, "r": __version__, "v": __version__,
        "m": (agent.facts.names or ("linux",))[0], "p": "linux", "i": "linux", "o": "Linux",
    }  # fmt: skip
    wanted = request.format or "s"
    if "a" in wanted:
        wanted = "snrvmpio"
    if set(wanted) - set(known):
        return INVALID_FORMAT
    return standard.InfoAnswer(" ".join(known[each] for each in known if each in wanted))


def _bootloader(agent: Agent, request: standard.BootloaderRequest, line: Line, now: Now) -> Answer:
    if request.query in (None, ""):
        return standard.BootloaderAnswer("MCUboot")
    if request.query == "mode":
        return standard.BootloaderAnswer(mode=MCUBOOT_SWAP)
    return NO_ANSWER


# -- group 64 ---------------------------------------------------------------------------


def _status(agent: Agent, request: edge.StatusRequest, line: Line, now: Now) -> Answer:
    runner = agent.deployer.runner
    own = agent_status(agent, line, now)
    runtime = dict(runner.status) if runner is not None else {}
    return fit_status(runtime, {**own, **agent.vitals()}, line.limit)


def _events(agent: Agent, asked: Asked, line: Line, now: Now) -> Answer | None:
    request = asked.request
    assert isinstance(request, edge.EventsRequest)
    answer = agent.journal.events(request.since, line.limit)
    if answer.events or not request.wait_ms or request.wait_ms < 0:
        return answer
    return agent.defer(asked, line, now, min(MAX_WAIT_S, request.wait_ms / 1000))


def _pull(agent: Agent, asked: Asked, line: Line, now: Now) -> Answer | None:
    request = asked.request
    assert isinstance(request, edge.PullRequest)
    if request.what == "log":
        return agent.share("log.json", log_bytes(agent.deployer.store.record))
    if request.what == "status":
        runner = agent.deployer.runner
        runtime = dict(runner.status) if runner is not None else {}
        own = {**agent_status(agent, line, now), **agent.vitals()}
        text = json.dumps({"runtime": runtime, "agent": own}, indent=1, sort_keys=True)
        return agent.share("status.json", text.encode())
    return agent.pass_on({"do": "pull", "what": request.what}, asked, line, now)


def _authorise(agent: Agent, request: edge.AuthoriseRequest, line: Line, now: Now) -> Answer:
    if agent.facts.n_keys is None:
        return edge.AuthoriseAnswer(int(PERMISSION_S))
    seconds = line.access.authorise(request.key, request.signature, now.monotonic_s)
    if seconds is None:
        agent.counters["denied"] += 1
        agent.journal.note("denied", f"no pinned key was proved over {line.name}")
        return Refusal(Rc.ACCESS_DENIED, rsn="no pinned key, or not this challenge's signature")
    return edge.AuthoriseAnswer(int(seconds))


def worker_answer(request: Message, value: Mapping[str, Any], limit: int) -> Answer:
    """What the worker said, as the answer to what was asked."""
    if "error" in value:
        return Refusal(Rc.INVALID, rsn=str(value["error"])[:200])
    if isinstance(request, edge.LabelsRequest):
        refused = tuple(
            LabelRefused(int(each["sample"]), str(each["reason"])[:100])
            for each in value["refused"]
        )
        while len(refused) * 130 > limit:
            refused = refused[: len(refused) // 2]
        return edge.LabelsAnswer(int(value["accepted"]), refused)
    if isinstance(request, edge.UndoRequest):
        return edge.UndoAnswer(int(value["generation"]))
    if isinstance(request, edge.CaptureRequest):
        return edge.CaptureAnswer(str(value["name"]))
    return edge.PullAnswer(str(value["name"]), int(value["len"]), bytes.fromhex(value["sha"]))


CHANGES: Final = (
    standard.ResetRequest,
    standard.SetImageStateRequest,
    standard.ImageEraseRequest,
    edge.LabelsRequest,
    edge.UndoRequest,
    edge.CaptureRequest,
    edge.PullRequest,
)


def _now(handler: Callable[[Agent, Any, Line, Now], Answer]) -> Handler:
    """A row whose answer is there at once."""
    return lambda agent, asked, line, now: handler(agent, asked.request, line, now)


def _wall(now: Now) -> str:
    return datetime.datetime.fromtimestamp(now.wall_s, datetime.timezone.utc).isoformat()


def _stat(agent: Agent, request: standard.StatRequest, line: Line, now: Now) -> Answer:
    fields = agent.statistics(line).get(request.name)
    return NO_SUCH_STAT if fields is None else standard.StatAnswer(request.name, fields)


def _labels(agent: Agent, asked: Asked, line: Line, now: Now) -> Answer | None:
    assert isinstance(asked.request, edge.LabelsRequest)
    labels = [[each.sample, each.label] for each in asked.request.labels]
    return agent.pass_on({"do": "labels", "labels": labels}, asked, line, now)


def _undo(agent: Agent, asked: Asked, line: Line, now: Now) -> Answer | None:
    assert isinstance(asked.request, edge.UndoRequest)
    request = asked.request
    if (request.generation is None) == (request.to is None):
        return Refusal(Rc.INVALID, rsn="undo names a generation, or to: growth or factory")
    command = {"do": "undo", "generation": request.generation, "to": request.to}
    return agent.pass_on(command, asked, line, now)


def _capture(agent: Agent, asked: Asked, line: Line, now: Now) -> Answer | None:
    assert isinstance(asked.request, edge.CaptureRequest)
    command = {"do": "capture", "samples": asked.request.samples}
    return agent.pass_on(command, asked, line, now)


TABLE: Final[Mapping[type[Message], Handler]] = {
    standard.EchoRequest: _now(lambda a, r, line, now: standard.EchoAnswer(r.d)),
    standard.EchoReadRequest: _now(lambda a, r, line, now: standard.EchoReadAnswer(r.d)),
    standard.DatetimeRequest: _now(lambda a, r, line, now: standard.DatetimeAnswer(_wall(now))),
    standard.ResetRequest: _now(_reset),
    standard.ParametersRequest: _now(
        lambda a, r, line, now: standard.ParametersAnswer(line.buf_size, BUF_COUNT)
    ),
    standard.InfoRequest: _now(_info),
    standard.BootloaderRequest: _now(_bootloader),
    standard.ImageStateRequest: _now(lambda a, r, line, now: a.images.state()),
    standard.SetImageStateRequest: _now(lambda a, r, line, now: a.images.set_state(r, now)),
    standard.ImageUploadRequest: _now(lambda a, r, line, now: a.images.take(r, line.name, now)),
    standard.ImageEraseRequest: _now(lambda a, r, line, now: a.images.erase(r, now)),
    standard.StatRequest: _now(_stat),
    standard.StatListRequest: _now(
        lambda a, r, line, now: standard.StatListAnswer(tuple(a.statistics(line)))
    ),
    standard.FileRequest: _now(lambda a, r, line, now: a.files.read(r, line.limit)),
    standard.FileStatusRequest: _now(lambda a, r, line, now: a.files.status(r)),
    standard.FileHashRequest: _now(lambda a, r, line, now: a.files.hash(r)),
    edge.StatusRequest: _now(_status),
    edge.EventsRequest: _events,
    edge.MetricsRequest: _now(lambda a, r, line, now: a.journal.metrics(r.since, line.limit)),
    edge.LabelRequestsRequest: _now(
        lambda a, r, line, now: a.journal.label_requests(r.limit, line.limit)
    ),
    edge.LabelsRequest: _labels,
    edge.UndoRequest: _undo,
    edge.CaptureRequest: _capture,
    edge.PullRequest: _pull,
    edge.ChallengeRequest: _now(
        lambda a, r, line, now: edge.ChallengeAnswer(
            line.access.challenge(now.monotonic_s), a.facts.name
        )
    ),
    edge.AuthoriseRequest: _now(_authorise),
}

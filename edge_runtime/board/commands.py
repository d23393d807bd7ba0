"""Every command as a row of a table: request in, answer out, or `Later` for one that must wait.

Handlers touch nothing but the parts that they are given. Groups 1 and 8 have files of their own.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from edge_runtime import __version__
from edge_runtime.board.access import PERMISSION_S
from edge_runtime.board.parts import Later, Line, Parts
from edge_runtime.board.record import Now
from edge_runtime.board.reporting import agent_status, fit_status, log_bytes, statistics
from edge_runtime.protocol.wire import edge_messages as edge
from edge_runtime.protocol.wire import messages as standard
from edge_runtime.protocol.wire.edge_messages import LabelRefused
from edge_runtime.protocol.wire.smp import Answer, Group, Message, Rc, Refusal

BUF_COUNT: Final = 4
MAX_WAIT_S: Final = 10.0
NO_SUCH_STAT: Final = Refusal(3, Group.STAT)
# Zephyr's ``OS_MGMT_ERR_QUERY_YIELDS_NO_ANSWER``, ``OS_MGMT_ERR_INVALID_FORMAT``.
NO_ANSWER: Final = Refusal(3, Group.OS)
INVALID_FORMAT: Final = Refusal(2, Group.OS)
# MCUboot's mode of swapping by moves: as here, what does not confirm itself goes back.
MCUBOOT_SWAP: Final = 3
# The request is of the row's own type, which `Any` stands for.
Handler = Callable[[Parts, Any, Line, Now], Answer | Later]

# -- group 0 ----------------------------------------------------------------------------


def _reset(parts: Parts, request: standard.ResetRequest, line: Line, now: Now) -> Answer:
    parts.deployer.reset()
    return standard.ResetAnswer()


def _info(parts: Parts, request: standard.InfoRequest, line: Line, now: Now) -> Answer:
    known = {
        "s": "edge-runtime", "n": parts.facts.name, "r": __version__, "v": __version__,
        "m": (parts.facts.names or ("linux",))[0], "p": "linux", "i": "linux", "o": "Linux",
    }  # fmt: skip
    wanted = request.format or "s"
    if "a" in wanted:
        wanted = "snrvmpio"
    if set(wanted) - set(known):
        return INVALID_FORMAT
    return standard.InfoAnswer(" ".join(known[each] for each in known if each in wanted))


def _bootloader(parts: Parts, request: standard.BootloaderRequest, line: Line, now: Now) -> Answer:
    if request.query in (None, ""):
        return standard.BootloaderAnswer("MCUboot")
    if request.query == "mode":
        return standard.BootloaderAnswer(mode=MCUBOOT_SWAP)
    return NO_ANSWER


# -- group 64 ---------------------------------------------------------------------------


def _status(parts: Parts, request: edge.StatusRequest, line: Line, now: Now) -> Answer:
    own = {**agent_status(parts, line, now), **parts.vitals()}
    return fit_status(parts.runtime_status, own, line.limit)


def _events(parts: Parts, request: edge.EventsRequest, line: Line, now: Now) -> Answer | Later:
    answer = parts.journal.events(request.since, line.limit)
    if answer.events or not request.wait_ms or request.wait_ms < 0:
        return answer
    return Later(min(MAX_WAIT_S, request.wait_ms / 1000))


def _pull(parts: Parts, request: edge.PullRequest, line: Line, now: Now) -> Answer | Later:
    if request.what == "log":
        return parts.share("log.json", log_bytes(parts.deployer.store.record))
    if request.what == "status":
        own = {**agent_status(parts, line, now), **parts.vitals()}
        text = json.dumps({"runtime": parts.runtime_status, "agent": own}, indent=1, sort_keys=True)
        return parts.share("status.json", text.encode())
    return parts.pass_on({"do": "pull", "what": request.what})


def _authorise(parts: Parts, request: edge.AuthoriseRequest, line: Line, now: Now) -> Answer:
    if parts.facts.n_keys is None:
        return edge.AuthoriseAnswer(int(PERMISSION_S))
    seconds = line.access.authorise(request.key, request.signature, now.monotonic_s)
    if seconds is None:
        parts.counters["denied"] += 1
        parts.journal.note("denied", f"no pinned key was proved over {line.name}")
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


def _wall(now: Now) -> str:
    return datetime.datetime.fromtimestamp(now.wall_s, datetime.timezone.utc).isoformat()


def _statistics(parts: Parts, line: Line) -> dict[str, dict[str, int]]:
    counters = parts.runtime_status.get("counters", {})
    return statistics(parts.counters, line.counters, counters)


def _stat(parts: Parts, request: standard.StatRequest, line: Line, now: Now) -> Answer:
    fields = _statistics(parts, line).get(request.name)
    return NO_SUCH_STAT if fields is None else standard.StatAnswer(request.name, fields)


def _labels(parts: Parts, request: edge.LabelsRequest, line: Line, now: Now) -> Answer | Later:
    labels = [[each.sample, each.label] for each in request.labels]
    return parts.pass_on({"do": "labels", "labels": labels})


def _undo(parts: Parts, request: edge.UndoRequest, line: Line, now: Now) -> Answer | Later:
    if (request.generation is None) == (request.to is None):
        return Refusal(Rc.INVALID, rsn="undo names a generation, or to: growth or factory")
    command = {"do": "undo", "generation": request.generation, "to": request.to}
    return parts.pass_on(command)


def _capture(parts: Parts, request: edge.CaptureRequest, line: Line, now: Now) -> Answer | Later:
    command = {"do": "capture", "samples": request.samples}
    return parts.pass_on(command)


TABLE: Final[Mapping[type[Message], Handler]] = {
    standard.EchoRequest: lambda p, r, line, now: standard.EchoAnswer(r.d),
    standard.EchoReadRequest: lambda p, r, line, now: standard.EchoReadAnswer(r.d),
    standard.DatetimeRequest: lambda p, r, line, now: standard.DatetimeAnswer(_wall(now)),
    standard.ResetRequest: _reset,
    standard.ParametersRequest: (
        lambda p, r, line, now: standard.ParametersAnswer(line.buf_size, BUF_COUNT)
    ),
    standard.InfoRequest: _info,
    standard.BootloaderRequest: _bootloader,
    standard.ImageStateRequest: lambda p, r, line, now: p.images.state(),
    standard.SetImageStateRequest: lambda p, r, line, now: p.images.set_state(r, now),
    standard.ImageUploadRequest: lambda p, r, line, now: p.images.take(r, line.name, now),
    standard.ImageEraseRequest: lambda p, r, line, now: p.images.erase(r, now),
    standard.StatRequest: _stat,
    standard.StatListRequest: (
        lambda p, r, line, now: standard.StatListAnswer(tuple(_statistics(p, line)))
    ),
    standard.FileRequest: lambda p, r, line, now: p.files.read(r, line.limit),
    standard.FileStatusRequest: lambda p, r, line, now: p.files.status(r),
    standard.FileHashRequest: lambda p, r, line, now: p.files.hash(r),
    edge.StatusRequest: _status,
    edge.EventsRequest: _events,
    edge.MetricsRequest: lambda p, r, line, now: p.journal.metrics(r.since, line.limit),
    edge.LabelRequestsRequest: (
        lambda p, r, line, now: p.journal.label_requests(r.limit, line.limit)
    ),
    edge.LabelsRequest: _labels,
    edge.UndoRequest: _undo,
    edge.CaptureRequest: _capture,
    edge.PullRequest: _pull,
    edge.ChallengeRequest: (
        lambda p, r, line, now: edge.ChallengeAnswer(
            line.access.challenge(now.monotonic_s), p.facts.name
        )
    ),
    edge.AuthoriseRequest: _authorise,
}

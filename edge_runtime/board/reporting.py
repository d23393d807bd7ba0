"""What the agent says of itself: a status that fits, statistics, the log of attempts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from edge_runtime import __version__
from edge_runtime.board.parts import Line, Parts
from edge_runtime.board.record import Deployment, Now, Record
from edge_runtime.protocol.wire import cbor
from edge_runtime.protocol.wire.edge_messages import StatusAnswer

SHOWN_ATTEMPTS: Final = 5
_HEADER_BYTES: Final = 40


def agent_status(parts: Parts, line: Line, now: Now) -> dict[str, Any]:
    """The agent's own part of a status."""
    deployer, record = parts.deployer, parts.deployer.store.record
    runner, facts = deployer.runner, parts.facts
    upload = parts.images.upload
    status: dict[str, Any] = {
        "release": __version__,
        "board": facts.name,
        "provisioned": facts.n_keys is not None,
        "open": facts.is_open,
        "authorised": line.access.allows(now.monotonic_s),
        "phase": record.phase.value,
        "running": _described(deployer.running),
        "worker": "none" if runner is None else "ready" if runner.is_ready else "starting",
        "learned_from": runner.learned if runner is not None else None,
        "trouble": deployer.trouble,
        "wanted": len(parts.journal.wanted),
        "events": parts.journal.next_event,
        "attempts": [_attempt(each) for each in record.attempts[-SHOWN_ATTEMPTS:]],
    }
    if record.candidate is not None:
        status["candidate"] = _described(record.candidate)
    if record.deadline_s is not None:
        status["confirm_within_s"] = max(0, round(record.deadline_s - now.monotonic_s))
    if upload is not None:
        status["upload"] = list(upload)
    return status


def _described(deployment: Deployment | None) -> list[dict[str, Any]]:
    packs = () if deployment is None else deployment.packs
    return [{"name": p.name, "version": p.version, "id": p.id[:12]} for p in packs]


def _attempt(attempt: Any) -> dict[str, Any]:
    shown = {name: getattr(attempt, name) for name in ("number", "name", "version", "outcome")}
    return {**shown, "reason": attempt.reason[:120]}


def fit_status(runtime: Mapping[str, Any], agent: Mapping[str, Any], limit: int) -> StatusAnswer:
    """As much of it as fits: the whole is the file that ``pull`` makes of "status"."""
    for answer in _shorter(dict(runtime), dict(agent)):
        body = {"runtime": answer.runtime, "agent": answer.agent}
        if len(cbor.encode(body)) + _HEADER_BYTES <= limit:
            return answer
    return StatusAnswer({}, {"board": str(agent.get("board", ""))[:64]})


def _shorter(runtime: dict[str, Any], agent: dict[str, Any]) -> Iterator[StatusAnswer]:
    """The whole, then less and less, the least important first."""
    yield StatusAnswer(runtime, agent)
    agent = {**agent, "attempts": agent.get("attempts", [])[-1:]}
    yield StatusAnswer(runtime, agent)
    slots = [
        {name: slot[name] for name in ("slot", "labels", "adaptor") if name in slot}
        for slot in runtime.get("slots", [])
    ]
    runtime = {**runtime, "slots": slots}
    yield StatusAnswer(runtime, agent)
    for name in (
        "slots",
        "classes",
        "damaged_generations",
        "generations",
        "capture",
        "written",
        "load",
    ):
        if isinstance(runtime.get(name), list):
            runtime = {**runtime, f"n_{name}": len(runtime[name])}
        runtime = {key: value for key, value in runtime.items() if key != name}
        yield StatusAnswer(runtime, agent)
    for name in ("attempts", "candidate", "learned_from", "trouble"):
        agent = {key: value for key, value in agent.items() if key != name}
        yield StatusAnswer(runtime, agent)


def statistics(
    agent: Mapping[str, int], line: Mapping[str, int], runtime: Mapping[str, Any]
) -> dict[str, dict[str, int]]:
    """The statistics groups by name."""
    counted = {name: value for name, value in runtime.items() if isinstance(value, int)}
    return {"agent": dict(agent), "line": dict(line), "runtime": counted}


def log_bytes(record: Record) -> bytes:
    """The log of attempts as JSON: what was brought here, and what became of it."""
    entries = [asdict(each) for each in record.attempts]
    return json.dumps({"attempts": entries, "counters": dict(record.counters)}, indent=1).encode()

"""``edge-agent serve``: the loop that brings ports, worker and clock to the agent.

One thread, one `select`. Whatever a host, a model or a disk does, the loop turns at least every
`TURN_S`; systemd's watchdog is told by nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_runtime import __version__
from edge_runtime.board import health
from edge_runtime.board.access import Access
from edge_runtime.board.agent import Agent
from edge_runtime.board.deployer import Deployer, DeployerSettings
from edge_runtime.board.event_log import EventLog
from edge_runtime.board.files import Files
from edge_runtime.board.images import BoardLimits, ImageStore
from edge_runtime.board.journal import Journal
from edge_runtime.board.notify import Notifier
from edge_runtime.board.parts import BoardFacts, Line
from edge_runtime.board.port import Port
from edge_runtime.board.record import Now
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.protocol.wire.framing import FrameError
from edge_runtime.protocol.wire.server import Asked

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TURN_S: Final = 0.25
BUSY_TURN_S: Final = 0.02  # while something is awaited that has no file descriptor
PACKS, SHARED, KEYS = "packs", "shared", "keys"
MAX_KEY_BYTES: Final = 16 * 1024
MAX_KEYS: Final = 32


class AgentError(EdgeRuntimeError, RuntimeError):
    """The agent cannot start; says why."""


@dataclass(frozen=True)
class ServeSettings:
    """Everything that the command line says."""

    ports: tuple[str, ...]
    state: Path
    settings: DeployerSettings
    baud: int = 115_200
    buf_size: int | None = None
    name: str = ""
    is_open: bool = False
    telemetry: bool = False
    memory_bytes: int = 3 * 2**30


def load_keys(
    directory: Path, paths: Sequence[Path] | None = None
) -> list[Ed25519PublicKey] | None:
    """Pinned keys, one in each .pem file; None where there is none: an unprovisioned board.

    ``paths`` are looked at in place of all that are there.

    Raises
    ------
    AgentError
        A file holds no Ed25519 key: leaving it out would open the board, or lock somebody out.
    """
    if paths is None:
        paths = sorted(directory.glob("*.pem"))[: MAX_KEYS + 1] if directory.is_dir() else []
    if len(paths) > MAX_KEYS:
        raise AgentError(f"more than {MAX_KEYS} keys in {directory}")
    return [_load_key(path) for path in paths] or None


def _load_key(path: Path) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes()[:MAX_KEY_BYTES])
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise AgentError(f"{path} holds no public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise AgentError(f"{path} holds a key of another kind, expected Ed25519")
    return key


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold the state directory: two agents would undo each other's updates.

    Raises
    ------
    AgentError
        Another agent has it, or the directory cannot be used.
    """
    try:
        for name in (PACKS, SHARED):
            (directory / name).mkdir(parents=True, exist_ok=True)
        # The directory itself is locked: that works on a disk that has become read-only, too.
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise AgentError(f"cannot use {directory}: {error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise AgentError(f"another agent uses {directory}: end it, or name another --state") from (
            error
        )
    else:
        yield
    finally:
        os.close(handle)


def clock() -> Now:
    """The time now: deadlines go by the first, the log by the second."""
    return Now(time.monotonic(), time.time())


class Loop:
    """Ports, lines and the agent, turned by `turn`."""

    def __init__(
        self,
        agent: Agent,
        ports: Sequence[tuple[Port, Line]],
        notifier: Notifier,
        *,
        telemetry: bool = False,
    ) -> None:
        self._agent, self._ports, self._notifier = agent, ports, notifier
        self._by_line = {line.name: port for port, line in ports}
        self._telemetry, self._said = telemetry, 0
        self.is_over = False

    def turn(self) -> None:
        """Wait for something, at most `TURN_S`, and do all that it brings."""
        now = clock()
        for port, line in self._ports:
            if port.tend(now.monotonic_s):
                self._agent.journal.note("line", f"{line.name} is open")
        for port, line in self._wait():
            self._read(port, line)
        now = clock()
        for line, asked, answer in self._agent.tick(now):
            port = self._by_line[line.name]
            port.server.answer(asked, answer, now.monotonic_s)
        if self._telemetry:
            self._say()
        for port, _ in self._ports:
            if port.is_open:
                port.write(port.server.send())
        self._notifier.beat(now.monotonic_s, self._status())

    def _wait(self) -> list[tuple[Port, Line]]:
        open_ports = [pair for pair in self._ports if pair[0].is_open]
        readers: list[Any] = [port for port, _ in open_ports]
        writers = [port for port, _ in open_ports if port.has_unsent]
        runner = self._agent.deployer.runner
        if runner is not None and runner.fileno() >= 0:
            readers.append(runner)
        busy = self._agent.deployer.is_testing
        readable, _, _ = select.select(readers, writers, [], BUSY_TURN_S if busy else TURN_S)
        return [pair for pair in open_ports if pair[0] in readable]

    def _read(self, port: Port, line: Line) -> None:
        now = clock()
        try:
            data = port.read()
        except OSError as error:
            self._agent.journal.note("line", f"{line.name} is gone: {error}")
            self._agent.forget(line)
            return
        line.counters["bytes"] = line.counters.get("bytes", 0) + len(data)
        for event in port.server.receive(data, now.monotonic_s):
            if isinstance(event, Asked):
                line.counters["requests"] = line.counters.get("requests", 0) + 1
                answer = self._agent.ask(line, event, now)
                if answer is not None:
                    port.server.answer(event, answer, now.monotonic_s)
            elif isinstance(event, FrameError):
                line.counters["bad_frames"] = line.counters.get("bad_frames", 0) + 1

    def _say(self) -> None:
        """Each step as a line of text between the frames; a host that is behind misses some."""
        lines, self._said = self._agent.journal.lines(self._said)
        for port, _ in self._ports:
            for text in lines if port.is_open else ():
                port.server.say(text)

    def _status(self) -> str:
        lost = [port.trouble for port, _ in self._ports if port.trouble]
        return "; ".join(lost) or f"serving, {self._agent.deployer.store.record.phase.value}"


def build(settings: ServeSettings) -> tuple[Agent, list[tuple[Port, Line]]]:
    """The agent of a state directory, and its lines."""
    keys = load_keys(settings.state / KEYS)
    name = settings.name or health.board_name()
    names = (*health.board_names(), name)
    journal = Journal()
    files, shared = Files(settings.state / PACKS), Files(settings.state / SHARED)
    store = ImageStore(files, keys, BoardLimits(__version__, names, settings.memory_bytes))
    deployer = Deployer(store, journal, settings.settings)
    n_keys = None if keys is None else len(keys)

    started_s = time.monotonic()

    def vitals() -> dict[str, Any]:
        runner = deployer.runner
        found = health.vitals(settings.state, None if runner is None else runner.pid)
        return {"uptime_s": round(time.monotonic() - started_s), **found}

    facts = BoardFacts(name, names, n_keys, settings.is_open)
    agent = Agent(facts, deployer, files, shared, journal, vitals)
    lines = []
    for path in settings.ports:
        port = Port(path, settings.baud, buf_size=settings.buf_size)
        access = Access(keys, name, os.urandom, is_open=settings.is_open)
        lines.append((port, Line(path, port.buf_size, access)))
    return agent, lines


def serve(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT; what was learned is saved then.

    Raises
    ------
    AgentError, StoreError
        It cannot start.
    """
    with lock(settings.state):
        agent, lines = build(settings)
        notifier = Notifier()
        log = EventLog(agent.journal, Files(settings.state / SHARED))
        loop = Loop(agent, lines, notifier, telemetry=settings.telemetry)

        def stop(number: int, frame: object) -> None:
            loop.is_over = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        agent.deployer.start(clock())
        notifier.ready()
        try:
            while not loop.is_over:
                loop.turn()
                log.tend(agent.deployer.trouble, clock().monotonic_s)
        finally:
            notifier.stopping()
            log.flush()
            agent.deployer.close()
            for port, _ in lines:
                port.close()

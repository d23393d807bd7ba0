"""``edgectl simulate``: an agent without a board, at the far end of a simulated cable.

The agent is the real one, in a process of its own, started again if it ends, as systemd does. Its
port and the host's are pseudo-terminals, joined by `relay`. Not here: what the agent does.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import EdgeRuntimeError
from firmware_tools.errors import UsageError
from firmware_tools.keys import load_public_key
from firmware_tools.line import Cable, Noise
from firmware_tools.link_options import DEFAULT_BAUD, note
from firmware_tools.relay import Relay

READY: Final = b"READY=1"
STOP_S: Final = 20.0
# An agent that ends sooner after its start, so often in a row, will not do better.
MIN_LIFE_S: Final = 2.0
MAX_SHORT_LIVES: Final = 3


class SimulationError(EdgeRuntimeError, RuntimeError):
    """The agent does not start, or does not stay."""


def register(commands: Any) -> None:
    """Add the command to edgectl's parser."""
    parser = commands.add_parser("simulate", help="serve an agent on a pseudo-terminal")
    parser.add_argument("--link", type=Path, required=True, metavar="PATH", help="for --port")
    parser.add_argument("--state", type=Path, metavar="DIR", help="kept; else a temporary one")
    parser.add_argument(
        "--pin", type=Path, action="append", default=[], metavar="PUB.pem", help="a key to accept"
    )
    parser.add_argument("--stream", default="none", metavar="SPEC", help="see edge-agent serve")
    parser.add_argument("--interval-s", type=float, default=0.0, metavar="S")
    parser.add_argument("--repeat", action="store_true", help="begin anew at the stream's end")
    line = parser.add_argument_group("the cable")
    line.add_argument("--baud", type=int, default=DEFAULT_BAUD, metavar="N")
    line.add_argument("--latency-ms", type=float, default=0.0, metavar="MS", help="each way")
    line.add_argument("--noise", type=float, default=0.0, metavar="P", help="share of bad bytes")
    line.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("agent", nargs="*", metavar="-- ARGUMENT", help="more for the agent")
    parser.set_defaults(run=simulate)


def simulate(arguments: argparse.Namespace) -> None:
    """Serve in the foreground until SIGINT or SIGTERM; prints ``ready`` when the agent serves."""
    with contextlib.ExitStack() as stack:
        state = arguments.state
        if state is None:
            state = Path(tempfile.mkdtemp(prefix="edge-simulate-"))
            stack.callback(shutil.rmtree, state, ignore_errors=True)
        pin_keys(state, arguments.pin)
        simulator = stack.enter_context(
            Simulator(arguments.link, _cable(arguments), state, _agent_arguments(arguments))
        )
        is_over = _ended_by_signals(stack)
        simulator.run(is_over)


def _cable(arguments: argparse.Namespace) -> Cable:
    if arguments.baud <= 0 or arguments.latency_ms < 0 or not 0 <= arguments.noise < 1:
        raise UsageError("expected --baud above 0, --latency-ms from 0, --noise from 0 to below 1")
    return Cable(
        baud=arguments.baud,
        latency_s=arguments.latency_ms / 1000,
        noise=Noise(rate=arguments.noise),
        seed=arguments.seed,
    )


def _agent_arguments(arguments: argparse.Namespace) -> list[str]:
    repeat = ["--repeat"] if arguments.repeat else []
    return [
        "--baud", str(arguments.baud), "--stream", arguments.stream,
        "--interval", str(arguments.interval_s), *repeat, *arguments.agent,
    ]  # fmt: skip


def pin_keys(state: Path, keys: Sequence[Path]) -> None:
    """Put public keys where the agent looks for the ones that it accepts."""
    for number, path in enumerate(keys):
        load_public_key(path)
        if b"PRIVATE" in path.read_bytes():
            raise UsageError(f"{path} is a private key: pin its public half")
        directory = state / "keys"
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, directory / f"{number}-{path.stem}.pem")


def _ended_by_signals(stack: contextlib.ExitStack) -> Callable[[], bool]:
    caught: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.signal(number, lambda number, frame: caught.append(number))
        stack.callback(signal.signal, number, before)
    return lambda: bool(caught)


_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1


def _end_with_parent() -> None:
    """Ask Linux to end the agent with the simulator, however that ends.

    Nobody would hear an orphan, nor end it.
    """
    with contextlib.suppress(AttributeError):  # not Linux
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _say_ready(n_before: int) -> None:
    print("ready again" if n_before else "ready", flush=True)


class Simulator:
    """A relay and an agent's process; a context manager that ends both.

    `on_ready` is called with the number of times that the agent has become ready before.
    """

    def __init__(
        self,
        link: Path,
        cable: Cable,
        state: Path,
        agent: Sequence[str],
        on_ready: Callable[[int], None] | None = None,
    ) -> None:
        if link.exists() and not link.is_symlink():
            raise UsageError(f"{link} exists and is no symbolic link: choose another --link")
        self.relay = Relay(cable, link)
        self._directory = Path(tempfile.mkdtemp(prefix="edge-simulate-"))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._directory / "socket"))
        self._socket.setblocking(False)
        # By a name of its own: an agent that outlives its terminal must not open the next one.
        port = self._directory / "port"
        port.symlink_to(self.relay.board_path)
        self._command = [
            sys.executable, "-m", "edge_runtime.board", "serve",
            "--port", str(port), "--state", str(state), *agent,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._n_short = 0
        self._n_ready = 0
        self._on_ready = on_ready or _say_ready

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The agent's process."""
        return None if self._process is None else self._process.pid

    def run(self, is_over: Callable[[], bool]) -> None:
        """Move bytes, and keep the agent alive, until told to end."""
        self._start()
        while not is_over():
            self.relay.step()
            self._hear()
            self._tend()

    def close(self) -> None:
        """End the agent, which saves what it has learned, and remove the link."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.relay.close()
        self._socket.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self) -> None:
        environment = {**os.environ, "NOTIFY_SOCKET": str(self._directory / "socket")}
        self._process = subprocess.Popen(
            self._command,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        self._started_s = time.monotonic()

    def _hear(self) -> None:
        while True:
            try:
                said = self._socket.recv(4096)
            except BlockingIOError:
                return
            if READY in said:
                self._on_ready(self._n_ready)
                self._n_ready += 1

    def _tend(self) -> None:
        """Start the agent again if it has ended, as systemd does."""
        assert self._process is not None
        status = self._process.poll()
        if status is None:
            return
        is_short = time.monotonic() - self._started_s < MIN_LIFE_S
        self._n_short = self._n_short + 1 if is_short else 0
        if not self._n_ready or self._n_short >= MAX_SHORT_LIVES:
            raise SimulationError(f"the agent ended with status {status}: see what it said above")
        note(f"the agent ended with status {status}: starting it again")
        self._start()

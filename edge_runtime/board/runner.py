"""The agent's hold on the worker: started, asked, listened to, and ended whatever it does.

Not here: what to do when it dies (`deployer`), and what it says of samples (`agent`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from edge_runtime.board.channel import Channel, ChannelError
from edge_runtime.board.profiles import ENVIRONMENT
from edge_runtime.board.worker import Order

HANG_S: Final = 20.0
STOP_S: Final = 5.0
_LOG_BYTES: Final = 4096


class Runner:
    """One worker process.

    Attributes
    ----------
    status
        What it said of itself last.
    learned
        Where its learned state comes from; None before it is ready.
    """

    def __init__(self, order: Order, now_s: float) -> None:
        here, there = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in `kill`
        # The worker must see what this process would import, however its path came about.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment.pop("NOTIFY_SOCKET", None)
        environment.update(ENVIRONMENT)
        command = [sys.executable, "-m", "edge_runtime.board.worker", str(there.fileno())]
        with there:
            self._process = subprocess.Popen(
                command, pass_fds=[there.fileno()], env=environment, start_new_session=True,
                stderr=self._log, stdout=subprocess.DEVNULL,
                stdin=None if order.stream == "stdin" else subprocess.DEVNULL,
            )  # fmt: skip
        self._channel = Channel(here)
        self._started_s = self._heard_s = now_s
        self._ticket = 0
        self._is_closed = False
        self._failure = ""
        self.order = order
        self.status: dict[str, Any] = {}
        self.learned: str | None = None
        self._counted: dict[str, int] = {}
        with contextlib.suppress(ChannelError):
            self._channel.send(asdict(order))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def fileno(self) -> int:
        """For `select`; -1 once it has hung up."""
        return -1 if self._is_closed else self._channel.fileno()

    @property
    def is_ready(self) -> bool:
        """Whether it has opened its deployment."""
        return self.learned is not None

    @property
    def samples(self) -> tuple[int, int]:
        """How many samples it has answered since it was ready, and how many it rejected."""
        counters = self.status.get("counters", {})
        answered, rejected = (
            int(counters.get(name, 0)) - int(self._counted.get(name, 0))
            for name in ("samples", "rejected")
        )
        return answered, rejected

    def ask(self, command: Mapping[str, Any]) -> int | None:
        """Send a command; its ticket, or None if there is nobody to carry it out."""
        if not self.is_ready or self._is_closed:
            return None
        self._ticket += 1
        try:
            self._channel.send({**command, "ticket": self._ticket})
        except ChannelError as error:
            self._failure = self._failure or str(error)
            self._is_closed = True
            return None
        return self._ticket

    def listen(self, now_s: float) -> list[dict[str, Any]]:
        """What it has said: answers and news; beats are kept here."""
        if self._is_closed:
            return []
        try:
            self._channel.flush()
            heard = [value for value in self._channel.receive() if self._hear(value, now_s)]
        except ChannelError:
            self._is_closed = True
            return []
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.give_up(f"it does not make sense: {type(error).__name__}: {error}")
            return []
        return heard

    def give_up(self, why: str) -> None:
        """Listen to it no more; `fault` says why."""
        self._failure, self._is_closed = why[:300], True

    def _hear(self, value: dict[str, Any], now_s: float) -> bool:
        """Take notice; True for what the agent must see."""
        self._heard_s = now_s
        says = value.get("say")
        if says == "ready":
            self.learned, self.status = str(value["learned"]), dict(value["status"])
            self._counted = dict(self.status["counters"])
        elif says == "beat":
            self.status = dict(value["status"])
        elif says == "failed":
            self._failure = str(value.get("reason", ""))[:300]
        return says in ("answer", "news", "ready")

    def fault(self, now_s: float) -> str:
        """Why it must be given up: it has ended, does not start, or does not beat; else nothing."""
        status = self._process.poll()
        if status is not None:
            return f"the runtime {self._ended(status)}"
        if self._is_closed:
            return f"the runtime hung up{': ' if self._failure else ''}{self._failure}"
        if not self.is_ready and now_s - self._started_s > self.order.start_s:
            return f"the runtime did not start within {self.order.start_s:g} s"
        if now_s - self._heard_s > HANG_S and self.is_ready:
            return f"the runtime gave no sign for {HANG_S:g} s"
        return ""

    def _ended(self, status: int) -> str:
        if self._failure:
            return f"ended: {self._failure}"
        if status < 0:
            return f"died by {signal.Signals(-status).name}"
        return f"ended with status {status}: {self._last_line()}"[:300]

    def _last_line(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_BYTES))
        lines = self._log.read(_LOG_BYTES).decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "no message")

    def stop(self) -> None:
        """Let it save and end, within `STOP_S`; then it is killed."""
        if not self._is_closed and self.is_ready:
            with contextlib.suppress(ChannelError, subprocess.TimeoutExpired):
                self._channel.send({"do": "stop"})
                self._process.wait(STOP_S)
        self.kill()

    def kill(self) -> None:
        """End it, and everything that it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._is_closed = True
        self._channel.close()
        self._log.close()

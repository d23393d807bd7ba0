"""What waits for the worker: samples and commands. Learning yields to answers, never the reverse.

A source that can wait (files, a Python iterator) is read a little ahead. A live one (a serial
sensor, or whatever `serve --live` says) is read as it comes: where the worker falls behind, the
oldest sample that waits is dropped and counted, for it has no label and can have none any more.
While samples pile up, or the processor is throttled, labels wait until no sample does, and at most
`MAX_YIELD_S`: their host waits for an answer. Threads bring; one thread takes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final

# One sample is answered while the next is read.
READ_AHEAD: Final = 2
MAX_WAITING: Final = 16  # of a live source: ten megabytes of images for Lite0
MAX_YIELD_S: Final = 10.0
URGENT: Final = ("stop", "gone")


class Inbox:
    """Samples and commands, in the order in which they are to be done.

    Parameters
    ----------
    is_live
        The source does not wait: what is too much is dropped, the oldest first.

    Attributes
    ----------
    is_throttled
        Set by the worker when the processor is slowed down.
    n_dropped, n_yielded
        Samples given up; labels that had to wait.
    """

    def __init__(
        self, *, is_live: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_live, self._clock = is_live, clock
        self.is_throttled = False
        self.n_dropped = self.n_yielded = 0
        self._changed = threading.Condition()
        self._numbers = count()  # the order in which things came
        self._samples: deque[tuple[int, str, Any]] = deque()
        self._commands: deque[tuple[int, float, Any]] = deque()
        self._yielding = False

    @property
    def n_waiting(self) -> int:
        """Samples that nobody has answered yet."""
        return len(self._samples)

    def put_sample(self, sample: Any) -> None:
        """Bring a sample; waits for room where the source can."""
        with self._changed:
            while not self.is_live and len(self._samples) >= READ_AHEAD:
                self._changed.wait()
            if len(self._samples) >= MAX_WAITING:
                self._samples.popleft()
                self.n_dropped += 1
            self._samples.append((next(self._numbers), "sample", sample))
            self._changed.notify_all()

    def end_samples(self, reason: str) -> None:
        """There will be no more samples; behind those that wait."""
        with self._changed:
            self._samples.append((next(self._numbers), "end", reason))
            self._changed.notify_all()

    def put_command(self, command: Any) -> None:
        """Bring a command of the agent's."""
        with self._changed:
            self._commands.append((next(self._numbers), self._clock(), command))
            self._changed.notify_all()

    def get(self, timeout_s: float) -> tuple[str, Any] | None:
        """What to do next, "sample", "end" or "command"; None if nothing comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._samples or self._commands, timeout_s)
            if not self._samples and not self._commands:
                return None
            if self._commands and (not self._samples or self._is_command_next()):
                self._yielding = False
                return "command", self._commands.popleft()[2]
            _, kind, item = self._samples.popleft()
            self._changed.notify_all()
            return kind, item

    def _is_command_next(self) -> bool:
        number, came_s, command = self._commands[0]
        if any(each.get("do") in URGENT for *_, each in self._commands):
            return True
        if command.get("do") != "labels" or not self.is_busy:
            return number < self._samples[0][0]
        if self._clock() - came_s >= MAX_YIELD_S:
            return True
        self.n_yielded += not self._yielding
        self._yielding = True
        return False

    @property
    def is_busy(self) -> bool:
        """Whether answers have no time to lose."""
        return self.is_throttled or len(self._samples) > READ_AHEAD

    def status(self) -> dict[str, Any]:
        """Numbers for a status."""
        return {
            "waiting": self.n_waiting, "dropped": self.n_dropped, "yielded": self.n_yielded,
            "throttled": self.is_throttled,
        }  # fmt: skip

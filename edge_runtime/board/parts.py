"""What a command works with: the parts of a board, the line that it came over, "later".

Below both the table of commands and the agent that looks into it, so that neither file has to know
the other's insides. Not here: who waits for a late answer, and until when (`agent`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge_runtime.board.access import Access
from edge_runtime.board.deployer import Deployer
from edge_runtime.board.file_group import FileGroup
from edge_runtime.board.files import Files
from edge_runtime.board.image_group import ImageGroup
from edge_runtime.board.journal import Journal
from edge_runtime.protocol.wire import edge_messages as edge
from edge_runtime.protocol.wire.smp import Answer, Rc, Refusal

FRAMING_BYTES: Final = 4
WORKER_S: Final = 30.0  # a trial of a new slot takes seconds on a Pi 3
NO_RUNTIME: Final = Refusal(Rc.BAD_STATE, rsn="no model pack runs on this board yet")


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


@dataclass(frozen=True)
class BoardFacts:
    """What the board says of itself."""

    name: str
    names: tuple[str, ...] = ()
    n_keys: int | None = None
    is_open: bool = False


@dataclass(frozen=True)
class Later:
    """In place of an answer: it comes within `seconds`, from the worker or with an event."""

    seconds: float
    ticket: int | None = None  # of the worker's command; None: an event is waited for


@dataclass(frozen=True)
class Parts:
    """All that commands read and change.

    Parameters
    ----------
    shared
        Files that hosts may read; `files` answers for them.
    vitals
        Memory, temperature, room on the disk: asked for with each status.
    counters
        Requests, and those that were refused or denied.
    """

    facts: BoardFacts
    deployer: Deployer
    journal: Journal
    images: ImageGroup
    files: FileGroup
    shared: Files
    vitals: Callable[[], Mapping[str, Any]]
    counters: dict[str, int]

    def pass_on(self, command: Mapping[str, Any]) -> Refusal | Later:
        """Let the worker carry it out."""
        runner = self.deployer.runner
        ticket = None if runner is None else runner.ask(command)
        if ticket is None:
            trouble = self.deployer.trouble
            return Refusal(Rc.BAD_STATE, rsn=trouble[:200]) if trouble else NO_RUNTIME
        return Later(WORKER_S, ticket)

    def share(self, name: str, data: bytes) -> Answer:
        """Make a file that hosts may read."""
        self.shared.write(f"{name}.part", data)
        self.shared.rename(f"{name}.part", name)
        return edge.PullAnswer(name, len(data), hashlib.sha256(data).digest())

    @property
    def runtime_status(self) -> dict[str, Any]:
        """What the worker said of itself last; empty while none runs."""
        runner = self.deployer.runner
        return dict(runner.status) if runner is not None else {}

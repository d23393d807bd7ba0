"""The messages of group 64, this project's own: status, events, labels, undo, trust.

Their keys are described for the writer of a foreign client in `docs/protocol.md`. All writes
but `AuthoriseRequest` are refused to a host that has not proved its key, once one is pinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from edge_runtime.protocol.wire.smp import Group, Message, Op, message

NONCE_BYTES: Final = 32
_READ, _READ_ANSWER, _WRITE, _WRITE_ANSWER = Op.READ, Op.READ_ANSWER, Op.WRITE, Op.WRITE_ANSWER


@message(_READ, Group.EDGE, 0)
@dataclass(frozen=True)
class StatusRequest(Message):
    """Ask how the runtime is."""


@message(_READ_ANSWER, Group.EDGE, 0)
@dataclass(frozen=True)
class StatusAnswer(Message):
    """Slots, bytes, counters, generation: see `EdgeRuntime.status`; and the agent's own."""

    runtime: dict[str, Any]
    agent: dict[str, Any]


@dataclass(frozen=True)
class EventEntry:
    """One event; `n` counts them from 0 since the agent started."""

    n: int
    kind: str
    sample: int
    message: str
    slot: int | None = None
    evidence: dict[str, Any] | None = None


@message(_READ, Group.EDGE, 1)
@dataclass(frozen=True)
class EventsRequest(Message):
    """Events from number `since`; without any, the answer waits up to `wait_ms` for one."""

    since: int = 0
    wait_ms: int | None = None


@message(_READ_ANSWER, Group.EDGE, 1)
@dataclass(frozen=True)
class EventsAnswer(Message):
    """As many as fit; ask again with `next`. `lost` of those asked for are forgotten."""

    events: tuple[EventEntry, ...]
    next: int
    lost: int = 0


@message(_READ, Group.EDGE, 2)
@dataclass(frozen=True)
class MetricsRequest(Message):
    """Rows of the recent past from number `since`."""

    since: int = 0


@message(_READ_ANSWER, Group.EDGE, 2)
@dataclass(frozen=True)
class MetricsAnswer(Message):
    """A table, one row per step: names of the columns, and rows as many as fit."""

    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    next: int
    lost: int = 0


@dataclass(frozen=True)
class LabelWanted:
    """A sample whose label would help; `label` is the runtime's own guess."""

    sample: int
    p_value: float
    label: int | str | None = None
    slot: int | None = None


@message(_READ, Group.EDGE, 3)
@dataclass(frozen=True)
class LabelRequestsRequest(Message):
    """Ask which labels are wanted: at most `limit` of them, the most useful first."""

    limit: int | None = None


@message(_READ_ANSWER, Group.EDGE, 3)
@dataclass(frozen=True)
class LabelRequestsAnswer(Message):
    """The samples; `waiting` counts all, also those that did not fit."""

    wanted: tuple[LabelWanted, ...]
    waiting: int


@dataclass(frozen=True)
class LabelEntry:
    """The label of one sample."""

    sample: int
    label: int | str


@message(_WRITE, Group.EDGE, 4)
@dataclass(frozen=True)
class LabelsRequest(Message):
    """Learn these labels."""

    labels: tuple[LabelEntry, ...]


@dataclass(frozen=True)
class LabelRefused:
    """A label that was not taken, and why."""

    sample: int
    reason: str


@message(_WRITE_ANSWER, Group.EDGE, 4)
@dataclass(frozen=True)
class LabelsAnswer(Message):
    """How many were taken, and which were not."""

    accepted: int
    refused: tuple[LabelRefused, ...] = ()


@message(_WRITE, Group.EDGE, 5)
@dataclass(frozen=True)
class UndoRequest(Message):
    """Go back to this saved generation. Named, not counted: sent twice, it is done once.

    In place of a number, `to` may be ``growth``, how things were before the last slot was grown,
    or ``factory``, as delivered.
    """

    generation: int | None = None
    to: str | None = None


@message(_WRITE_ANSWER, Group.EDGE, 5)
@dataclass(frozen=True)
class UndoAnswer(Message):
    """The generation that is loaded now."""

    generation: int


@message(_WRITE, Group.EDGE, 6)
@dataclass(frozen=True)
class CaptureRequest(Message):
    """Record the next `samples` samples into a file; 0 ends a recording."""

    samples: int


@message(_WRITE_ANSWER, Group.EDGE, 6)
@dataclass(frozen=True)
class CaptureAnswer(Message):
    """The file, readable by group 8 once it is complete."""

    name: str


@message(_WRITE, Group.EDGE, 7)
@dataclass(frozen=True)
class PullRequest(Message):
    """Make a file of `what`, for instance ``state``, for reading by group 8."""

    what: str


@message(_WRITE_ANSWER, Group.EDGE, 7)
@dataclass(frozen=True)
class PullAnswer(Message):
    """The file, its length, and its SHA-256."""

    name: str
    len: int
    sha: bytes


@message(_READ, Group.EDGE, 8)
@dataclass(frozen=True)
class ChallengeRequest(Message):
    """A number used once, to be signed."""


@message(_READ_ANSWER, Group.EDGE, 8)
@dataclass(frozen=True)
class ChallengeAnswer(Message):
    """The number, and the name of the board that is part of what is signed."""

    nonce: bytes
    board: str


@message(_WRITE, Group.EDGE, 9)
@dataclass(frozen=True)
class AuthoriseRequest(Message):
    """Ed25519 signature of `authorisation_text`; `key` is the SHA-256 of the public key's DER."""

    key: bytes
    signature: bytes


@message(_WRITE_ANSWER, Group.EDGE, 9)
@dataclass(frozen=True)
class AuthoriseAnswer(Message):
    """For how long the host may change things."""

    seconds: int


def authorisation_text(nonce: bytes, board: str) -> bytes:
    """What a host signs to prove its key to one board, once.

    Raises
    ------
    ValueError
        The nonce has another length: a hostile board could choose what is signed.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"nonce of {len(nonce)} bytes, expected {NONCE_BYTES}")
    return b"edge-runtime authorise 1\0" + nonce + board.encode()

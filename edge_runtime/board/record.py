"""What the board knows of its packs: one value, one file, one table of what may follow what.

    empty, confirmed, reverted  --stage-->  staged  --begin_test-->  testing  --pass_test-->  ready
    ready  --begin_trial-->  trial  --confirm-->  confirmed
    staged, testing, ready, trial  --revert-->  reverted

Up to *ready* the active packs run; in *trial* the candidate does, unconfirmed: it is undone unless
the host confirms it in time. The log of attempts lies in the same value, so that a step and its
entry become durable together. Not here: files, clocks, packs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any, Final, NamedTuple

from edge_runtime.errors import EdgeRuntimeError

FORMAT: Final = 1
MAX_RECORD_BYTES: Final = 512 * 1024  # every reason of characters that JSON needs 12 bytes for
MAX_ATTEMPTS: Final = 100  # the oldest go
MAX_REASON_CHARS: Final = 300
MAX_COUNTERS: Final = 64  # 32 keys over the life of a board


class StoreError(EdgeRuntimeError, RuntimeError):
    """The image store is damaged, or is asked for a step that does not follow."""


class Now(NamedTuple):
    """The time: ``monotonic_s`` for deadlines, ``wall_s`` (Unix) for the log alone."""

    monotonic_s: float
    wall_s: float


class Phase(str, Enum):
    """Where an update is; see the head of this file."""

    EMPTY = "empty"
    STAGED = "staged"
    TESTING = "testing"
    READY = "ready"
    TRIAL = "trial"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"


AT_REST: Final = (Phase.EMPTY, Phase.CONFIRMED, Phase.REVERTED)
UNDER_WAY: Final = (Phase.STAGED, Phase.TESTING, Phase.READY, Phase.TRIAL)
# Step: phases it may start from, and the phase it leads to.
TRANSITIONS: Final[Mapping[str, tuple[tuple[Phase, ...], Phase]]] = {
    "stage": ((*AT_REST, Phase.STAGED, Phase.READY), Phase.STAGED),
    "begin_test": ((Phase.STAGED,), Phase.TESTING),
    "pass_test": ((Phase.TESTING,), Phase.READY),
    "begin_trial": ((Phase.READY,), Phase.TRIAL),
    "confirm": ((Phase.TRIAL,), Phase.CONFIRMED),
    "revert": (UNDER_WAY, Phase.REVERTED),
}


@dataclass(frozen=True)
class Installed:
    """One pack on the board; ``counter`` counts for ``counter_key`` once it is confirmed."""

    id: str
    name: str
    version: str
    counter_key: str
    counter: int


@dataclass(frozen=True)
class Deployment:
    """What runs together: a model, perhaps a head on it, and the encoder's fingerprint."""

    model: Installed
    head: Installed | None
    fingerprint: str

    @property
    def packs(self) -> tuple[Installed, ...]:
        """The model and, if there is one, the head."""
        return (self.model,) if self.head is None else (self.model, self.head)

    @property
    def id(self) -> str:
        """Name of the deployment's own learned state."""
        return "-".join(pack.id[:24] for pack in self.packs)


@dataclass(frozen=True)
class Attempt:
    """One entry of the log: what was brought here, and what became of it.

    ``outcome`` is "refused", "open", "confirmed", "reverted" or "replaced".
    """

    number: int
    wall_s: float
    pack: str
    name: str
    version: str
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """Everything that must survive a power cut."""

    phase: Phase = Phase.EMPTY
    active: Deployment | None = None
    previous: Deployment | None = None
    candidate: Deployment | None = None
    deadline_s: float | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()

    @property
    def running(self) -> Deployment | None:
        """What is to run now."""
        return self.candidate if self.phase is Phase.TRIAL else self.active

    def take(self, step: str, **changes: Any) -> Record:
        """The record after this step.

        Raises
        ------
        StoreError
            The step does not follow from this phase.
        """
        sources, target = TRANSITIONS[step]
        if self.phase not in sources:
            allowed = ", ".join(phase.value for phase in sources)
            raise StoreError(f"cannot {step} while {self.phase.value}: possible while {allowed}")
        return replace(self, phase=target, **changes)

    def log(self, wall_s: float, pack: Installed, outcome: str, reason: str = "") -> Record:
        """With one more attempt; the oldest go."""
        number = self.attempts[-1].number + 1 if self.attempts else 1
        reason = reason[:MAX_REASON_CHARS]
        entry = Attempt(number, wall_s, pack.id, pack.name, pack.version, outcome, reason)
        return replace(self, attempts=(*self.attempts, entry)[-MAX_ATTEMPTS:])

    def close(self, outcome: str, reason: str = "") -> Record:
        """With the outcome of the attempt that is open."""
        return replace(
            self,
            attempts=tuple(
                replace(each, outcome=outcome, reason=reason[:MAX_REASON_CHARS])
                if each.outcome == "open"
                else each
                for each in self.attempts
            ),
        )

    def raise_counters(self, deployment: Deployment) -> Record:
        """With the counters of these packs as the least that will be taken from now on."""
        counters = dict(self.counters)
        for pack in deployment.packs:
            if pack.counter_key:
                counters[pack.counter_key] = max(pack.counter, counters.get(pack.counter_key, 0))
        if len(counters) > MAX_COUNTERS:
            raise StoreError(f"{len(counters)} security counters, at most {MAX_COUNTERS} are kept")
        return replace(self, counters=counters)


def to_bytes(record: Record) -> bytes:
    """A record as the bytes of its file: a line of JSON and a line with its SHA-256."""
    fields = {"format": FORMAT, **asdict(record), "phase": record.phase.value}
    text = json.dumps(fields, sort_keys=True).encode()
    return text + b"\n" + hashlib.sha256(text).hexdigest().encode() + b"\n"


def from_bytes(data: bytes) -> Record:
    """Read a record.

    Raises
    ------
    StoreError
        It is damaged, or of another release.
    """
    text, _, digest = data[:MAX_RECORD_BYTES].partition(b"\n")
    if digest.strip() != hashlib.sha256(text).hexdigest().encode():
        raise StoreError("the record of this board's packs is damaged: its digest does not match")
    try:
        fields = json.loads(text)
        if fields.pop("format") != FORMAT:
            raise StoreError("the record of this board's packs was written by another release")
        for name in ("active", "previous", "candidate"):
            fields[name] = _deployment(fields[name])
        fields["phase"] = Phase(fields["phase"])
        fields["attempts"] = tuple(Attempt(**each) for each in fields["attempts"])
        return Record(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"the record of this board's packs cannot be read: {error}") from error


def _deployment(fields: Mapping[str, Any] | None) -> Deployment | None:
    if fields is None:
        return None
    head = fields["head"]
    return Deployment(
        Installed(**fields["model"]),
        None if head is None else Installed(**head),
        fields["fingerprint"],
    )

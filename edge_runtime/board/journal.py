"""What the board remembers of the recent past, for hosts that ask: events, metrics, wanted labels.

Bounded, and numbered from the agent's start, so that a host knows what it has missed. Each answer
holds as much as fits into one message. No clock, no files.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, TypeVar

from edge_runtime.protocol.wire import cbor
from edge_runtime.protocol.wire.edge_messages import (
    EventEntry,
    EventsAnswer,
    LabelRequestsAnswer,
    LabelWanted,
    MetricsAnswer,
)

MAX_EVENTS: Final = 1024
MAX_ROWS: Final = 4096
MAX_WANTED: Final = 256
MAX_TEXT_CHARS: Final = 200
MAX_EVIDENCE: Final = 12
METRICS: Final = (
    "sample", "time_s", "p_value", "ood_score", "ood", "requested", "slot", "generation",
    "step_ms",
)  # fmt: skip
# Header, keys and counts of an answer whose list is empty.
_ROOM: Final = 120
_Item = TypeVar("_Item")


class _Ring:
    """The last `size` of everything that was ever added, by number."""

    def __init__(self, size: int) -> None:
        self._items: deque[Any] = deque(maxlen=size)
        self.next = 0

    def add(self, item: Any) -> None:
        self._items.append(item)
        self.next += 1

    def since(self, number: int) -> tuple[int, list[Any]]:
        """How many from `number` on are lost, and those that are not.

        A number from the future is of an agent before this one: everything is new.
        """
        oldest = self.next - len(self._items)
        start = 0 if number > self.next else max(0, number)
        n_lost = max(0, oldest - start)
        first = max(start, oldest)
        return n_lost, [self._items[at] for at in range(first - oldest, len(self._items))]


class Journal:
    """Events and metrics since the agent started, and the labels that are wanted.

    Examples
    --------
    >>> journal = Journal()
    >>> journal.note("drift", "the world has changed", sample=7)
    >>> [event.message for event in journal.events(0, 1000).events]
    ['the world has changed']
    >>> journal.events(1, 1000).next
    1
    """

    def __init__(self) -> None:
        self._events = _Ring(MAX_EVENTS)
        self._rows = _Ring(MAX_ROWS)
        self._wanted: OrderedDict[int, LabelWanted] = OrderedDict()

    @property
    def next_event(self) -> int:
        """Number of the event that comes next."""
        return self._events.next

    def note(
        self,
        kind: str,
        message: str,
        *,
        sample: int = -1,
        slot: int | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Add one event; texts are cut, so that each fits into the smallest message."""
        kept = dict(list((evidence or {}).items())[:MAX_EVIDENCE])
        entry = EventEntry(
            self._events.next, kind[:32], sample, message[:MAX_TEXT_CHARS], slot, _short(kept)
        )
        self._events.add(entry)

    def measure(self, rows: Iterable[Sequence[float]]) -> None:
        """Add rows of metrics, columns as `METRICS`."""
        for row in rows:
            self._rows.add(tuple(float(value) for value in row))

    def want(self, wanted: LabelWanted) -> None:
        """Remember that a label would help."""
        self._wanted[wanted.sample] = wanted
        while len(self._wanted) > MAX_WANTED:
            self._wanted.popitem(last=False)

    def settle(self, samples: Iterable[int]) -> None:
        """These labels are wanted no more: given, or too late."""
        for sample in samples:
            self._wanted.pop(sample, None)

    def forget_before(self, sample: int) -> None:
        """Labels of older samples would come too late."""
        self.settle([each for each in self._wanted if each < sample])

    @property
    def wanted(self) -> tuple[LabelWanted, ...]:
        """The most unusual first: what a label can teach most about."""
        return tuple(sorted(self._wanted.values(), key=lambda each: (each.p_value, -each.sample)))

    def events(self, since: int, limit: int) -> EventsAnswer:
        """From number `since`, as many as fit into a message of `limit` bytes."""
        n_lost, items = self._events.since(since)
        taken = _fitting(items, limit - _ROOM, _event_size)
        if items and not taken:  # one that never fits would be asked for for ever
            taken = [replace(items[0], evidence=None)]
        first = self._events.next - len(items)
        return EventsAnswer(tuple(taken), first + len(taken), n_lost)

    def kept_events(self) -> list[dict[str, Any]]:
        """All that are still here, as plain values, the oldest first."""
        return [asdict(event) for event in self._events.since(0)[1]]

    def metrics(self, since: int, limit: int) -> MetricsAnswer:
        """Rows from number `since`, as many as fit."""
        n_lost, items = self._rows.since(since)
        room = limit - _ROOM - sum(len(name) + 2 for name in METRICS)
        taken = _fitting(items, room, lambda row: 2 + 9 * len(row))
        first = self._rows.next - len(items)
        return MetricsAnswer(METRICS, tuple(taken), first + len(taken), n_lost)

    def lines(self, since: int) -> tuple[list[str], int]:
        """Rows from number `since` as lines of JSON, and the number that comes next."""
        _, items = self._rows.since(since)
        named = (dict(zip(METRICS, row, strict=True)) for row in items)
        return [json.dumps(row) for row in named], self._rows.next

    def label_requests(self, most: int | None, limit: int) -> LabelRequestsAnswer:
        """Wanted labels, at most `most`, as many as fit."""
        wanted = self.wanted
        chosen = wanted if most is None else wanted[: max(0, most)]
        taken = _fitting(chosen, limit - _ROOM, lambda each: 60 + 3 * len(str(each.label)))
        return LabelRequestsAnswer(tuple(taken), len(wanted))


def _fitting(items: Sequence[_Item], room: int, size: Any) -> list[_Item]:
    taken: list[_Item] = []
    for item in items:
        room -= size(item)
        if room < 0:
            break
        taken.append(item)
    return taken


def _event_size(entry: EventEntry) -> int:
    evidence = len(cbor.encode(entry.evidence)) if entry.evidence else 0
    # Characters beyond ASCII need up to four bytes.
    return 64 + len(entry.kind) + len(entry.message.encode()) + evidence


def _short(evidence: Mapping[str, Any]) -> dict[str, Any] | None:
    plain = {str(name)[:32]: _plain(value) for name, value in evidence.items()}
    return plain or None


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float) and abs(value) < 2**63:
        return value
    return str(value)[:40]

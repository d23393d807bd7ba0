"""Look at a board again and again: status, what happened since, and figures made of both.

A look costs a few kilobytes at most whatever happened, so that it fits a slow line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from edge_runtime.protocol.wire.edge_messages import (
    EventEntry,
    EventsAnswer,
    EventsRequest,
    MetricsAnswer,
    MetricsRequest,
    StatusAnswer,
    StatusRequest,
)
from firmware_tools.errors import RefusedError
from firmware_tools.link import Link

# Of one look; what is left comes with the next.
MAX_PAGES: Final = 16
# Rates are of the last so many samples, and of the last so many labels at least.
WINDOW: Final = 200
LABEL_WINDOW: Final = 40
MAX_MARKS: Final = 600


@dataclass(frozen=True)
class Figures:
    """The numbers of one look; None where the board does not say, or nothing has happened yet.

    Rates are shares of the last samples: `ood_rate` of those out of distribution, `accuracy` of
    those whose label came and was the board's own guess.
    """

    samples: int | None = None
    labels: int | None = None
    requested: int | None = None
    ood: int | None = None
    rejected: int | None = None
    ood_rate: float | None = None
    accuracy: float | None = None
    slots: int | None = None
    current_slot: int | None = None
    generation: int | None = None
    learned_bytes: int | None = None
    budget_bytes: int | None = None
    memory_bytes: int | None = None
    temperature_c: float | None = None
    step_ms: float | None = None

    @classmethod
    def names(cls) -> list[str]:
        """Of all figures, in order."""
        return [field.name for field in fields(cls)]


@dataclass(frozen=True)
class Look:
    """One look: when (Unix time), what the board says, and what is new since the last."""

    time_s: float
    runtime: Mapping[str, Any]
    agent: Mapping[str, Any]
    events: tuple[EventEntry, ...]
    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    n_lost: int
    figures: Figures

    def to_dict(self) -> dict[str, Any]:
        """Plain values, one line of a log."""
        return asdict(self)


class Watcher:
    """Looks at a board, and remembers how far it has read; the first look takes what is there."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._event = self._metric = 0
        self._recent: list[Mapping[str, float]] = []
        self._marks: deque[tuple[int, int]] = deque(maxlen=MAX_MARKS)  # labels judged, right

    def look(self, time_s: float) -> Look:
        """Ask for all of it; the answers are of slightly different moments."""
        status = self._link.ask(StatusRequest(), StatusAnswer)
        events, n_lost = self._new_events()
        names, rows, n_rows_lost = self._new_rows()
        self._recent += [dict(zip(names, row, strict=False)) for row in rows]
        del self._recent[:-WINDOW]
        accuracy = self._accuracy(status.runtime)
        figures = figures_of(status.runtime, status.agent, self._recent, accuracy)
        return Look(
            time_s,
            status.runtime,
            status.agent,
            tuple(events),
            names,
            tuple(rows),
            n_lost + n_rows_lost,
            figures,
        )

    def _accuracy(self, runtime: Mapping[str, Any]) -> float | None:
        """Share of the last labels that the board had guessed; of all while they are few."""
        judged, right = _whole(runtime, "judged"), _whole(runtime, "right")
        if judged is None or right is None:
            return None
        if self._marks and judged < self._marks[-1][0]:
            self._marks.clear()  # the agent began anew
        if not self._marks or judged > self._marks[-1][0]:
            self._marks.append((judged, right))
        early = [mark for mark in self._marks if judged - mark[0] >= LABEL_WINDOW]
        before, right_before = early[-1] if early else (0, 0)
        return (right - right_before) / (judged - before) if judged > before else None

    def _new_events(self) -> tuple[list[EventEntry], int]:
        found: list[EventEntry] = []
        n_lost = 0
        for _ in range(MAX_PAGES):
            answer = self._link.ask(EventsRequest(self._event), EventsAnswer)
            self._event = answer.next
            n_lost += answer.lost
            found += answer.events
            if not answer.events:
                break
        return found, n_lost

    def _new_rows(self) -> tuple[tuple[str, ...], list[tuple[float, ...]], int]:
        names: tuple[str, ...] = ()
        found: list[tuple[float, ...]] = []
        n_lost = 0
        for _ in range(MAX_PAGES):
            try:
                answer = self._link.ask(MetricsRequest(self._metric), MetricsAnswer)
            except RefusedError:  # a board without metrics is watched all the same
                break
            self._metric, names = answer.next, answer.names
            n_lost += answer.lost
            found += answer.rows
            if not answer.rows:
                break
        return names, found, n_lost


def figures_of(
    runtime: Mapping[str, Any],
    agent: Mapping[str, Any],
    recent: list[Mapping[str, float]],
    accuracy: float | None = None,
) -> Figures:
    """Figures from the board's maps and its last steps; what is missing or no number is None."""
    counters = runtime.get("counters")
    counters = counters if isinstance(counters, Mapping) else {}
    slots = runtime.get("slots")
    return Figures(
        samples=_whole(counters, "samples"),
        labels=_whole(counters, "labels"),
        requested=_whole(counters, "requested"),
        ood=_whole(counters, "ood"),
        rejected=_whole(counters, "rejected"),
        ood_rate=_mean(recent, "ood"),
        accuracy=accuracy,
        slots=len(slots) if isinstance(slots, list) else None,
        current_slot=_whole(runtime, "current_slot"),
        generation=_whole(runtime, "generation"),
        learned_bytes=_whole(runtime, "bytes"),
        budget_bytes=_whole(runtime, "budget_bytes"),
        memory_bytes=_sum(agent, "agent_bytes", "worker_bytes"),
        temperature_c=_number(agent, "temperature_c"),
        step_ms=_mean(recent, "step_ms"),
    )


def _mean(rows: list[Mapping[str, float]], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name, -1.0) >= 0]  # negative, NaN: unknown
    return sum(values) / len(values) if values else None


def _sum(values: Mapping[str, Any], *names: str) -> int | None:
    known = [number for name in names if (number := _whole(values, name)) is not None]
    return sum(known) if known else None


def _number(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return float(value)


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    return value if type(value) is int else None

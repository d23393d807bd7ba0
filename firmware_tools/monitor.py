"""The live view of a board: figures, curves, slots, events. Not here: asking (`watching`)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edge_runtime.protocol.wire.edge_messages import EventEntry
from firmware_tools.tables import cell_text
from firmware_tools.watching import Figures, Look

BARS: Final = "▁▂▃▄▅▆▇█"
MAX_POINTS: Final = 60
MAX_EVENTS: Final = 12
QUIET: Final = ("ood", "label_request")  # counted in the figures, too many to list
STYLES: Final = {"drift": "yellow", "grown": "green", "adapted": "green", "sensor_fault": "red"}


def sparkline(values: Sequence[float | None]) -> str:
    """Shares from 0 to 1 as a line of bars; a gap where there is none.

    >>> sparkline([0.0, 0.5, None, 1.0])
    '▁▅ █'
    """
    return "".join(
        " " if v is None else BARS[min(len(BARS) - 1, int(max(0.0, v) * len(BARS)))] for v in values
    )


class View:
    """What the terminal shows; remembers as much as fits on it."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._ood: deque[float | None] = deque(maxlen=MAX_POINTS)
        self._accuracy: deque[float | None] = deque(maxlen=MAX_POINTS)
        self._events: deque[EventEntry] = deque(maxlen=MAX_EVENTS)
        self._look: Look | None = None
        self.note = ""

    def take(self, look: Look) -> None:
        """Take a look into the view."""
        self._look = look
        self._ood.append(look.figures.ood_rate)
        self._accuracy.append(look.figures.accuracy)
        self._events.extend(each for each in look.events if each.kind not in QUIET)

    def render(self) -> RenderableType:
        """The whole view, drawn anew."""
        if self._look is None:
            return Panel(self.note or "waiting for the board", title=self._title)
        parts: list[RenderableType] = [self._figures(self._look.figures)]
        slots = self._look.runtime.get("slots")
        if isinstance(slots, list) and slots:
            parts.append(_slots(slots, self._look.figures.current_slot))
        parts.append(self._event_list())
        if self.note:
            parts.append(Text(self.note, style="yellow"))
        state = cell_text(self._look.runtime.get("state", ""))
        return Panel(Group(*parts), title=f"{self._title}  {state}", title_align="left")

    def _figures(self, figures: Figures) -> Table:
        table = Table.grid(padding=(0, 3))
        for name, value, curve in (
            ("accuracy", percent(figures.accuracy), sparkline(self._accuracy)),
            ("out of distribution", percent(figures.ood_rate), sparkline(self._ood)),
            ("samples", _many(figures.samples), f"{_many(figures.rejected)} rejected"),
            ("labels", _many(figures.labels), f"{_many(figures.requested)} requested"),
            ("generation", _many(figures.generation), f"{_many(figures.slots)} slots"),
            ("learned", _megabytes(figures.learned_bytes), _budget(figures)),
            ("memory", _megabytes(figures.memory_bytes), _temperature(figures)),
        ):
            table.add_row(Text(name, style="dim"), Text(value, style="bold"), Text(curve))
        return table

    def _event_list(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for each in self._events:
            style = STYLES.get(each.kind, "")
            table.add_row(
                Text(str(each.sample), style="dim"),
                Text(cell_text(each.kind), style=style),
                Text(cell_text(each.message)),
            )
        return table


def _slots(slots: Sequence[Any], current: int | None) -> Table:
    rows = [each for each in slots if isinstance(each, Mapping)]
    table = Table(box=None, header_style="dim", padding=(0, 2))
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        table.add_column(cell_text(name).replace("_", " "), justify="right")
    for row in rows:
        style = "bold" if row.get("number") == current else ""
        table.add_row(*(cell_text(row.get(name)) for name in names), style=style)
    return table


def plain_line(look: Look) -> str:
    """One look as a line, for a terminal that is none."""
    figures = look.figures
    clock = time.strftime("%H:%M:%S", time.gmtime(look.time_s))
    return (
        f"{clock} samples {_many(figures.samples)}  OOD {percent(figures.ood_rate)}  "
        f"accuracy {percent(figures.accuracy)}  slots {_many(figures.slots)}  "
        f"labels {_many(figures.labels)}  memory {_megabytes(figures.memory_bytes)}"
    )


def event_line(event: EventEntry) -> str:
    """One event as a line."""
    return f"  {event.sample:>8}  {cell_text(event.kind):<15}  {cell_text(event.message)}"


def percent(share: float | None) -> str:
    """A share in percent, or a dash."""
    return "–" if share is None else f"{100 * share:.1f} %"


def _many(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _megabytes(n_bytes: int | None) -> str:
    return "–" if n_bytes is None else f"{n_bytes / 2**20:.1f} MiB"


def _budget(figures: Figures) -> str:
    return "" if figures.budget_bytes is None else f"of {_megabytes(figures.budget_bytes)}"


def _temperature(figures: Figures) -> str:
    return "" if figures.temperature_c is None else f"{figures.temperature_c:.1f} °C"

"""A monitor's log as one HTML page: what the board knew, what it noticed, what it cost.

Not here: watching (`watching`), the log itself (`exposition`), a run that was recorded on the spot
(`report`).
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from firmware_tools.exposition import LogError, read_log
from firmware_tools.files import write_atomically
from firmware_tools.monitor import QUIET, percent
from firmware_tools.page import html_table, write_page
from firmware_tools.plot import ACCURACY, ALARMS, DPI, INK, WIDTH

MAX_POINTS: Final = 2000
MAX_LOG_ROWS: Final = 1000
MAX_LOOKS: Final = 1_000_000
EVENT_COLOURS: Final = {"drift": "#c98a00", "grown": "#2a7f3f", "adapted": "#2a7f3f"}


@dataclass(frozen=True)
class Watched:
    """What a log says: one entry of each list per look, and every event once."""

    board: str
    time_s: list[float]
    figures: list[Mapping[str, Any]]
    events: list[Mapping[str, Any]]
    runtime: Mapping[str, Any]
    agent: Mapping[str, Any]

    def series(self, name: str, scale: float = 1.0) -> list[float]:
        """One figure over time; NaN where it is not known."""
        values = (each.get(name) for each in self.figures)
        return [scale * v if isinstance(v, int | float) else float("nan") for v in values]

    @property
    def last(self) -> Mapping[str, Any]:
        """The figures of the last look."""
        return self.figures[-1]


def read_watched(path: Path) -> Watched:
    """The whole log.

    Raises
    ------
    LogError
        It is no log, or nothing was looked at.
    """
    lines = read_log(path)
    board = str(next(lines).get("board", ""))
    times: list[float] = []
    figures: list[Mapping[str, Any]] = []
    events: list[Mapping[str, Any]] = []
    runtime: Mapping[str, Any] = {}
    agent: Mapping[str, Any] = {}
    for line in lines:
        try:
            times.append(float(line["time_s"]))
            figures.append(_mapping(line["figures"]))
            events += [_mapping(each) for each in line["events"]]
            runtime, agent = _mapping(line["runtime"]), _mapping(line["agent"])
        except (KeyError, TypeError, ValueError) as error:
            raise LogError(f"{path}: a look without {error}: is it of another release?") from error
        if len(times) > MAX_LOOKS:
            raise LogError(f"{path} has more than {MAX_LOOKS} looks")
    if not times:
        raise LogError(f"{path}: nothing was looked at")
    return Watched(board, times, figures, _once(events), runtime, agent)


def write_log_report(log: Path, path_html: Path, title: str) -> Path:
    """Write the page; the file is whole or not there."""
    watched = read_watched(log)
    sections = [
        ("Slots", html_table(_maps(watched.runtime.get("slots")))),
        ("Events", _event_log(watched.events)),
        ("Board", html_table(_settings(watched))),
    ]
    page = write_page(
        title,
        _captions(watched),
        _png(watched),
        "Accuracy, OOD rate, slots and memory over time, events marked",
        sections,
    )
    return write_atomically(path_html, page)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"a map, but {type(value).__name__}")
    return value


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _once(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A monitor that was started twice has read the same events twice."""
    seen: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for each in events:
        key = (str(each.get("kind")), str(each.get("sample")), str(each.get("message")))
        seen.setdefault(key, each)
    return list(seen.values())


def _captions(watched: Watched) -> Iterator[tuple[str, str]]:
    last = watched.last
    yield "board", watched.board or "unnamed"
    yield "samples answered", _many(last.get("samples"))
    yield "out of distribution at the end", percent(_share(last.get("ood_rate")))
    yield "guessed, of the last labels", percent(_share(last.get("accuracy")))
    yield "slots", _many(last.get("slots"))
    yield "labels learned", _many(last.get("labels"))
    yield "generation", _many(last.get("generation"))


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _many(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _event_log(events: Sequence[Mapping[str, Any]]) -> str:
    listed = [each for each in events if each.get("kind") not in QUIET]
    rows = [
        {
            "sample": each.get("sample"),
            "event": each.get("kind"),
            "slot": each.get("slot"),
            "what": each.get("message"),
        }
        for each in listed[:MAX_LOG_ROWS]
    ]
    counts = [f"{sum(each.get('kind') == kind for each in events):,} {kind}" for kind in QUIET]
    left_out = len(listed) - len(rows)
    more = f" The last {left_out:,} others are left out." if left_out else ""
    return f'{html_table(rows)}<p class="note">Not listed: {" and ".join(counts)} events.{more}</p>'


def _settings(watched: Watched) -> list[dict[str, Any]]:
    stamp = "%Y-%m-%d %H:%M:%S UTC"
    begin, end = (time.strftime(stamp, time.gmtime(watched.time_s[at])) for at in (0, -1))
    rows = [{"what": "watched", "value": f"{begin} to {end}, {len(watched.time_s)} looks"}]
    for name, value in {**watched.runtime, **watched.agent}.items():
        if not isinstance(value, Mapping | list):
            rows.append({"what": name, "value": str(value)})
    return rows


# -- picture ---------------------------------------------------------------------------------


def _png(watched: Watched) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 7.2), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2, 1, 1.6]})
    figure.subplots_adjust(left=0.1, right=0.96, top=0.97, bottom=0.08, hspace=0.25)
    kept = slice(None, None, -(-len(watched.time_s) // MAX_POINTS))
    x = _positions(watched)
    for axis, colour, name, series in zip(
        axes,
        (ACCURACY, ALARMS, INK, INK),
        ("guessed", "OOD", "slots", "memory, MiB"),
        (
            watched.series("accuracy", 100.0),
            watched.series("ood_rate", 100.0),
            watched.series("slots"),
            watched.series("memory_bytes", 2.0**-20),
        ),
        strict=True,
    ):
        axis.plot(x[kept], series[kept], color=colour, linewidth=2)
        axis.set_ylabel(name, color=colour, fontsize=11, fontweight="bold")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e4e4e4")
    for axis in axes[:2]:
        axis.set_ylim(-3, 103)
        axis.yaxis.set_major_formatter("{x:.0f} %")
    for axis in axes[2:]:
        axis.set_ylim(bottom=0)
    _mark_events(axes, watched.events)
    axes[-1].set_xlabel("sample", color=INK, fontsize=11)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _positions(watched: Watched) -> list[float]:
    """Samples answered by then; they go up but where the board began anew."""
    return [v if v == v else 0.0 for v in watched.series("samples")]


def _mark_events(axes: Any, events: Sequence[Mapping[str, Any]]) -> None:
    for each in events[-MAX_POINTS:]:
        colour, sample = EVENT_COLOURS.get(str(each.get("kind"))), each.get("sample")
        if colour is None or not isinstance(sample, int):
            continue
        for axis in axes:
            axis.axvline(sample, color=colour, linewidth=1, linestyle=":", zorder=0)

"""The picture of a run: accuracy and OOD rate over the stream, domains shaded, events below.

Colours are Okabe and Ito's for lines and Tol's pale scheme for shades, so that they differ for
colour-blind eyes too; each event has a row and a marker of its own besides. Names are drawn as they
are, never read as mathematics. Not here: words and tables (`report`), windows on a screen.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StreamError
from edge_runtime.evaluation.recording import Flags, Run
from firmware_tools.files import write_atomically
from firmware_tools.tables import cell_text

INK = "#2b2b2b"
ACCURACY, ALARMS = "#0072B2", "#D55E00"
SHADES = ("#BBCCEE", "#EEEEBB", "#CCDDAA", "#FFCCCC", "#CCEEFF", "#DDDDDD")
# Inches; at this resolution 1920 pixels wide.
WIDTH, DPI = 12.0, 160
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM, GAP = 1.35, 1.05, 0.75, 0.65, 0.2
# More points than the picture has pixels say nothing more.
MAX_POINTS: Final = 2000
# Letters of the size of domain names that fit in the width of the plot.
LETTERS: Final = 95


class Mark(NamedTuple):
    """How one kind of event is drawn; `is_line` continues it through the curves above."""

    title: str
    marker: str
    colour: str
    is_line: bool = False


MARKS: Final[Mapping[str, Mark]] = {
    "drift": Mark("drift", "v", "#D55E00", True),
    "label_request": Mark("label request", "|", "#6b6b6b"),
    "grown": Mark("grown", "^", "#009E73", True),
    "adapted": Mark("adapted", "s", "#E69F00"),
    "returned": Mark("returned", "o", "#0072B2"),
    "trial_rejected": Mark("trial rejected", "x", "#E69F00"),
    "merged": Mark("merged", "P", "#CC79A7"),
    "evicted": Mark("evicted", "d", "#CC79A7"),
    "no_room": Mark("no room", "X", "#CC79A7", True),
    "labels_lost": Mark("labels lost", "4", "#D55E00"),
    "undone": Mark("undone", "<", "#56B4E9", True),
    "label_noise": Mark("label noise", "1", "#F0E442"),
    "accuracy_low": Mark("accuracy low", "2", "#D55E00"),
    "accelerator": Mark("accelerator", "3", "#6b6b6b"),
    "sensor_fault": Mark("sensor fault", "D", "#000000", True),
    "sensor_ok": Mark("sensor works", "o", "#000000"),
    "sample_rejected": Mark("sample rejected", "x", "#000000"),
}


class Stretch(NamedTuple):
    """Consecutive samples of one domain, from stream index `begin` until before `end`."""

    begin: int
    end: int
    domain: int
    accuracy: float


def draw_run(run: Mapping[str, Any], path_png: str | Path) -> Path:
    """Draw a recorded run into a PNG, 1920 pixels wide; the file is whole or not there.

    Parameters
    ----------
    run : what `edge_runtime.evaluation.recording.Run.to_dict` gives.

    Raises
    ------
    StreamError
        It is no recorded run, or no sample was answered in it.
    """
    return write_atomically(path_png, png_of(Run.from_dict(run)))


def png_of(run: Run) -> bytes:
    """Draw the picture of a run, as the bytes of a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if len(run.index) == 0:
        raise StreamError("no sample was answered in this run: there is nothing to draw")
    kinds = [kind for kind in MARKS if any(each.event.kind == kind for each in run.events)]
    heights = [3.0, 1.7, 0.3 * max(len(kinds), 1)]
    height = sum(heights) + MARGIN_TOP + MARGIN_BOTTOM + 2 * GAP
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(
        3,
        1,
        sharex=True,
        gridspec_kw={
            "height_ratios": heights,
            "hspace": 3 * GAP / sum(heights),
            "left": MARGIN_LEFT / WIDTH,
            "right": 1 - MARGIN_RIGHT / WIDTH,
            "top": 1 - MARGIN_TOP / height,
            "bottom": MARGIN_BOTTOM / height,
        },
    )
    stretches = stretches_of(run)
    for axis in (top, middle, bottom):
        _prepare(axis, stretches)
    _draw_curves(top, middle, run)
    _draw_events(bottom, (top, middle), run, kinds)
    _name_domains(top, run, stretches)
    bottom.set_xlim(stretches[0].begin, stretches[-1].end)
    bottom.set_xlabel("sample", color=INK, fontsize=11)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script without a font
        figure.savefig(picture, format="png")
    return picture.getvalue()


def rolling_rate(flags: Flags, window: int) -> npt.NDArray[np.float64]:
    """Share of true flags among each one and the `window` - 1 before it; fewer at the start.

    Examples
    --------
    >>> rolling_rate(np.array([True, True, False, False]), 2)
    array([1. , 1. , 0.5, 0. ])
    """
    counts = np.concatenate([[0], np.cumsum(flags)])
    ends = np.arange(1, len(flags) + 1)
    begins = np.maximum(ends - window, 0)
    rates: npt.NDArray[np.float64] = (counts[ends] - counts[begins]) / (ends - begins)
    return rates


def stretches_of(run: Run) -> list[Stretch]:
    """Divide the stream where the domain changes."""
    starts = np.flatnonzero(np.diff(run.domain, prepend=-1))
    bounds = [*run.index[starts].tolist(), int(run.index[-1]) + 1]
    rows = pairwise([*starts.tolist(), len(run.index)])
    return [
        Stretch(begin, end, int(run.domain[first]), float(run.is_correct[first:last].mean()))
        for (begin, end), (first, last) in zip(pairwise(bounds), rows, strict=True)
    ]


def _prepare(axis: Any, stretches: list[Stretch]) -> None:
    for each in stretches:
        shade = SHADES[each.domain % len(SHADES)]
        axis.axvspan(each.begin, each.end, color=shade, alpha=0.45, linewidth=0, zorder=0)
    gap = min(2, 60 / len(stretches))  # thinner when there are many, or nothing else is seen
    for each in stretches[1:]:
        axis.axvline(each.begin, color="white", linewidth=gap, zorder=1)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0, colors=INK, labelsize=10)
    axis.set_axisbelow(True)


def _draw_curves(top: Any, middle: Any, run: Run) -> None:
    n = len(run.index)
    window = int(np.clip(10 * round(n / 500), 10, 200))
    kept = slice(None, None, -(-n // MAX_POINTS))
    for axis, flags, colour, name in (
        (top, run.is_correct, ACCURACY, "accuracy"),
        (middle, run.is_ood, ALARMS, "OOD"),
    ):
        rates = 100 * rolling_rate(flags, window)
        axis.plot(run.index[kept], rates[kept], color=colour, linewidth=2, zorder=4)
        axis.set_ylim(-3, 103)
        axis.set_yticks(range(0, 101, 25 if axis is top else 50))
        axis.yaxis.set_major_formatter("{x:.0f} %")
        axis.grid(axis="y", color="white", linewidth=1.2)
        axis.set_ylabel(name, color=colour, fontsize=12, fontweight="bold")
    middle.axhline(100 * run.threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    _note(middle, f"promised: {100 * run.threshold:.3g} %", 100 * run.threshold)
    _note(top, f"over the last\n{window} samples", 50)


def _note(axis: Any, text: str, height: float) -> None:
    """Write into the right margin."""
    axis.annotate(
        text,
        (1, height),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=INK,
    )


def _draw_events(axis: Any, above: tuple[Any, ...], run: Run, kinds: list[str]) -> None:
    span = int(run.index[-1]) + 1
    step = -(-span // MAX_POINTS)
    for row, kind in enumerate(kinds):
        mark = MARKS[kind]
        at = np.unique([each.index // step for each in run.events if each.event.kind == kind])
        width = 0.8 if mark.marker == "|" else 1.8
        style = {"s": 70, "color": mark.colour, "marker": mark.marker, "linewidth": width}
        axis.scatter(at * step, np.full(len(at), row), zorder=4, clip_on=False, **style)
        if mark.is_line:
            for each in (*above, axis):
                for x in at * step:
                    each.axvline(x, color=mark.colour, linewidth=1, linestyle=":", zorder=2)
    axis.set_ylim(max(len(kinds), 1) - 0.4, -0.6)
    axis.set_yticks(range(len(kinds)), [MARKS[kind].title for kind in kinds])


def _name_domains(axis: Any, run: Run, stretches: list[Stretch]) -> None:
    """Write the name and the accuracy over each stretch, as much of it as fits."""
    span = stretches[-1].end - stretches[0].begin
    for each in stretches:
        room = int(LETTERS * (each.end - each.begin) / span)
        name = cell_text(run.domain_names[each.domain])
        if room < 4:
            continue
        short = name if len(name) <= room else name[: room - 1] + "…"
        centre = (each.begin + each.end) / 2
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        words = {"ha": "center", "color": INK, "parse_math": False, "annotation_clip": False}
        axis.annotate(
            short, (centre, 1), xytext=(0, 22), fontsize=12, fontweight="bold", **place, **words
        )
        axis.annotate(
            f"{100 * each.accuracy:.0f} %",
            (centre, 1),
            xytext=(0, 6),
            fontsize=10,
            **place,
            **words,
        )

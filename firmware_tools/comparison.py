"""Several runs side by side: accuracy along the stream with its band, one line for each learner.

Not here: the numbers themselves (`edge_runtime.evaluation.figures`), the page around the picture
(`report`).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edge_runtime.errors import StreamError
from edge_runtime.evaluation.checkpoints import matrix
from edge_runtime.evaluation.figures import Band, accuracy_band
from edge_runtime.evaluation.recording import Run
from firmware_tools.plot import DPI, INK, SHADES, WIDTH, stretches_of
from firmware_tools.tables import Rows, cell_text

# Okabe and Ito's colours, the darkest first; more learners than that are not told apart.
LINES: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
HEIGHT: Final = 4.6
MAX_NAME: Final = 40


def band_png(runs: Mapping[str, Sequence[Run]], window: int = 100) -> bytes:
    """Draw accuracy over the last `window` samples: mean over seeds, shaded where 95 % confident.

    Raises
    ------
    StreamError
        There is no run, more learners than colours, or the runs are of different streams.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not 1 <= len(runs) <= len(LINES):
        raise StreamError(f"{len(runs)} learners, expected 1 to {len(LINES)} in one picture")
    bands = {name: accuracy_band(of_learner, window) for name, of_learner in runs.items()}
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    first = next(iter(runs.values()))[0]
    _shade(axis, first)
    for (name, band), colour in zip(bands.items(), LINES, strict=False):
        _draw(axis, name, band, colour)
    axis.set_ylim(-0.03, 1.03)
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axis.set_xlabel("sample", color=INK)
    axis.set_ylabel(f"accuracy, last {window} samples", color=INK)
    axis.legend(frameon=False, loc="lower left", ncols=2)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script without a font
        figure.savefig(picture, format="png")
    return picture.getvalue()


def forgetting_table(run: Run) -> Rows:
    """One row for each checkpoint: accuracy on each domain's probe, in percent."""
    names = list(run.checkpoints[0].accuracy) if run.checkpoints else []
    rows = []
    for taken, shares in zip(run.checkpoints, matrix(run.checkpoints), strict=True):
        cells = {name: f"{100 * each:.1f} %" for name, each in zip(names, shares, strict=True)}
        rows.append({"after": taken.domain, **cells, "kB": f"{taken.n_bytes / 1000:,.0f}"})
    return rows


def _shade(axis: Any, run: Run) -> None:
    for each in stretches_of(run):
        shade = SHADES[each.domain % len(SHADES)]
        axis.axvspan(each.begin, each.end, color=shade, alpha=0.45, linewidth=0, zorder=0)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0, colors=INK)


def _draw(axis: Any, name: str, band: Band, colour: str) -> None:
    label = cell_text(name)[:MAX_NAME].replace("$", r"\$")
    # Without a name, or with one that begins with an underscore, it would not be in the legend.
    label = f" {label}" if label[:1] in ("", "_") else label
    axis.plot(band.place, band.mean, color=colour, linewidth=2, zorder=4, label=label)
    axis.fill_between(band.place, band.low, band.high, color=colour, alpha=0.2, linewidth=0)

"""A run as one HTML file that needs nothing else: picture, table, event log, provenance.

Everything that comes from outside (names, messages, settings) is escaped, and the page forbids
itself to load anything. Not here: the picture (`plot`), measuring.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge_runtime.evaluation.figures import summary
from edge_runtime.evaluation.recording import LoggedEvent, Run
from firmware_tools.comparison import band_png, forgetting_table
from firmware_tools.files import write_atomically
from firmware_tools.page import html_image, html_table, write_page
from firmware_tools.plot import MARKS, draw_run, png_of
from firmware_tools.tables import Rows, cell_text

__all__ = ["draw_run", "write_report"]

# Kinds that come with many a sample: the picture shows them, the log counts them.
FREQUENT: Final = ("ood", "label_request")
MAX_LOG_ROWS: Final = 1000


def write_report(
    run: Mapping[str, Any],
    table: Rows,
    path_html: str | Path,
    title: str,
    settings: Mapping[str, Any] | None = None,
    *,
    compared: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    sample_seconds: float = 1.0,
) -> Path:
    """Write the report of a run; the file is whole or not there.

    Parameters
    ----------
    run : what `edge_runtime.evaluation.recording.Run.to_dict` gives.
    table : one mapping for each row; its keys are the headings.
    settings : whatever the run can be repeated from: versions, seeds, sizes, thresholds.
    compared : learner -> its recorded runs over the same stream, one for each seed: a picture with
        confidence bands, and a table.
    sample_seconds : time between two samples, for rates per hour.

    Raises
    ------
    StreamError
        `run` is no recorded run, no sample was answered in it, or what it is compared with is of
        another stream.
    """
    recorded = Run.from_dict(run)
    provenance = [{"setting": k, "value": _short(v)} for k, v in (settings or {}).items()]
    page = write_page(
        title,
        _figures(recorded),
        png_of(recorded),
        "Accuracy and OOD rate over the stream, domains shaded, events marked",
        [
            ("Results", html_table(table)),
            *_measured(recorded, sample_seconds),
            *(_compared(compared, sample_seconds) if compared else ()),
            ("Events", _event_log(recorded)),
            (
                "Provenance",
                html_table(provenance)
                if provenance
                else '<p class="note">No settings were recorded.</p>',
            ),
        ],
    )
    return write_atomically(path_html, page)


def _measured(run: Run, sample_seconds: float) -> Iterable[tuple[str, str]]:
    """Sections on the run as a whole, and on what was kept of each domain."""
    (row,) = summary({"": [run]}, sample_seconds)
    yield "Figures", html_table([{key: value for key, value in row.items() if key != "learner"}])
    if run.checkpoints:
        note = "Accuracy on samples held back from the stream, wherever a domain ended."
        yield "Forgetting", f'<p class="note">{note}</p>' + html_table(forgetting_table(run))


def _compared(
    compared: Mapping[str, Sequence[Mapping[str, Any]]], sample_seconds: float
) -> Iterable[tuple[str, str]]:
    runs = {name: [Run.from_dict(each) for each in found] for name, found in compared.items()}
    image = html_image(band_png(runs), "Accuracy of each learner over the stream, with its band")
    yield "Compared", image + html_table(summary(runs, sample_seconds))


def _short(value: Any) -> Any:
    is_plain = value is None or isinstance(value, int | float | str)
    return value if is_plain else json.dumps(value, default=str)


def _figures(run: Run) -> Iterable[tuple[str, str]]:
    changes = run.detection_delays()
    noticed = sum(change.delay is not None for change in changes)
    yield "samples answered", f"{len(run.index):,}"
    yield "accuracy while learning", f"{100 * run.accuracy():.1f} %"
    yield "labels learned", f"{run.labels_used().total:,}"
    yield "changes noticed", f"{noticed} of {len(changes)}"
    if run.n_rejected:
        yield "bad samples skipped", f"{run.n_rejected:,}"
    if run.n_refused_labels:
        yield "labels refused", f"{run.n_refused_labels:,}"


def _event_log(run: Run) -> str:
    listed = [each for each in run.events if each.event.kind not in FREQUENT]
    counts = [
        f"{sum(each.event.kind == kind for each in run.events):,} {kind}" for kind in FREQUENT
    ]
    left_out = len(listed) - MAX_LOG_ROWS
    more = f" The last {left_out:,} others are left out." if left_out > 0 else ""
    note = f'<p class="note">Not listed: {" and ".join(counts)} events.{more}</p>'
    return html_table([_log_row(run, each) for each in listed[:MAX_LOG_ROWS]]) + note


def _log_row(run: Run, logged: LoggedEvent) -> dict[str, Any]:
    event, seconds = logged.event, logged.seconds
    row = max(int(run.index.searchsorted(logged.index, side="right")) - 1, 0)
    return {
        "sample": logged.index,
        "domain": run.domain_names[run.domain[row]],
        "event": MARKS[event.kind].title,
        "slot": event.slot,
        "what": event.message,
        "evidence": ", ".join(f"{key} {cell_text(each)}" for key, each in event.evidence.items()),
        "took": None if seconds is None else f"{1000 * seconds:.1f} ms",
    }

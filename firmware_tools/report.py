"""A run as one HTML file that needs nothing else: picture, table, event log, provenance.

Everything that comes from outside (names, messages, settings) is escaped, and the page forbids
itself to load anything. Not here: the picture (`plot`), measuring.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from edge_runtime.recording import LoggedEvent, Run
from firmware_tools.files import write_atomically
from firmware_tools.plot import MARKS, draw_run, png_of
from firmware_tools.tables import Rows, cell_text, headings_of, is_numeric

__all__ = ["draw_run", "write_report"]

# Kinds that come with many a sample: the picture shows them, the log counts them.
FREQUENT: Final = ("strange", "label_wanted")
MAX_LOG_ROWS: Final = 1000

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #2b2b2b; background: #fff;
  max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.7rem; margin: 0 0 1rem; }}
h2 {{ font-size: 1.15rem; margin: 2.5rem 0 .5rem; }}
img {{ width: 100%; height: auto; }}
dl {{ display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 0 0 1rem; }}
dl div {{ display: flex; flex-direction: column-reverse; }}
dt {{ color: #6b6b6b; font-size: .85rem; }}
dd {{ margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }}
div.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem 1.1rem .3rem 0;
  border-bottom: 1px solid #e4e4e4; overflow-wrap: anywhere; }}
thead th {{ border-bottom: 2px solid #2b2b2b; }}
.number {{ text-align: right; white-space: nowrap; }}
.note {{ color: #6b6b6b; }}
</style>
</head>
<body>
<h1>{title}</h1>
<dl>{figures}</dl>
<img alt="Accuracy and OOD rate over the stream, domains shaded, events marked"
 src="data:image/png;base64,{picture}">
<h2>Results</h2>
{results}
<h2>Events</h2>
{events}
<h2>Provenance</h2>
{provenance}
</body>
</html>
"""


def write_report(
    run: Mapping[str, Any],
    table: Rows,
    path_html: str | Path,
    title: str,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report of a run; the file is whole or not there.

    Parameters
    ----------
    run : what `edge_runtime.recording.Run.to_dict` gives.
    table : one mapping for each row; its keys are the headings.
    settings : whatever the run can be repeated from: versions, seeds, sizes, thresholds.

    Raises
    ------
    StreamError
        `run` is no recorded run, or no sample was answered in it.
    """
    recorded = Run.from_dict(run)
    page = _PAGE.format(
        title=_escape(title),
        figures="".join(
            f"<div><dt>{caption}</dt><dd>{value}</dd></div>"
            for caption, value in _figures(recorded)
        ),
        picture=base64.b64encode(png_of(recorded)).decode("ascii"),
        results=_table(table),
        events=_event_log(recorded),
        provenance=_table([{"setting": key, "value": _short(settings[key])} for key in settings])
        if settings
        else '<p class="note">No settings were recorded.</p>',
    )
    return write_atomically(path_html, page.encode())


def _escape(value: Any) -> str:
    return html.escape(cell_text(value))


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


def _table(rows: Rows) -> str:
    """Lay out rows; a column of numbers stands on the right."""
    if not rows:
        return '<p class="note">None.</p>'
    headings = headings_of(rows)
    classes = [' class="number"' if is_numeric(rows, each) else "" for each in headings]
    columns = list(zip(headings, classes, strict=True))
    head = "".join(f'<th scope="col"{style}>{_escape(name)}</th>' for name, style in columns)
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{style}>{_escape(row.get(name, ''))}</td>" for name, style in columns)
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _event_log(run: Run) -> str:
    listed = [each for each in run.events if each.event.kind not in FREQUENT]
    counts = [
        f"{sum(each.event.kind == kind for each in run.events):,} {kind}" for kind in FREQUENT
    ]
    left_out = len(listed) - MAX_LOG_ROWS
    more = f" The last {left_out:,} others are left out." if left_out > 0 else ""
    note = f'<p class="note">Not listed: {" and ".join(counts)} events.{more}</p>'
    return _table([_log_row(run, each) for each in listed[:MAX_LOG_ROWS]]) + note


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

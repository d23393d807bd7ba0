"""A table as plain aligned text or as CSV. Not here: HTML, colours, wrapping."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Rows = Sequence[Mapping[str, Any]]

# Longer than any name that helps; keeps a hostile one from filling a screen.
MAX_CELL: Final = 200
_NUMBER: Final = re.compile(r"[-+−]?\.?\d")


def cell_text(value: Any) -> str:
    r"""One value as one printable line: None is a dash, floats have four digits.

    Whatever is not printable becomes U+FFFD: a name cannot move a terminal's cursor.

    Examples
    --------
    >>> cell_text(0.123456), cell_text(None), cell_text("a\x1b[2Jb")
    ('0.1235', '–', 'a�[2Jb')
    """
    if value is None:
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    text = "".join(
        each if each.isprintable() else "\ufffd" for each in re.sub(r"[ \t\r\n]+", " ", text)
    )
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def headings_of(rows: Rows) -> list[str]:
    """Every key of the rows, in the order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def is_numeric(rows: Rows, heading: str) -> bool:
    """Whether a column reads as numbers and so belongs on the right; a missing cell counts as one.

    Examples
    --------
    >>> is_numeric([{"a": "95.0 %"}, {"a": None}, {}], "a"), is_numeric([{"a": "x1"}], "a")
    (True, False)
    """
    cells = [cell_text(row[heading]) for row in rows if row.get(heading) is not None]
    return all(_NUMBER.match(cell) for cell in cells)


def csv_text(rows: Rows) -> str:
    r"""Lay rows out as CSV (RFC 4180, ends of line ``\n``); a missing value is an empty cell.

    Cells are those of `cell_text`. One that begins like a formula gets an apostrophe before it, or
    a spreadsheet would run it.

    Examples
    --------
    >>> csv_text([{"learner": "a, b", "kB": 1.5}, {"learner": "=1+1"}])
    'learner,kB\n"a, b",1.5\n\'=1+1,\n'
    """
    headings = headings_of(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_harmless(cell_text(heading)) for heading in headings])
    for row in rows:
        cells = [row.get(heading) for heading in headings]
        writer.writerow(["" if each is None else _harmless(cell_text(each)) for each in cells])
    return text.getvalue()


def _harmless(cell: str) -> str:
    is_formula = cell[:1] in ("=", "+", "-", "@") and not _NUMBER.match(cell)
    return f"'{cell}" if is_formula else cell


def format_table(rows: Rows) -> str:
    """Lay rows out in columns, one per key; empty text without rows.

    Examples
    --------
    >>> print(format_table([{"domain": "printed", "accuracy": "97.1 %"}, {"domain": "fog"}]))
    domain   accuracy
    -------  --------
    printed    97.1 %
    fog
    """
    columns = []
    for heading in headings_of(rows):
        cells = [cell_text(row.get(heading, "")) for row in rows]
        title = cell_text(heading)
        width = max(len(cell) for cell in [title, *cells])
        align = str.rjust if is_numeric(rows, heading) else str.ljust
        columns.append([align(cell, width) for cell in [title, "-" * width, *cells]])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))

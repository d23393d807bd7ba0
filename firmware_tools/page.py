"""One self-contained HTML page: figures, a picture, sections with tables.

Everything that comes from outside is escaped, and the page forbids itself to load anything.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from typing import Any, Final

from firmware_tools.tables import Rows, cell_text, headings_of, is_numeric

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
{picture}
{sections}
</body>
</html>
"""


def write_page(
    title: str,
    figures: Iterable[tuple[str, str]],
    png: bytes,
    alt: str,
    sections: Iterable[tuple[str, str]],
) -> bytes:
    """The page: captions with values, a picture, and sections of a heading and finished HTML."""
    return _PAGE.format(
        title=escape(title),
        figures="".join(
            f"<div><dt>{escape(caption)}</dt><dd>{escape(value)}</dd></div>"
            for caption, value in figures
        ),
        picture=html_image(png, alt),
        sections="\n".join(f"<h2>{escape(name)}</h2>\n{body}" for name, body in sections),
    ).encode()


def html_image(png: bytes, alt: str) -> str:
    """A picture inside the page."""
    content = base64.b64encode(png).decode("ascii")
    return f'<img alt="{escape(alt)}"\n src="data:image/png;base64,{content}">'


def escape(value: Any) -> str:
    """Text, safe inside HTML."""
    return html.escape(cell_text(value))


def html_table(rows: Rows) -> str:
    """Lay out rows; a column of numbers stands on the right."""
    if not rows:
        return '<p class="note">None.</p>'
    headings = headings_of(rows)
    classes = [' class="number"' if is_numeric(rows, each) else "" for each in headings]
    columns = list(zip(headings, classes, strict=True))
    head = "".join(f'<th scope="col"{style}>{escape(name)}</th>' for name, style in columns)
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{style}>{escape(row.get(name, ''))}</td>" for name, style in columns)
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )

"""Tables: on the terminal, as markdown, and the raw numbers behind them as CSV and JSON.

Not here: any measurement. A table states the protocol and the machine, never a host name or path.
"""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
ABSENT = "-"


@dataclass(frozen=True)
class Report:
    """One table and the runs behind it."""

    name: str
    title: str
    protocol: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    records: Sequence[Mapping[str, Any]]

    def to_text(self) -> str:
        """Return the table for a terminal, columns aligned."""
        cells = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        head, *body = (
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in cells
        )
        rule = "-" * len(head)
        return "\n".join([self.title, self.protocol, rule, head, rule, *body, rule])

    def to_markdown(self) -> str:
        """Return the table as a markdown page."""
        rule = ["---"] + ["---:"] * (len(self.columns) - 1)
        table = [f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.rows)]
        parts = [f"# {self.title}", self.protocol, "\n".join(table), f"Machine: {machine()}."]
        return "\n\n".join(parts) + "\n"

    def publish(self, out: Path | None, *, record: bool) -> None:
        """Print the table; write `out`/NAME.csv and .json, and results/NAME.md if `record`."""
        print(f"\n{self.to_text()}\n{machine()}", flush=True)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            about = {"title": self.title, "protocol": self.protocol, "machine": machine()}
            text = json.dumps({**about, "runs": list(self.records)}, indent=1)
            (out / f"{self.name}.json").write_text(text + "\n")
            _write_csv(out / f"{self.name}.csv", self.records)
        if record:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{self.name}.md").write_text(self.to_markdown())


def machine() -> str:
    """One line on what this ran on: processor, cores, versions."""
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    return (
        f"{_processor()}, {os.cpu_count()} cores ({threads} BLAS threads), "
        f"Python {platform.python_version()}, NumPy {np.__version__}"
    )


def mean_and_sd(values: Iterable[float], n_digits: int = 1, scale: float = 100.0) -> str:
    """Mean ± standard deviation over seeds; the mean alone of one value; a dash of none.

    >>> mean_and_sd([0.9, 0.92]), mean_and_sd([0.9]), mean_and_sd([float("nan")])
    ('91.0 ± 1.4', '90.0', '-')
    """
    numbers = np.array([v for v in values if np.isfinite(v)]) * scale
    if len(numbers) == 0:
        return ABSENT
    mean = f"{numbers.mean():.{n_digits}f}"
    return mean if len(numbers) == 1 else f"{mean} ± {numbers.std(ddof=1):.{n_digits}f}"


def _processor() -> str:
    """Model of the processor, as the kernel names it; its architecture where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    fields = list(dict.fromkeys(field for record in records for field in record))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(records)

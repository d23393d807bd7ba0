"""Figures for other programs: Prometheus' text format, CSV, and a log of JSON lines.

Not here: where the figures come from (`watching`), pictures (`log_report`).
"""

from __future__ import annotations

import csv
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, TextIO

from edge_runtime.errors import EdgeRuntimeError
from firmware_tools.status import jsonable
from firmware_tools.watching import Figures, Look

KIND, VERSION = "edge-runtime monitor", 1
MAX_LOG_BYTES: Final = 2**30
MAX_LINE_BYTES: Final = 4 * 2**20

# Figure: name in Prometheus (base units, as its conventions ask), type, help.
METRICS: Final[Mapping[str, tuple[str, str, str]]] = {
    "samples": ("samples_total", "counter", "Samples answered."),
    "labels": ("labels_total", "counter", "Labels learned."),
    "requested": ("label_requests_total", "counter", "Samples whose label was requested."),
    "ood": ("ood_samples_total", "counter", "Samples out of distribution."),
    "rejected": ("rejected_samples_total", "counter", "Samples that could not be used."),
    "ood_rate": ("ood_ratio", "gauge", "Share of the last samples out of distribution."),
    "accuracy": ("accuracy_ratio", "gauge", "Share of the last labels that were guessed."),
    "slots": ("slots", "gauge", "Domains known."),
    "current_slot": ("current_slot", "gauge", "Slot that answers now."),
    "generation": ("generation", "gauge", "Generation of the learned state."),
    "learned_bytes": ("learned_bytes", "gauge", "Bytes of everything learned and buffered."),
    "budget_bytes": ("budget_bytes", "gauge", "Bytes that were promised at most."),
    "memory_bytes": ("resident_memory_bytes", "gauge", "Resident memory of agent and model."),
    "temperature_c": ("temperature_celsius", "gauge", "Temperature of the board."),
    "step_ms": ("step_milliseconds", "gauge", "Mean time of the last steps."),
}


class LogError(EdgeRuntimeError, ValueError):
    """A file that is no monitor log."""


def prometheus_text(figures: Figures | None, board: str) -> str:
    """The figures in Prometheus' text format; ``edge_up`` 0 while there is no link.

    >>> print(prometheus_text(Figures(samples=5), "pi"), end="")
    # HELP edge_up Whether the board answers.
    # TYPE edge_up gauge
    edge_up{board="pi"} 1
    # HELP edge_samples_total Samples answered.
    # TYPE edge_samples_total counter
    edge_samples_total{board="pi"} 5
    """
    escaped = board.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    rows = [("up", "gauge", "Whether the board answers.", int(figures is not None))]
    for name, value in ({} if figures is None else asdict(figures)).items():
        if value is not None:
            rows.append((*METRICS[name], value))
    return "".join(
        f"# HELP edge_{name} {text}\n# TYPE edge_{name} {kind}\n"
        f'edge_{name}{{board="{escaped}"}} {value}\n'
        for name, kind, text, value in rows
    )


class PrometheusServer:
    """Serves the latest text at ``/metrics``; the port is open when this returns."""

    def __init__(self, host: str, port: int) -> None:
        owner = self
        self.text = prometheus_text(None, "")

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.split("?")[0] != "/metrics":
                    self.send_error(404)
                    return
                data = owner.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing: the terminal shows the board."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that was given."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class CsvWriter:
    """One row for each look, with a heading; flushed, so that a reader may follow."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(["time_s", *Figures.names()])

    def write(self, look: Look) -> None:
        """Add a row; what is not known is empty."""
        values = ["" if v is None else v for v in asdict(look.figures).values()]
        self._rows.writerow([f"{look.time_s:.3f}", *values])
        self._file.flush()


class LogWriter:
    """A log of JSON lines, for `edgectl report`; goes on where an earlier one ended.

    Raises
    ------
    LogError
        The file is there and is something else.
    """

    def __init__(self, path: Path, board: str) -> None:
        is_new = not path.exists() or path.stat().st_size == 0
        if not is_new:
            next(read_log(path))
        self._file = path.open("a", encoding="utf-8")
        if is_new:
            self._write({"kind": KIND, "version": VERSION, "board": board})

    def write(self, look: Look) -> None:
        """Add a line."""
        self._write(look.to_dict())

    def close(self) -> None:
        """Make it durable."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(jsonable(value), allow_nan=False) + "\n")
        self._file.flush()


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The header of a log, then its looks; a last line that was cut off is left out.

    Raises
    ------
    LogError
        It is no log of this version, or a line in it is broken.
    """
    if path.stat().st_size > MAX_LOG_BYTES:
        raise LogError(f"{path} has {path.stat().st_size} bytes, at most {MAX_LOG_BYTES} are read")
    with path.open("rb") as file:
        header = _parse(file.readline(MAX_LINE_BYTES), path, 1)
        if (header.get("kind"), header.get("version")) != (KIND, VERSION):
            raise LogError(f"{path} is no monitor log of version {VERSION}")
        yield header
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=2):
            if line.endswith(b"\n"):
                yield _parse(line, path, number)


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LogError(f"{path}:{number} is no JSON: is this a monitor log?") from error
    if not isinstance(value, dict):
        raise LogError(f"{path}:{number} is no JSON object: is this a monitor log?")
    return value

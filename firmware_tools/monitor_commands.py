"""``edgectl monitor`` and ``report``: watch a board, and make a page of what was watched."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from firmware_tools import labels
from firmware_tools.errors import NoLinkError, UsageError
from firmware_tools.exposition import CsvWriter, LogWriter, PrometheusServer, prometheus_text
from firmware_tools.files import write_atomically
from firmware_tools.link import Link
from firmware_tools.link_options import add_link_options, note, open_link, result
from firmware_tools.watching import Figures, Look, Watcher

# A slow line carries some requests more in that time.
ANSWER_S: Final = 0.3


def register(commands: Any) -> None:
    """Add the two commands to edgectl's parser."""
    parser = commands.add_parser("monitor", help="watch a board while it works")
    parser.add_argument("--interval-s", type=float, default=1.0, metavar="S")
    parser.add_argument("--for-s", type=float, metavar="S", help="end after so long")
    parser.add_argument("--plain", action="store_true", help="lines, no live view")
    parser.add_argument("--log", type=Path, metavar="FILE", help="for `edgectl report`")
    parser.add_argument("--csv", type=Path, metavar="FILE|-", help="a row of figures each time")
    parser.add_argument(
        "--prometheus", metavar="[HOST:]PORT|FILE", help="serve /metrics, or a text file"
    )
    parser.add_argument("--until", metavar="KIND", help="end with such an event: grown, drift, ...")
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="CSV",
        help="sample,label: answer what is requested meanwhile",
    )
    add_link_options(parser, changes=True)
    parser.set_defaults(run=monitor)

    parser = commands.add_parser("report", help="make an HTML page of a monitor's log")
    parser.add_argument("log", type=Path, metavar="LOG")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.html")
    parser.add_argument("--title", default="edge-runtime board")
    parser.set_defaults(run=report)


def monitor(arguments: argparse.Namespace) -> None:
    """Look again and again; every output gets every look, and the board the answers it wants."""
    if arguments.interval_s < 0.05:
        raise UsageError(f"--interval-s {arguments.interval_s}, expected at least 0.05")
    with ExitStack() as stack:
        link = stack.enter_context(open_link(arguments))
        sinks = _Sinks(arguments, stack)
        watcher = Watcher(link)
        until_s = None if arguments.for_s is None else link.now_s() + arguments.for_s
        answering = _answering(link, arguments.answers)
        n_looks = n_learned = 0
        try:
            while True:
                look = watcher.look(time.time())
                sinks.take(look)
                n_looks += 1
                is_late = until_s is not None and link.now_s() >= until_s
                if is_late or any(each.kind == arguments.until for each in look.events):
                    break
                n_learned += _wait(link, arguments.interval_s, answering)
        except NoLinkError:
            sinks.no_link()
            raise
    learned = "" if arguments.answers is None else f", {n_learned} labels learned"
    note(f"looked {n_looks} times{learned}")


def _wait(link: Link, seconds: float, answering: Callable[[], int]) -> int:
    """Let time pass until the next look; a board goes on asking only as it is answered."""
    until_s = link.now_s() + seconds
    n_learned = answering()
    while link.now_s() < until_s:
        link.listen(min(ANSWER_S, until_s - link.now_s()))
        n_learned += answering()
    return n_learned


def _answering(link: Link, path: Path | None) -> Callable[[], int]:
    """A function that answers what is requested, as far as a file knows; how many were learned."""
    if path is None:
        return lambda: 0
    classes = labels.classes_of(link)
    answers = labels.read_answers(path, classes)

    def answer() -> int:
        entries = labels.known_answers(labels.wanted(link).wanted, answers)
        return labels.send_labels(link, entries)[0] if entries else 0

    return answer


class _Sinks:
    """Where looks go: terminal, log, CSV, Prometheus."""

    def __init__(self, arguments: argparse.Namespace, stack: ExitStack) -> None:
        self._board = ""
        self._log_path: Path | None = arguments.log
        self._log: LogWriter | None = None
        self._stack = stack
        self._csv: CsvWriter | None = None
        self._server: PrometheusServer | None = None
        self._text_file: Path | None = None
        self._open_csv(arguments.csv)
        self._open_prometheus(arguments.prometheus)
        self._is_quiet = arguments.csv is not None and str(arguments.csv) == "-"
        self._view = None if arguments.plain or self._is_quiet else _live_view(stack)

    def take(self, look: Look) -> None:
        """Give a look to every output."""
        self._board = str(look.agent.get("board", ""))
        if self._log is None and self._log_path is not None:
            self._log = LogWriter(self._log_path, self._board)
            self._stack.callback(self._log.close)
        for sink in (self._log, self._csv):
            if sink is not None:
                sink.write(look)
        self._expose(look.figures)
        if self._view is not None:
            self._view(look)
        elif not self._is_quiet:
            _print_plain(look)

    def no_link(self) -> None:
        """Say that the board is gone."""
        self._expose(None)

    def _expose(self, figures: Figures | None) -> None:
        text = prometheus_text(figures, self._board)
        if self._server is not None:
            self._server.text = text
        if self._text_file is not None:
            write_atomically(self._text_file, text.encode())

    def _open_csv(self, path: Path | None) -> None:
        if path is None:
            return
        file = (
            sys.stdout
            if str(path) == "-"
            else self._stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        )
        self._csv = CsvWriter(file)

    def _open_prometheus(self, where: str | None) -> None:
        if where is None:
            return
        host, colon, port = where.rpartition(":")
        if not port.isdecimal() or int(port) > 65535:
            self._text_file = Path(where)
            return
        self._server = PrometheusServer(host if colon else "127.0.0.1", int(port))
        self._stack.callback(self._server.close)
        note(f"metrics at http://{host or '127.0.0.1'}:{self._server.port}/metrics")


def _live_view(stack: ExitStack) -> Any:
    """A function that shows a look; None where standard output is no terminal."""
    if not sys.stdout.isatty():
        return None
    from rich.live import Live

    from firmware_tools.monitor import View

    view = View("edge-runtime")
    live = stack.enter_context(Live(view.render(), auto_refresh=False, screen=False))

    def show(look: Look) -> None:
        view.take(look)
        live.update(view.render(), refresh=True)

    return show


def _print_plain(look: Look) -> None:
    from firmware_tools.monitor import QUIET, event_line, plain_line

    print(plain_line(look), flush=True)
    for event in look.events:
        if event.kind not in QUIET:
            print(event_line(event), flush=True)


def report(arguments: argparse.Namespace) -> None:
    """Write the page."""
    from firmware_tools.log_report import write_log_report

    path = write_log_report(arguments.log, arguments.output, arguments.title)
    result("report", path)

"""``edgectl ports``, ``status``, ``label``, ``undo``, ``capture``, ``pull``: one question each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_runtime.protocol.wire.edge_messages import (
    CaptureAnswer,
    CaptureRequest,
    LabelEntry,
    LabelRefused,
    StatusAnswer,
    StatusRequest,
    UndoAnswer,
    UndoRequest,
)
from firmware_tools import labels
from firmware_tools.errors import UsageError
from firmware_tools.files import write_atomically
from firmware_tools.link import Link
from firmware_tools.link_options import add_link_options, note, open_link, result
from firmware_tools.ports import available_ports
from firmware_tools.pull import pull_file
from firmware_tools.status import ask_status, format_status
from firmware_tools.tables import format_table

POLL_S = 0.5


def register(commands: Any) -> None:
    """Add the commands to edgectl's parser."""
    parser = commands.add_parser("ports", help="list the serial ports of this machine")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=show_ports)

    parser = commands.add_parser("status", help="show how a board is")
    parser.add_argument("--json", action="store_true")
    add_link_options(parser)
    parser.set_defaults(run=show_status)

    _register_label(commands)

    parser = commands.add_parser("undo", help="take back what a board learned last")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--generation", type=int, metavar="N", help="go back to this one")
    which.add_argument(
        "--to", choices=("growth", "factory"), help="before a slot was grown, or all"
    )
    which.add_argument("--steps", type=int, default=1, metavar="N", help="saves ago (default 1)")
    add_link_options(parser, changes=True)
    parser.set_defaults(run=undo)

    parser = commands.add_parser("capture", help="have OOD samples kept, where that is allowed")
    parser.add_argument("samples", type=int, metavar="N", help="the next so many; 0 ends it")
    add_link_options(parser, changes=True)
    parser.set_defaults(run=capture)

    parser = commands.add_parser("pull", help="fetch a board's learned state, or another file")
    parser.add_argument(
        "--what", default="state", help="state (default), capture, sample-<id>, log, status"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE|DIR")
    add_link_options(parser, changes=True)
    parser.set_defaults(run=pull)


def _register_label(commands: Any) -> None:
    parser = commands.add_parser("label", help="answer what a board asks about")
    parser.add_argument("pairs", nargs="*", metavar="SAMPLE=LABEL", help="else it asks you")
    parser.add_argument("--list", action="store_true", help="only show what is requested")
    parser.add_argument("--json", action="store_true", help="with --list")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many")
    parser.add_argument("--answers", type=Path, metavar="CSV", help="a file of sample,label")
    parser.add_argument("--follow-s", type=float, metavar="S", help="with --answers: so long")
    add_link_options(parser, changes=True)
    parser.set_defaults(run=label)


def show_ports(arguments: argparse.Namespace) -> None:
    """Print the ports; with --json as a list."""
    ports = available_ports()
    if arguments.json:
        print(json.dumps([asdict(port) for port in ports], indent=2))
    elif ports:
        print(format_table([asdict(port) for port in ports]))
    else:
        note("no serial ports here")


def show_status(arguments: argparse.Namespace) -> None:
    """Print the status as text or JSON."""
    with open_link(arguments) as link:
        status = ask_status(link)
    print(json.dumps(status.to_dict(), indent=2) if arguments.json else format_status(status))


# -- labels ----------------------------------------------------------------------------------


def label(arguments: argparse.Namespace) -> None:
    """Show what is requested, or send answers from the command line, a file, or a person."""
    if sum((bool(arguments.pairs), arguments.list, arguments.answers is not None)) > 1:
        raise UsageError("SAMPLE=LABEL, --list and --answers do not go together: choose one")
    with open_link(arguments) as link:
        if arguments.list:
            return _show_requests(link, arguments)
        classes = labels.classes_of(link)
        if arguments.pairs:
            answers = labels.parse_pairs(arguments.pairs, classes)
            return _send(link, [LabelEntry(*each) for each in answers.items()])
        if arguments.answers is not None:
            return _answer_from_file(link, arguments, classes)
        requested = labels.wanted(link, arguments.limit)
        note(f"{requested.waiting} requested; Enter skips, = agrees, q ends")
        return _send(link, labels.ask_person(requested.wanted, classes, input))


def _show_requests(link: Link, arguments: argparse.Namespace) -> None:
    requested = labels.wanted(link, arguments.limit)
    rows = [asdict(each) for each in requested.wanted]
    if arguments.json:
        print(json.dumps({"wanted": rows, "waiting": requested.waiting}, indent=2))
    elif rows:
        print(format_table(rows))
    note(f"{requested.waiting} labels are requested")


def _answer_from_file(
    link: Link, arguments: argparse.Namespace, classes: Sequence[labels.Label]
) -> None:
    answers = labels.read_answers(arguments.answers, classes)
    until_s = link.now_s() + (arguments.follow_s or 0.0)
    n_sent, settled = 0, set()
    while True:
        requested = labels.wanted(link, arguments.limit).wanted
        new = [each for each in requested if each.sample not in settled]
        entries = labels.known_answers(new, answers)
        if entries:
            n_sent += _report(*labels.send_labels(link, entries))
        settled = {each.sample for each in requested}  # what has no answer now has none later
        if link.now_s() >= until_s:
            break
        link.listen(min(POLL_S, until_s - link.now_s()))
    result("learned", n_sent)


def _send(link: Link, entries: Sequence[LabelEntry]) -> None:
    accepted, refused = labels.send_labels(link, entries) if entries else (0, [])
    _report(accepted, refused)
    result("learned", accepted)
    if refused and not accepted:
        raise labels.AnswersError("no label was taken")


def _report(accepted: int, refused: Sequence[LabelRefused]) -> int:
    for each in refused:
        note(f"sample {each.sample}: {each.reason}")
    return accepted


# -- learned state ---------------------------------------------------------------------------


def undo(arguments: argparse.Namespace) -> None:
    """Go back; what was undone stays on the board until it ages out."""
    with open_link(arguments) as link:
        if arguments.to is not None:
            request, where = UndoRequest(to=arguments.to), arguments.to
        else:
            generation = arguments.generation
            if generation is None:
                generation = _generation_before(link, arguments.steps)
            request, where = UndoRequest(generation), f"generation {generation}"
        answer = link.ask(request, UndoAnswer)
    result("undone", f"to {where}, saved as {answer.generation}")


def _generation_before(link: Link, steps: int) -> int:
    if steps < 1:
        raise UsageError(f"--steps {steps}, expected at least 1")
    status = link.ask(StatusRequest(), StatusAnswer)
    current, saved = status.runtime.get("generation"), status.runtime.get("generations")
    if not isinstance(current, int):
        raise labels.AnswersError("the board does not say which generation it has")
    # What was learned since the last save counts as one step.
    back = steps - bool(status.runtime.get("unsaved"))
    if isinstance(saved, list) and all(isinstance(each, int) for each in saved):
        older = sorted(each for each in saved if each <= current)
        if len(older) <= back:
            raise labels.AnswersError(f"{len(older)} generations are saved: cannot undo {steps}")
        return int(older[-1 - back])
    return current - back


def capture(arguments: argparse.Namespace) -> None:
    """Have the raw inputs of samples out of distribution kept; `pull` fetches them."""
    if arguments.samples < 0:
        raise UsageError(f"{arguments.samples} samples, expected 0 or more")
    with open_link(arguments) as link:
        name = link.ask(CaptureRequest(arguments.samples), CaptureAnswer).name
    result("capturing", f"{arguments.samples} samples into {name}")


def pull(arguments: argparse.Namespace) -> None:
    """Fetch a file that the board makes, checked against its digest."""
    with open_link(arguments) as link:
        name, data = pull_file(link, arguments.what, _progress(sys.stderr.isatty()))
    target = arguments.output / Path(name).name if arguments.output.is_dir() else arguments.output
    path = write_atomically(target, data)
    result("pulled", f"{len(data)} bytes to {path}")


def _progress(is_terminal: bool) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        if is_terminal:
            end = "\n" if done == total else ""
            print(f"\r\x1b[K{done} of {total} bytes", end=end, file=sys.stderr, flush=True)

    return show

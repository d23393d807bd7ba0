"""``edgectl push``, ``confirm`` and ``rollback``: bring a pack to a board, keep it, go back.

Results are lines of a word and a value on standard output; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edge_runtime.protocol.wire.messages import ImageEntry
from firmware_tools import push
from firmware_tools.link import Link
from firmware_tools.link_options import add_link_options, note, open_link, result


def register(commands: Any) -> None:
    """Add the three commands to edgectl's parser."""
    parser = commands.add_parser("push", help="send a model pack, and run it unconfirmed")
    parser.add_argument("pack", type=Path, metavar="PACK")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--stage-only", action="store_true", help="send it, and run what runs")
    how.add_argument("--confirm", action="store_true", help="keep it once it runs")
    _add_wait(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_link_options(parser, changes=True)
    parser.set_defaults(run=push_pack)

    parser = commands.add_parser("confirm", help="keep the pack that runs unconfirmed")
    parser.add_argument("--id", type=_digest, metavar="ID", help="only if this is what runs")
    add_link_options(parser, changes=True)
    parser.set_defaults(run=confirm_pack)

    parser = commands.add_parser("rollback", help="run the pack before, unconfirmed")
    parser.add_argument("--confirm", action="store_true", help="keep it once it runs")
    _add_wait(parser)
    add_link_options(parser, changes=True)
    parser.set_defaults(run=roll_back)


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait-s", type=float, default=push.SWITCH_S, metavar="S", help="for it to run"
    )


def push_pack(arguments: argparse.Namespace) -> None:
    """Send, stage, test, run; every step is safe to repeat."""
    data = arguments.pack.read_bytes()
    pack = push.open_pack_bytes(data)
    digest = bytes.fromhex(pack.id)
    with open_link(arguments) as link:
        entry = push.find(push.image_state(link), digest)
        if entry is None:
            entry = _send(link, data, pack.manifest.image, digest, quiet=arguments.quiet)
        else:
            note("the board has this pack already")
        if not arguments.stage_only:
            _run(link, digest, entry, arguments)


def _send(link: Link, data: bytes, image: int, digest: bytes, *, quiet: bool) -> ImageEntry:
    started_s = link.now_s()
    with ProgressLine(enabled=not quiet) as progress:
        upload = push.send(link, data, image, progress.show)
    seconds = max(1e-9, link.now_s() - started_s)
    result("sent", f"{len(data)} bytes in {seconds:.1f} s, {len(data) / seconds / 1000:.1f} kB/s")
    result("messages", f"{upload.n_sent}, cable lost {link.n_reconnects} times")
    entry = push.find(push.image_state(link), digest)
    if entry is None:
        raise push.SwitchError(
            f"the board took the bytes and not the pack {digest.hex()[:12]}: "
            "`edgectl status` shows its log"
        )
    result("staged", f"{digest.hex()} version {entry.version}")
    return entry


def _run(link: Link, digest: bytes, entry: ImageEntry, arguments: argparse.Namespace) -> None:
    if not entry.active:
        push.mark(link, digest)
        entry = push.switch(link, digest, wait_s=arguments.wait_s)
    result("running", f"{digest.hex()} version {entry.version}")
    if arguments.confirm and not entry.confirmed:
        push.confirm(link, digest)
        result("confirmed", digest.hex())
    elif not entry.confirmed:
        note("unconfirmed: `edgectl confirm` keeps it, else the board goes back by itself")


def confirm_pack(arguments: argparse.Namespace) -> None:
    """Keep what runs."""
    with open_link(arguments) as link:
        images = push.confirm(link, arguments.id)
    for each in images:
        if each.active and each.confirmed:
            result("confirmed", (each.hash or b"").hex())


def roll_back(arguments: argparse.Namespace) -> None:
    """Run what ran before."""
    with open_link(arguments) as link:
        entry = push.rollback_target(push.image_state(link))
        digest = entry.hash or b""
        push.mark(link, digest)
        _run(link, digest, entry, arguments)


def _digest(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise argparse.ArgumentTypeError("expected the 64 hexadecimal digits of a pack's id")
    return digest


class ProgressLine:
    """One line on standard error, written over on a terminal, seldom repeated elsewhere."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._is_terminal = sys.stderr.isatty()
        self._last_percent = -1

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._enabled and self._is_terminal and self._last_percent >= 0:
            print(file=sys.stderr)

    def show(self, meter: push.Meter) -> None:
        """Show how far it is: each percent on a terminal, each tenth elsewhere."""
        step = 1 if self._is_terminal else 10
        percent = 100 * meter.done // meter.total // step
        if not self._enabled or percent == self._last_percent:
            return
        self._last_percent = percent
        if self._is_terminal:
            print(f"\r\x1b[K{meter.line()}", end="", file=sys.stderr, flush=True)
        else:
            print(meter.line(), file=sys.stderr, flush=True)

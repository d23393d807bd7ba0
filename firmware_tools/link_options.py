"""What every command that needs a board has in common: its options, and the link it opens."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from edge_runtime.protocol.wire.framing import Framing
from firmware_tools.errors import UsageError
from firmware_tools.keys import load_private_key
from firmware_tools.link import CONNECT_S, RECONNECT_S, Link
from firmware_tools.ports import SerialPort, available_ports, find_port
from firmware_tools.trust import authorise

PORT_VARIABLE, BAUD_VARIABLE, KEY_VARIABLE = "EDGECTL_PORT", "EDGECTL_BAUD", "EDGECTL_KEY"
DEFAULT_BAUD = 115200


def add_link_options(parser: argparse.ArgumentParser, *, changes: bool = False) -> None:
    """Port, rate, framing; with `changes` also the key that permits them."""
    group = parser.add_argument_group("the link")
    group.add_argument(
        "-p", "--port", metavar="PORT", help=f"path, name, or part of one; else {PORT_VARIABLE}"
    )
    group.add_argument("--baud", type=_baud, metavar="N", help=f"default {DEFAULT_BAUD}")
    group.add_argument("--framing", choices=["auto", *(f.value for f in Framing)], default="auto")
    group.add_argument("--window", type=_window, default=4, help="requests at once (default 4)")
    group.add_argument("--connect-s", type=float, default=CONNECT_S, metavar="S")
    group.add_argument("--reconnect-s", type=float, default=RECONNECT_S, metavar="S")
    if changes:
        group.add_argument(
            "--key", type=Path, metavar="KEY.pem", help=f"proves who asks; else {KEY_VARIABLE}"
        )


def open_link(arguments: argparse.Namespace) -> Link:
    """The link that the options describe, authorised if they name a key.

    Raises
    ------
    NoLinkError
        No port fits, it cannot be opened, or nobody answers.
    RefusedError
        The key is not pinned on the board.
    """
    baud = _chosen_baud(arguments)
    words = arguments.port or os.environ.get(PORT_VARIABLE)
    key = getattr(arguments, "key", None)
    if hasattr(arguments, "key") and key is None and os.environ.get(KEY_VARIABLE):
        key = Path(os.environ[KEY_VARIABLE])
    secret = None if key is None else load_private_key(key)
    link = Link(
        lambda: SerialPort(find_port(words, available_ports()), baud),
        framing=None if arguments.framing == "auto" else Framing(arguments.framing),
        baud=baud,
        window=arguments.window,
        connect_s=arguments.connect_s,
        reconnect_s=arguments.reconnect_s,
        on_note=note,
    )
    if secret is not None:
        try:
            authorise(link, secret)
        except BaseException:
            link.close()
            raise
    return link


def note(line: str) -> None:
    """A line for a person, beside the results."""
    print(f"edgectl: {line}", file=sys.stderr, flush=True)


def result(key: str, value: Any) -> None:
    """A line of result that a script may rely on: a word, then its value."""
    print(f"{key} {value}", flush=True)


def _chosen_baud(arguments: argparse.Namespace) -> int:
    if arguments.baud is not None:
        return int(arguments.baud)
    text = os.environ.get(BAUD_VARIABLE, str(DEFAULT_BAUD))
    try:
        return _baud(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{BAUD_VARIABLE}: {error}") from error


def _baud(text: str) -> int:
    if not text.isdecimal() or not 300 <= int(text) <= 20_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} baud, expected 300 to 20000000")
    return int(text)


def _window(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"window {text!r}, expected 1 to 64")
    return int(text)

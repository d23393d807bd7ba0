"""``--stream SPEC``: a stream of samples named in a line of text.

    none                          no samples: the runtime only answers hosts
    files:DIRECTORY               one .npy each
    table:FILE.npy|FILE.csv       one sample each row
    serial:PORT[@BAUD]            lines of numbers
    stdin                         lines of numbers
    python:MODULE:FUNCTION        whatever the function's iterator yields: a camera, a bus

The text comes from whoever starts the agent, never from a pack or a host.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from edge_runtime.errors import StreamError
from edge_runtime.inputs import sources


def open_stream(spec: str, *, repeat: bool = False) -> Iterator[Any] | None:
    """The samples that `spec` names; None for "none". ``repeat`` begins anew at the end.

    Raises
    ------
    StreamError
        It names nothing that can be read.
    """
    kind, _, argument = spec.partition(":")
    if kind == "none":
        return None
    if kind not in _OPENERS or bool(argument) == (kind == "stdin"):
        raise StreamError(
            f"stream {spec!r}, expected none, stdin, or one of files:, table:, serial:, python: "
            "with what to read"
        )
    first = _OPENERS[kind](argument)
    return _for_ever(first, lambda: _OPENERS[kind](argument)) if repeat else first


def is_live(spec: str) -> bool:
    """Whether the world goes on while nobody reads: what waits too long is worth nothing.

    A Python iterator is asked for the next sample, and can wait.

    >>> is_live("serial:/dev/ttyUSB0"), is_live("python:my_camera:frames")
    (True, False)
    """
    return spec.partition(":")[0] == "serial"


def _for_ever(samples: Iterator[Any], again: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    while True:
        yield from samples
        samples = again()


class _StandardInput:
    """By its descriptor: a thread that waits in `sys.stdin` holds a lock that no exit survives."""

    name = "standard input"

    def read1(self, size: int, /) -> bytes:
        return os.read(0, size)


def _open_serial(argument: str) -> Iterator[Any]:
    port, _, baud = argument.partition("@")
    if baud and not baud.isdecimal():
        raise StreamError(f"serial:{argument}: {baud!r} is no baud rate")
    return sources.from_serial(port, int(baud or 115_200))


def _call(argument: str) -> Iterator[Any]:
    module, _, function = argument.partition(":")
    try:
        return iter(getattr(importlib.import_module(module), function)())
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise StreamError(f"python:{argument}: {error}") from error


_OPENERS: dict[str, Callable[[str], Iterator[Any]]] = {
    "files": sources.from_files,
    "table": sources.from_table,
    "serial": _open_serial,
    "stdin": lambda _: sources.from_lines(_StandardInput()),
    "python": _call,
}

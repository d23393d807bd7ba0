"""Serial ports: listed, found by what a person calls them, opened.

A port is named by its path, by its link in ``/dev/serial/by-id`` (which stays the same when it is
plugged in elsewhere), or by any part of its description or serial number that fits one port alone.
A pseudo-terminal is a path like any other.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import serial
from serial.tools import list_ports

from firmware_tools.errors import NoLinkError

BY_ID: Final = Path("/dev/serial/by-id")
# A cable whose other end takes nothing for so long is as good as pulled.
WRITE_TIMEOUT_S: Final = 30.0
READ_BYTES: Final = 65536


class Port(Protocol):
    """The few things that are asked of a port. Every failure is an `OSError`."""

    def read(self, timeout_s: float) -> bytes:
        """What has come; waits so long for the first byte, and returns none if there is none."""

    def write(self, data: bytes) -> None:
        """All of it; may wait for the line."""

    def close(self) -> None:
        """Give it back; never fails."""


@dataclass(frozen=True)
class PortInfo:
    """One port of this machine."""

    path: str
    by_id: str = ""
    description: str = ""
    serial_number: str = ""

    def matches(self, words: str) -> bool:
        """Whether a person's words can mean this port."""
        texts = (self.path, self.by_id, self.description, self.serial_number)
        return any(words.lower() in text.lower() for text in texts if text)


def available_ports() -> list[PortInfo]:
    """The ports that are there, those with a name by id first."""
    names = _names_by_id(BY_ID)
    found = [_info(each, names) for each in list_ports.comports()]
    return sorted(found, key=lambda port: (not port.by_id, port.path))


def _info(found: Any, names: Mapping[str, str]) -> PortInfo:
    description = found.description if found.description not in (None, "n/a") else ""
    return PortInfo(
        found.device,
        names.get(os.path.realpath(found.device), ""),
        description,
        found.serial_number or "",
    )


def _names_by_id(directory: Path) -> dict[str, str]:
    if not directory.is_dir():
        return {}
    return {os.path.realpath(link): link.name for link in directory.iterdir()}


def find_port(words: str | None, ports: Iterable[PortInfo]) -> str:
    """Path of the port that is meant; without words, the only one there is.

    >>> ports = [PortInfo("/dev/ttyUSB0", description="FT232R"), PortInfo("/dev/ttyACM0")]
    >>> find_port("ft232", ports), find_port("/dev/ttyACM0", ports)
    ('/dev/ttyUSB0', '/dev/ttyACM0')

    Raises
    ------
    NoLinkError
        None fits, or more than one does; says which there are.
    """
    ports = list(ports)
    if words is not None and (os.path.sep in words or Path(words).exists()):
        return words
    fitting = [port for port in ports if words is None or port.matches(words)]
    exact = [port for port in fitting if words in (port.by_id, port.serial_number)]
    chosen = exact or fitting
    if len(chosen) == 1:
        return chosen[0].path
    there = ", ".join(port.by_id or port.path for port in (fitting or ports)) or "none"
    asked = "no port named with --port" if words is None else f"port {words!r}"
    problem = "more than one fits" if fitting else "there is no such port"
    raise NoLinkError(f"{asked}: {problem}; ports here: {there}")


class SerialPort:
    """A port opened by pyserial: a UART, USB serial, or a pseudo-terminal; for one host alone.

    Raises
    ------
    NoLinkError
        It is not there, belongs to somebody else, or may not be opened.
    """

    def __init__(self, path: str, baud: int) -> None:
        try:
            self._port = serial.Serial(
                path, baud, timeout=0, write_timeout=WRITE_TIMEOUT_S, exclusive=True
            )
        except (OSError, ValueError) as error:  # ValueError: a rate that the port cannot have
            raise NoLinkError(f"cannot open {path}: {_cause(error)}") from error

    def read(self, timeout_s: float) -> bytes:
        """What has come within `timeout_s`."""
        ready, _, _ = select.select([self._port.fileno()], [], [], max(0.0, timeout_s))
        if not ready:
            return b""
        data: bytes = self._port.read(READ_BYTES)
        return data

    def write(self, data: bytes) -> None:
        """All of it, at the pace of the line."""
        self._port.write(data)

    def close(self) -> None:
        """Give the port back."""
        with contextlib.suppress(OSError):  # pulled out: there is nothing left to close
            self._port.close()


def _cause(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number is None:
        return str(error)
    hints = {2: "is it plugged in?", 13: "are you in the group dialout?", 11: "in use by another?"}
    hint = f" ({hints[number]})" if number in hints else ""
    return f"{os.strerror(number)}{hint}"

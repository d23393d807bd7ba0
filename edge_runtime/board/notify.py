"""systemd's notifications, as datagrams to the socket that it names; else nothing."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Says ``READY=1`` once, ``WATCHDOG=1`` twice in the time that systemd allows, and status."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        known = os.environ if environment is None else environment
        self._address = known.get("NOTIFY_SOCKET", "")
        usec = known.get("WATCHDOG_USEC", "")
        self.period_s = int(usec) / 2e6 if usec.isdecimal() and int(usec) else None
        self._next_s = 0.0
        self._status = ""

    def send(self, text: str) -> None:
        """One notification; lost where nobody listens."""
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end,
        ):
            end.setblocking(False)
            end.sendto(text.encode(), address)

    def ready(self) -> None:
        """The service has started."""
        self.send("READY=1")

    def stopping(self) -> None:
        """The service ends on purpose."""
        self.send("STOPPING=1")

    def beat(self, now_s: float, status: str) -> None:
        """The loop turns; call often."""
        if status != self._status:
            self._status = status
            self.send(f"STATUS={status}")
        if self.period_s is not None and now_s >= self._next_s:
            self._next_s = now_s + self.period_s
            self.send("WATCHDOG=1")

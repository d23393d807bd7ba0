"""What the board knows of itself: its names, memory, temperature, room on the disk."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any, Final

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_COMPATIBLE: Final = Path("/proc/device-tree/compatible")
_MODEL: Final = Path("/proc/device-tree/model")
_THERMAL: Final = Path("/sys/class/thermal/thermal_zone0/temp")
_MAX_BYTES: Final = 4096


def board_names() -> tuple[str, ...]:
    """Names that packs may ask for, as in the device tree; none on a machine without one."""
    try:
        data = _COMPATIBLE.read_bytes()[:_MAX_BYTES]
    except OSError:
        return ()
    return tuple(name for name in data.decode(errors="replace").split("\0") if name)


def board_name() -> str:
    """What a person calls the board: its host name."""
    return socket.gethostname()[:64] or "board"


def rss_bytes(pid: int) -> int | None:
    """Resident memory of a process; None if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


def vitals(root: Path, worker_pid: int | None) -> dict[str, Any]:
    """Numbers for a status: what can be read here, and nothing else."""
    found: dict[str, Any] = {"agent_bytes": rss_bytes(os.getpid())}
    if worker_pid is not None:
        found["worker_bytes"] = rss_bytes(worker_pid)
    with contextlib.suppress(OSError, ValueError):
        found["temperature_c"] = int(_THERMAL.read_text()) / 1000
    with contextlib.suppress(OSError):
        disk = os.statvfs(root)
        found["disk_free_bytes"] = disk.f_bavail * disk.f_frsize
    with contextlib.suppress(OSError):
        found["load"] = round(os.getloadavg()[0], 2)
    return {name: value for name, value in found.items() if value is not None}

"""What the board knows of itself: names, memory, heat, room on the disk, bytes written to it."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any, Final

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_COMPATIBLE: Final = Path("/proc/device-tree/compatible")
_THERMAL: Final = Path("/sys/class/thermal/thermal_zone0/temp")
_MAX_BYTES: Final = 4096
# Raspberry Pi's firmware: bits 1 to 3 say capped, throttled, at the soft limit now; bit 0 is a weak
# supply, the bits from 16 on are of the past.
_FIRMWARE: Final = Path("sys/devices/platform/soc/soc:firmware/get_throttled")
_FIRMWARE_NOW: Final = 0b1110
_COOLING: Final = Path("sys/class/thermal")
_HEAT: Final = Path("sys/class/thermal/thermal_zone0/temp")
_MAX_DEVICES: Final = 64
HOT_C: Final = 80  # where a Pi begins to throttle


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


def throttling(root: Path = Path("/")) -> str:
    """Why the processor is slowed down, by the firmware, the kernel or its heat; else nothing."""
    firmware = _read(root / _FIRMWARE)
    with contextlib.suppress(ValueError):
        bits = int(firmware, 16) & _FIRMWARE_NOW
        if bits:
            return f"the firmware throttles ({bits:#x})"
    for device in sorted((root / _COOLING).glob("cooling_device*"))[:_MAX_DEVICES]:
        kind, level = _read(device / "type"), _read(device / "cur_state")
        if "cpufreq" in kind and level.isdecimal() and int(level) > 0:
            return f"the kernel slows {kind} to step {level}"
    heat = _read(root / _HEAT)
    if heat.isdecimal() and int(heat) >= 1000 * HOT_C:
        return f"{int(heat) / 1000:.0f} °C"
    return ""


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""


def written_bytes(pid: int) -> int | None:
    """Bytes that a process has sent to disks so far; None if the kernel does not say."""
    for line in _read(Path(f"/proc/{pid}/io")).splitlines():
        name, _, value = line.partition(": ")
        if name == "write_bytes":
            return int(value)
    return None


def vitals(root: Path, worker_pid: int | None) -> dict[str, Any]:
    """Numbers for a status: what can be read here, and nothing else."""
    found: dict[str, Any] = {"agent_bytes": rss_bytes(os.getpid())}
    if worker_pid is not None:
        found["worker_bytes"] = rss_bytes(worker_pid)
        found["worker_written_bytes"] = written_bytes(worker_pid)
    found["agent_written_bytes"] = written_bytes(os.getpid())
    found["throttled"] = throttling() or None
    with contextlib.suppress(OSError, ValueError):
        found["temperature_c"] = int(_THERMAL.read_text()) / 1000
    with contextlib.suppress(OSError):
        disk = os.statvfs(root)
        found["disk_free_bytes"] = disk.f_bavail * disk.f_frsize
    with contextlib.suppress(OSError):
        found["load"] = round(os.getloadavg()[0], 2)
    return {name: value for name, value in found.items() if value is not None}

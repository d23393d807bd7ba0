"""The systemd service of the agent: its unit as text, written and taken away again.

What `install` makes, `uninstall` removes: the unit, the links that enable it, and, unless it is
told to keep them, everything that the agent has learned and cached.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from edge_runtime.errors import EdgeRuntimeError

NAME: Final = "edge-agent.service"
UNITS: Final = "etc/systemd/system"
STATE: Final = "var/lib/edge-agent"
CACHE: Final = "var/cache/edge-agent"
WATCHDOG_S: Final = 60
KINDS: Final = ("ttyACM", "ttyAMA", "ttyGS", "ttyS", "ttyTHS", "ttyUSB")
UNIT: Final = """\
# Written by `edge-agent install`; `edge-agent uninstall` removes it.
[Unit]
Description=edge-runtime: runs a model pack and serves hosts over serial lines
Documentation=man:systemd.service(5)
After=local-fs.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
{before}ExecStart={command}
Restart=always
RestartSec=2
WatchdogSec={watchdog_s}
TimeoutStartSec=300
TimeoutStopSec=30
KillMode=mixed

MemoryMax={memory_max}
CPUQuota={cpu_quota}
CPUWeight=50
TasksMax=128
# Where memory runs out, the model goes and the agent stays: it undoes what did it.
OOMPolicy=continue

DynamicUser=yes
SupplementaryGroups=dialout
StateDirectory=edge-agent
StateDirectoryMode=0700
CacheDirectory=edge-agent
Environment=OPENBLAS_NUM_THREADS=1 NUMBA_CACHE_DIR=/{cache}

ProtectSystem=strict
ProtectHome={protect_home}
PrivateTmp=yes
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
UMask=0077
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
DevicePolicy=closed
{devices}
# No MemoryDenyWriteExecute: compiled kernels are made in memory.

[Install]
WantedBy=multi-user.target
"""


class InstallError(EdgeRuntimeError, RuntimeError):
    """The service cannot be installed or removed; says why."""


@dataclass(frozen=True)
class Service:
    """What the unit runs.

    Attributes
    ----------
    program
        The ``edge-agent`` that systemd starts: an absolute path.
    arguments
        Of ``serve``, without ``--port`` and ``--state``.
    memory_max, cpu_quota
        What agent and model may take together, as systemd writes it: "512M" or a share of the
        board's memory; a share of one core, 200% being two.
    """

    program: str
    ports: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    memory_max: str = "60%"
    cpu_quota: str = "200%"


def unit_text(service: Service) -> str:
    """The unit, for systemd.

    Raises
    ------
    InstallError
        A port is no device, a limit is none, or a text would end its line.
    """
    _check_limits(service)
    words = [service.program, "serve", *service.arguments, "--state", f"/{STATE}"]
    for port in service.ports:
        if not port.startswith("/dev/") or ".." in port:
            raise InstallError(f"port {port!r}, expected a device such as /dev/ttyAMA0")
        words += ["--port", port]
    if any(not word.isprintable() for word in words):
        raise InstallError("a line break in the service's command")
    # systemd expands % and $ itself.
    command = shlex.join(words).replace("%", "%%").replace("$", "$$")
    sensors = (each[7:] for each in service.arguments if each.startswith("serial:"))
    kinds = sorted({kind for port in (*service.ports, *sensors) for kind in device_kinds(port)})
    devices = "\n".join(f"DeviceAllow=char-{kind} rw" for kind in kinds)
    is_fast = "fast" in _values_of(service.arguments, "--profile")
    warm_up = shlex.join([service.program, "warm-up"]).replace("%", "%%").replace("$", "$$")
    at_home = service.program.startswith(("/home/", "/root/"))
    return UNIT.format(
        command=command,
        # As the service's user, for the processor at hand: nothing is compiled later.
        before=f"ExecStartPre={warm_up}\n" if is_fast else "",
        memory_max=service.memory_max,
        cpu_quota=service.cpu_quota,
        watchdog_s=WATCHDOG_S,
        cache=CACHE,
        devices=devices,
        protect_home="read-only" if at_home else "yes",
    )


def _check_limits(service: Service) -> None:
    if not re.fullmatch(r"\d{1,5}[KMG]|[1-9]\d?%|100%|infinity", service.memory_max):
        raise InstallError(f"memory {service.memory_max!r}, expected 512M, 60% or infinity")
    if not re.fullmatch(r"[1-9]\d{0,4}%", service.cpu_quota):
        raise InstallError(f"processor time {service.cpu_quota!r}, expected 150% or so")


def _values_of(arguments: Sequence[str], option: str) -> list[str]:
    """What an option is set to, in either of argparse's spellings."""
    apart = [after for word, after in pairwise(arguments) if word == option]
    return apart + [word[len(option) + 1 :] for word in arguments if word.startswith(f"{option}=")]


def device_kinds(port: str) -> tuple[str, ...]:
    """Kinds of terminals that a port may be; by kind, for it may come later than the service.

    >>> device_kinds("/dev/ttyAMA0"), device_kinds("/dev/serial/by-id/usb-x")[:2]
    (('ttyAMA',), ('ttyACM', 'ttyAMA'))
    """
    kind = Path(port.partition("@")[0]).name.rstrip("0123456789")
    return (kind,) if kind in KINDS else KINDS


def install(root: Path, service: Service, keys: Sequence[Path], *, start: bool) -> Path:
    """Write the unit and pin the keys; with ``start``, enable and start the service.

    Raises
    ------
    InstallError
        There is one already, or systemd refuses.
    """
    text = unit_text(service)
    path = root / UNITS / NAME
    if path.exists():
        raise InstallError(
            f"{path} exists: uninstall it first (--keep-state keeps what it learned)"
        )
    pinned = root / STATE / "keys"
    try:
        pinned.mkdir(parents=True, exist_ok=True)
        for key in keys:
            shutil.copyfile(key, pinned / f"{key.name.removesuffix('.pem')}.pem")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if start:
            systemctl("daemon-reload")
            systemctl("enable", "--now", NAME)
    except (OSError, InstallError):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return path


def uninstall(root: Path, *, keep_state: bool, stop: bool) -> list[Path]:
    """Remove everything that was installed; what was removed."""
    path = root / UNITS / NAME
    if stop and path.exists():
        systemctl("disable", "--now", NAME)
    removed = [path] if path.exists() else []
    path.unlink(missing_ok=True)
    for link in (root / UNITS).glob(f"*.wants/{NAME}"):
        link.unlink()
        removed.append(link)
    kept = () if keep_state else (STATE,)
    for name in (*kept, CACHE):
        # With DynamicUser, systemd keeps the directory in private/ and a link to it.
        for place in (root / name, (root / name).parent / "private" / Path(name).name):
            if place.is_symlink():
                place.unlink()
            elif place.is_dir():
                shutil.rmtree(place)
            else:
                continue
            removed.append(place)
    if stop and removed:
        systemctl("daemon-reload")
    return removed


def systemctl(*words: str) -> None:
    """Run systemctl; its complaint is the error."""
    try:
        done = subprocess.run(
            ["systemctl", *words], capture_output=True, text=True, check=False, timeout=90
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"systemctl {words[0]}: {error}") from error
    if done.returncode:
        raise InstallError(f"systemctl {words[0]}: {done.stderr.strip()[:300]}")

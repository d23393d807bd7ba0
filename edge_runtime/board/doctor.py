"""``edge-agent doctor``: what works on this board, what it costs, what is missing. Changes nothing.

Every part is tried in a child process: a library for another CPU kills its process, and memory is
that of a fresh one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edge_runtime.board.images import ENCODERS
from edge_runtime.board.profiles import NO_NUMBA
from edge_runtime.board.serving import PACKS

TIMEOUT_S: Final = 120.0
_MEASURE: Final = """
import json, time
start = time.perf_counter()
{code}
took = time.perf_counter() - start
pages = int(open('/proc/self/statm').read().split()[1])
import os
print(json.dumps([pages * os.sysconf('SC_PAGE_SIZE'), took]))
"""
# Part and what loads it; each line holds those above that it needs.
PARTS: Final = (
    ("Python", "pass"),
    ("NumPy", "import numpy"),
    ("agent", "import edge_runtime.board.serving"),
    ("learner", "import edge_runtime.runtime as r; r.EdgeRuntime()"),
    ("learner, profile fast", "import edge_runtime.runtime, adaptors; adaptors.warm_up()"),
)
# Where they are installed: what an inference library and numba cost by themselves.
LIBRARIES: Final = (
    "numba",
    "onnxruntime",
    "ai_edge_litert.interpreter",
    "tflite_runtime.interpreter",
)
ENCODER: Final = (
    "from edge_runtime.inputs.encoders import open_encoder; open_encoder({path!r}, lean=True)"
)
MAX_ENCODERS: Final = 4
BACKENDS: Final = ("litert", "onnxruntime", "tflite-runtime")
Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    verdict: Verdict
    what: str
    found: str


def examine(state: Path, ports: tuple[str, ...]) -> Iterator[Finding]:
    """Look at everything, one finding after the other."""
    names = f"{platform.machine()}, Python {platform.python_version()}, {platform.release()}"
    yield Finding("ok", "board", names)
    yield from _memory(state)
    yield from _backends()
    yield _accelerators()
    yield _kernels()
    yield _directory(state)
    for port in ports:
        yield _port(port)


def _memory(state: Path) -> Iterator[Finding]:
    """What each part holds in a process of its own, and the encoders of this board's packs."""
    libraries = [
        (name.partition(".")[0], f"import {name}")
        for name in LIBRARIES
        if importlib.util.find_spec(name.partition(".")[0]) is not None
    ]
    unpacked = sorted((state / PACKS / ENCODERS).glob("*.*"))[:MAX_ENCODERS]
    encoders = [
        (f"encoder {path.name[:8]}", ENCODER.format(path=str(path)))
        for path in unpacked
        if path.suffix in (".onnx", ".tflite")
    ]
    for part, code in (*PARTS, *libraries, *encoders):
        child = _child(_MEASURE.format(code=code))
        try:
            n_bytes, seconds = json.loads(child.stdout)
        except (ValueError, TypeError):
            yield Finding("fail", part, _why(child))
            continue
        yield Finding("ok", part, f"{n_bytes / 2**20:.1f} MB resident, {seconds:.2f} s to load")


def _backends() -> Iterator[Finding]:
    from edge_runtime.inputs.encoders.probe import probe_backend

    results = [probe_backend(name) for name in BACKENDS]
    some_work = any(result.ok for result in results)
    for result in results:
        version = f" {result.version}" if result.version else ""
        if result.ok:
            yield Finding("ok", f"{result.backend}{version}", "runs a model")
        else:
            verdict: Verdict = "warn" if some_work else "fail"
            yield Finding(verdict, f"{result.backend}{version}", result.reason)


def _accelerators() -> Finding:
    """What `open_encoder` may be told besides the CPU."""
    child = _child(
        "import json; from edge_runtime.inputs.encoders.accelerators import found;"
        " print(json.dumps(found()))"
    )
    if child.returncode:
        return Finding("warn", "accelerators", _why(child))
    return Finding("ok", "accelerators", ", ".join(json.loads(child.stdout)) or "none, the CPU")


def _kernels() -> Finding:
    """Where compiled kernels are kept, and whether they are there."""
    code = (
        "from adaptors._backend import kernels\n"
        "module = kernels()\n"
        "caches = {getattr(getattr(f, '_cache', None), 'cache_path', None) for f in"
        " vars(module).values()} - {None}\n"
        "import json; print(json.dumps([module.__name__, sorted(map(str, caches))]))"
    )
    child = _child(code)
    if child.returncode:
        return Finding("fail", "kernels", _why(child))
    name, places = json.loads(child.stdout)
    if not name.endswith("_kernels"):
        return Finding("ok", "kernels", NO_NUMBA)
    if not places:
        return Finding("warn", "kernels", "no cache: they are compiled at every start")
    n_files = len(list(Path(places[0]).glob("_kernels*.nbc")))
    verdict: Verdict = "ok" if n_files else "warn"
    return Finding(verdict, "kernels", f"{n_files} compiled in {places[0]}")


def _directory(state: Path) -> Finding:
    if not state.is_dir():
        return Finding("warn", "state", f"{state} is not there yet: `serve` makes it")
    if not os.access(state, os.W_OK | os.X_OK):
        return Finding("fail", "state", f"{state} cannot be written by this user")
    disk = os.statvfs(state)
    free = disk.f_bavail * disk.f_frsize
    n_keys = len(list((state / "keys").glob("*.pem")))
    trust = f"{n_keys} pinned keys" if n_keys else "unprovisioned: every host is trusted"
    return Finding(
        "ok" if n_keys and free > 2**28 else "warn",
        "state",
        f"{state}: {free / 2**20:.0f} MB free; {trust}",
    )


def _port(port: str) -> Finding:
    if not Path(port).exists():
        return Finding("fail", "port", f"{port} is not there: enabled in the firmware's settings?")
    if not os.access(port, os.R_OK | os.W_OK):
        return Finding("fail", "port", f"{port} may not be used: is this user in dialout?")
    return Finding("ok", "port", f"{port} may be used")


def _child(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError) as error:
        return subprocess.CompletedProcess([], 1, "", str(error))


def _why(child: subprocess.CompletedProcess[str]) -> str:
    if child.returncode < 0:
        return f"died by signal {-child.returncode}"
    lines = [line for line in child.stderr.splitlines() if line.strip()]
    return (lines[-1] if lines else f"ended with status {child.returncode}")[:200]

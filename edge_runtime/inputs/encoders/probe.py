"""Does an inference library work on this machine? Asked in a child process.

An import proves nothing: tflite-runtime with NumPy 2 imports and fails when an interpreter is
built, and a wheel for another CPU kills the process by SIGILL, which no ``except`` catches. So a
child builds an interpreter on a model of a few hundred bytes, runs it, and the parent looks at how
the child ended. About 0.3 s for each library, once per process, and only when it is needed. The
same child can try one particular model, for a library that does not survive a damaged one.

Not here: speed and memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import subprocess
import sys
from base64 import b64decode
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from edge_runtime.errors import BackendError

TIMEOUT_S: Final = 60.0  # a Pi 3 with a cold SD card needs a few seconds
MAX_REASON_CHARS: Final = 300
# Backend to module to import, and to the extra that installs it.
MODULES: Final = {
    "litert": "ai_edge_litert.interpreter",
    "onnxruntime": "onnxruntime",
    "tflite-runtime": "tflite_runtime.interpreter",
}
DISTRIBUTIONS: Final = {
    "litert": "ai-edge-litert",
    "onnxruntime": "onnxruntime",
    "tflite-runtime": "tflite-runtime",
}
EXTRAS: Final = {"litert": "litert", "onnxruntime": "onnx", "tflite-runtime": "tflite"}
NUMPY_ABI_MARKS: Final = ("_ARRAY_API not found", "compiled using NumPy 1", "multiarray failed")

# Both models double four numbers: one MatMul, one FULLY_CONNECTED, both batch 1.
ONNX_MODEL: Final = b64decode(
    "CAg6kQEKEQoBeAoBdxIBeSIGTWF0TXVsEgVwcm9iZSpLCAQIBBABQgF3SkAAAABAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AEAAAAAAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAABAWhMKAXgSDgoMCAESCAoCCAEKAggEYhMK"
    "AXkSDgoMCAESCAoCCAEKAggEQgQKABAN"
)
TFLITE_MODEL: Final = b64decode(
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAABwAAAAfAEAAAMAAAACAAAAXAAAAAwAAAAAAAYACAAEAAYA"
    "AAAEAAAAQAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAECo////AQAAABAAAAAMABQAEAAMAAgABAAMAAAAEAAAAFgAAABcAAAAYAAAAAEAAAAUAAAAAAAOABQA"
    "AAAQAAwACwAEAA4AAAAUAAAAAAAACBAAAAAUAAAABAAEAAQAAAABAAAAAgAAAAMAAAAAAAAAAQAAAP////8BAAAA"
    "AgAAAAEAAAAAAAAAAwAAAGgAAAA0AAAABAAAALD///8IAAAADAAAAAEAAAB5AAAAAgAAAAEAAAAEAAAADAAQAAwA"
    "AAAIAAQADAAAAAwAAAABAAAADAAAAAEAAAB3AAAAAgAAAAQAAAAEAAAADAAMAAgAAAAAAAQADAAAAAgAAAAMAAAA"
    "AQAAAHgAAAACAAAAAQAAAAQAAAABAAAAEAAAAAwADAALAAAAAAAEAAwAAAAJAAAAAAAACQ=="
)


@dataclass(frozen=True)
class ProbeResult:
    """How one inference library fared.

    Attributes
    ----------
    ok
        True if it ran the model; None if no child process can be started here, so that nothing
        is known (user-mode emulation without binfmt).
    version
        Of the installed distribution, if known.
    reason
        Why not; empty if ok.
    """

    backend: str
    ok: bool | None
    version: str | None
    reason: str


@cache
def probe_backend(backend: str, *, timeout_s: float = TIMEOUT_S) -> ProbeResult:
    """Run a tiny model with one backend in a child process, at most once per process.

    Never raises for a broken backend.
    """
    if importlib.util.find_spec(MODULES[backend].partition(".")[0]) is None:
        hint = f"not installed: pip install 'edge-runtime[{EXTRAS[backend]}]'"
        return ProbeResult(backend, False, None, hint)
    ok, reason = _run_child(f"run_trial({backend!r})", b"", timeout_s)
    return ProbeResult(backend, ok, _version(backend), reason)


def try_model(backend: str, data: bytes) -> str:
    """Run this TFLite model once in a child process; return why it fails, or nothing."""
    ok, reason = _run_child(f"run_model({backend!r})", data, TIMEOUT_S)
    return reason if ok is False else ""


def _run_child(call: str, data: bytes, timeout_s: float) -> tuple[bool | None, str]:
    """Call a function of this module in a fresh process: whether it worked, and why not."""
    # The child must see what this process would import, however its path came about.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        child = subprocess.run(
            [sys.executable, "-c", f"from edge_runtime.inputs.encoders import probe; probe.{call}"],
            env=environment,
            input=data,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {timeout_s:g} s"
    except OSError as error:
        return None, f"cannot start a child process: {error}"
    reason = _reason(child.returncode, child.stderr.decode(errors="replace"))
    return child.returncode == 0, reason


def first_working(*backends: str) -> str:
    """Return the first of these backends that works, or that at least may.

    Raises
    ------
    BackendError
        If none does; the message says why for each.
    """
    results = [probe_backend(backend) for backend in backends]
    for result in results:
        if result.ok or (result.ok is None and _imports(result.backend)):
            return result.backend
    reasons = "; ".join(f"{result.backend}: {result.reason}" for result in results)
    raise BackendError(f"no library for this model format works here ({reasons})")


def run_trial(backend: str) -> None:
    """In the child: double four ones. Any exception ends the child with a traceback."""
    ones = np.ones((1, 4), np.float32)
    if backend == "onnxruntime":
        module = importlib.import_module(MODULES[backend])
        session = module.InferenceSession(ONNX_MODEL, providers=["CPUExecutionProvider"])
        twos = session.run(None, {"x": ones})[0]
    else:
        twos = _run_tflite(backend, TFLITE_MODEL, ones)
    if not np.array_equal(twos, 2 * ones):
        raise ArithmeticError(f"doubling four ones gave {twos}")


def run_model(backend: str) -> None:
    """In the child: run the TFLite model on standard input with whatever its memory holds."""
    _run_tflite(backend, sys.stdin.buffer.read(), None)


def _run_tflite(backend: str, data: bytes, sample: Any) -> Any:
    module = importlib.import_module(MODULES[backend])
    interpreter = module.Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    if sample is not None:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def _imports(backend: str) -> bool:
    try:
        importlib.import_module(MODULES[backend])
    except ImportError:
        return False
    return True


def _version(backend: str) -> str | None:
    import importlib.metadata  # a megabyte of mail headers

    try:
        return importlib.metadata.version(DISTRIBUTIONS[backend])
    except importlib.metadata.PackageNotFoundError:
        return None


def _reason(status: int, stderr: str) -> str:
    if status == 0:
        return ""
    if status < 0:
        name = signal.Signals(-status).name
        cause = ": built for another CPU?" if name == "SIGILL" else ""
        return f"died by {name}{cause}"
    if any(mark in stderr for mark in NUMPY_ABI_MARKS):
        return (
            f"built for another major version of NumPy than {np.__version__}: install "
            "ai-edge-litert, or numpy<2 for tflite-runtime"
        )
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return (lines[-1] if lines else f"ended with status {status}")[:MAX_REASON_CHARS]

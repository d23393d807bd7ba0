"""Accelerators by name: what each is called in the inference libraries, and what is there.

A name that is known but not to be had here is no error: the CPU serves, and a warning says why. A
name that nobody knows is a mistake of the caller. Not here: running a model.
"""

from __future__ import annotations

import ctypes
import importlib
import warnings
from collections.abc import Sequence
from typing import Any

from edge_runtime.errors import EncoderError
from edge_runtime.inputs.encoders.probe import MODULES
from edge_runtime.protocol.accelerators import CPU, DELEGATES, NAMES, PROVIDERS


class AcceleratorWarning(RuntimeWarning):
    """An accelerator was asked for and is not to be had; the CPU serves."""


def check_name(name: Any) -> str:
    """Return the name of an accelerator, or raise `EncoderError` for one that nobody knows."""
    if name not in NAMES:
        raise EncoderError(f"accelerator is {name!r}, expected one of {', '.join(NAMES)}")
    return str(name)


def fall_back(name: str, reason: str) -> str:
    """Warn that the CPU serves in place of this accelerator; return the CPU's name."""
    message = f"accelerator {name!r} cannot be used: {reason}; the CPU serves"
    warnings.warn(message, AcceleratorWarning, stacklevel=2)
    return CPU


def missing_provider(name: str, available: Sequence[str]) -> str:
    """Return why onnxruntime cannot use this accelerator, or nothing.

    >>> missing_provider("edgetpu", ["CPUExecutionProvider"])
    'it is a delegate of TFLite models, this one is ONNX'
    >>> missing_provider("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    ''
    """
    if name not in PROVIDERS:
        return "it is a delegate of TFLite models, this one is ONNX"
    if PROVIDERS[name] in available:
        return ""
    found = ", ".join(name.removesuffix("ExecutionProvider") for name in available)
    hint = ": install onnxruntime-gpu, or JetPack's build" if name in ("cuda", "tensorrt") else ""
    return f"this onnxruntime was built for {found}{hint}"


def missing_delegate(name: str) -> str:
    """Return why a TFLite model cannot use this accelerator whatever is installed, or nothing.

    >>> missing_delegate("cuda")
    'it is a provider of ONNX models, this one is TFLite'
    >>> missing_delegate("xnnpack"), missing_delegate("gpu")
    ('', '')
    """
    if name in DELEGATES or name in (CPU, "xnnpack"):
        return ""
    return "it is a provider of ONNX models, this one is TFLite"


def found() -> list[str]:
    """Return the accelerators that the installed libraries offer here; loads all of them.

    Meant for a child process: a driver may take its process along.
    """
    names = []
    if (onnxruntime := _imported("onnxruntime")) is not None:
        available = onnxruntime.get_available_providers()
        names += [name for name in PROVIDERS if not missing_provider(name, available)]
    library = _imported(MODULES["litert"]) or _imported(MODULES["tflite-runtime"])
    if library is not None:
        names += ["xnnpack", *(name for name in DELEGATES if _loads(library, name))]
    return sorted(set(names))


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def load_delegate(library: Any, name: str) -> Any:
    """Return the delegate of this name; OSError, ValueError or RuntimeError if there is none."""
    # LiteRT's own attempt leaves half an object behind that complains when it is collected.
    ctypes.CDLL(DELEGATES[name])
    return library.load_delegate(DELEGATES[name])


def _loads(library: Any, name: str) -> bool:
    try:
        load_delegate(library, name)
    except (OSError, ValueError, RuntimeError):
        return False
    return True

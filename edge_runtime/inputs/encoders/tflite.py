"""TFLite models by ai-edge-litert, or by its predecessor tflite-runtime.

Both offer the same ``Interpreter``; the first that survives a trial in a child process is taken
(`probe`). A truncated file is refused by both. A file altered with intent can still abort the
process inside LiteRT: what a board opens should come out of a pack with a digest. Models run at
their own batch of 1: resizing would trust every RESHAPE inside to follow.
Not here: anything that ONNX shares (`model`).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import EncoderError
from edge_runtime.inputs.encoders.accelerators import fall_back, load_delegate, missing_delegate
from edge_runtime.inputs.encoders.base import Array, Layout, Quantisation
from edge_runtime.inputs.encoders.model import InputTensor
from edge_runtime.inputs.encoders.probe import MODULES, first_working, try_model
from edge_runtime.protocol.accelerators import CPU, DELEGATES


class TfliteRunner:
    """One interpreter with its tensors allocated."""

    layout: Layout = "channels_last"

    def __init__(
        self, data: bytes, threads: int, accelerator: str = CPU, *, mapped: Path | None = None
    ) -> None:
        """Open ``data``; or, mapped, the file that it was read from."""
        self.backend = first_working("litert", "tflite-runtime")
        # For 32-bit ARM it switches subnormal numbers off, for the whole process: NumPy would warn.
        np.finfo(np.float32), np.finfo(np.float64)
        library = importlib.import_module(MODULES[self.backend])
        if self.backend == "tflite-runtime":  # unlike its successor it verifies no offset
            _check_survives(self.backend, data)
        self.accelerator, delegates = _delegates(library, accelerator)
        source = {"model_content": data} if mapped is None else {"model_path": str(mapped)}
        self._interpreter, details, outputs = self._open(library, source, threads, delegates)
        self.inputs = tuple(_describe(tensor) for tensor in details)
        self._input_indices = [tensor["index"] for tensor in details]
        self._indices = {tensor["name"]: tensor["index"] for tensor in outputs}
        self.outputs = {tensor["name"]: _quantisation(tensor) for tensor in outputs}

    def _open(
        self, library: Any, source: dict[str, Any], threads: int, delegates: list[Any]
    ) -> tuple[Any, Any, Any]:
        """Return the interpreter, and its inputs and outputs as it describes them."""
        try:
            interpreter = library.Interpreter(
                **source, num_threads=threads, experimental_delegates=delegates or None
            )
            interpreter.allocate_tensors()
            details = interpreter.get_input_details()
            return interpreter, details, interpreter.get_output_details()
        except Exception as error:  # by the stage: ValueError, RuntimeError, UnicodeDecodeError
            if delegates:  # the model may be at fault, or the accelerator: the CPU tells
                self.accelerator = fall_back(self.accelerator, str(error))
                return self._open(library, source, threads, [])
            raise EncoderError(
                f"{self.backend} refuses the model: {error}: truncated, or operators it lacks?"
            ) from error

    def run(self, sample: Array, names: Sequence[str]) -> list[Any]:
        """Compute these outputs for one sample."""
        self._interpreter.set_tensor(self._input_indices[0], sample)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(self._indices[name]) for name in names]


def _delegates(library: Any, accelerator: str) -> tuple[str, list[Any]]:
    """Return the accelerator in use and its delegate; the CPU and none where there is none."""
    reason = missing_delegate(accelerator)
    if reason:
        return fall_back(accelerator, reason), []
    if accelerator not in DELEGATES:  # XNNPACK is what the CPU uses anyway
        return accelerator, []
    try:
        return accelerator, [load_delegate(library, accelerator)]
    except (OSError, ValueError, RuntimeError) as error:
        hint = f"{DELEGATES[accelerator]} does not load ({error or type(error).__name__})"
        return fall_back(accelerator, f"{hint}: installed, and the device plugged in?"), []


def _check_survives(backend: str, data: bytes) -> None:
    reason = try_model(backend, data)
    if reason:
        raise EncoderError(f"{backend} fails on the model: {reason}: truncated or damaged?")


def _describe(tensor: dict[str, Any]) -> InputTensor:
    """Translate what the interpreter reports; -1 in the signature marks a free dimension."""
    signature = tensor.get("shape_signature", ())
    declared = signature if len(signature) == len(tensor["shape"]) else tensor["shape"]
    shape = tuple(int(size) if size > 0 else None for size in declared)
    dtype = np.dtype(tensor["dtype"]).name
    return InputTensor(tensor["name"], shape, dtype, _quantisation(tensor))


def _quantisation(tensor: dict[str, Any]) -> Quantisation | None:
    parameters = tensor["quantization_parameters"]
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    if len(scales) == 0:
        return None
    if len(scales) > 1 or not (np.isfinite(scales[0]) and scales[0] > 0):
        raise EncoderError(
            f"tensor {tensor['name']!r} has the scales {scales}, expected one positive number"
        )
    return Quantisation(float(scales[0]), int(zero_points[0]) if len(zero_points) else 0)

"""ONNX models by onnxruntime, on the CPU or on an execution provider asked for by name.

Not here: anything that TFLite shares (`model`). onnxruntime is imported when a model is opened,
after a child process has shown that it survives on this machine (`probe`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_runtime.errors import EncoderError
from edge_runtime.inputs.encoders.accelerators import fall_back, missing_provider
from edge_runtime.inputs.encoders.base import Array, Layout, Quantisation
from edge_runtime.inputs.encoders.model import InputTensor
from edge_runtime.inputs.encoders.probe import first_working
from edge_runtime.protocol.accelerators import CPU, PROVIDERS

LOG_ERRORS_ONLY = 3
DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


class OnnxRunner:
    """One onnxruntime session; ONNX carries no scale for integer inputs, so they are raw."""

    layout: Layout = "channels_first"

    def __init__(
        self, data: bytes, threads: int, accelerator: str = CPU, *, lean: bool = False
    ) -> None:
        self.backend = first_working("onnxruntime")
        import onnxruntime

        if accelerator != CPU:
            reason = missing_provider(accelerator, onnxruntime.get_available_providers())
            accelerator = fall_back(accelerator, reason) if reason else accelerator
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = LOG_ERRORS_ONLY
        options.enable_cpu_mem_arena = not lean
        # x86 without VNNI adds int8 products in saturating 16 bits: Lite0's taps fell to a cosine
        # of 0.49 against float. This entry avoids it there, and means nothing on ARM.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self.accelerator = accelerator
        self._session = self._open(onnxruntime, data, options)
        self.inputs = tuple(_describe(tensor) for tensor in self._session.get_inputs())
        self.outputs: dict[str, Quantisation | None] = {
            tensor.name: None for tensor in self._session.get_outputs()
        }

    def _open(self, onnxruntime: Any, data: bytes, options: Any) -> Any:
        chosen = [PROVIDERS[self.accelerator]] if self.accelerator != CPU else []
        try:
            session = onnxruntime.InferenceSession(
                data, options, providers=[*chosen, "CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises one class per status, no common base
            if chosen:  # the model may be at fault, or the accelerator: the CPU tells
                self.accelerator = fall_back(self.accelerator, str(error))
                return self._open(onnxruntime, data, options)
            raise EncoderError(
                f"onnxruntime refuses the model: {error}: truncated, weights kept in a second "
                "file, or made for a newer onnxruntime?"
            ) from error
        if not chosen:
            # The session keeps the model's bytes for a change of provider, and there is no other.
            session.disable_fallback()
            session._model_bytes = None
        # A provider that fails to start is left out by onnxruntime, with a line in its log.
        if chosen and chosen[0] not in session.get_providers():
            self.accelerator = fall_back(self.accelerator, "its libraries do not start here")
        return session

    def run(self, sample: Array, names: Sequence[str]) -> list[Any]:
        """Compute these outputs for one sample."""
        answers: list[Any] = self._session.run(list(names), {self.inputs[0].name: sample})
        return answers


def _describe(tensor: Any) -> InputTensor:
    """Translate what onnxruntime reports; a named or unknown dimension is free."""
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in tensor.shape)
    dtype = tensor.type.removeprefix("tensor(").removesuffix(")")
    return InputTensor(tensor.name, shape, DTYPES.get(tensor.type, dtype))

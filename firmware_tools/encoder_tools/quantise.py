"""Static int8 quantisation of an encoder, and what it costs: each tap compared with float.

ONNX goes through onnxruntime's quantiser (QDQ, int8, per channel), and keeps float inputs and
outputs. TFLite goes through ai-edge-quantizer (int8 weights and activations), an optional package;
its inputs and outputs become int8, which the encoder hides. Weight-only ("dynamic") TFLite is not
offered: on Lite0 it runs slower than float. Not here: choosing the calibration samples.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import BackendError, EncoderError
from edge_runtime.inputs.encoders import open_encoder
from edge_runtime.inputs.encoders.base import Floats, check_batch
from edge_runtime.inputs.encoders.opening import read_model
from firmware_tools.files import write_atomically


@dataclass(frozen=True)
class QuantisationReport:
    """What quantisation did, on the calibration samples.

    Attributes
    ----------
    cosines
        Tap to (mean, worst) cosine between the float and the int8 vector of a sample; 1 is equal.
    """

    path: Path
    n_bytes_before: int
    n_bytes_after: int
    cosines: dict[str, tuple[float, float]]


def quantise_encoder(
    source: str | Path, target: str | Path, calibration: NDArray[Any]
) -> QuantisationReport:
    """Write an int8 copy of a float model, and compare their taps.

    Parameters
    ----------
    calibration : (n, *sample shape)
        Samples as the encoder will see them, prepared. Twenty typical ones do for Lite0; they
        set the range of every activation.

    Raises
    ------
    EncoderError
        If the source is no encoder, the target is the source or of another format, or the
        quantiser fails.
    SampleError
        If the calibration samples do not fit the encoder.
    BackendError
        If the quantiser is not installed.
    """
    source, target = Path(source), Path(target)
    if source.suffix != target.suffix or source.resolve() == target.resolve():
        raise EncoderError(f"{target} must be another {source.suffix} file than {source}")
    data = read_model(source)
    encoder = open_encoder(source)
    spec = encoder.input_spec
    if spec is None or spec.dtype.kind != "f":
        raise EncoderError(f"{source} does not take floats: is it quantised already?")
    samples = check_batch(calibration, spec.shape).astype(spec.dtype)
    quantise = _quantise_onnx if source.suffix == ".onnx" else _quantise_tflite
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / target.name
        draft.write_bytes(quantise(data, samples, Path(folder)))
        after = open_encoder(draft, encoder.taps)
        before, now = encoder(samples), after(samples)
        cosines = {name: _cosines(before[name], now[name]) for name in encoder.taps}
        write_atomically(target, draft.read_bytes())
    return QuantisationReport(target, encoder.n_bytes, after.n_bytes, cosines)


def _cosines(left: Floats, right: Floats) -> tuple[float, float]:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = np.einsum("nd,nd->n", left, right) / np.maximum(norms, np.finfo(np.float32).tiny)
    return float(cosines.mean()), float(cosines.min())


def _quantise_onnx(data: bytes, samples: Floats, folder: Path) -> bytes:
    quantization = _import("onnxruntime.quantization", "onnxruntime onnx")
    prepared, draft = folder / "prepared.onnx", folder / "draft.onnx"
    (folder / "float.onnx").write_bytes(data)
    try:
        shape_inference = importlib.import_module("onnxruntime.quantization.shape_inference")
        shape_inference.quant_pre_process(
            folder / "float.onnx",
            prepared,
            skip_symbolic_shape=True,  # needs sympy, and no gain
        )
        quantization.quantize_static(
            prepared,
            draft,
            _reader(quantization.CalibrationDataReader, samples, _input_name(prepared)),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )
    except Exception as error:  # the quantiser raises whatever its many helpers raise
        raise EncoderError(f"onnxruntime cannot quantise the model: {error}") from error
    return draft.read_bytes()


def _input_name(path: Path) -> str:
    onnx = importlib.import_module("onnx")
    graph = onnx.load_model(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    return next(str(info.name) for info in graph.input if info.name not in weights)


def _reader(base: type[Any], samples: Floats, name: str) -> Any:
    """Onnxruntime's source of calibration samples: a dict at a time, None at the end."""

    class Reader(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self._samples: Iterator[Floats] = iter(samples)

        def get_next(self) -> dict[str, Floats] | None:
            sample = next(self._samples, None)
            return None if sample is None else {name: sample[None]}

    return Reader()


def _quantise_tflite(data: bytes, samples: Floats, folder: Path) -> bytes:
    quantizer = _import("ai_edge_quantizer.quantizer", "ai-edge-quantizer")
    recipe = _import("ai_edge_quantizer.recipe", "ai-edge-quantizer")
    key, name = _signature(data)
    try:
        tool = quantizer.Quantizer(bytearray(data), recipe.static_wi8_ai8())
        calibration = tool.calibrate({key: [{name: sample[None]} for sample in samples]})
        return bytes(tool.quantize(calibration).quantized_model)
    except Exception as error:  # the quantiser raises whatever its many helpers raise
        raise EncoderError(f"ai-edge-quantizer cannot quantise the model: {error}") from error


def _signature(data: bytes) -> tuple[str, str]:
    """Key of the first signature, and its name for the one input."""
    tflite = _import("ai_edge_litert.interpreter", "ai-edge-litert")
    signatures = tflite.Interpreter(model_content=data).get_signature_list()
    for key, names in signatures.items():
        return str(key), str(names["inputs"][0])
    raise EncoderError("the TFLite model has no signature, which its quantiser needs")


def _import(module: str, packages: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendError(
            f"quantising needs a package that is not installed: pip install {packages} ({error})"
        ) from error

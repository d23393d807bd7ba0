"""`open_encoder`: from a path to an encoder, with the file checked before any library sees it.

Not here: running a model (`model`), and the libraries (`onnx`, `tflite`), which load on demand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_runtime.errors import EncoderError
from edge_runtime.inputs.encoders.accelerators import check_name
from edge_runtime.inputs.encoders.base import Encoder
from edge_runtime.inputs.encoders.model import ModelEncoder, Runner
from edge_runtime.protocol.accelerators import CPU

MAX_MODEL_BYTES: Final = 512 * 2**20  # half the memory of a 1 GB board; Lite0 has 18 MB
MIN_MODEL_BYTES: Final = 16  # no model of either format is smaller
# First bytes of an ONNX file: the protobuf tag of a ModelProto field (onnx.proto): ir_version,
# producer_name, producer_version, domain, model_version, doc_string, graph, opset_import.
ONNX_TAGS: Final = b"\x08\x12\x1a\x22\x28\x32\x3a\x42"
FOREIGN: Final = {
    b"PK\x03\x04": "a zip file (a model pack, or torch weights?)",
    b"\x1f\x8b": "a gzip file: unpack it",
    b"version https://git-lfs": "a Git LFS pointer: fetch the real file",
    b"<": "HTML or XML: was an error page downloaded?",
    b"\x80\x02": "a Python pickle (torch weights?)",
    b"\x89HDF": "an HDF5 file (Keras?): convert it to TFLite",
}


def open_encoder(
    path: str | Path,
    taps: Sequence[str] | None = None,
    *,
    threads: int = 1,
    embedding: str | None = None,
    accelerator: str = CPU,
    lean: bool = False,
) -> Encoder:
    """Open a frozen ``.onnx`` or ``.tflite`` model as an encoder.

    Parameters
    ----------
    taps
        Names of outputs, in the order wanted; the last is the embedding. None takes every output
        that is a vector or a feature map, up to and including the embedding: what follows it
        (logits) is a head, not a tap.
    threads
        CPU threads of the inference library. One is right for one sample at a time.
    embedding
        Name of the embedding if it is not the last: it moves to the end of ``taps``. With both
        None, an output named ``embedding``, or else the last.
    accelerator
        "cpu"; for ONNX "cuda", "tensorrt", "xnnpack", "acl" or "coreml"; for TFLite "edgetpu",
        "gpu", "armnn", "hexagon" or "vx". One that is not to be had is an `AcceleratorWarning` that
        says why, and the CPU serves: see ``encoder.accelerator``.
    lean
        Less memory for some time: TFLite weights are mapped from the file, which must not change
        while the encoder is in use; onnxruntime keeps no buffers from one sample to the next.

    Returns
    -------
    Encoder
        ``encoder(batch)`` takes real numbers of shape (n, *encoder.input_spec.shape).

    Raises
    ------
    EncoderError
        If the file is missing, empty, truncated, foreign, too large, or no encoder (several
        inputs, free dimensions); if nobody knows the accelerator.
    UnknownTapError
        If a tap is not among the model's outputs.
    BackendError
        If no inference library for the format works on this machine.

    Examples
    --------
    >>> open_encoder("no-such-model.onnx")
    Traceback (most recent call last):
    edge_runtime.errors.EncoderError: no-such-model.onnx does not exist
    """
    if type(threads) is not int or threads < 1:
        raise EncoderError(f"threads is {threads!r}, expected an integer of at least 1")
    check_name(accelerator)
    path = Path(path)
    data = read_model(path)
    return ModelEncoder(_load(path, data, threads, accelerator, lean), data, taps, embedding)


def _load(path: Path, data: bytes, threads: int, accelerator: str, lean: bool) -> Runner:
    if path.suffix == ".onnx":
        from edge_runtime.inputs.encoders.onnx import OnnxRunner

        return OnnxRunner(data, threads, accelerator, lean=lean)
    from edge_runtime.inputs.encoders.tflite import TfliteRunner

    return TfliteRunner(data, threads, accelerator, mapped=path if lean else None)


def read_model(path: Path) -> bytes:
    """Bytes of a model file whose size, suffix and first bytes are plausible.

    Raises
    ------
    EncoderError
        If it is not a regular file, of a wrong size, or its content is not what the suffix says.
    """
    try:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "does not exist"
            raise EncoderError(f"{path} {what}")
        size = path.stat().st_size
        if not MIN_MODEL_BYTES <= size <= MAX_MODEL_BYTES:
            raise EncoderError(
                f"{path} has {size} bytes, expected {MIN_MODEL_BYTES} to {MAX_MODEL_BYTES}"
                f"{': the copy was cut off?' if size < MIN_MODEL_BYTES else ''}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise EncoderError(f"cannot read {path}: {error}") from error
    _check_format(path, data)
    return data


def _check_format(path: Path, data: bytes) -> None:
    if path.suffix not in (".onnx", ".tflite"):
        raise EncoderError(f"{path} ends in {path.suffix!r}, expected .onnx or .tflite")
    found = _content(data)
    if found != path.suffix:
        raise EncoderError(
            f"{path} holds {found}, its suffix says {path.suffix}: damaged, renamed?"
        )


def _content(data: bytes) -> str:
    """Suffix that the first bytes speak for, or a description of what they are instead."""
    for start, description in FOREIGN.items():
        if data.startswith(start):
            return description
    if data[4:8] == b"TFL3":
        return ".tflite"
    return ".onnx" if data[:1] in ONNX_TAGS else f"unknown bytes {data[:8]!r}"

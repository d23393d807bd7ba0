"""Inner tensors of ONNX models, through the onnx package.

Types and shapes come from ONNX's own shape inference, since an output must declare them. Tensors
inside the branches of If and Loop are not visible. Not here: which names are allowed (`taps`).
"""

from __future__ import annotations

import importlib
from typing import Any

from edge_runtime.errors import BackendError, EncoderError

Row = tuple[str, tuple[int | None, ...] | None, str, bool]


def rows(data: bytes) -> list[Row]:
    """Name, shape, dtype and whether it is an output, of every tensor that a node computes."""
    graph = parse_model(data).graph
    known = {info.name: info for info in (*graph.value_info, *graph.output)}
    outputs = {info.name for info in graph.output}
    names = [name for node in graph.node for name in node.output if name]
    return [(name, *_describe(known.get(name)), name in outputs) for name in names]


def expose(data: bytes, taps: list[str]) -> bytes:
    """Return the model with these tensors as its first outputs."""
    onnx = load_onnx()
    model = parse_model(data)
    known = {info.name: info for info in model.graph.value_info}
    outputs = [*(known[name] for name in taps), *model.graph.output]
    copies = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in outputs]
    del model.graph.output[:]
    model.graph.output.extend(copies)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def parse_model(data: bytes) -> Any:
    """Parse and check a model, and infer the shapes and types of its tensors.

    Raises
    ------
    EncoderError
        If the bytes are no valid ONNX model, or its weights lie in a second file.
    BackendError
        If the onnx package is not installed.
    """
    onnx = load_onnx()
    try:
        model = onnx.load_model_from_string(data)
        external = [t.name for t in model.graph.initializer if t.data_location == t.EXTERNAL]
        if not external:
            onnx.checker.check_model(model)
            return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # protobuf's DecodeError, onnx's ValidationError, InferenceError
        raise EncoderError(f"not a valid ONNX model, or damaged: {error}") from error
    raise EncoderError(
        f"the weights ({external[0]}, ...) lie in a second file: save the model as one file"
    )


def load_onnx() -> Any:
    """Import the onnx package with the parts used here.

    Raises
    ------
    BackendError
        If it is not installed.
    """
    try:
        onnx = importlib.import_module("onnx")
        importlib.import_module("onnx.shape_inference")
    except ImportError as error:
        raise BackendError(f"ONNX models need the onnx package: pip install onnx ({error})") from (
            error
        )
    return onnx


def _describe(info: Any) -> tuple[tuple[int | None, ...] | None, str]:
    if info is None or not info.type.HasField("tensor_type") or not info.type.tensor_type.elem_type:
        return None, "unknown"
    tensor = info.type.tensor_type
    dtype = load_onnx().helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    if not tensor.HasField("shape"):
        return None, dtype
    dims = tensor.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims), dtype

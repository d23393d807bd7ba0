"""Inner tensors of TFLite models, by surgery on the flatbuffer.

Only the main subgraph is looked at. An exposed tensor is added to the subgraph's outputs and to
the signatures that describe it, so the kernels run as before. Not here: which names are allowed
(`taps`).
"""

from __future__ import annotations

from typing import Any

from edge_runtime.errors import EncoderError
from firmware_tools.encoder_tools.tflite_schema import load_schema, pack_model, unpack_model

Row = tuple[str, tuple[int | None, ...] | None, str, bool]


def rows(data: bytes) -> list[Row]:
    """Name, shape, dtype and whether it is an output, of every tensor that an operator computes."""
    model = unpack_model(data)
    graph = main_subgraph(model)
    kinds = {
        value: name.lower()
        for name, value in vars(load_schema().TensorType).items()
        if isinstance(value, int)
    }
    outputs = set(_ids(graph.outputs))
    return [
        (_name(tensor), _shape(tensor), kinds.get(tensor.type, "unknown"), index in outputs)
        for index, tensor in _computed(graph)
    ]


def expose(data: bytes, taps: list[str]) -> bytes:
    """Return the model with these tensors as its first outputs."""
    model = unpack_model(data)
    graph = main_subgraph(model)
    indices = {_name(tensor): index for index, tensor in _computed(graph)}
    graph.outputs = [*(indices[name] for name in taps), *_ids(graph.outputs)]
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == 0:
            added = [_tensor_map(name, indices[name]) for name in taps]
            signature.outputs = [*added, *(signature.outputs or ())]
    return pack_model(model)


def main_subgraph(model: Any) -> Any:
    """Subgraph 0, with its references inside the model.

    Raises
    ------
    EncoderError
        If there is none, or it refers to tensors that do not exist.
    """
    graphs = model.subgraphs or ()
    if not graphs or not graphs[0].tensors:
        raise EncoderError("the TFLite model has no subgraph with tensors")
    graph = graphs[0]
    produced = [i for operator in graph.operators or () for i in _ids(operator.outputs)]
    if not all(0 <= i < len(graph.tensors) for i in (*produced, *_ids(graph.outputs))):
        raise EncoderError("the TFLite model refers to tensors that do not exist: damaged")
    return graph


def _computed(graph: Any) -> list[tuple[int, Any]]:
    return [
        (index, graph.tensors[index])
        for operator in graph.operators or ()
        for index in _ids(operator.outputs)
    ]


def _ids(vector: Any) -> list[int]:
    return [] if vector is None else [int(i) for i in vector]


def _name(tensor: Any) -> str:
    return (tensor.name or b"").decode(errors="replace")


def _shape(tensor: Any) -> tuple[int | None, ...]:
    signature = _ids(tensor.shapeSignature)
    return tuple(size if size > 0 else None for size in signature or _ids(tensor.shape))


def _tensor_map(name: str, index: int) -> Any:
    entry = load_schema().TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry

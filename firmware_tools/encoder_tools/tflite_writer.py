"""Write a `Network` as TFLite: float32, channels last, batch 1 (resizable), one signature.

The flatbuffer is built through the schema classes that ai-edge-litert ships. A signature is
written because quantisers need one. Not here: what the network means, and reading TFLite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from firmware_tools.encoder_tools.graph import (
    Add,
    Conv,
    Floats,
    Network,
    Node,
    SpatialMean,
    feature_shapes,
)
from firmware_tools.encoder_tools.tflite_schema import load_schema, pack_model

SCHEMA_VERSION = 3
SIGNATURE = "serving_default"


def tflite_bytes(network: Network) -> bytes:
    """Return the bytes of a ``.tflite`` file; its input ``image`` is (1, size, size, channels).

    Raises
    ------
    BackendError
        If ai-edge-litert, which ships the schema, or flatbuffers is not installed.
    """
    writer = _Writer(network)
    for node in network.nodes:
        writer.write(node)
    return writer.finish()


class _Writer:
    """Collects tensors, buffers and operators of one subgraph."""

    def __init__(self, network: Network) -> None:
        self.schema = load_schema()
        self.network = network
        self.shapes = feature_shapes(network)
        self.buffers = [self.schema.BufferT()]  # buffer 0 is empty by convention
        self.tensors: list[Any] = []
        self.ids: dict[str, int] = {}
        self.operators: list[Any] = []
        self.codes: list[Any] = []
        self._add_tensor("image", self._map_shape("image"))

    def write(self, node: Node) -> None:
        if isinstance(node, Conv):
            self._write_conv(node)
        elif isinstance(node, Add):
            self._operator("ADD", [node.left, node.right], node.target, self.schema.AddOptionsT())
        elif isinstance(node, SpatialMean):
            options = self.schema.ReducerOptionsT()
            options.keepDims = False
            self._constant("spatial_axes", np.array([1, 2], np.int32))
            self._operator("MEAN", [node.source, "spatial_axes"], node.target, options)
        else:
            weights = self._weights(node.target, node.weight, node.bias)
            options = self.schema.FullyConnectedOptionsT()
            self._operator("FULLY_CONNECTED", [node.source, *weights], node.target, options)

    def finish(self) -> bytes:
        schema = self.schema
        subgraph = schema.SubGraphT()
        subgraph.name = self.network.name
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs = [self.ids["image"]]
        subgraph.outputs = [self.ids[name] for name in self.network.outputs]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        signature.inputs = [self._tensor_map("image")]
        signature.outputs = [self._tensor_map(name) for name in self.network.outputs]
        model = schema.ModelT()
        model.version = SCHEMA_VERSION
        model.description = "edge-runtime"
        model.operatorCodes, model.buffers = self.codes, self.buffers
        model.subgraphs, model.signatureDefs = [subgraph], [signature]
        return pack_model(model)

    def _write_conv(self, node: Conv) -> None:
        schema = self.schema
        options = schema.DepthwiseConv2DOptionsT() if node.depthwise else schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME
        options.strideH = options.strideW = node.stride
        options.dilationHFactor = options.dilationWFactor = 1
        if node.relu6:
            options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        order = (
            (1, 2, 3, 0) if node.depthwise else (0, 2, 3, 1)
        )  # (1, h, w, out) or (out, h, w, in)
        weights = self._weights(node.target, node.weight.transpose(order), node.bias)
        kind = "DEPTHWISE_CONV_2D" if node.depthwise else "CONV_2D"
        if node.depthwise:
            options.depthMultiplier = 1
        self._operator(kind, [node.source, *weights], node.target, options)

    def _operator(self, kind: str, inputs: list[str], target: str, options: Any) -> None:
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs = [self.ids[name] for name in inputs]
        operator.outputs = [self._add_tensor(target, self._map_shape(target))]
        options_name = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options_name)
        operator.builtinOptions = options
        self.operators.append(operator)

    def _code(self, kind: str) -> int:
        builtin = getattr(self.schema.BuiltinOperator, kind)
        for index, code in enumerate(self.codes):
            if code.builtinCode == builtin:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin  # old readers look at the second
        code.version = 1
        self.codes.append(code)
        return len(self.codes) - 1

    def _map_shape(self, name: str) -> list[int]:
        shape = self.shapes[name]
        return [1, shape[0], *shape] if len(shape) == 2 else [1, *shape]

    def _weights(self, name: str, weight: Floats, bias: Floats) -> list[str]:
        names = [f"{name}.weight", f"{name}.bias"]
        self._constant(names[0], weight)
        self._constant(names[1], bias)
        return names

    def _constant(self, name: str, values: np.ndarray[Any, Any]) -> None:
        if name in self.ids:
            return
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.buffers.append(buffer)
        self._add_tensor(name, list(values.shape), values.dtype, len(self.buffers) - 1)

    def _add_tensor(
        self, name: str, shape: list[int], dtype: Any = np.float32, buffer: int = 0
    ) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, shape, buffer
        types = self.schema.TensorType
        tensor.type = types.INT32 if dtype == np.int32 else types.FLOAT32
        if buffer == 0:  # only what flows through the network has a batch, and it may be resized
            tensor.shapeSignature = [-1, *shape[1:]]
        self.tensors.append(tensor)
        self.ids[name] = len(self.tensors) - 1
        return self.ids[name]

    def _tensor_map(self, name: str) -> Any:
        entry = self.schema.TensorMapT()
        entry.name, entry.tensorIndex = name, self.ids[name]
        return entry

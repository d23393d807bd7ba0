"""Write a `Network` as ONNX: opset 17, channels first, any batch size.

Opset 17 and IR version 8 are read by every onnxruntime since 1.12. Padding is explicit, because
``auto_pad`` is deprecated and quantisers do not all know it. Not here: what the network means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from firmware_tools.encoder_tools.graph import (
    Add,
    Conv,
    Dense,
    Network,
    Node,
    SpatialMean,
    feature_shapes,
    same_padding,
)

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8


def onnx_bytes(network: Network) -> bytes:
    """Return the bytes of an ``.onnx`` file; its input ``image`` is (n, channels, size, size)."""
    import onnx
    from onnx import TensorProto, helper

    shapes = feature_shapes(network)
    graph = helper.make_graph([], network.name, [], [])
    for name, limit in (("zero", 0.0), ("six", 6.0)):
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(limit), name))
    for node in network.nodes:
        _write_node(graph, node, shapes)
    size = network.image_size
    graph.input.append(
        helper.make_tensor_value_info(
            "image", TensorProto.FLOAT, ["n", network.image_channels, size, size]
        )
    )
    for name in network.outputs:
        shape = ["n", *shapes[name]]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    model = helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="edge-runtime",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _write_node(graph: onnx.GraphProto, node: Node, shapes: dict[str, tuple[int, ...]]) -> None:
    from onnx import helper

    if isinstance(node, Conv):
        _write_conv(graph, node, shapes[node.source][0])
    elif isinstance(node, Add):
        graph.node.append(helper.make_node("Add", [node.left, node.right], [node.target]))
    elif isinstance(node, SpatialMean):
        graph.node.append(
            helper.make_node("ReduceMean", [node.source], [node.target], axes=[2, 3], keepdims=0)
        )
    else:
        inputs = [node.source, *_add_weights(graph, node)]
        graph.node.append(helper.make_node("Gemm", inputs, [node.target], transB=1))


def _write_conv(graph: onnx.GraphProto, node: Conv, size: int) -> None:
    from onnx import helper

    kernel = node.weight.shape[-1]
    before, after = same_padding(size, kernel, node.stride)
    linear = f"{node.target}.linear" if node.relu6 else node.target
    graph.node.append(
        helper.make_node(
            "Conv",
            [node.source, *_add_weights(graph, node)],
            [linear],
            kernel_shape=[kernel, kernel],
            strides=[node.stride, node.stride],
            pads=[before, before, after, after],
            group=len(node.bias) if node.depthwise else 1,
        )
    )
    if node.relu6:
        graph.node.append(helper.make_node("Clip", [linear, "zero", "six"], [node.target]))


def _add_weights(graph: onnx.GraphProto, node: Conv | Dense) -> list[str]:
    from onnx import numpy_helper

    names = [f"{node.target}.weight", f"{node.target}.bias"]
    for name, values in zip(names, (node.weight, node.bias), strict=True):
        graph.initializer.append(numpy_helper.from_array(values, name))
    return names

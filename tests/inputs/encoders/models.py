"""Small models for the encoder tests, built from exact numbers.

``python -m tests.inputs.encoders.models`` writes the TFLite files in ``data/`` anew; it needs
ai-edge-litert and ai-edge-quantizer. They are kept as files so that the TFLite tests also run with
tflite-runtime alone, which ships neither the schema nor a quantiser.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from firmware_tools.encoder_tools.graph import Add, Conv, Dense, Network, SpatialMean

DATA = Path(__file__).parent / "data"
SMALL_TFLITE = DATA / "small.tflite"
SMALL_INT8_TFLITE = DATA / "small_int8.tflite"
SIZE = 8
TAPS = ("tap", "embedding", "logits")
WIDTHS = {"tap": 4, "embedding": 5, "logits": 2}


def weights(*shape):
    """Multiples of 1/16 between -0.5 and 0.5: exact in float32, and different everywhere."""
    numbers = np.arange(np.prod(shape)) * 7 % 17 - 8
    return (numbers / 16).astype(np.float32).reshape(shape)


def small_network() -> Network:
    """Every node kind once: strided, depthwise and pointwise convolution, sum, mean, dense."""
    nodes = (
        Conv("image", "stem", weights(4, 3, 3, 3), weights(4), 2, depthwise=False, relu6=True),
        Conv("stem", "deep", weights(4, 1, 3, 3), weights(4), 1, depthwise=True, relu6=False),
        Add("deep", "stem", "sum"),
        SpatialMean("sum", "tap"),
        Conv("sum", "head", weights(5, 4, 1, 1), weights(5), 1, depthwise=False, relu6=True),
        SpatialMean("head", "embedding"),
        Dense("embedding", "logits", weights(2, 5), weights(2)),
    )
    return Network("small", SIZE, 3, nodes, TAPS)


def images(n, seed=0):
    """Float images, channels last, between -1 and 1."""
    shape = (n, SIZE, SIZE, 3)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def channels_first(batch):
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))


def expected_taps(batch):
    """The small network in plain loops over pixels, channels last: the twin of every backend."""
    network, values = small_network(), {"image": batch.astype(np.float64)}
    for node in network.nodes:
        if isinstance(node, Conv):
            values[node.target] = _naive_conv(values[node.source], node)
        elif isinstance(node, Add):
            values[node.target] = values[node.left] + values[node.right]
        elif isinstance(node, SpatialMean):
            values[node.target] = values[node.source].mean(axis=(1, 2))
        else:
            values[node.target] = values[node.source] @ node.weight.T + node.bias
    return {name: values[name] for name in network.outputs}


def _naive_conv(x, node):
    kernel, size, stride = node.weight.shape[-1], x.shape[1], node.stride
    n_out = -(-size // stride)
    total = max((n_out - 1) * stride + kernel - size, 0)
    edges = (total // 2, total - total // 2)
    x = np.pad(x, ((0, 0), edges, edges, (0, 0)))
    out = np.zeros((len(x), n_out, n_out, len(node.bias)))
    for row in range(n_out):
        for column in range(n_out):
            top, left = row * stride, column * stride
            patch = x[:, top : top + kernel, left : left + kernel]
            rule = "nhwo,ohw->no" if node.depthwise else "nhwi,oihw->no"
            weight = node.weight[:, 0] if node.depthwise else node.weight
            out[:, row, column] = np.einsum(rule, patch, weight) + node.bias
    return np.clip(out, 0, 6) if node.relu6 else out


def onnx_model(nodes, inputs, outputs, initializers=()):
    """Bytes of an ONNX model; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*row) for row in inputs],
        [helper.make_tensor_value_info(*row) for row in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in initializers],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()


def identity_onnx(shape, dtype=TensorProto.FLOAT, name="y"):
    """A model whose one output is its input."""
    node = helper.make_node("Identity", ["x"], [name])
    return onnx_model([node], [("x", dtype, shape)], [(name, dtype, shape)])


def _write_data() -> None:
    from firmware_tools.encoder_tools.quantise import quantise_encoder
    from firmware_tools.encoder_tools.tflite_writer import tflite_bytes

    DATA.mkdir(exist_ok=True)
    SMALL_TFLITE.write_bytes(tflite_bytes(small_network()))
    quantise_encoder(SMALL_TFLITE, SMALL_INT8_TFLITE, images(64, seed=1))


if __name__ == "__main__":
    _write_data()

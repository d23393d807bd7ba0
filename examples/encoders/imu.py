"""An encoder for motion sensors, made here by tpSGD. Run: `python -m examples.encoders.imu`.

Three convolutions over windows of 128 readings of six channels learn six activities from users 1 to
20 of HAPT, layer by layer and without backpropagation; then they are frozen and written as ONNX.
Users 21 to 30 are never looked at. The hidden layers' rate was chosen on users 17 to 20, who were
left out for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from adaptors import Conv1d, TargetProjectionNetwork
from adaptors.normalise import EPSILON
from edge_runtime import open_encoder
from edge_runtime.inputs.encoders.base import Encoder
from examples.datasets import hapt
from examples.datasets.archives import cache_dir
from firmware_tools.files import write_atomically

Signals = npt.NDArray[np.float32]

LAST_USER = 20
WIDTHS, KERNELS, STRIDES = (32, 64, 128), (9, 5, 5), (2, 1, 1)
RATE, HIDDEN_RATE, EPOCHS, BATCH = 1.0, 10.0, 8, 64
LIMIT = 10.0  # standard deviations
VERSION = 1  # of this recipe: a new one is another file


def open_imu_encoder(threads: int = 1) -> Encoder:
    """Windows (128, 6), acceleration in g and rotation in rad/s, to three taps of 32, 64 and 384.

    Made on first use (half a minute) and kept in the cache.
    """
    path = cache_dir() / f"imu_encoder_{VERSION}.onnx"
    if not path.exists():
        signals, y, users = hapt.load()
        rows = (y <= hapt.N_BASIC) & (users <= LAST_USER)
        write_atomically(path, onnx_bytes(*train(signals[rows], y[rows] - 1)))
    return open_encoder(path, threads=threads)


def train(
    signals: Signals, y: npt.NDArray[np.int64], epochs: int = EPOCHS, seed: int = 0
) -> tuple[TargetProjectionNetwork, Signals, Signals]:
    """Learn from windows (n, 128, 6); return the network, and mean and scale of each channel."""
    mean, scale = signals.mean(axis=(0, 1)), 1 / signals.std(axis=(0, 1))
    Z = np.clip((signals - mean) * scale, -LIMIT, LIMIT).astype(np.float32)
    layers = [
        Conv1d(
            width,
            kernel=kernel,
            stride=stride,
            pool=None if width == WIDTHS[-1] else "max",
            activation="relu",
            target="grid",
            normalise=True,
        )
        for width, kernel, stride in zip(WIDTHS, KERNELS, STRIDES, strict=True)
    ]
    n_classes = int(y.max()) + 1
    network = TargetProjectionNetwork(
        layers, signals.shape[1:], n_classes, "cross_entropy", seed, whiten=True
    )
    rng, n_batches = np.random.default_rng(seed), -(-len(y) // BATCH)
    for step in range(epochs * n_batches):
        if step % n_batches == 0:
            batches = np.array_split(rng.permutation(len(y)), n_batches)
        rows, left = batches[step % n_batches], 1 - step / (epochs * n_batches)
        network.step(
            Z[rows], y[rows], learning_rate=RATE * left, hidden_learning_rate=HIDDEN_RATE * left
        )
    return network, mean, scale


def taps_of(network: TargetProjectionNetwork, Z: Signals) -> dict[str, Signals]:
    """What the file answers, by the layers themselves, for standardised windows."""
    found, h = {}, Z
    for i, layer in enumerate(network.layers, start=1):
        h = layer.forward(h)
        found[f"tap{i}"] = h.mean(axis=1)
    mean = found.pop(f"tap{len(network.layers)}")
    found["embedding"] = np.concatenate([mean, h.max(axis=1), h.std(axis=1)], axis=1)
    return found


def onnx_bytes(network: TargetProjectionNetwork, mean: Signals, scale: Signals) -> bytes:
    """Write the frozen layers; the input ``window`` is (n, 128, 6) as the sensor gives it.

    Taps are the means over time of the layers; the embedding is mean, maximum and deviation of the
    last.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph()
    graph.constant("mean", mean)
    graph.constant("scale", scale)
    graph.constant("low", np.float32(-LIMIT))
    graph.constant("high", np.float32(LIMIT))
    at = graph.node("Mul", [graph.node("Sub", ["window", "mean"]), "scale"])
    at = graph.node("Transpose", [graph.node("Clip", [at, "low", "high"])], perm=[0, 2, 1])
    outputs = []
    for i, layer in enumerate(network.layers, start=1):
        at = graph.layer(layer, at)
        pooled = graph.node("ReduceMean", [at], axes=[2], keepdims=0)
        if i < len(network.layers):
            outputs.append((graph.node("Identity", [pooled], name=f"tap{i}"), layer.n_units))
    peak = graph.node("ReduceMax", [at], axes=[2], keepdims=0)
    spread = graph.node("Sqrt", [graph.variance(at, [2], keepdims=0)])
    graph.node("Concat", [pooled, peak, spread], name="embedding", axis=1)
    outputs.append(("embedding", 3 * network.layers[-1].n_units))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "imu_encoder",
            [
                helper.make_tensor_value_info(
                    "window", TensorProto.FLOAT, ["n", *network.input_shape]
                )
            ],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, ["n", n]) for k, n in outputs],
            graph.constants,
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="edge-runtime",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and constants in the making; every node is named after its place."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: list[str], name: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = name or f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def variance(self, at: str, axes: list[int], keepdims: int = 1) -> str:
        mean = self.node("ReduceMean", [at], axes=axes, keepdims=1)
        centred = self.node("Sub", [at, mean])
        square = self.node("Mul", [centred, centred])
        return self.node("ReduceMean", [square], axes=axes, keepdims=keepdims)

    def layer(self, layer: Any, at: str) -> str:
        """Layer normalisation, convolution, relu, pooling."""
        n = len(self.nodes)
        mean = self.node("ReduceMean", [at], axes=[1, 2], keepdims=1)
        shifted = self.node(
            "Add", [self.variance(at, [1, 2]), self.constant(f"epsilon{n}", EPSILON)]
        )
        at = self.node("Div", [self.node("Sub", [at, mean]), self.node("Sqrt", [shifted])])
        (kernel,), (stride,) = layer.spec.kernel, layer.spec.stride
        weights = layer.weights.reshape(layer.n_units, kernel, -1).transpose(0, 2, 1)
        names = [self.constant(f"weight{n}", weights), self.constant(f"bias{n}", layer.bias)]
        at = self.node("Conv", [at, *names], kernel_shape=[kernel], strides=[stride])
        at = self.node("Relu", [at])
        if layer.spec.pool:
            size = list(layer.spec.pool_size)
            at = self.node("MaxPool", [at], kernel_shape=size, strides=size)
        return at


def main() -> None:
    """Make the encoder and say where it is."""
    encoder = open_imu_encoder()
    print(f"{cache_dir() / f'imu_encoder_{VERSION}.onnx'}: taps {encoder.dims}")


if __name__ == "__main__":
    main()

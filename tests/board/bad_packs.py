"""Packs that crash, hang, eat memory or answer worse, at once or only when real samples come.

    python -m tests.board.bad_packs --packs 50

brings so many to one agent and says how long the board took to be back on the old pack.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from edge_runtime.inputs.encoders import open_encoder
from edge_runtime.protocol.pack import Version, read_pack
from edge_runtime.protocol.pack.container import write_image
from edge_runtime.protocol.pack.manifest import STATE, Manifest
from edge_runtime.protocol.pack.writing import write_pack
from edge_runtime.protocol.wire.edge_messages import MetricsRequest
from edge_runtime.protocol.wire.messages import (
    ImageStateRequest,
    ResetRequest,
    SetImageStateRequest,
)
from edge_runtime.protocol.wire.smp import Refusal
from edge_runtime.runtime import EdgeRuntime
from edge_runtime.state import generations
from firmware_tools.packing import Ingredients, head_payload, model_payload
from tests.board.host import AgentProcess
from tests.inputs.encoders.models import onnx_model
from tests.protocol.packs.making import KEY

WIDTH = 4
LABELS = ["low", "high"]
BACK_S = 30.0


def samples(n, seed=0):
    """Two clusters in turn; never zero, which is what an encoder is tried with."""
    X = np.random.default_rng(seed).normal(2.0, 0.2, (n, WIDTH)).astype(np.float32)
    X[1::2] += 2.0
    return X


def labels(n):
    return [LABELS[i % 2] for i in range(n)]


def encoder(nodes, constants=()):
    """A model from x to y, both (1, WIDTH)."""
    floats = TensorProto.FLOAT
    return onnx_model(
        nodes, [("x", floats, [1, WIDTH])], [("y", floats, [1, WIDTH])], list(constants)
    )


def _loop_body():
    floats, flag = TensorProto.FLOAT, TensorProto.BOOL
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Identity", ["v_in"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", flag, []),
            helper.make_tensor_value_info("v_in", floats, [1, WIDTH]),
        ],
        [
            helper.make_tensor_value_info("go_out", flag, []),
            helper.make_tensor_value_info("v_out", floats, [1, WIDTH]),
        ],
    )


def good_encoder():
    return encoder([helper.make_node("Relu", ["x"], ["y"])])


def _largest():
    """Largest value of x as an integer: 0 while the encoder is only tried."""
    return [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Ceil", ["m"], ["c"]),
        helper.make_node("Cast", ["c"], ["k"], to=TensorProto.INT64),
    ]


def _hangs(*, asleep):
    loop = helper.make_node("Loop", ["n", "go", "x"], ["y"], body=_loop_body())
    constants = [("go", np.array(True)), ("many", np.array(2**60, np.int64))]
    if not asleep:
        return encoder([loop], [("n", np.array(2**63 - 1, np.int64)), constants[0]])
    nodes = [*_largest(), helper.make_node("Mul", ["k", "many"], ["n"]), loop]
    return encoder(nodes, constants)


def _eats(*, asleep):
    eat = [
        helper.make_node("Expand", ["m0", "shape"], ["big"]),
        helper.make_node("ReduceMax", ["big"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    first = [helper.make_node("ReduceMax", ["x"], ["m0"], keepdims=0)]
    if not asleep:
        return encoder([*first, *eat], [("shape", np.array([50_000, 50_000], np.int64))])
    nodes = [
        *_largest(),
        *first,
        helper.make_node("Mul", ["k", "many"], ["length"]),
        helper.make_node("Add", ["length", "one"], ["shape"]),
        *eat,
    ]
    constants = [("many", np.array([2**31], np.int64)), ("one", np.array([1], np.int64))]
    return encoder(nodes, constants)


def _fails():
    """Reads beyond an array's end as soon as a real sample comes."""
    nodes = [
        *_largest(),
        helper.make_node("Gather", ["table", "k"], ["row"], axis=0),
        helper.make_node("Add", ["x", "row"], ["y"]),
    ]
    return encoder(nodes, [("table", np.zeros((1, WIDTH), np.float32))])


class BadWorkshop:
    """Makes the good pack, and bad ones of every kind."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.good_path = directory / "good.onnx"
        self.good_path.write_bytes(good_encoder())
        np.save(directory / "stream.npy", samples(500))
        np.save(directory / "canaries.npy", samples(20, seed=9))
        self.canaries = {"canaries": directory / "canaries.npy", "canary_labels": labels(20)}
        self.good = self._model("good.onnx", "1.0.0", state=self._learn(labels(60)), canaries=True)
        self.kinds = {
            "no encoder": lambda v: self._bytes(b"\x08\x07 nothing", v),
            "hangs at once": lambda v: self._bytes(_hangs(asleep=False), v),
            "eats at once": lambda v: self._bytes(_eats(asleep=False), v),
            "worse": self._worse,
            "damaged state": self._damaged,
            "unknown threshold": lambda v: self._model("good.onnx", v, thresholds={"no_such": 1}),
            "hangs later": lambda v: self._bytes(_hangs(asleep=True), v),
            "eats later": lambda v: self._bytes(_eats(asleep=True), v),
            "fails later": lambda v: self._bytes(_fails(), v),
        }

    def _learn(self, y):
        runtime = EdgeRuntime(open_encoder(self.good_path), n_dims=256)
        runtime.learn_many(samples(60), y)
        runtime.save(self.directory / f"learned-{y[0]}")
        return self.directory / f"learned-{y[0]}"

    def _model(self, name, version, *, canaries=False, **parts):
        parts |= self.canaries if canaries else {}
        payload = model_payload("bad", self.directory / name, None, Ingredients(**parts))
        return write_image(payload, KEY, version=Version.parse(version), security_counter=1)

    def _bytes(self, data, version):
        """A model whose encoder is these bytes; its manifest says what it would be."""
        from dataclasses import replace

        from tests.protocol.packs import making

        try:
            (self.directory / "bad.onnx").write_bytes(data)
            if b"nothing" not in data and version.startswith("2"):
                return self._model("bad.onnx", version)
        except Exception as error:  # it cannot even be opened here
            raise AssertionError("a pack that should only fail later") from error
        entry = replace(making.entry(data), input_shape=(WIDTH,))
        manifest = Manifest("model", "bad", entry, {}, classes=tuple(LABELS))
        version = Version.parse(version)
        return write_pack(
            manifest, {"encoder.onnx": data}, KEY, version=version, security_counter=1
        )

    def _worse(self, version):
        model = read_pack(io.BytesIO(self.good), None)
        wrong = self._learn(labels(61)[1:])
        payload = head_payload("worse", model, Ingredients(state=wrong, **self.canaries))
        return write_image(payload, KEY, version=Version.parse(version), security_counter=1)

    def _damaged(self, version):
        entry = read_pack(io.BytesIO(self.good), None).manifest.encoder
        content = generations.to_bytes({"kind": "other", "number": version}, {})
        manifest = Manifest("head", "damaged", entry, {})
        version = Version.parse(version)
        return write_pack(manifest, {STATE: content}, KEY, version=version, security_counter=1)

    def bad(self, kind, number):
        """One bad pack; each number is another pack."""
        later = 2 if kind.endswith("later") else 3
        return self.kinds[kind](f"{later}.{number}.0")

    def serve(self, name="state", **options):
        """An agent whose stream wakes what sleeps."""
        return AgentProcess(
            self.directory / name, "--stream", f"table:{self.directory}/stream.npy",
            "--interval", "0.02", "--repeat", "--test-s", "8", **options,
        )  # fmt: skip


def try_bad(host, data):
    """Bring a bad pack; seconds from its switch until the old one answers samples again."""
    upload = host.upload(data)
    if upload.refusal is not None and upload.state.value == "failed":
        return 0.0, upload.refusal.rsn
    new = next(each for each in host.ask(ImageStateRequest()).images if each.slot == 1)
    answer = host.ask(SetImageStateRequest(new.hash))
    assert not isinstance(answer, Refusal), answer
    host.ask(ResetRequest())
    started_s = time.monotonic()
    status = host.wait(
        lambda s: s.agent["phase"] == "reverted" and s.agent["worker"] == "ready", 60.0
    )
    seen = host.ask(MetricsRequest()).next
    host.wait(lambda s: host.ask(MetricsRequest(seen)).next > seen)
    return time.monotonic() - started_s, status.agent["attempts"][-1]["reason"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packs", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        workshop = BadWorkshop(Path(directory))
        with workshop.serve() as agent:
            agent.host.install(workshop.good)
            kinds, times = list(workshop.kinds), []
            for number in range(arguments.packs):
                kind = kinds[number % len(kinds)]
                seconds, reason = try_bad(agent.host, workshop.bad(kind, number))
                times.append(seconds)
                print(f"{number:3} {kind:18} {seconds:5.1f} s  {reason}", flush=True)
            status = agent.host.status()
            print(
                f"{arguments.packs} bad packs: back within {max(times):.1f} s at the most; running "
                f"{status.agent['running'][0]['version']}, labels "
                f"{status.runtime['counters']['labels']}"
            )


if __name__ == "__main__":
    main()

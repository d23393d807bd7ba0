"""A workshop: a small real encoder, a key, and what was learned on it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_runtime.board.files import Files
from edge_runtime.board.images import BoardLimits, ImageStore
from edge_runtime.board.record import Now
from edge_runtime.inputs.encoders import open_encoder
from edge_runtime.inputs.encoders.probe import probe_backend
from edge_runtime.protocol.pack import Version, read_pack
from edge_runtime.protocol.pack.container import write_image
from edge_runtime.protocol.pack.manifest import Preprocessing
from edge_runtime.protocol.pack.opening import prepare
from edge_runtime.runtime import EdgeRuntime
from firmware_tools.encoder_tools.onnx_writer import onnx_bytes
from firmware_tools.packing import Ingredients, head_payload, model_payload
from tests.inputs.encoders.models import channels_first, images, small_network
from tests.protocol.packs.making import KEY, PINNED

NOW = Now(0.0, 0.0)
RAW = Preprocessing()
LABELS = ["dark", "bright"]


def samples(n, seed=0):
    """Dark and bright images in turn, channels first."""
    X = channels_first(images(n, seed)) * 0.2 - 0.6
    X[1::2] += 1.2
    return X.astype(np.float32)


def labels(n):
    return [LABELS[i % 2] for i in range(n)]


@dataclass
class Workshop:
    """Where a person makes packs."""

    directory: Path
    encoder: Path
    key: Path

    def learn(self, name, *, n=60, wrong=False, preprocessing=RAW):
        """Directory of a runtime that has learned, on purpose the wrong way round if asked."""
        runtime = EdgeRuntime(prepare(open_encoder(self.encoder), preprocessing), n_dims=256)
        y = labels(n)
        runtime.learn_many(samples(n), [LABELS[label == "dark"] for label in y] if wrong else y)
        runtime.save(self.directory / name)
        return self.directory / name

    def canaries(self, n=10):
        np.save(self.directory / "canaries.npy", samples(n, seed=9))
        return {"canaries": self.directory / "canaries.npy", "canary_labels": labels(n)}

    def model(self, version="1.0.0", **parts):
        payload = model_payload("demo", self.encoder, None, Ingredients(**parts))
        return write_image(payload, KEY, version=Version.parse(version), security_counter=1)

    def head(self, model, version="1.0.0", **parts):
        payload = head_payload(
            "demo-head", read_pack(io.BytesIO(model), PINNED), Ingredients(**parts)
        )
        return write_image(payload, KEY, version=Version.parse(version), security_counter=1)


@pytest.fixture
def workshop(tmp_path):
    if not probe_backend("onnxruntime").ok:
        pytest.skip("NO ONNXRUNTIME: packs with a real encoder were not tried")
    (tmp_path / "small.onnx").write_bytes(onnx_bytes(small_network()))
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    return Workshop(tmp_path, tmp_path / "small.onnx", tmp_path / "key.pem")


class Board:
    """A store in a directory, and the self-test in real child processes."""

    def __init__(self, directory):
        directory.mkdir()
        self.files = Files(directory)
        self.reboot()

    def reboot(self):
        self.store = ImageStore(self.files, PINNED, BoardLimits("0.1.0"))
        return self.store.start(NOW)

    def stage(self, data):
        self.files.write_at("upload-x", 0, data)
        return self.store.stage("upload-x", NOW)

    def bring(self, data):
        """Stage, test in a child, try and confirm; return the verdict."""
        self.stage(data)
        verdict = self.store.test(NOW)
        assert verdict.passed, verdict.reason
        self.store.begin_trial(NOW)
        self.store.confirm(NOW)
        return verdict


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path / "board")

"""Install, run, upgrade, uninstall in a clean Debian, by pip and by .deb; nothing stays behind."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.deb import build_backend, build_runtime
from edge_runtime import EdgeRuntime, open_encoder
from edge_runtime.protocol.pack.container import Version, write_image
from firmware_tools.packing import Ingredients, model_payload
from tests.inputs.encoders.models import SMALL_TFLITE, images
from tests.install.root import Root, fetch_wheels, runnable, skip_without_tools, wheel_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NEXT = "0.1.1"


@pytest.fixture(params=["amd64", "arm64"])
def architecture(request):
    skip_without_tools(request.param)
    with runnable(request.param):
        yield request.param


@pytest.fixture
def root(tmp_path, architecture):
    made = Root(tmp_path / "root", architecture)
    encoder = open_encoder(SMALL_TFLITE)
    X = np.concatenate([images(12, seed=0), images(12, seed=1) + 3.0])
    runtime = EdgeRuntime(encoder, n_dims=256)
    runtime.learn_many(list(X), ["low"] * 12 + ["high"] * 12)
    runtime.save(tmp_path / "learned")
    parts = Ingredients(classes=runtime.classes, state=tmp_path / "learned")
    payload = model_payload("small", SMALL_TFLITE, list(encoder.taps), parts)
    pack = write_image(payload, KEY, version=Version.parse("1.0.0"), security_counter=0)
    (made.path / "tmp/small.pack").write_bytes(pack)
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (made.path / "tmp/host.pem").write_bytes(pem)
    (made.path / "tmp/frames").mkdir()
    for i in (0, 20):
        np.save(made.path / f"tmp/frames/{i:02}.npy", X[i])
    return made


def check_it_runs(root, program):
    """Predictions of a real pack, with learned state kept from one run to the next."""
    words = ("run", "/tmp/small.pack", "--stream", "files:/tmp/frames", "--learned", "/tmp/learned")
    said = [json.loads(line) for line in root(program, *words).splitlines()]
    assert [each["label"] for each in said if "label" in each] == ["low", "high"]
    return said[0]["learned"]


def check_service(root, program):
    """The unit is written with what was asked for, and names a program that is there."""
    keys = ("--key", "/tmp/host.pem", "--no-start")
    root(program, "install", "--port", "/dev/ttyAMA0", *keys, "--", "--profile", "small")
    unit = (root.path / "etc/systemd/system/edge-agent.service").read_text()
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert (root.path / command.removeprefix("ExecStart=/").split()[0]).exists()
    assert (root.path / "var/lib/edge-agent/keys/host.pem").exists()


def test_pip(root, tmp_path):
    before = root.files()
    wheel = wheel_of("0.1.0", tmp_path)
    fetch_wheels(f"{wheel}[litert]", root.path / "tmp/wheels", root.architecture)
    root.bring(wheel_of(NEXT, tmp_path), f"tmp/next/edge_runtime-{NEXT}-py3-none-any.whl")
    pip = ("/opt/edge-runtime/bin/pip", "install", "--quiet", "--no-index", "--find-links")
    program = "/opt/edge-runtime/bin/edge-agent"

    root("python3", "-m", "venv", "/opt/edge-runtime")
    root(*pip, "/tmp/wheels", "edge-runtime[litert]")
    assert check_it_runs(root, program) == "the pack's"
    assert "NumPy serves" in root(program, "warm-up")
    check_service(root, program)
    root(*pip, "/tmp/next", "--no-deps", "--upgrade", "edge-runtime")
    assert NEXT in root("/opt/edge-runtime/bin/pip", "show", "edge-runtime")
    assert check_it_runs(root, program) == "its own"
    root(program, "uninstall", "--no-stop")
    root("rm", "-rf", "/opt/edge-runtime")
    assert root.files() == before


def test_deb(root, tmp_path):
    before = root.files()
    for version in ("0.1.0", NEXT):
        root.bring(build_runtime(tmp_path, version), f"tmp/{version}.deb")
    root.bring(build_backend(tmp_path, "litert", root.architecture, "3.11"), "tmp/litert.deb")

    root("dpkg", "--install", "/tmp/0.1.0.deb", "/tmp/litert.deb")
    assert check_it_runs(root, "edge-agent") == "the pack's"
    check_service(root, "edge-agent")
    assert "edgectl" in root("edgectl", "--help")
    (root.path / "var/lib/edge-agent/dear").write_text("learned")
    root("dpkg", "--install", f"/tmp/{NEXT}.deb")
    assert check_it_runs(root, "edge-agent") == "its own"
    assert (root.path / "etc/systemd/system/edge-agent.service").exists()
    root("dpkg", "--remove", "edge-runtime-litert", "edge-runtime")
    assert not (root.path / "etc/systemd/system/edge-agent.service").exists()
    assert (root.path / "var/lib/edge-agent/dear").exists()
    root("dpkg", "--purge", "edge-runtime-litert", "edge-runtime")
    assert root.files() == before

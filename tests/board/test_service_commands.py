"""The service's unit, the doctor, and runs without a line."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge_runtime.board import unit
from edge_runtime.board.__main__ import main
from edge_runtime.board.unit import InstallError, Service, unit_text
from firmware_tools.encoder_tools.onnx_writer import onnx_bytes
from tests.inputs.encoders.models import small_network
from tests.protocol.packs.conftest import samples
from tests.protocol.packs.making import KEY


def tree(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


@pytest.fixture
def public_key(tmp_path):
    path = tmp_path / "key.pub.pem"
    path.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_what_is_installed_is_removed(root, public_key, capsys):
    arguments = ["install", "--port", "/dev/ttyAMA0", "--key", str(public_key), "--no-start"]
    assert main([*arguments, "--root", str(root), "--", "--baud", "921600"]) == 0
    assert tree(root) == [
        "etc/systemd/system/edge-agent.service",
        "var/lib/edge-agent/keys/key.pub.pem",
    ]
    text = (root / "etc/systemd/system/edge-agent.service").read_text()
    assert "serve --baud 921600 --state /var/lib/edge-agent --port /dev/ttyAMA0\n" in text
    assert main([*arguments, "--root", str(root)]) == 1
    assert "uninstall it first" in capsys.readouterr().err
    (root / "var/cache/edge-agent").mkdir(parents=True)
    assert main(["uninstall", "--no-stop", "--root", str(root)]) == 0
    assert tree(root) == []
    assert not (root / "var/lib/edge-agent").exists()
    assert not (root / "var/cache/edge-agent").exists()
    assert main(["uninstall", "--no-stop", "--root", str(root)]) == 0
    assert "nothing was installed" in capsys.readouterr().out


def test_learning_is_kept_if_asked(root):
    unit.install(root, Service("/opt/edge-agent", ("/dev/ttyGS0",)), [], start=False)
    (root / "var/lib/edge-agent/learned").write_text("dear")
    unit.uninstall(root, keep_state=True, stop=False)
    assert tree(root) == ["var/lib/edge-agent/learned"]


def test_a_file_that_is_no_key_is_found_before_anything_is_written(root, tmp_path, capsys):
    (tmp_path / "x.pem").write_text("no key")
    arguments = ["--port", "/dev/ttyAMA0", "--key", str(tmp_path / "x.pem"), "--no-start"]
    assert main(["install", *arguments, "--root", str(root)]) == 1
    assert "holds no public key" in capsys.readouterr().err
    assert tree(root) == []


def test_nothing_escapes_from_the_line_of_the_command():
    for bad in (
        Service("/opt/edge-agent", ("/dev/../etc/passwd",)),
        Service("/opt/edge-agent", ("ttyAMA0",)),
        Service("/opt/edge-agent", ("/dev/ttyAMA0",), ("--name", "x\nExecStartPost=/bin/sh")),
    ):
        with pytest.raises(InstallError):
            unit_text(bad)
    text = unit_text(Service("/opt/edge-agent", ("/dev/ttyAMA0",), ("--name", "100% $HOME")))
    assert "--name '100%% $$HOME' --state" in text


@pytest.mark.parametrize(
    "limits",
    [("512", "200%"), ("0%", "200%"), ("60%", "2"), ("60%\nUser=root", "1%"), ("60%", "0%")],
)
def test_limits_are_what_systemd_understands(limits):
    with pytest.raises(InstallError, match="expected"):
        unit_text(Service("/opt/edge-agent", ("/dev/ttyAMA0",), (), *limits))


@pytest.mark.parametrize("words", [["--profile", "fast"], ["--profile=fast"]])
def test_kernels_are_compiled_before_the_service_starts(words):
    text = unit_text(Service("/opt/edge-agent", ("/dev/ttyAMA0",), tuple(words), "512M", "80%"))
    assert "ExecStartPre=/opt/edge-agent warm-up\nExecStart=" in text
    assert "MemoryMax=512M\nCPUQuota=80%\n" in text
    usual = unit_text(Service("/opt/edge-agent", ("/dev/ttyAMA0",)))
    assert "ExecStartPre" not in usual
    assert "WatchdogSec=" in usual


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="NO SYSTEMD: unit not verified")
def test_systemd_accepts_the_unit(root):
    program = shutil.which("true")
    path = unit.install(root, Service(program, ("/dev/ttyAMA0",)), [], start=False)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    if "Failed to" in done.stderr and "manager" in done.stderr:
        pytest.skip(f"SYSTEMD DOES NOT VERIFY HERE: {done.stderr[:200]}")
    complaints = [line for line in done.stderr.splitlines() if "edge-agent" in line]
    assert complaints == []


@pytest.mark.slow
def test_the_doctor_measures_and_finds_what_is_missing(tmp_path, capsys):
    unpacked = tmp_path / "packs/encoders"
    unpacked.mkdir(parents=True)
    (unpacked / "0123456789ab.onnx").write_bytes(onnx_bytes(small_network()))
    status = main(["doctor", "--json", "--state", str(tmp_path), "--port", "/dev/ttyS99"])
    assert status == 1
    found = {each["what"]: each for each in json.loads(capsys.readouterr().out)}
    assert "MB resident" in found["agent"]["found"]
    assert "MB resident" in found["onnxruntime"]["found"]
    assert "MB resident" in found["encoder 01234567"]["found"]
    assert found["port"]["verdict"] == "fail"
    assert "unprovisioned" in found["state"]["found"]


def test_warm_up_says_how_long_it_took(capsys):
    assert main(["warm-up"]) == 0
    out = capsys.readouterr().out
    assert "kernels ready after" in out or "NumPy serves" in out


def test_a_pack_runs_on_a_stream_without_a_line(workshop, tmp_path, capsys):
    (tmp_path / "demo.pack").write_bytes(workshop.model(state=workshop.learn("learned")))
    np.save(tmp_path / "x.npy", samples(20))
    arguments = ["run", str(tmp_path / "demo.pack"), "--stream", f"table:{tmp_path / 'x.npy'}"]
    assert main([*arguments, "--limit", "5", "--learned", str(tmp_path / "mine")]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[0] == {"learned": "the pack's", "classes": ["dark", "bright"]}
    assert [each["label"] for each in said[1:]] == ["dark", "bright"] * 2 + ["dark"]
    assert len(list((tmp_path / "mine").iterdir())) == 2


def test_an_error_is_one_line(tmp_path, capsys):
    assert main(["run", str(tmp_path / "missing.pack"), "--stream", "none"]) == 1
    assert main(["run", str(tmp_path / "missing.pack"), "--stream", "magic:"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("edge-agent: stream 'magic:', expected none, stdin")

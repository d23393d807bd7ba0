from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge_runtime.errors import BackendError, EncoderError
from edge_runtime.inputs.encoders import open_encoder, probe
from edge_runtime.inputs.encoders.probe import (
    first_working,
    probe_backend,
    try_model,
)

KILL = "import os, signal; os.kill(os.getpid(), signal.{})"
NUMPY_ABI = """
import sys
sys.stderr.write("AttributeError: _ARRAY_API not found\\n")
raise ImportError("numpy.core.multiarray failed to import")
"""


@pytest.fixture(autouse=True)
def fresh_probes():
    """Each test asks anew, and leaves no faked answer behind."""
    probe_backend.cache_clear()
    yield
    probe_backend.cache_clear()


@pytest.fixture
def fake_onnxruntime(tmp_path, monkeypatch):
    """Put a package named onnxruntime with this code in front of the real one, for children."""

    def install(code: str) -> None:
        (tmp_path / "onnxruntime").mkdir()
        (tmp_path / "onnxruntime" / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_every_backend_gets_a_result():
    assert list(probe.MODULES) == ["litert", "onnxruntime", "tflite-runtime"]
    for name in probe.MODULES:
        result = probe_backend(name)
        assert result.backend == name
        assert (result.reason == "") == (result.ok is True)


def test_onnxruntime_works_here_and_has_a_version():
    result = probe_backend("onnxruntime")
    assert result.ok
    assert result.version is not None
    assert result.version[0].isdigit()


def test_a_result_is_remembered(monkeypatch):
    first = probe_backend("onnxruntime")
    monkeypatch.setattr(subprocess, "run", None)
    assert probe_backend("onnxruntime") is first


@pytest.mark.parametrize("name", ["SIGILL", "SIGSEGV", "SIGABRT"])
def test_a_library_that_kills_the_process_is_reported_by_signal(fake_onnxruntime, name):
    fake_onnxruntime(KILL.format(name))
    result = probe_backend("onnxruntime")
    assert result.ok is False
    assert f"died by {name}" in result.reason
    assert ("another CPU" in result.reason) == (name == "SIGILL")


def test_a_numpy_abi_break_is_explained(fake_onnxruntime):
    fake_onnxruntime(NUMPY_ABI)
    reason = probe_backend("onnxruntime").reason
    assert f"another major version of NumPy than {np.__version__}" in reason


def test_a_library_that_fails_only_at_the_interpreter_is_found_out(fake_onnxruntime):
    fake_onnxruntime("class InferenceSession:\n    def __init__(self, *a, **k):\n        1 / 0\n")
    result = probe_backend("onnxruntime")
    assert result.ok is False
    assert "ZeroDivisionError" in result.reason


def test_a_library_that_computes_wrongly_is_found_out(fake_onnxruntime):
    fake_onnxruntime(
        "class InferenceSession:\n"
        "    def __init__(self, *a, **k): pass\n"
        "    def run(self, names, feeds): return [feeds['x'] * 3]\n"
    )
    assert "doubling four ones gave" in probe_backend("onnxruntime").reason


def test_a_library_that_hangs_is_given_up(fake_onnxruntime):
    fake_onnxruntime("import time; time.sleep(60)")
    result = probe_backend("onnxruntime", timeout_s=0.5)
    assert result.ok is False
    assert "no answer within 0.5 s" in result.reason


def test_a_long_reason_is_cut(fake_onnxruntime):
    fake_onnxruntime("raise ImportError('x' * 10_000)")
    assert len(probe_backend("onnxruntime").reason) == probe.MAX_REASON_CHARS


def test_a_missing_library_is_answered_with_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(probe.MODULES, "litert", "no_such_package.interpreter")
    result = probe_backend("litert")
    assert (result.ok, result.version) == (False, None)
    assert "not installed: pip install 'edge-runtime[litert]'" in result.reason


def test_the_first_working_backend_is_taken(monkeypatch):
    monkeypatch.setitem(probe.MODULES, "litert", "no_such_package.interpreter")
    assert first_working("litert", "onnxruntime") == "onnxruntime"


def test_without_any_working_backend_every_reason_is_given(monkeypatch, small_tflite):
    monkeypatch.setitem(probe.MODULES, "litert", "no_such_package")
    monkeypatch.setitem(probe.MODULES, "tflite-runtime", "no_such_package")
    probe_backend.cache_clear()
    with pytest.raises(BackendError, match=r"litert: not installed.*tflite-runtime: not inst"):
        open_encoder(small_tflite)


def test_a_dying_onnxruntime_becomes_an_error_and_is_never_imported(fake_onnxruntime, small_onnx):
    fake_onnxruntime(KILL.format("SIGILL"))
    with pytest.raises(BackendError, match="died by SIGILL"):
        open_encoder(small_onnx)


def test_where_no_child_can_start_nothing_is_known_and_the_library_is_tried(
    monkeypatch, small_onnx
):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    result = probe_backend("onnxruntime")
    assert result.ok is None
    assert "cannot start a child process" in result.reason
    assert open_encoder(small_onnx).backend == "onnxruntime"


def test_one_model_can_be_tried_in_a_child(small_tflite):
    backend = first_working("litert", "tflite-runtime")
    data = small_tflite.read_bytes()
    assert try_model(backend, data) == ""
    assert try_model(backend, data[:200]) != ""


def test_a_truncated_tflite_model_is_an_error_with_every_library(small_tflite):
    small_tflite.write_bytes(small_tflite.read_bytes()[:300])
    with pytest.raises(EncoderError, match="truncated"):
        open_encoder(small_tflite)


def test_the_trial_models_are_tiny():
    assert len(probe.ONNX_MODEL) < 1024
    assert len(probe.TFLITE_MODEL) < 1024

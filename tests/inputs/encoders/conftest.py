"""Fixtures of the encoder tests: small model files in both formats."""

from __future__ import annotations

import shutil

import pytest

from edge_runtime.inputs.encoders.probe import probe_backend
from firmware_tools.encoder_tools.onnx_writer import onnx_bytes
from tests.inputs.encoders.models import SMALL_INT8_TFLITE, SMALL_TFLITE, small_network


def _has_tflite() -> bool:
    return bool(probe_backend("litert").ok or probe_backend("tflite-runtime").ok)


@pytest.fixture
def small_onnx(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(onnx_bytes(small_network()))
    return path


@pytest.fixture
def small_tflite(tmp_path):
    if not _has_tflite():
        pytest.skip("NO TFLITE BACKEND: install ai-edge-litert or tflite-runtime")
    return shutil.copy(SMALL_TFLITE, tmp_path / "small.tflite")


@pytest.fixture
def small_int8_tflite(small_tflite, tmp_path):
    return shutil.copy(SMALL_INT8_TFLITE, tmp_path / "small_int8.tflite")


@pytest.fixture
def schema():
    return pytest.importorskip(
        "ai_edge_litert.schema_py_generated", reason="NO TFLITE SCHEMA: install ai-edge-litert"
    )

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from edge_runtime.errors import BackendError, EncoderError, SampleError
from edge_runtime.inputs.encoders import open_encoder
from firmware_tools.encoder_tools.quantise import quantise_encoder
from tests.inputs.encoders.models import channels_first, images

# onnxruntime's quantiser warns about its own deprecations; they are not ours to fail on.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_int8_onnx_stays_near_float_and_the_report_says_how_near(small_onnx, tmp_path):
    logging.disable(logging.WARNING)
    calibration = channels_first(images(16))
    report = quantise_encoder(small_onnx, tmp_path / "int8.onnx", calibration)
    logging.disable(logging.NOTSET)
    assert report.n_bytes_before == small_onnx.stat().st_size
    assert report.n_bytes_after == report.path.stat().st_size
    assert set(report.cosines) == {"tap", "embedding"}
    for mean, worst in report.cosines.values():
        assert 0.97 < worst <= mean <= 1.0 + 1e-6
    quantised = open_encoder(report.path)
    assert quantised.input_spec.dtype == np.float32
    expected = open_encoder(small_onnx)(calibration)
    np.testing.assert_allclose(
        quantised(calibration)["embedding"], expected["embedding"], atol=0.05
    )


def test_int8_tflite_stays_near_float(small_tflite, tmp_path):
    pytest.importorskip("ai_edge_quantizer", reason="NO QUANTISER: install ai-edge-quantizer")
    report = quantise_encoder(small_tflite, tmp_path / "int8.tflite", images(32))
    assert all(worst > 0.95 for _, worst in report.cosines.values())
    assert open_encoder(report.path).input_spec.dtype == np.int8


def test_without_the_tflite_quantiser_its_package_is_named(small_tflite, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer.quantizer", None)
    with pytest.raises(BackendError, match="pip install ai-edge-quantizer"):
        quantise_encoder(small_tflite, tmp_path / "int8.tflite", images(2))
    assert not (tmp_path / "int8.tflite").exists()


def test_calibration_that_does_not_fit_is_refused(small_onnx, tmp_path):
    target = tmp_path / "int8.onnx"
    for bad, message in (
        (images(2), "transpose"),
        (channels_first(images(0)), "empty"),
        (np.full((2, 3, 8, 8), np.inf, np.float32), "NaN or infinity"),
    ):
        with pytest.raises(SampleError, match=message):
            quantise_encoder(small_onnx, target, bad)
    assert not target.exists()


def test_the_source_and_another_format_are_no_target(small_onnx, tmp_path):
    for target in (small_onnx, tmp_path / "int8.tflite"):
        with pytest.raises(EncoderError, match=r"must be another \.onnx file"):
            quantise_encoder(small_onnx, target, channels_first(images(2)))


def test_a_model_that_takes_integers_is_refused(small_int8_tflite, tmp_path):
    with pytest.raises(EncoderError, match="is it quantised already"):
        quantise_encoder(small_int8_tflite, tmp_path / "x.tflite", images(2))

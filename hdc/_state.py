"""Learned state as a JSON-able header and a flat dict of arrays, ready for any container.

A header names its kind and version; the arrays say nothing of themselves, so that every shape and
dtype is checked on the way in. Not done here: files, digests and migration belong to the runtime.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Header: TypeAlias = "dict[str, Any]"
Arrays: TypeAlias = "dict[str, NDArray[Any]]"


def make_header(kind: str, version: int, **fields: Any) -> Header:
    """Return the header of one object."""
    return {"kind": kind, "version": version, **fields}


def check_header(header: Header, kind: str, version: int) -> Header:
    """Return ``header`` if it belongs to this kind and version of state."""
    found = header.get("kind"), header.get("version")
    if found != (kind, version):
        raise ValueError(
            f"state is {found[0]!r} version {found[1]!r}, expected {kind!r} version {version}: "
            "was it saved by another release?"
        )
    return header


def field(header: Header, name: str) -> Any:
    """Return one field of a header."""
    if name not in header:
        raise ValueError(f"state has no header field {name!r}: is it truncated?")
    return header[name]


def take(
    arrays: Arrays, name: str, shape: tuple[int | None, ...], dtype: DTypeLike
) -> NDArray[Any]:
    """Return a copy of one array after checking dtype, shape (None: any) and finiteness."""
    if name not in arrays:
        raise ValueError(f"state has no array {name!r}: is it truncated?")
    found = np.asarray(arrays[name])
    expected = np.dtype(dtype)
    if found.dtype != expected:
        raise ValueError(f"state array {name!r} has dtype {found.dtype}, expected {expected}")
    if len(found.shape) != len(shape) or any(
        want not in (None, got) for got, want in zip(found.shape, shape, strict=True)
    ):
        raise ValueError(f"state array {name!r} has shape {found.shape}, expected {shape}")
    if expected.kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"state array {name!r} contains NaN or infinity")
    return found.copy()


def nest(prefix: str, arrays: Arrays) -> Arrays:
    """Return the arrays of a part, their names led by ``prefix/``."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def nested(prefix: str, header: Header, arrays: Arrays) -> tuple[Header, Arrays]:
    """Return header and arrays of a part: field ``prefix``, and what `nest` put there."""
    own, start = field(header, prefix), f"{prefix}/"
    if not isinstance(own, dict):
        raise ValueError(f"state field {prefix!r} is {own!r}, expected a header")
    return own, {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


def parameters(header: Header, expected: Iterable[str]) -> dict[str, Any]:
    """Return constructor arguments, exactly those expected."""
    found, names = field(header, "parameters"), set(expected)
    if not isinstance(found, dict) or set(found) != names:
        raise ValueError(f"state has parameters {found!r}, expected {sorted(names)}")
    return found


def number(header: Header, name: str) -> float:
    """Return one finite number of a header."""
    value = field(header, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"state field {name!r} is {value!r}, expected a finite number")
    return float(value)


def integer(header: Header, name: str) -> int:
    """Return one integer of a header."""
    value = field(header, name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"state field {name!r} is {value!r}, expected an integer")
    return value

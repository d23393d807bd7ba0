"""What every reader of a saved state checks before it believes anything.

A state is a JSON-able header and a flat dict of arrays; how they reach a disk is not decided here.
Nothing is allocated by a size that only the header claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def check_format(header: Mapping[str, Any], name: str, version: int) -> None:
    """Raise ValueError unless the header is of this format and version."""
    found = header.get("format"), header.get("version")
    if found != (name, version):
        raise ValueError(
            f"state is {found[0]!r} version {found[1]!r}, expected {name!r} {version}."
        )


def positive_int(header: Mapping[str, Any], key: str, least: int = 1) -> int:
    """Return an int of the header; raise ValueError for another type or one below ``least``."""
    value = header[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"state header has {key} = {value!r}, expected an int >= {least}.")
    return value


def checked_arrays(
    arrays: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]], dtype: npt.DTypeLike
) -> dict[str, npt.NDArray[Any]]:
    """Return copies of arrays of exactly these names and shapes and this dtype, all finite."""
    if set(arrays) != set(expected):
        raise ValueError(f"state has arrays {sorted(arrays)}, expected {sorted(expected)}.")
    for name, shape in expected.items():
        found = arrays[name]
        if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != dtype:
            raise ValueError(
                f"state array {name!r} is {getattr(found, 'dtype', type(found))} of shape "
                f"{getattr(found, 'shape', None)}, expected {np.dtype(dtype)} of shape {shape}: "
                "was it saved by another network?"
            )
        if not np.isfinite(found).all():
            raise ValueError(f"state array {name!r} holds NaN or infinity: the state is damaged.")
    return {name: np.array(arrays[name], order="C") for name in expected}

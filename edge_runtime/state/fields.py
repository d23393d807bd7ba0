"""Declared state: a part lists its fields once (`hdc.declared`), and what comes back is checked.

A name in a shape stands for the same length wherever it occurs in one part, so that arrays which do
not fit together are found before anything is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StateError
from hdc.declared import Field, arrays_of

__all__ = ["Field", "arrays_of", "put_under", "restored", "under"]

Arrays = Mapping[str, npt.NDArray[Any]]


def restored(
    arrays: Arrays, fields: Sequence[Field], lengths: Mapping[str, int]
) -> dict[str, npt.NDArray[Any]]:
    """Copies of the declared arrays, checked: type, shape, and that every number is finite.

    Parameters
    ----------
    lengths : what is known of the names in the shapes; the others are whatever is found first.

    Raises
    ------
    StateError
        Says which field does not fit, what was found and what was expected.

    Examples
    --------
    >>> fields = (Field("a", "float32", ("n", 2)), Field("b", "int16", ("n",)))
    >>> good = {"a": np.zeros((3, 2), np.float32), "b": np.zeros(3, np.int16)}
    >>> sorted(restored(good, fields, {}))
    ['a', 'b']
    >>> restored({**good, "b": np.zeros(4, np.int16)}, fields, {})
    Traceback (most recent call last):
    edge_runtime.errors.StateError: field b has shape (4,), expected (3,)
    """
    known = dict(lengths)
    found = {}
    for field in fields:
        if field.name not in arrays:
            raise StateError(f"field {field.name} is missing: is the state of another release?")
        array = arrays[field.name]
        if array.dtype.name not in field.dtype.split():
            raise StateError(f"field {field.name} is {array.dtype}, expected {field.dtype}")
        if array.ndim == len(field.shape):
            for name, length in zip(field.shape, array.shape, strict=True):
                if isinstance(name, str):
                    known.setdefault(name, length)
        expected = tuple(known.get(n, -1) if isinstance(n, str) else n for n in field.shape)
        if array.shape != expected:
            raise StateError(f"field {field.name} has shape {array.shape}, expected {expected}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise StateError(f"field {field.name} holds NaN or infinity")
        found[field.name] = np.array(array)
    return found


def under(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names start with ``prefix/``, without it."""
    lead = prefix + "/"
    return {name[len(lead) :]: a for name, a in arrays.items() if name.startswith(lead)}


def put_under(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays with ``prefix/`` before their names."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}

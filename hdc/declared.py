"""What a part keeps: its arrays, listed once, so that saving and checking follow from the list.

A shape is made of numbers and of names; a name stands for the same length wherever it occurs in one
part. Not here: reading a list back from a file, which trusts nothing (`edge_runtime.state.fields`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Field:
    """One array of a part.

    Attributes
    ----------
    dtype
        Names of the types that it may have, with a space between them.
    shape
        Lengths, or names of lengths.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


def arrays_of(part: object, fields: Sequence[Field]) -> dict[str, npt.NDArray[Any]]:
    """The declared arrays of a part, by name."""
    return {field.name: np.asarray(getattr(part, field.name)) for field in fields}

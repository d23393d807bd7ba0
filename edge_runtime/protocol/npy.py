"""The header of one array in NumPy's format, read so that nothing but ValueError comes out.

NumPy parses it as Python and mends old ones with a warning; hostile ones make it raise SyntaxError,
TokenError and more. Not here: the data behind it, whose size the caller checks first.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np


def read_header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, dtype; of format version 1.0.

    Raises
    ------
    ValueError
        It is no such header; says what NumPy says.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("array of an unknown format version")
            return np.lib.format.read_array_header_1_0(stream)
        except Exception as error:
            raise ValueError(f"header of an array: {type(error).__name__}: {error}") from error

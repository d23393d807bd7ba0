"""Labels to class indices: the one place where a label from outside is checked.

Classes are ints or strings, never both; a label not met before becomes the next class. Nothing is
changed in place, so that a bad label in a batch leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edge_runtime.errors import LabelError
from edge_runtime.records import Label

MAX_CLASSES = 256


def indices_of(labels: Iterable[Any], classes: Sequence[Label]) -> tuple[list[int], list[Label]]:
    """Class index of each label, and the classes with the new ones appended.

    Raises
    ------
    LabelError
        A label is neither int nor str, is not of the type of the others, or is one too many.

    Examples
    --------
    >>> indices_of(["cat", "dog", "cat"], ["dog"])
    ([1, 0, 1], ['dog', 'cat'])
    """
    known = {label: k for k, label in enumerate(classes)}
    indices = []
    for label in labels:
        plain = label.item() if isinstance(label, np.generic) else label
        if isinstance(plain, bool) or not isinstance(plain, int | str):
            raise LabelError(f"label {label!r} is a {type(label).__name__}, expected int or str")
        first = next(iter(known), plain)
        if type(plain) is not type(first):
            raise LabelError(
                f"label {label!r} is a {type(plain).__name__}, but the classes so far are "
                f"{type(first).__name__}s such as {first!r}"
            )
        if plain not in known and len(known) == MAX_CLASSES:
            raise LabelError(f"label {label!r} would be class {MAX_CLASSES + 1} of {MAX_CLASSES}")
        indices.append(known.setdefault(plain, len(known)))
    return indices, list(known)


def without(j: int, k: int) -> int:
    """What class index `j` is once class `k` is gone: -1 for itself, one less for those behind it.

    Examples
    --------
    >>> [without(j, 1) for j in (0, 1, 2)]
    [0, -1, 1]
    """
    return -1 if j == k else j - (j > k)

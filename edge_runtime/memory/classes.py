"""Labels to class indices, and how often each occurs: where a label from outside is checked.

Classes are ints or strings, never both; a label not met before becomes the next class. Members of
an `Enum` count as their values, and booleans as 0 and 1. Nothing is changed in place, so that a bad
label in a batch leaves no trace.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edge_runtime.errors import LabelError
from edge_runtime.records import Label

MAX_CLASSES = 256


def plain_label(label: Any) -> Label:
    """A label as a plain int or str.

    Raises
    ------
    LabelError
        The label is neither.

    Examples
    --------
    >>> plain_label(np.int64(3)), plain_label("cat"), plain_label(True)
    (3, 'cat', 1)
    """
    if isinstance(label, enum.Enum):
        label = label.value
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, bool):
        return int(label)
    if isinstance(label, int):
        return int(label)
    if isinstance(label, str):
        return str(label)
    raise LabelError(f"label {label!r} is a {type(label).__name__}, expected int or str")


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
        plain = plain_label(label)
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

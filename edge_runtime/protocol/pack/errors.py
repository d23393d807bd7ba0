"""The one error of model packs, with a reason that a program can read."""

from __future__ import annotations

from typing import Literal, TypeAlias

from edge_runtime.errors import EdgeRuntimeError

Reason: TypeAlias = Literal[
    "container",  # no MCUboot image, or cut short, or more than one
    "digest",  # changed on the way
    "key",  # signed by nobody, or by somebody else
    "signature",  # by a pinned key, and wrong
    "archive",  # a payload that is no plain zip
    "manifest",  # not of this schema, or does not fit the members
    "runtime",  # needs another release of edge-runtime
    "board",  # made for another board, or a larger one
    "counter",  # older than what this board has had
    "encoder",  # a head for another encoder
]


class PackError(EdgeRuntimeError, ValueError):
    """A model pack is refused; ``reason`` is one word, the message says what was found.

    Examples
    --------
    >>> PackError("key", "signed by key 12ab, not pinned here").reason
    'key'
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason

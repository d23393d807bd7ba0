"""CBOR maps by `cbor2`, with size and depth checked before anything is decoded.

The check walks the heads of the items (RFC 8949, section 3) and builds nothing. It refuses tags,
which `cbor2` would turn into dates, patterns and big numbers, and integers beyond 64 bits never
arise without them. Maps and lists of indefinite length are accepted: Zephyr sends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cbor2

# The deepest message here is a map of a list of maps of maps: four.
MAX_DEPTH: Final = 8
# A largest message of the smallest items would be 64 Ki of them; no message has that many.
MAX_ITEMS: Final = 8192
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE: Final = 31
_BREAK: Final = 0xFF


class CborError(ValueError):
    """Bytes that are no CBOR map within the limits."""


def encode(value: Mapping[str, Any]) -> bytes:
    """The shortest form, keys sorted: the same map is the same bytes."""
    data: bytes = cbor2.dumps(dict(value), canonical=True)
    return data


def decode(data: bytes) -> dict[str, Any]:
    """The one map that `data` holds, keys all text.

    >>> decode(bytes.fromhex("a161646178"))
    {'d': 'x'}

    Raises
    ------
    CborError
        Truncated, trailing bytes, no map, too deep, too many items, a tag, or not well-formed.
    """
    check(data)
    try:
        value = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, TypeError) as error:
        raise CborError(f"not CBOR: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise CborError("expected a map whose keys are text")
    return value


def check(data: bytes) -> None:
    """Raise `CborError` unless `data` is one item, whole and within the limits."""
    at = 0
    # How many items each open list or map still wants; None where a break will end it.
    wanted: list[int | None] = [1]
    for _ in range(MAX_ITEMS):
        while wanted and wanted[-1] == 0:
            wanted.pop()
        if not wanted:
            break
        if wanted[-1] is None and data[at : at + 1] == bytes([_BREAK]):
            wanted.pop()
            at += 1
            continue
        if wanted[-1] is not None:
            wanted[-1] -= 1
        at, children = _item(data, at)
        if children != 0:
            wanted.append(children)
        if len(wanted) > MAX_DEPTH:
            raise CborError(f"nested deeper than {MAX_DEPTH}")
    else:
        raise CborError(f"more than {MAX_ITEMS} items")
    if at != len(data):
        raise CborError(f"{len(data) - at} bytes after the end")


def _item(data: bytes, at: int) -> tuple[int, int | None]:
    """Where the next item's head (for text and bytes: the item) ends, and its children."""
    if at >= len(data):
        raise CborError("ends inside an item")
    major, info = data[at] >> 5, data[at] & 0x1F
    at += 1
    if info == _INDEFINITE:
        if major in (_LIST, _MAP):
            return at, None
        raise CborError("only lists and maps may be of indefinite length")
    if info > 27:
        raise CborError(f"reserved length code {info}")
    if major == _TAG:
        raise CborError("tags are not accepted")
    argument = info
    if info >= 24:
        size = 1 << (info - 24)
        if at + size > len(data):
            raise CborError("ends inside a length")
        argument = int.from_bytes(data[at : at + size], "big")
        at += size
    if major in (_BYTES, _TEXT):
        if argument > len(data) - at:
            raise CborError(f"string of {argument} bytes, {len(data) - at} are there")
        return at + argument, 0
    if major in (_LIST, _MAP):
        children = argument * (2 if major == _MAP else 1)
        if children > len(data) - at:
            raise CborError(f"{children} items announced in {len(data) - at} bytes")
        return at, children
    return at, 0

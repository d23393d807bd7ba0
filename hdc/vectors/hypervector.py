"""The algebra of hypervectors: random, bind, bundle, permute, similarity; and bits in words.

Two forms, told apart by dtype:

* **binary** (`uint64`, 64 dimensions a word): Binary Spatter Codes. Bind is exclusive or, bundle
  is the majority, permute rotates the whole bit string.
* **bipolar or real** (any signed number): Multiply-Add-Permute. Bind is the product, bundle is
  the sum, permute is a roll.

A set bit stands for -1 and a clear bit for +1. Exclusive or is then the product of signs, and
`similarity` of packed hypervectors is the cosine of their bipolar forms.
Dimension ``i`` is bit ``i % 64`` of word ``i // 64``, on every platform.

Sources: P. Kanerva, "Hyperdimensional computing", Cognitive Computation 1, 2009 (binary);
R. W. Gayler, "Multiplicative binding, representation operators and analogy", 1998 (MAP).
Not done here: features (`hdc.vectors.projection`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hdc._checks import WORD_BITS, Bits, RandomState, check_count, check_dims
from hdc.estimator import check_random_state

# A tied majority takes this bit: clear in even dimensions, set in odd ones. It favours no input,
# where taking the bit of the first input would make a bundle of two equal to the first.
_TIE_PATTERN = np.uint64(0xAAAAAAAAAAAAAAAA)


def random(
    n_hypervectors: int,
    n_dims: int,
    *,
    kind: Literal["binary", "bipolar"] = "binary",
    random_state: RandomState = None,
) -> NDArray[Any]:
    """Independent random hypervectors, any two of them nearly orthogonal.

    Returns
    -------
    (n_hypervectors, n_dims // 64) uint64 if binary, (n_hypervectors, n_dims) int8 if bipolar

    Examples
    --------
    >>> random(2, 8192, random_state=0).shape
    (2, 128)
    """
    n_rows = check_count(n_hypervectors, "n_hypervectors")
    n_words = check_dims(n_dims) // WORD_BITS
    rng = check_random_state(random_state)
    bits = rng.integers(0, 2**64, size=(n_rows, n_words), dtype=np.uint64)
    if kind == "binary":
        return bits
    if kind == "bipolar":
        return unpack_bits(bits)
    raise ValueError(f"kind is {kind!r}, expected 'binary' or 'bipolar'")


def pack_bits(values: NDArray[Any]) -> Bits:
    """Signs in words: negative is a set bit; zero and positive are clear.

    Parameters
    ----------
    values : (..., n_dims), n_dims a multiple of 64

    Examples
    --------
    >>> pack_bits(np.array([-1.0] + [0.0] * 63))
    array([1], dtype=uint64)
    """
    if values.shape[-1] % WORD_BITS or not values.shape[-1]:
        check_dims(values.shape[-1])
    packed = np.packbits(values < 0, axis=-1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def unpack_bits(bits: Bits) -> NDArray[np.int8]:
    """Return the bipolar form (+1, -1) of packed hypervectors, (..., n_dims) int8."""
    little = np.ascontiguousarray(_check_packed(bits), dtype="<u8").view(np.uint8)
    signs = np.unpackbits(little, axis=-1, bitorder="little").view(np.int8)
    return np.asarray(1 - 2 * signs, np.int8)


def bind(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Join two hypervectors into one unlike both, from which either recovers the other.

    Its own inverse for binary and bipolar input: ``bind(bind(a, b), b)`` is ``a``.

    Examples
    --------
    >>> a, b = random(2, 64, random_state=0)
    >>> bool((bind(bind(a, b), b) == a).all())
    True
    """
    _check_same_form(a, b)
    return np.asarray(a ^ b if a.dtype == np.uint64 else a * b)


def bundle(hypervectors: NDArray[Any]) -> NDArray[Any]:
    """Gather rows into one hypervector like each of them: majority (binary) or sum (MAP).

    A tie of an even number of binary rows clears even dimensions and sets odd ones. Integer sums
    are int64 and cannot overflow in practice.

    Parameters
    ----------
    hypervectors : (n, n_words) uint64 or (n, n_dims), n > 0
    """
    if hypervectors.ndim != 2 or len(hypervectors) == 0:
        raise ValueError(f"bundle of shape {hypervectors.shape}, expected (n, size) with n > 0")
    if hypervectors.dtype != np.uint64:
        # NumPy's own choice for small integers is the platform's: 32 bits on 32-bit boards.
        dtype = np.int64 if hypervectors.dtype.kind == "i" else None
        return np.asarray(hypervectors.sum(axis=0, dtype=dtype))
    total = unpack_bits(hypervectors).sum(axis=0, dtype=np.int64)
    return majority(total)


def majority(total: NDArray[Any]) -> Bits:
    """Packed signs of sums of bipolar hypervectors, ties broken as `bundle` breaks them.

    Parameters
    ----------
    total : (..., n_dims)
    """
    ties = pack_bits(np.where(total == 0, -1, 1))
    return (pack_bits(total) & ~ties) | (ties & _TIE_PATTERN)


def permute(hypervectors: NDArray[Any], shifts: int = 1) -> NDArray[Any]:
    """Dimensions rotated by ``shifts`` places towards higher indices; all distances stay.

    Examples
    --------
    >>> int(permute(np.array([1], dtype=np.uint64), 3)[0])
    8
    """
    if hypervectors.dtype != np.uint64:
        return np.roll(hypervectors, shifts, axis=-1)
    words, places = divmod(shifts % (hypervectors.shape[-1] * WORD_BITS), WORD_BITS)
    rolled = np.roll(hypervectors, words, axis=-1)
    if places == 0:
        return rolled
    carried = np.roll(rolled, 1, axis=-1) >> np.uint64(WORD_BITS - places)
    return np.asarray((rolled << np.uint64(places)) | carried)


def _popcount_by_table(words: Bits) -> NDArray[np.uint8]:
    """Set bits of each word, by a table of 65,536 entries (for NumPy 1)."""
    halves = np.ascontiguousarray(words).view(np.uint16)
    counts = _set_bits_table()[halves].reshape(*words.shape, 4)
    return np.asarray(counts.sum(axis=-1, dtype=np.uint8))


@cache
def _set_bits_table() -> NDArray[np.uint8]:
    bits = np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16)
    return np.asarray(bits.sum(axis=1, dtype=np.uint8))


# Set bits of each uint64 word, as uint8 of the same shape.
popcount: Callable[[Bits], NDArray[np.uint8]] = getattr(np, "bitwise_count", _popcount_by_table)


def hamming(a: Bits, b: Bits) -> NDArray[np.int64]:
    """How many dimensions differ, for every row of ``a`` with every row of ``b``.

    Parameters
    ----------
    a, b : (n, n_words) and (m, n_words) uint64; one or both may be a single row (n_words,)

    Returns
    -------
    (n, m) int64, without the axis of a single row
    """
    _check_same_form(_check_packed(a), b)
    if a.ndim == 1:
        # Twice as fast as a sum of int64, and as safe: no hypervector has 2**32 dimensions.
        return np.asarray(popcount(b ^ a).sum(axis=-1, dtype=np.uint32), np.int64)
    return np.stack([hamming(row, b) for row in a]) if len(a) else np.empty((0, *b.shape[:-1]), int)


def similarity(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Cosine of every row of ``a`` with every row of ``b``: 1 same, 0 unrelated, -1 opposite.

    For packed hypervectors it is ``1 - 2 * hamming / n_dims``. Zero rows have similarity 0.

    Returns
    -------
    (n, m) float, without the axis of a single row
    """
    _check_same_form(a, b)
    if a.dtype == np.uint64:
        return np.asarray(1.0 - hamming(a, b) * (2.0 / (a.shape[-1] * WORD_BITS)))
    return np.asarray(_unit(a) @ _unit(b).T)


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    rows = rows if rows.dtype.kind == "f" else rows.astype(np.float64)
    norms = np.sqrt(np.square(rows).sum(axis=-1, keepdims=True))
    return np.asarray(rows / np.where(norms == 0, 1, norms))


def _check_packed(bits: NDArray[Any]) -> Bits:
    if bits.dtype != np.uint64:
        raise TypeError(f"hypervectors have dtype {bits.dtype}, expected packed uint64")
    return bits


def _check_same_form(a: NDArray[Any], b: NDArray[Any]) -> None:
    if (a.dtype == np.uint64) != (b.dtype == np.uint64):
        raise TypeError(f"cannot mix packed and unpacked hypervectors: {a.dtype} and {b.dtype}")
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"hypervectors differ in size: {a.shape} and {b.shape}")

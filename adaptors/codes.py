"""Label codes: the fixed random target of every class in every layer.

The code of a class depends on (seed, layer, class index) and nothing else. A class can therefore be
added at any time without touching another, and no code is ever stored. Never trained.

Bits are read from PCG64 itself, whose output NumPy guarantees between versions (that of
``Generator`` methods it does not), and all else is integer arithmetic: state saved today finds its
codes again tomorrow, on any machine.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Bits = npt.NDArray[np.bool_]

KINDS: Final = ("sign", "gaussian", "orthogonal")


def label_codes(
    seed: int,
    layer: int,
    labels: range,
    n_units: int,
    low: float,
    high: float,
    *,
    kind: str = "sign",
) -> Array:
    """Return one row of targets per class index in ``labels``, within ``low`` and ``high``.

    Row k is the column k of the projection matrix P in tpSGD (arXiv 2208.08503): ``t = P y*`` for
    a one-hot ``y*``. Codes inside the activation's range keep every target within reach.

    Parameters
    ----------
    kind
        "sign": each entry is ``low`` or ``high``, independent of all others.
        "gaussian": each entry is normal about the middle of the range, with a standard deviation
        of a quarter of it, clipped to the range.
        "orthogonal": each entry is ``low`` or ``high``; two classes differ in exactly half of the
        units, see `orthogonal_code` for the limit.

    Examples
    --------
    >>> codes = label_codes(7, 0, range(3), 8, -1.0, 1.0, kind="orthogonal")
    >>> (codes @ codes.T).tolist()
    [[8.0, 0.0, 0.0], [0.0, 8.0, 0.0], [0.0, 0.0, 8.0]]
    """
    check_kind(kind)
    if kind == "gaussian":
        rows = [gaussian_code(seed, layer, label, n_units) for label in labels]
        middle, half = (high + low) / 2, (high - low) / 2
        table = np.reshape(rows, (len(labels), n_units))
        return (middle + half * np.clip(table / 2, -1, 1)).astype(np.float32)
    code = sign_code if kind == "sign" else orthogonal_code
    bits = [code(seed, layer, label, n_units) for label in labels]
    table = np.reshape(bits, (len(labels), n_units)).astype(bool)
    return np.where(table, np.float32(high), np.float32(low))


def sign_code(seed: int, layer: int, label: int, n_units: int) -> Bits:
    """Return the random bits of one class: which units of one layer it wants high.

    >>> sign_code(seed=7, layer=0, label=2, n_units=6).astype(int).tolist()
    [0, 0, 1, 1, 0, 1]
    """
    return _bits((seed, layer, label), n_units)


def gaussian_code(seed: int, layer: int, label: int, n_units: int) -> npt.NDArray[np.float64]:
    """Return nearly normal numbers of mean 0 and variance 1, one per unit of one layer.

    Each is the sum of four uniform numbers of 16 bits (Irwin-Hall), exact on every machine, where
    a logarithm is not; its tails end at 3.5.

    >>> bool(abs(gaussian_code(seed=7, layer=0, label=2, n_units=6)).max() < 3.5)
    True
    """
    quarters = _words((seed, layer, label), n_units).view("<u2").reshape(n_units, 4)
    variance = 4 * (2.0**32 - 1) / 12
    centred = quarters.sum(axis=1, dtype=np.int64) - 2.0 * (2**16 - 1)
    numbers: npt.NDArray[np.float64] = centred / np.sqrt(variance)
    return numbers


def orthogonal_code(seed: int, layer: int, label: int, n_units: int) -> Bits:
    """Return bits of one class that differ from those of another in half of the units.

    The units are cut into blocks, the powers of two of ``n_units`` in binary: 100 = 64 + 32 + 4. In
    a block of B units, class k takes row k modulo B of a Hadamard matrix whose columns have random
    signs, drawn anew for every B classes. So B consecutive classes, from a multiple of B on, are
    exactly orthogonal there (about the middle of the range), and others are as random as with
    `sign_code`. All classes are orthogonal if ``n_units`` is a power of two and not less than their
    number; else the cosine of two of them is at most the share of units in smaller blocks than that
    number (ten classes in 100 units: 0.04).

    >>> first, second = (orthogonal_code(seed=7, layer=0, label=k, n_units=64) for k in (1, 9))
    >>> int((first != second).sum())
    32
    """
    code, start = np.empty(n_units, dtype=bool), 0
    for exponent in reversed(range(n_units.bit_length())):
        size = 1 << exponent
        if n_units & size:
            group, row = divmod(label, size)
            # Not 0: a seed that ends in zeros is the same seed without them.
            signs = _bits((seed, layer, group, size), size)
            code[start : start + size] = signs ^ _hadamard_row(row, size)
            start += size
    return code


def check_kind(kind: Any) -> None:
    """Raise ValueError unless ``kind`` names a kind of label codes."""
    if kind not in KINDS:
        raise ValueError(f"codes is {kind!r}, expected one of {list(KINDS)}.")


def _hadamard_row(row: int, size: int) -> Bits:
    """Return where a row of Sylvester's Hadamard matrix is negative: odd parity of row & column."""
    parity = np.arange(size) & row
    for shift in (16, 8, 4, 2, 1):
        parity ^= parity >> shift
    return (parity & 1).astype(bool)


def _bits(entropy: tuple[int, ...], n: int) -> Bits:
    return np.unpackbits(_words(entropy, -(-n // 64)).view(np.uint8))[:n].astype(bool)


def _words(entropy: tuple[int, ...], n: int) -> npt.NDArray[np.uint64]:
    """Return n words of 64 random bits, the lowest byte first on every machine."""
    return np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(n).astype("<u8")

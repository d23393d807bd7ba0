"""Codebooks that turn symbols and numbers into hypervectors and back, and n-grams of sequences.

All hypervectors here are binary (packed `uint64`). Similarity is 1 for the same, 0 for unrelated.

Sources: P. Kanerva, "Hyperdimensional computing", 2009 (item memory, clean-up, sequences by
permutation); I. Nunes et al., "An extension to basis-hypervectors for learning from circular data
in hyperdimensional computing", DAC 2023 (level and circular codebooks). Names follow torchhd.
Not done here: learning (`hdc.prototypes`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hdc import hypervector as hv
from hdc._checks import Bits, RandomState, check_count, check_dims
from hdc._estimator import check_random_state


def level_codebook(n_levels: int, n_dims: int, *, random_state: RandomState = None) -> Bits:
    """Hypervectors of a scalar: similarity falls linearly from 1 to 0 between the two ends.

    Returns
    -------
    (n_levels, n_dims // 64) uint64

    Examples
    --------
    >>> levels = level_codebook(5, 8192, random_state=0)
    >>> hv.similarity(levels[0], levels).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    n_levels = check_count(n_levels, "n_levels")
    steps = np.linspace(0.0, 1.0, n_levels)
    start, turn = _start_and_turns(n_dims, random_state)
    flips = turn[None] < steps[:, None]
    return start ^ hv.pack_bits(np.where(flips, -1, 1))


def circular_codebook(n_levels: int, n_dims: int, *, random_state: RandomState = None) -> Bits:
    """Hypervectors of an angle: similarity falls linearly to 0 half way round, then rises to 1.

    Returns
    -------
    (n_levels, n_dims // 64) uint64, of the angles ``2 * pi * i / n_levels``

    Examples
    --------
    >>> hours = circular_codebook(4, 8192, random_state=0)
    >>> hv.similarity(hours[0], hours).tolist()
    [1.0, 0.5, 0.0, 0.5]
    """
    n_levels = check_count(n_levels, "n_levels")
    steps = np.arange(n_levels) * (2.0 / n_levels)
    start, turn = _start_and_turns(n_dims, random_state)
    # A dimension flips at its turn and flips back half a circle (one unit) later.
    flips = (turn[None] < steps[:, None]) & (steps[:, None] <= turn[None] + 1)
    return start ^ hv.pack_bits(np.where(flips, -1, 1))


def _start_and_turns(n_dims: int, random_state: RandomState) -> tuple[Bits, NDArray[np.float64]]:
    """Return a random hypervector and when, in 0..1, each dimension flips; half never do."""
    rng = check_random_state(random_state)
    start = hv.random(1, n_dims, random_state=rng)[0]
    turn = np.full(n_dims, 3.0)
    half = n_dims // 2
    turn[rng.permutation(n_dims)[:half]] = (np.arange(half) + 0.5) / half
    return start, turn


def ngrams(hypervectors: Bits, n: int = 3) -> Bits:
    """One hypervector of a sequence: the bundle of all its runs of ``n``.

    In a run, the last element stays, the one before is permuted once, and so on; then all are
    bound. The order inside a run counts, the place of the run does not.

    Parameters
    ----------
    hypervectors : (length, n_words) uint64, length >= n
    n : length of a run

    Returns
    -------
    (n_words,) uint64

    Examples
    --------
    >>> letters = hv.random(26, 1024, random_state=0)
    >>> word = ngrams(letters[[2, 0, 1]], n=3)
    >>> bool(hv.similarity(word, ngrams(letters[[1, 0, 2]], n=3)) < 0.2)
    True
    """
    n = check_count(n, "n")
    if hypervectors.ndim != 2 or len(hypervectors) < n:
        raise ValueError(
            f"sequence of shape {hypervectors.shape}, expected (length, n_words) with length >= {n}"
        )
    n_runs = len(hypervectors) - n + 1
    runs = hypervectors[n - 1 :]
    for age in range(1, n):
        start = n - 1 - age
        runs = hv.bind(runs, hv.permute(hypervectors[start : start + n_runs], age))
    return hv.bundle(runs)


class ItemMemory:
    """Symbols and their hypervectors; noisy hypervectors are cleaned up to the nearest symbol.

    Parameters
    ----------
    symbols : distinct, hashable
    hypervectors : (n_symbols, n_words) uint64; see `random`, `level_codebook`, `circular_codebook`

    Examples
    --------
    >>> memory = ItemMemory.random("abc", n_dims=1024, random_state=0)
    >>> a, b = memory.encode("ab")
    >>> memory.clean_up(hv.bind(hv.bind(a, b), a))
    'b'
    """

    def __init__(self, symbols: Iterable[Hashable], hypervectors: Bits) -> None:
        self.symbols = list(symbols)
        self._index = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(self._index) != len(self.symbols) or not self.symbols:
            raise ValueError(f"{len(self.symbols)} symbols, expected at least one, all distinct")
        if hypervectors.dtype != np.uint64 or hypervectors.shape[:-1] != (len(self.symbols),):
            raise ValueError(
                f"hypervectors are {hypervectors.dtype} {hypervectors.shape}, expected uint64 "
                f"({len(self.symbols)}, n_words)"
            )
        self.hypervectors = hypervectors.copy()

    @classmethod
    def random(
        cls, symbols: Iterable[Hashable], *, n_dims: int = 8192, random_state: RandomState = None
    ) -> ItemMemory:
        """Give each symbol an independent hypervector."""
        symbols = list(symbols)
        bits = hv.random(max(len(symbols), 1), n_dims, random_state=random_state)
        return cls(symbols, bits[: len(symbols)])

    def encode(self, symbols: Iterable[Hashable]) -> Bits:
        """Hypervectors (n, n_words) of symbols; `KeyError` for an unknown one."""
        return np.asarray(self.hypervectors[[self._index[symbol] for symbol in symbols]])

    def clean_up(self, hypervector: Bits) -> Any:
        """Return the symbol most similar to one hypervector; the first of equals."""
        return self.symbols[int(np.argmax(hv.similarity(hypervector, self.hypervectors)))]


class ScalarMemory:
    """Numbers of a range and their hypervectors, by level or circular codebook.

    Numbers outside the range are clipped, or wrapped if circular.

    Parameters
    ----------
    low, high : the range; the ends are one and the same number if ``is_circular``
    n_levels : steps in between

    Examples
    --------
    >>> hours = ScalarMemory(0, 24, n_levels=24, is_circular=True, random_state=0)
    >>> near, far = hv.similarity(hours.encode([0])[0], hours.encode([23, 12]))
    >>> bool(near > far), hours.clean_up(hours.encode([25])[0])
    (True, 1.0)
    """

    def __init__(
        self,
        low: float,
        high: float,
        *,
        n_levels: int = 64,
        n_dims: int = 8192,
        is_circular: bool = False,
        random_state: RandomState = None,
    ) -> None:
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"range is {low} to {high}, expected low < high, both finite")
        self.low, self.high, self.is_circular = float(low), float(high), is_circular
        codebook = circular_codebook if is_circular else level_codebook
        self.hypervectors = codebook(
            check_count(n_levels, "n_levels", 2), check_dims(n_dims), random_state=random_state
        )

    @property
    def values(self) -> NDArray[np.float64]:
        """The number that each hypervector stands for, (n_levels,)."""
        n = len(self.hypervectors)
        return np.linspace(self.low, self.high, n, endpoint=not self.is_circular)

    def encode(self, numbers: ArrayLike | Sequence[float]) -> Bits:
        """Hypervectors (n, n_words) of the levels next to numbers (n,)."""
        numbers = np.asarray(numbers, np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("numbers contain NaN or infinity")
        n = len(self.hypervectors)
        steps = n if self.is_circular else n - 1
        levels = np.rint((numbers - self.low) * (steps / (self.high - self.low)))
        inside = levels % n if self.is_circular else np.clip(levels, 0, n - 1)
        return np.asarray(self.hypervectors[inside.astype(np.int64)])

    def clean_up(self, hypervector: Bits) -> float:
        """Return the number whose hypervector is most similar."""
        return float(self.values[np.argmax(hv.similarity(hypervector, self.hypervectors))])

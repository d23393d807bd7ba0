"""Features to hypervector by random signs and Walsh-Hadamard transforms: no stored matrix.

Two rounds of ``H D``: ``D`` flips signs at random and ``H`` mixes. The first round spreads even a
one-hot input over all coordinates; the second one, with fresh signs for every block of outputs,
mixes shuffled groups of those until there are ``n_dims`` outputs. As ``H(ab) = H(a) (x) H(b)``,
a transform is two small matrix products.

**Same bits everywhere.** Before each round a sample is scaled by its largest magnitude and
rounded to integers so small that no partial sum can exceed 2**24. Every float32 sum is then exact,
whatever its order, thread count or BLAS. Rounding moves a feature by at most ``p / 2**25`` of the
largest one, ``p`` being their number padded to a power of two (6e-5 for 2,048). Signs come from
the raw output of PCG64, which NumPy promises to keep.

Sources: N. Ailon and B. Chazelle, "The fast Johnson-Lindenstrauss transform", SIAM J. Comput. 39,
2009; F. X. Yu et al., "Orthogonal random features", NeurIPS 2016 (several rounds of HD).
Not done here: whitening (`hdc.domain.frame`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from hdc._checks import Bits, Float32, check_count, check_dims, check_matrix
from hdc.vectors.hypervector import pack_bits

_EXACT = 2**24  # float32 holds every integer up to here
_MAX_FEATURES = 2**17  # leaves 7 bits and a sign for each feature
_MIN_WIDTH = 1024  # fewer coordinates would give few features too few distinct directions
_TINY = np.float32(2.0**-100)  # a sample of smaller magnitudes loses resolution, not exactness
_CHUNK_FLOATS = 2**17  # half a MiB for each of two intermediate results, about one cache


class SignedHadamard:
    """A fixed random projection that keeps angles, computed without a matrix.

    The angle between two samples is ``pi * hamming / n_dims`` up to a standard error of at most
    ``pi / (2 * sqrt(n_dims))`` (1 degree at 8,192 dimensions), and up to twice that with fewer
    than 5 features. A zero sample gives all +1.

    Parameters
    ----------
    n_features : width of the samples, at most 131,072
    n_dims : a multiple of 64
    seed : the same seed gives the same bits on every platform and NumPy version

    Examples
    --------
    >>> import numpy as np
    >>> projection = SignedHadamard(n_features=3, n_dims=128, seed=7)
    >>> projection.bits(np.array([[1.0, 2.0, 3.0]])).shape
    (1, 2)
    """

    def __init__(self, n_features: int, n_dims: int, seed: int = 0) -> None:
        self.n_features = check_count(n_features, "n_features", 1, _MAX_FEATURES)
        self.n_dims = check_dims(n_dims)
        self.seed = check_count(seed, "seed", 0)
        self._width = max(_MIN_WIDTH, 1 << (self.n_features - 1).bit_length())
        self._limit = np.float32(_EXACT // self._width)
        n_blocks = -(-self.n_dims // self._width)
        left = 1 << ((self._width.bit_length() - 1) // 2)
        right = self._width // left
        self._shape = (-(-self.n_features // right), right)  # of a padded sample, as a matrix
        stream = np.random.PCG64(self.seed)
        signs = _random_signs((1 + n_blocks) * self._width, stream)
        self._shuffle = np.argsort(stream.random_raw(self._width), kind="stable")
        self._signs = signs[: self.n_features]
        self._block_signs = signs[self._width :].reshape(n_blocks, left, right)
        self._left, self._right = _hadamard(left), _hadamard(right)
        self._spread = np.ascontiguousarray(self._left[:, : self._shape[0]])
        # Groups of ``right`` shuffled coordinates are enough for the second round, unless outputs
        # are fewer than coordinates, or features so few that groups have too few distinct values.
        n_rows = -(-self.n_dims // right)
        is_small = n_rows < left or self.n_features < right
        self._reduce = self._left[:n_rows] if is_small else None
        mixed = self._width if is_small else right
        self._norm = np.float32(np.sqrt(float(mixed) * self.n_dims))

    @property
    def n_bytes(self) -> int:
        """Bytes held: signs, the order of coordinates, and the two small Hadamard matrices."""
        signs = self._width * 4 + self._block_signs.nbytes
        mixers = self._left.nbytes + self._spread.nbytes + self._right.nbytes
        return int(signs + self._shuffle.nbytes + mixers)

    def real(self, X: ArrayLike) -> Float32:
        """Real hypervectors that keep inner products on average: ``real(x) . real(y) ~ x . y``.

        Parameters
        ----------
        X : (n, n_features) or (n_features,), finite

        Returns
        -------
        (n, n_dims) float32, or (n_dims,) for one sample
        """
        row = self._as_row(X)
        if row is not None:
            hypervector = np.multiply(*self._project_row(row))
            return hypervector.reshape(*np.shape(X)[:-1], -1)
        matrix, is_single = self._check(X)
        out = np.empty((len(matrix), self.n_dims), np.float32)
        for rows, exact, scale in self._project_chunks(matrix):
            np.multiply(exact, scale, out=out[rows])
        return out[0] if is_single else out

    def bits(self, X: ArrayLike) -> Bits:
        """Packed signs of `real`: a set bit is negative, zero counts as positive.

        Returns
        -------
        (n, n_dims // 64) uint64, or (n_dims // 64,) for one sample
        """
        row = self._as_row(X)
        if row is not None:
            return pack_bits(self._project_row(row)[0]).reshape(*np.shape(X)[:-1], -1)
        matrix, is_single = self._check(X)
        out = np.empty((len(matrix), self.n_dims // 64), np.uint64)
        for rows, exact, _ in self._project_chunks(matrix):
            out[rows] = pack_bits(exact)
        return out[0] if is_single else out

    def _check(self, X: ArrayLike) -> tuple[Float32, bool]:
        X = np.asarray(X)
        is_single = X.ndim == 1
        return check_matrix(X[None] if is_single else X, self.n_features), is_single

    def _as_row(self, X: ArrayLike) -> Float32 | None:
        """The only sample in X where that needs no conversion, else None."""
        if isinstance(X, np.ndarray) and X.dtype == np.float32 and X.ndim in (1, 2):
            return X.reshape(-1) if X.size == X.shape[-1] == self.n_features else None
        return None

    def _project_row(self, x: Float32) -> tuple[Float32, np.float32]:
        """What `_project` gives for one sample, in two thirds of the time."""
        left, right = self._block_signs.shape[1:]
        whole, step = self._quantise_row(x)
        padded: Float32 = np.zeros(self._shape, np.float32)
        np.multiply(whole, self._signs, out=padded.reshape(-1)[: self.n_features])
        spread: Float32 = np.asarray((self._spread @ padded) @ self._right, np.float32)
        whole, step_2 = self._quantise_row(spread.reshape(-1).take(self._shuffle))
        signed: Float32 = np.multiply(whole.reshape(left, right), self._block_signs)
        if self._reduce is not None:
            signed = self._reduce @ signed
        mixed = signed.reshape(-1, right) @ self._right
        return mixed.reshape(-1)[: self.n_dims], step * step_2 / self._norm

    def _quantise_row(self, x: Float32) -> tuple[Float32, np.float32]:
        peak = np.abs(x).max()
        if not peak < np.inf:
            check_matrix(x[None])  # says what is wrong
        scale = self._limit / max(peak, _TINY)
        whole = x * scale
        return np.rint(whole, out=whole), np.float32(1.0) / scale

    def _project_chunks(self, X: Float32) -> Iterator[tuple[slice, Float32, Float32]]:
        """Rows, and what `_project` gives for them; valid until the next rows are asked for."""
        size = self._block_signs.size
        step = min(len(X), max(1, _CHUNK_FLOATS // size))
        # One workspace for all: fresh pages for every chunk cost as much as the arithmetic.
        work = np.empty((2, step * size), np.float32)
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            yield rows, *self._project(X[rows], work)

    def _project(self, X: Float32, work: Float32) -> tuple[Float32, Float32]:
        """Exact integer projections (n, n_dims) and the factor (n, 1) that makes them `real`."""
        n = len(X)
        left, right = self._block_signs.shape[1:]
        whole, step = self._quantise(X)
        padded = np.zeros((n, *self._shape), np.float32)
        np.multiply(whole, self._signs, out=padded.reshape(n, -1)[:, : self.n_features])
        spread: Float32 = self._spread @ padded
        spread = (spread.reshape(-1, right) @ self._right).reshape(n, self._width)
        whole, step_2 = self._quantise(np.take(spread, self._shuffle, axis=1))
        signed = work[0, : n * self._block_signs.size].reshape(n, *self._block_signs.shape)
        np.multiply(whole.reshape(n, 1, left, right), self._block_signs, out=signed)
        if self._reduce is not None:
            signed = self._reduce @ signed
        groups = signed.reshape(-1, right)
        mixed = np.matmul(groups, self._right, out=work[1, : groups.size].reshape(groups.shape))
        out = mixed.reshape(n, -1)[:, : self.n_dims]
        return out, step * step_2 / self._norm

    def _quantise(self, X: Float32) -> tuple[Float32, Float32]:
        """Integers of magnitude up to ``_limit``, and what one of them stands for, (n, 1)."""
        peak = np.maximum(X.max(axis=1, keepdims=True), -X.min(axis=1, keepdims=True))
        scale = self._limit / np.maximum(peak, _TINY)
        whole = X * scale
        return np.rint(whole, out=whole), np.reciprocal(scale)


def _hadamard(size: int) -> Float32:
    """Sylvester's Hadamard matrix of a power of two."""
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _random_signs(count: int, stream: np.random.PCG64) -> Float32:
    """+1 and -1 from the raw stream, lowest bit of each word first."""
    words = stream.random_raw(-(-count // 64)).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")[:count]
    return 1.0 - 2.0 * bits.astype(np.float32)

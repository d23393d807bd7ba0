"""The common frame: store units -> whitened features, and their leading directions.

Features are scaled by a gain (features that hardly vary beside the others of their tap count for
little), whitened by one covariance pooled within all cells of class and slot, shrunk towards a
multiple of the identity (`shrinkage`; 1 is no whitening at all), and projected on the leading
directions of what results. Low rank throughout: nothing here is a matrix of features by features.

Sources: J. H. Friedman, "Regularized discriminant analysis", 1989 (shrinkage); N. Halko et al.,
"Finding structure with randomness", 2011 (`leading`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdc.declared import Field, arrays_of
from hdc.domain.cells import counts_of

Matrix = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

# Directions that heads and prototypes see: of 1,456 features of PACS, 256 cost the kernel head 0.2
# points, 128 cost 1.5; 400 are 0.3 better on digits and no better on PACS, sounds and motion.
MOST_DIRECTIONS = 256
# Directions of the covariance that are kept, and rows that it is made of: with 128 and 1,000 digits
# have 0.5 points less, sounds and motion 0.1 less, PACS 0.1 more.
RANK, MOST_ROWS = 256, 2500
# Part of a tap's mean variance that is added to the variance of each of its features.
TAP_FLOOR = 0.3
# Taps of fewer features are raw measures, each with a unit of its own: no floor joins them.
RAW_WIDTH = 24
OVERSAMPLING = 16
TINY = 1e-12
# What is outside of all projections is a difference of two lengths: less than this part of one
# is rounding, another on every machine, and no view of anything.
LEAST_OUTSIDE = 1e-4

# No feature counts for more of its spreads: what is beyond leaves the range of float16.
MOST_UNITS = 60_000.0

FIELDS = (
    Field("gain", "float32", ("features",)),
    Field("centre", "float32", ("features",)),
    Field("projection", "float32", ("features", "dims")),
    Field("unproject", "float32", ("dims", "dims")),
    Field("level", "float64", (2,)),
)


def in_units(
    X: npt.NDArray[Any], centre: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]
) -> Matrix:
    """Raw features (n, d), less a centre, by a scale: as float32, what is out of reach is cut."""
    return np.clip((X - centre) / scale, -MOST_UNITS, MOST_UNITS).astype(np.float32)


def leading(A: Matrix, k: int, seed: int = 0) -> tuple[npt.NDArray[np.float64], Matrix]:
    """Leading eigenvalues (k',) and eigenvectors (d, k') of ``A.T @ A / n``, for A (n, d).

    Exact where rows or columns are few, else by randomised subspace iteration.
    """
    n, d = A.shape
    k = min(k, n, d)
    vectors: Matrix
    if min(n, d) <= 2 * (k + OVERSAMPLING):
        if n < d:
            values, left = np.linalg.eigh((A @ A.T).astype(np.float64))
            values, left = values[::-1][:k], left[:, ::-1][:, :k]
            lengths = np.sqrt(np.maximum(values, TINY))
            scaled = (A.T @ left.astype(np.float32)) / lengths.astype(np.float32)
            vectors = np.asarray(scaled, np.float32)
        else:
            values, right = np.linalg.eigh((A.T @ A).astype(np.float64))
            values = values[::-1][:k]
            vectors = np.asarray(right[:, ::-1][:, :k], np.float32)
    else:
        start = np.random.default_rng(seed).standard_normal((d, k + OVERSAMPLING), np.float32)
        start = A.T @ (A @ start)
        start, _ = np.linalg.qr(A.T @ (A @ (start / np.linalg.norm(start, axis=0))))
        small = A @ start
        values, turn = np.linalg.eigh((small.T @ small).astype(np.float64))
        values, turn = values[::-1][:k], turn[:, ::-1][:, :k]
        vectors = np.asarray(start @ turn.astype(np.float32), np.float32)
    kept = values > 1e-7 * max(float(values[0]) if len(values) else 0.0, TINY)
    return values[kept] / max(n, 1), np.asarray(vectors[:, kept], np.float32)


def gains(scale: npt.NDArray[np.float64], taps: Sequence[int]) -> Matrix:
    """Gain of each feature, by its spread beside that of its tap; 1 for raw measures."""
    gain, start = np.ones(len(scale), np.float32), 0
    for width in taps:
        if width >= RAW_WIDTH:
            variance = scale[start : start + width] ** 2
            floor = TAP_FLOOR * variance.mean()
            gain[start : start + width] = np.sqrt(variance / np.maximum(variance + floor, TINY))
        start += width
    return gain


@dataclass
class Frame:
    """Store units (n, d) to whitened features (n, d), and to projections (n, p).

    Whitened features are what an adaptor is trained on; answers need none, and what only they need
    is not kept (`end_of_training`).
    """

    gain: Matrix
    centre: Matrix
    projection: Matrix  # gain, whitening, leading directions and scale in one
    unproject: Matrix  # squared length of projections in the span of `projection`
    level: npt.NDArray[np.float64]  # standard deviation outside `directions`; scale of projections
    directions: Matrix | None = None  # of the covariance within cells
    stretch: Matrix | None = None  # of each direction, beyond that of all others

    def whitened(self, Z: Matrix) -> Matrix:
        """All features, with unit covariance within cells as far as it is known, (n, d)."""
        Z = Z * self.gain - self.centre
        directions, stretch = self._whitening()
        if len(stretch):
            Z = np.asarray(Z + ((Z @ directions) * stretch) @ directions.T, np.float32)
        return np.asarray(Z / np.float32(self.level[0]), np.float32)

    def unwhitened_weights(self, weights: Matrix) -> Matrix:
        """Weights (d, m) for whitened features as weights for ``Z * gain - centre``."""
        directions, stretch = self._whitening()
        if len(stretch):
            weights = weights + directions @ (stretch[:, None] * (directions.T @ weights))
        return np.asarray(weights / np.float32(self.level[0]), np.float32)

    def _whitening(self) -> tuple[Matrix, Matrix]:
        if self.directions is None or self.stretch is None:
            raise ValueError("this frame answers and no longer trains: whitening is not kept")
        return self.directions, self.stretch

    def end_of_training(self) -> None:
        """Keep what answers need: projections have the whitening in them."""
        self.directions = self.stretch = None

    def centred(self, Z: Matrix) -> Matrix:
        """Features with their gain, less the centre, (n, d)."""
        return np.asarray(Z * self.gain - self.centre, np.float32)

    def project(self, centred: Matrix) -> Matrix:
        """Projections (n, p) of `centred` features: about unit length on average."""
        return np.asarray(centred @ self.projection, np.float32)

    def outside(self, centred: Matrix, U: Matrix) -> npt.NDArray[np.float64]:
        """Squared length of what projections U do not hold of `centred` features, (n,)."""
        inside = U @ self.unproject
        total = np.einsum("ij,ij->i", centred, centred, dtype=np.float64)
        rest = total - np.einsum("ij,ij->i", inside, inside, dtype=np.float64)
        return np.asarray(np.where(rest > LEAST_OUTSIDE * total, rest, 0.0))

    @property
    def n_dims(self) -> int:
        """Width of a projection."""
        return int(self.projection.shape[1])

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return sum(getattr(self, field.name).nbytes for field in FIELDS)

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, as a flat dict of arrays."""
        return arrays_of(self, FIELDS)


def fit_frame(Z: Matrix, cells: Indices, gain: Matrix, shrinkage: float, seed: int = 0) -> Frame:
    """The frame of rows Z (n, d) in store units that belong to cells (n,), 0 to their number.

    Parameters
    ----------
    shrinkage : 0 to 1; 1 whitens nothing.
    """
    A = np.asarray(Z * gain, np.float32)
    n, d = A.shape
    counts = counts_of(cells).astype(np.float64)
    means = np.stack([A[cells == cell].mean(axis=0) for cell in range(len(counts))])
    centre = means.mean(axis=0)
    A -= centre
    R = A - (means - centre)[cells]
    freedom = n / max(n - len(counts), 1)
    trace = float(np.einsum("ij,ij->", R, R, dtype=np.float64)) / n * freedom
    if trace <= TINY * d:  # one row a cell: nothing is known of the spread within
        trace = max(float(np.einsum("ij,ij->", A, A, dtype=np.float64)) / n, TINY * d)
        R, shrinkage = A, 1.0
    mean = trace / d
    if shrinkage < 1:
        values, directions = leading(R, RANK, seed)
        values = values * freedom
        n_rest = d - len(values)
        rest = max(trace - float(values.sum()), 0.0) / n_rest if n_rest else mean
        level = np.sqrt((1 - shrinkage) * rest + shrinkage * mean)
        stretch = level / np.sqrt((1 - shrinkage) * values + shrinkage * mean) - 1
    else:
        directions, stretch, level = np.zeros((d, 0), np.float32), np.zeros(0), np.sqrt(mean)
    stretch = stretch.astype(np.float32)
    frame = Frame(
        gain, centre, np.zeros((d, 1), np.float32), np.ones((1, 1), np.float32),
        np.array([level, 1.0]), directions, stretch,
    )  # fmt: skip
    W = A if not len(stretch) else A + ((A @ directions) * stretch) @ directions.T
    values, main = leading(np.asarray(W / np.float32(level), np.float32), MOST_DIRECTIONS, seed + 1)
    length = float(np.sqrt(max(values.sum(), TINY)))
    frame.level[1] = length
    frame.projection = frame.unwhitened_weights(main / np.float32(length))
    _, upper = np.linalg.qr(frame.projection.astype(np.float64))
    frame.unproject = np.linalg.pinv(upper).astype(np.float32)
    return frame

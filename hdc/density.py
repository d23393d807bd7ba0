"""Gaussians of classes that share a low-rank covariance: how a domain whitens, what it answers.

Instead of a d x d matrix there are the `rank` leading directions of the within-class scatter; the
rest is isotropic (probabilistic PCA; Tipping and Bishop, 1999). Not here: how they are learned
(`subspace`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

# Rows of residuals that wait before one small SVD takes them into the basis.
PENDING_ROWS = 64


class Framed(NamedTuple):
    """Samples in the frame of a domain: what whitening and every likelihood are made of."""

    Z: Matrix  # (n, d) standardised
    leading: Matrix  # (n, rank) coordinates along the leading directions
    squares: Vector  # (n,) squared lengths of Z

    def take(self, rows: Any) -> Framed:
        """Some of the samples."""
        return Framed(self.Z[rows], self.leading[rows], self.squares[rows])


class SharedDensity:
    """Class means, a low-rank covariance about them, and the whitening that follows from both.

    Its parameters are those of `subspace.DomainModel`, which learns it.
    """

    def __init__(
        self,
        tap_widths: Sequence[int],
        *,
        rank: int = 128,
        shrinkage: float = 0.3,
        variance_floor: float = 0.3,
    ) -> None:
        if not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage is {shrinkage}, expected a number in (0, 1]")
        if rank < 1 or variance_floor < 0 or not tap_widths or min(tap_widths) < 1:
            raise ValueError(
                f"rank {rank}, variance_floor {variance_floor} and tap_widths {list(tap_widths)}: "
                "expected rank >= 1, a floor >= 0 and positive widths"
            )
        self.tap_widths = tuple(int(width) for width in tap_widths)
        self.rank, self.shrinkage, self.variance_floor = rank, shrinkage, variance_floor
        self.n_features = sum(self.tap_widths)
        self.mean = np.zeros(self.n_features, np.float32)
        self.scale = np.ones(self.n_features, np.float32)
        self.class_means = np.zeros((0, self.n_features), np.float32)
        self.counts = np.zeros(0, np.int64)
        self._basis: npt.NDArray[Any] = np.zeros((0, self.n_features), np.float32)
        self.energy = np.zeros(0, np.float32)
        self.total_energy = 0.0
        self.dof = 0
        self._pending = np.zeros((PENDING_ROWS, self.n_features), np.float32)
        self._n_pending = 0
        self._refresh()

    def _refresh(self) -> None:
        """Derive the whitening from scatter, degrees of freedom and shrinkage, as they are now."""
        self._derived_from = self.total_energy, self.dof
        self._derive()

    def _derive(self) -> None:
        total_energy, dof = self._derived_from[0], max(self._derived_from[1], 1)
        d, kept = self.n_features, float(self.energy.sum())
        mean_variance = total_energy / dof / d
        if mean_variance <= 0:  # one sample per class: nothing is known about the spread
            mean_variance = 1.0
        share = 1.0 - self.shrinkage
        isotropic = self.shrinkage * mean_variance
        n_rest = max(d - len(self.energy), 1)
        rest = share * max(total_energy - kept, 0.0) / dof / n_rest + isotropic
        leading = np.maximum(share * self.energy / dof + isotropic, rest)
        self._rest_gain = np.float32(1 / np.sqrt(rest))
        self._extra_gain = (1 / np.sqrt(leading) - self._rest_gain).astype(np.float32)
        self._log_det = float(np.log(leading).sum() + (d - len(self.energy)) * np.log(rest))
        self._log_scale = float(np.log(self.scale, dtype=np.float64).sum())
        # A squared whitened length is that of all directions, and what the leading ones differ by.
        self._rest_square = 1 / rest
        self._extra_squares = (1 / leading - 1 / rest).astype(np.float32)
        self._locate_means()

    def _locate_means(self) -> None:
        n_classes = len(self.class_means)
        self._mean_leading = np.zeros((n_classes, len(self.basis)), np.float32)
        self._mean_squares = np.zeros(n_classes, np.float32)
        for k in range(n_classes):
            self._follow(k)

    def _follow(self, k: int) -> None:
        """Note where one class mean is after it has moved."""
        mean = self.class_means[k]
        self._mean_leading[k] = self.basis @ mean
        self._mean_squares[k] = mean @ mean

    # -- answers ----------------------------------------------------------------------------

    def standardise(self, X: Matrix) -> Matrix:
        """Features (n, d) in the frame of this domain: mean 0, spread about 1."""
        return (X - self.mean) / self.scale

    def frame(self, X: Matrix) -> Framed:
        """Features (n, d) in the frame of this domain, one pass over its directions."""
        return self.frame_standardised(self.standardise(X))

    def frame_standardised(self, Z: Matrix) -> Framed:
        """`frame` of what `standardise` gave."""
        return Framed(Z, Z @ self.basis.T, np.einsum("ij,ij->i", Z, Z))

    def whiten(self, X: Matrix) -> Matrix:
        """Features (n, d) in the frame where within-class noise is white."""
        return self.whiten_framed(self.frame(X))

    def whiten_framed(self, framed: Framed) -> Matrix:
        """Whitened features (n, d) of what `frame` gave; a second pass over the directions."""
        extra = (framed.leading * self._extra_gain) @ self.basis
        return np.asarray(framed.Z * self._rest_gain + extra, np.float32)

    def whitened_squares(self, framed: Framed) -> npt.NDArray[np.float64]:
        """Squared lengths (n,) of the whitened features, which need not be computed for that."""
        return np.asarray(
            framed.squares * self._rest_square + framed.leading**2 @ self._extra_squares
        )

    def whitened_means(self) -> Matrix:
        """Class means (n_classes, d) in the frame of `whiten`; rows of unseen classes are 0."""
        return np.concatenate([self.whitened_mean(k) for k in range(len(self.counts))])

    def whitened_mean(self, k: int) -> Matrix:
        """One row of `whitened_means`, (1, d): the same to the last bit, whichever is called."""
        row = slice(k, k + 1)
        means, leading = self.class_means[row], self._mean_leading[row]
        return self.whiten_framed(Framed(means, leading, self._mean_squares[row]))

    def log_likelihoods(self, framed: Framed) -> npt.NDArray[np.float64]:
        """Log density (n, n_classes) under every class, -inf for unseen ones.

        Up to a constant that all domains share.
        """
        gaps = framed.squares[:, None] - 2.0 * (framed.Z @ self.class_means.T)
        squares = (gaps + self._mean_squares) * self._rest_square
        leading = framed.leading[:, None, :] - self._mean_leading
        squares += leading**2 @ self._extra_squares
        densities = -0.5 * (np.maximum(squares, 0.0) + self._log_det) - self._log_scale
        densities[:, self.counts == 0] = -np.inf
        return np.asarray(densities)

    def log_likelihood(self, X: Matrix, k: int | Classes) -> npt.NDArray[np.float64]:
        """Log density (n,) of features (n, d) under class `k`; see `log_likelihoods`."""
        everything = self.log_likelihoods(self.frame(X))
        return np.asarray(everything[np.arange(len(X)), k])

    def draw(self, classes: Classes, rng: np.random.Generator) -> Matrix:
        """Samples (n, d) of these classes as the model imagines them, standardised.

        What a learner must not forget can be rehearsed without keeping it: means and covariance
        say what it looked like (feature replay from class statistics, as in K. Zhu et al.,
        "Prototype augmentation and self-supervision for incremental learning", CVPR 2021).
        """
        n, d, dof = len(classes), self.n_features, max(self._derived_from[1], 1)
        kept = float(self.energy.sum())
        rest = max(self._derived_from[0] - kept, 0.0) / dof / max(d - len(self.energy), 1)
        spread = np.sqrt(self.energy / np.float32(dof))
        leading = rng.standard_normal((n, len(self.energy)), dtype=np.float32) * spread
        noise = rng.standard_normal((n, d), dtype=np.float32) * np.float32(np.sqrt(rest))
        leading -= noise @ self.basis.T  # the rest has no part in the leading directions
        return np.asarray(self.class_means[classes] + leading @ self.basis + noise, np.float32)

    # -- memory

    def compress(self) -> None:
        """Keep directions and waiting rows as float16 from now on: half the bytes, a bit slower.

        They are widened whenever they are used. Directions have unit length and rows are a few
        spreads long, so that float16 rounds them by a thousandth and overflows for none.
        """
        self._basis = self._basis.astype(np.float16)
        self._pending = self._pending.astype(np.float16)

    @property
    def waiting(self) -> Matrix:
        """Rows of residuals (n, d) that the directions have not taken in yet."""
        return self._pending[: self._n_pending]

    @property
    def is_compressed(self) -> bool:
        """Whether `compress` was called."""
        return bool(self._basis.dtype == np.float16)

    @property
    def basis(self) -> Matrix:
        """Leading within-class directions (rank, d), the strongest first."""
        return self._basis.astype(np.float32, copy=False)

    @basis.setter
    def basis(self, directions: Matrix) -> None:
        self._basis = directions.astype(self._basis.dtype, copy=False)

    def shrink(self, shrinkage: float) -> None:
        """Mix in another share of the isotropic covariance, in (0, 1], from now on."""
        if not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage is {shrinkage}, expected a number in (0, 1]")
        self.shrinkage = shrinkage
        self._derive()

    @property
    def n_bytes(self) -> int:
        """Bytes of the learned arrays, of what is derived from them, and of the rows that wait.

        Directions have their room from the start: it is theirs as soon as samples come.
        """
        rank, d = min(self.rank, self.n_features), self.n_features
        of_a_class = 4 * d + 8 + 4 * rank + 4  # mean, count, and where the mean is
        directions = rank * (d * self._basis.itemsize + 3 * 4)
        return 8 * d + len(self.counts) * of_a_class + directions + self._pending.nbytes

"""A slot's frame follows a slow drift of its features without labels: bounded, and taken back.

What moves is the mean of the frame, never a class mean: each known sample pulls it by a small share
of the distance to the mean of the class that it seems to be. The mix of classes therefore moves
nothing. Whether to follow at all is decided elsewhere: only known samples are followed, and none
once the alarm has rung, so that what is strange in any other way teaches nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdc.subspace import DomainModel

Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]


class Follower:
    """How far a frame has moved, in standard deviations of each feature.

    Examples
    --------
    >>> follower, drifted = Follower(1), np.full(1, 0.5, np.float32)
    >>> for _ in range(1000):
    ...     follower.follow(drifted - follower.shift, rate=0.01, limit=2.0)
    >>> round(follower.length, 2)
    0.5
    >>> follower.revert()
    >>> follower.length
    0.0
    """

    def __init__(self, n_features: int) -> None:
        self.shift: Vector = np.zeros(n_features, np.float32)
        self.has_moved = False

    @property
    def length(self) -> float:
        """Root mean square over features."""
        return float(np.sqrt(np.mean(self.shift * self.shift, dtype=np.float64)))

    def correct(self, X: Matrix, domain: DomainModel) -> Matrix:
        """Features (n, d) as they would have been before the drift."""
        return X - self.shift * domain.scale if self.has_moved else X

    def follow(self, residual: Vector, rate: float, limit: float) -> None:
        """Move by a share of a corrected sample's distance (d,) to its class, up to `limit`."""
        self.shift += np.float32(rate) * residual
        self.has_moved = True
        length = self.length
        if length > limit:
            self.shift *= np.float32(limit / length)

    def revert(self) -> None:
        """Take everything back: the frame is where labels have put it."""
        self.shift = np.zeros_like(self.shift)
        self.has_moved = False

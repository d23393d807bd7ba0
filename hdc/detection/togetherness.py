"""Whether recent samples are off together: in one direction, where chance would cancel out.

P-values say how strange one sample is. A new domain need not be strange at all: it may lie well
inside an old one. What gives it away is that all samples are off in the same direction from where
their class used to be. Not here: the alarm, and what samples used to be like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

# Share by which each scene moves the recent mean: it is that of about the last twenty.
RATE = 1 / 20
# The off-vector, the recent mean and the mean before it share the error of a finite reference.
SHARED = 3


class Togetherness:
    """How far scenes are off where recent ones were; about 0 on average while nothing changes.

    For a scene of mean off-vector o, and the mean m of those up to the scene before the last one:
    ``(o . m - SHARED * error) / |m|``, where the error is what finite references put into both.

    Parameters
    ----------
    n_bits : width of an off-vector.

    Examples
    --------
    >>> rng, together = np.random.default_rng(0), Togetherness(256)
    >>> def scene(moved):
    ...     return rng.choice([-1.0, 1.0], 256) + moved
    >>> rest = [together.take(scene(0.0), {"a": 1.0}, {"a": 0.0}) for _ in range(200)]
    >>> moved = [together.take(scene(0.5), {"a": 1.0}, {"a": 0.0}) for _ in range(60)]
    >>> bool(np.mean(moved[40:]) > 3 * np.std(rest[40:]))
    True
    """

    def __init__(self, n_bits: int) -> None:
        self._recent = np.zeros(n_bits)
        self._last = np.zeros(n_bits)
        self._shares: dict[Any, float] = {}

    def take(
        self,
        off: npt.NDArray[np.floating],
        shares: Mapping[Any, float],
        errors: Mapping[Any, float],
    ) -> float:
        """Take a scene: its mean off-vector, the share of each cell in it, and the cells' errors.

        An error is the spread of one sample over the number of labels behind the cell's mean.
        """
        length = float(np.sqrt(self._recent @ self._recent))
        value = 0.0
        if length > 0:
            shared = sum(
                share * self._shares.get(cell, 0.0) * errors.get(cell, 0.0)
                for cell, share in shares.items()
            )
            value = (float(off @ self._recent) - SHARED * shared) / length
        self._recent += RATE * (self._last - self._recent)
        for cell in self._shares:
            self._shares[cell] *= 1 - RATE
        for cell, share in shares.items():
            self._shares[cell] = self._shares.get(cell, 0.0) + RATE * share
        self._last = np.asarray(off, np.float64)
        return value

"""Raw measures beside their random Fourier features, to tell apart what no plane parts.

An encoder's features need none of this. Sixteen measures of a letter do: classes that a linear
model mixes up are apart in a Gaussian kernel's view of them (`hdc.FourierFeatures`). Measures are
standardised first, as they may differ in unit, by the first labelled samples; from then on the map
is fixed, as every slot and the router are made in its terms. What is learned from it forgets
nothing: it is statistics of features as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hdc.fourier import FourierFeatures

Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]

# Labelled samples by which measures are standardised: on letter 60 cost a point against 3,000.
ROWS = 64
# Added to each spread as a share of the mean one: what did not vary at first may later.
FLOOR = 0.03


class Lift:
    """A fixed map from samples (n, d) to their d measures and `n_fourier` features; never changed.

    Examples
    --------
    >>> lift = Lift((3,), n_fourier=128, seed=0)
    >>> lift(np.ones((2, 3), np.float32)).shape
    (2, 131)
    >>> Lift((3,), n_fourier=0, seed=0)(np.ones((2, 3), np.float32)).shape
    (2, 3)
    """

    def __init__(self, tap_widths: Sequence[int], n_fourier: int, seed: int) -> None:
        self.tap_widths, self.n_fourier = tuple(tap_widths), n_fourier
        d = sum(self.tap_widths)
        self._features = FourierFeatures(d, n_fourier, seed) if n_fourier else None
        self._mean, self._scale = np.zeros(d, np.float32), np.ones(d, np.float32)
        self.is_fixed = n_fourier == 0

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of what it gives: the taps, and the Fourier features behind them."""
        return (*self.tap_widths, self.n_fourier) if self.n_fourier else self.tap_widths

    def __call__(self, X: Matrix) -> Matrix:
        """Samples (n, d) with their Fourier features (n, d + n_fourier)."""
        if self._features is None:
            return X
        lifted = self._features.transform((X - self._mean) / self._scale)
        return np.concatenate([X, lifted], axis=1)

    def fitted(self, X: Matrix) -> Lift:
        """The same map, standardised by samples (n, d); fixed once they are `ROWS`."""
        if self.is_fixed:
            return self
        spread = X.std(axis=0, dtype=np.float64)
        other = self._with(X.mean(axis=0, dtype=np.float64), spread + FLOOR * spread.mean() + 1e-6)
        other.is_fixed = len(X) >= ROWS
        return other

    def fixed(self) -> Lift:
        """The same map, which `fitted` leaves as it is."""
        if self.is_fixed:
            return self
        other = self._with(self._mean, self._scale)
        other.is_fixed = True
        return other

    def _with(self, mean: npt.NDArray[Any], scale: npt.NDArray[Any]) -> Lift:
        other = Lift(self.tap_widths, 0, 0)
        other.n_fourier, other._features = self.n_fourier, self._features
        other._mean, other._scale = mean.astype(np.float32), scale.astype(np.float32)
        return other

    @property
    def n_bytes(self) -> int:
        """Bytes of the standardisation and of the projection behind the features."""
        projection = 0 if self._features is None else self._features.n_bytes
        return self._mean.nbytes + self._scale.nbytes + projection if projection else 0

    # -- state ------------------------------------------------------------------------------

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """How measures are standardised; nothing where nothing is lifted."""
        if self._features is None:
            return {}
        fixed = np.array([self.is_fixed], np.uint8)
        return {"mean": self._mean, "scale": self._scale, "fixed": fixed}

    def restored(self, state: Mapping[str, npt.NDArray[Any]]) -> Lift:
        """The map that `to_state` was called on, of the same widths and seed.

        Raises
        ------
        ValueError
            An array is missing, or does not fit.
        """
        if self._features is None and not state:
            return self
        mean, scale, fixed = (state.get(name) for name in ("mean", "scale", "fixed"))
        shapes = [None if part is None else part.shape for part in (mean, scale, fixed)]
        d = (sum(self.tap_widths),)
        if mean is None or scale is None or fixed is None or shapes != [d, d, (1,)]:
            raise ValueError(f"a lift has shapes {shapes}, expected {[d, d, (1,)]}: was it cut?")
        if not np.isfinite(mean).all() or not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError("a lift has means or spreads that are no numbers: is it damaged?")
        other = self._with(mean, scale)
        other.is_fixed = bool(fixed[0])
        return other

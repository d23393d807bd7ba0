"""Out-of-distribution samples among embeddings, at a false-alarm rate that the user states.

An estimator over the very objects that a board runs: the frame (`hdc.domain.frame`), class means,
class hypervectors, and one score of three views (`hdc.detection.score`). The threshold is conformal
(`hdc.detection.conformal`): rows held out of the fit in turn say how far out a known sample may
score. Folds are contiguous in order of arrival, so that frames of one scene do not vouch for one
another. Held-out scores come from models of fewer rows than the final one, which makes them
slightly too high and alarms slightly too rare.

Sources: K. Lee et al., "A simple unified framework for detecting out-of-distribution samples",
NeurIPS 2018 (Mahalanobis distance); H. Wang et al., "ViM: out-of-distribution with virtual-logit
matching", CVPR 2022 (what the principal space does not hold); V. Vovk, "Cross-conformal
predictors", 2015.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hdc._checks import (
    Float32,
    Float64,
    RandomState,
    check_count,
    check_dims,
    check_rate,
    derive_seed,
)
from hdc.detection import conformal
from hdc.detection.score import OODScore
from hdc.domain.folds import folds_of
from hdc.domain.learned import USUAL_SHRINKAGE, Learned, check_shrinkage, joined
from hdc.estimator import Estimator, OutlierMixin, check_is_fitted, check_X, check_y

Taps = Mapping[str, ArrayLike]

_DECIMALS = 4


class OODDetector(OutlierMixin, Estimator):
    """In or out of distribution, for a single sample, at a stated rate of false alarms.

    Parameters
    ----------
    n_dims : of the hypervectors, a multiple of 64
    false_alarm_rate : share of fresh in-distribution samples that may be called out of
        distribution, on average over calibration sets; with n rows at least ``1 / (n + 1)``
    shrinkage : above 0 to 1, of the covariance towards a multiple of the identity; 1: no whitening
    n_folds : parts of the rows that are held out in turn to calibrate
    random_state : of the projection

    Attributes
    ----------
    offset_ : float, the threshold: scores below are out of distribution; -inf if the rate cannot be
        met
    can_meet_rate_ : bool, whether there are enough rows for the rate
    min_p_value_ : float, the smallest p-value that can occur
    n_features_in_ : int
    n_bytes_ : int, bytes of what was learned

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(200, 8)), np.arange(200) % 2
    >>> detector = OODDetector(n_dims=512, random_state=0).fit(X + 5 * y[:, None], y)
    >>> detector.predict([[5.0] * 8, [-9.0] * 8]).tolist()
    [1, -1]
    """

    def __init__(
        self,
        n_dims: int = 8192,
        false_alarm_rate: float = 0.05,
        shrinkage: float = USUAL_SHRINKAGE,
        n_folds: int = 4,
        random_state: RandomState = None,
    ) -> None:
        self.n_dims = n_dims
        self.false_alarm_rate = false_alarm_rate
        self.shrinkage = shrinkage
        self.n_folds = n_folds
        self.random_state = random_state

    def fit(self, X: ArrayLike | Taps, y: ArrayLike | None = None) -> OODDetector:
        """Learn rows in distribution, and calibrate on parts of them that were held out in turn.

        Parameters
        ----------
        X : (n, d), or tap name -> (n, width); in order of arrival
        y : (n,) classes; None: all of one class

        Warns
        -----
        UserWarning
            There are too few rows for the false-alarm rate: nothing can be called out of
            distribution yet.
        """
        check_rate(self.false_alarm_rate, "false_alarm_rate")
        check_shrinkage(self.shrinkage)
        n_folds = check_count(self.n_folds, "n_folds", 2)
        n_dims = check_dims(self.n_dims)
        matrix, widths = joined(X)
        # On a scratch object: a refused call must leave what was learned before as it was.
        rows = check_X(OODDetector(), matrix)
        y = np.zeros(len(rows), np.int64) if y is None else check_y(y, len(rows))
        classes, seed = np.unique(y, return_inverse=True)[1], derive_seed(self.random_state)
        recipe = widths or (rows.shape[1],), self.shrinkage, n_dims, seed
        folds = folds_of(classes, np.full(len(rows), -1), n_folds)
        found, nearest = self._held_out(rows, classes, folds, recipe)
        self.learned_ = Learned.of(rows, classes, *recipe)
        self.widths_, self.n_features_in_ = widths, rows.shape[1]
        self.score_ = OODScore(found, nearest, np.zeros(len(found), np.int64))
        reference = self.score_.reference(0)
        self.offset_ = -conformal.threshold(reference, self.false_alarm_rate)
        self.can_meet_rate_ = bool(np.isfinite(self.offset_))
        self.min_p_value_ = 1.0 / (len(reference) + 1.0)
        self.n_bytes_ = self.learned_.n_bytes + self.score_.n_bytes
        if not self.can_meet_rate_:
            warnings.warn(
                f"{len(rows)} samples are too few for a false-alarm rate of "
                f"{self.false_alarm_rate}: the smallest p-value is {self.min_p_value_:.3f}. "
                "Give more samples.",
                stacklevel=2,
            )
        return self

    def score_samples(self, X: ArrayLike | Taps) -> Float64:
        """How normal each sample is, (n,); higher is more normal, 0 about average."""
        check_is_fitted(self)
        found = -self.score_.of(self.learned_.views(self._matrix(X))[0])
        # What a sample scores may not depend on the others in a batch, whatever the BLAS does.
        return np.asarray(np.round(found, _DECIMALS))

    def decision_function(self, X: ArrayLike | Taps) -> Float64:
        """Score less threshold, (n,): negative out of distribution; +inf where none can be."""
        return np.asarray(self.score_samples(X) - self.offset_)

    def predict(self, X: ArrayLike | Taps) -> NDArray[np.int64]:
        """+1 for each sample in distribution and -1 for each one out of it, (n,) int64."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_value(self, X: ArrayLike | Taps) -> Float64:
        """How often a fresh in-distribution sample would be as far out, (n,); low is out."""
        return conformal.p_values(self.score_.reference(0), -self.score_samples(X))

    def _matrix(self, X: Any) -> Float32:
        matrix, widths = joined(X)
        if widths != self.widths_:
            raise ValueError(f"X has taps of widths {widths}, expected {self.widths_} as at fit")
        return check_X(self, matrix)

    @staticmethod
    def _held_out(
        X: Float32, y: NDArray[np.int64], folds: NDArray[np.int64], recipe: Any
    ) -> tuple[Float64, NDArray[np.int64]]:
        """Views (n, 3) of rows by models that have not learned them, and the nearest classes."""
        found, nearest = [np.zeros((0, 3))], [np.zeros(0, np.int64)]
        for fold in np.unique(folds).tolist():
            kept, held = folds != fold, folds == fold
            held &= np.isin(y, y[kept])
            if kept.any() and held.any():
                views, classes = Learned.of(X[kept], y[kept], *recipe).views(X[held])
                found.append(views)
                nearest.append(classes)
        return np.concatenate(found), np.concatenate(nearest)

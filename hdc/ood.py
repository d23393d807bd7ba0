"""Strangers among embeddings, at a false-alarm rate that the user states.

Several taps are joined and whitened together, so that none dominates by its scale and what two
taps share counts once. A sample is then measured in two ways, as neither is enough alone: the
cosine of its hypervector to the nearest prototype ignores its length, and the whitened
(Mahalanobis) distance to the nearest class mean ignores its direction among many dimensions.

Each measurement is standardised on known samples held out of the fit (cross-fitting), then summed:

* cosine: below average counts as strange; above average earns nothing, so that a typical
  direction cannot make up for a strange length;
* distance: more is stranger, but so is less than `_TOO_CLOSE` deviations below the mean. In many
  dimensions known samples keep a distance from their mean, and a blank input does not.

The threshold is conformal (`hdc.conformal`). Held-out scores come from models with fewer samples
than the final one, which makes them slightly too low and alarms slightly too rare.

Sources: K. Lee et al., "A simple unified framework for detecting out-of-distribution samples",
NeurIPS 2018 (Mahalanobis distance); `hdc.hdff` for hypervectors; E. Nalisnick et al., "Detecting
out-of-distribution inputs to deep generative models using typicality", 2019 (too close is
strange); V. Vovk, "Cross-conformal predictors", 2015.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from hdc import _state
from hdc._checks import Float32, Float64, RandomState, check_count, check_rate, derive_seed
from hdc._estimator import (
    Estimator,
    OutlierMixin,
    check_is_fitted,
    check_random_state,
    check_X,
    check_y,
)
from hdc._reference import Measured, Reference
from hdc.conformal import Calibration, MondrianCalibration
from hdc.covariance import PooledCovariance, Taps
from hdc.projection import SignedHadamard
from hdc.whitening import Form, Shrinkage, check_options

_KIND, _VERSION = "hdc.OODDetector", 1
_TOO_CLOSE = -2.0  # deviations
_DECIMALS = 4


class OODDetector(OutlierMixin, Estimator):
    """Known or strange, for a single sample, at a stated rate of false alarms.

    Parameters
    ----------
    n_dims : of the hypervectors, a multiple of 64
    false_alarm_rate : share of fresh known samples that may be called strange, on average over
        calibration sets; with n calibration samples at least ``1 / (n + 1)``
    per_class : hold the rate for the samples nearest to each class on their own (Mondrian)
    form, rank, shrinkage : of the whitening, see `hdc.whitening.Whitening`; not "discriminant"
    n_folds : parts of the data that are held out in turn to calibrate
    capacity : calibration scores kept at most (for each class if ``per_class``); oldest go first
    random_state : of the projection and the folds

    Attributes
    ----------
    offset_ : float, the threshold: scores below are strange; -inf if the rate cannot be met
    can_meet_rate_ : bool, whether there are enough calibration samples for the rate
    min_p_value_ : float, the smallest p-value that can occur
    n_features_in_ : int
    n_bytes_ : int, bytes of what was learned
    calibration_ : Calibration, or MondrianCalibration if ``per_class``

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
        per_class: bool = False,
        form: Form = "full",
        rank: int = 64,
        shrinkage: Shrinkage = "oas",
        n_folds: int = 5,
        capacity: int = 1000,
        random_state: RandomState = None,
    ) -> None:
        self.n_dims = n_dims
        self.false_alarm_rate = false_alarm_rate
        self.per_class = per_class
        self.form = form
        self.rank = rank
        self.shrinkage = shrinkage
        self.n_folds = n_folds
        self.capacity = capacity
        self.random_state = random_state

    def fit(
        self, X: ArrayLike | Mapping[str, ArrayLike], y: ArrayLike | None = None
    ) -> OODDetector:
        """Learn what is known, and calibrate on parts of it that were held out in turn.

        Parameters
        ----------
        X : (n, d), or tap name -> (n, width)
        y : (n,) classes; None: all of one class

        Warns
        -----
        UserWarning
            There are too few samples for the false-alarm rate: nothing can be called strange yet.
        """
        check_rate(self.false_alarm_rate, "false_alarm_rate")
        check_options(self.form, self.shrinkage)
        if self.form == "discriminant":
            raise ValueError("form 'discriminant' is blind to strangers: use 'full' or 'low_rank'")
        taps = None
        if _has_taps(X):
            taps = Taps.of(X)
            joined = taps.join(X)
        else:  # on a scratch object: a refused call must leave what was learned before as it was
            joined = check_X(OODDetector(), X)
        codes = np.zeros(len(joined), np.int64)
        if y is not None:
            codes = np.unique(check_y(y, len(joined)), return_inverse=True)[1].astype(np.int64)
        kind = MondrianCalibration if self.per_class else Calibration
        calibration = kind(self.capacity)
        projection = SignedHadamard(joined.shape[1], self.n_dims, derive_seed(self.random_state))
        self.reference_, held_out = self._cross_fit(joined, codes, projection)
        self.taps_, self.n_features_in_ = taps, joined.shape[1]
        self.calibration_: Calibration | MondrianCalibration = calibration
        self._standardise(held_out)
        self._calibrate(held_out)
        if not self.can_meet_rate_:
            warnings.warn(
                f"{len(joined)} samples are too few for a false-alarm rate of "
                f"{self.false_alarm_rate}: the smallest p-value is {self.min_p_value_:.3f}. "
                "Give more samples, or calibrate() with some.",
                stacklevel=2,
            )
        return self

    def calibrate(self, X: ArrayLike | Mapping[str, ArrayLike]) -> OODDetector:
        """Learn the scores of fresh known samples; what is known otherwise stays as it is."""
        self._calibrate(self._measure(X))
        return self

    def score_samples(self, X: ArrayLike | Mapping[str, ArrayLike]) -> Float64:
        """How normal each sample is, (n,); higher is more normal, 0 about average."""
        return self._score(self._measure(X))

    def decision_function(self, X: ArrayLike | Mapping[str, ArrayLike]) -> Float64:
        """Score less threshold, (n,): negative for strange samples; +inf where none can be."""
        measured = self._measure(X)
        return self._score(measured) - self._thresholds(measured)

    def predict(
        self, X: ArrayLike | Mapping[str, ArrayLike]
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """+1 for each known sample and -1 for each strange one, (n,) int64."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_value(self, X: ArrayLike | Mapping[str, ArrayLike]) -> Float64:
        """How often a fresh known sample would look as strange, (n,); low is strange."""
        measured = self._measure(X)
        scores = self._score(measured)
        if isinstance(self.calibration_, MondrianCalibration):
            return self.calibration_.p_values(scores, measured.nearest)
        return self.calibration_.p_values(scores)

    def to_state(self) -> tuple[_state.Header, _state.Arrays]:
        """Return header and arrays; `from_state` continues identically."""
        check_is_fitted(self)
        reference, arrays = self.reference_.to_state()
        calibration, scores = self.calibration_.to_state()
        header = _state.make_header(
            _KIND,
            _VERSION,
            parameters=self.get_params() | {"random_state": self.reference_.projection.seed},
            taps=None if self.taps_ is None else list(self.taps_.widths.items()),
            reference=reference,
            calibration=calibration,
        )
        own = {"centre": self.centre_.copy(), "spread": self.spread_.copy()}
        nested = _state.nest("reference", arrays) | _state.nest("calibration", scores)
        return header, own | nested

    @classmethod
    def from_state(cls, header: _state.Header, arrays: _state.Arrays) -> OODDetector:
        """Rebuild what `to_state` gave; raises `ValueError` for anything else."""
        _state.check_header(header, _KIND, _VERSION)
        new = cls(**_state.parameters(header, cls().get_params()))
        check_rate(new.false_alarm_rate, "false_alarm_rate")
        taps = _state.field(header, "taps")
        new.taps_ = None if taps is None else Taps(dict(taps))
        new.reference_ = Reference.from_state(*_state.nested("reference", header, arrays))
        new.n_features_in_ = new.reference_.whitening.n_features
        if new.taps_ is not None and new.taps_.n_features != new.n_features_in_:
            raise ValueError(f"state has taps of {new.taps_.n_features} features in all")
        new.centre_ = _state.take(arrays, "centre", (2,), np.float64)
        new.spread_ = _state.take(arrays, "spread", (2,), np.float64)
        if (new.spread_ <= 0).any():
            raise ValueError(f"state has spread {new.spread_}, expected positive numbers")
        kind = MondrianCalibration if new.per_class else Calibration
        new.calibration_ = kind.from_state(*_state.nested("calibration", header, arrays))
        new._publish()
        return new

    def _join(self, X: Any) -> Float32:
        """One matrix of all taps, or the matrix that was given; as it was at `fit`."""
        if self.taps_ is not None:
            return self.taps_.join(X)
        if _has_taps(X):
            raise TypeError(f"X has taps {list(X)}, expected one matrix as at fit")
        return check_X(self, X)

    def _freeze(
        self, parts: list[PooledCovariance], projection: SignedHadamard, shrinkage: Shrinkage
    ) -> Reference:
        statistics = PooledCovariance(projection.n_features)
        for one in parts:
            statistics.merge(one)
        return Reference.of(
            statistics, projection, shrinkage=shrinkage, form=self.form, rank=self.rank
        )

    def _cross_fit(
        self, X: Float32, codes: np.ndarray[Any, np.dtype[np.int64]], projection: SignedHadamard
    ) -> tuple[Reference, Measured]:
        """Fit to all samples, and measurements of each fold by a fit to all others.

        Folds are shrunk as much as the whole. Were each to choose for its fewer samples, it would
        shrink more, and with about as many samples as features alarms were 20 % too many.
        """
        n_folds = min(check_count(self.n_folds, "n_folds", 2), len(X))
        order = check_random_state(projection.seed).permutation(len(X))
        # Dealt out class by class, so that every fold has its share of each.
        order = order[np.argsort(codes[order], kind="stable")]
        folds = [order[k::n_folds] for k in range(n_folds)]
        parts = [PooledCovariance(X.shape[1]).update(X[rows], codes[rows]) for rows in folds]
        whole = self._freeze(parts, projection, self.shrinkage)
        if n_folds == 1:
            return whole, Measured(np.empty(0), np.empty(0), np.empty(0, np.int64))
        amount = whole.whitening.shrinkage_
        measured = [
            self._freeze([p for p in parts if p is not part], projection, amount).measure(X[rows])
            for part, rows in zip(parts, folds, strict=True)
        ]
        return whole, Measured(*(np.concatenate(column) for column in zip(*measured, strict=True)))

    def _measure(self, X: Any) -> Measured:
        check_is_fitted(self)
        return self.reference_.measure(self._join(X))

    def _standardise(self, held_out: Measured) -> None:
        """Learn mean and deviation of both measurements; a lone sample has no deviation."""
        both = np.stack([held_out.cosine, held_out.distance])
        enough = both.shape[1] > 1
        self.centre_: Float64 = both.mean(axis=1) if enough else np.zeros(2)
        deviation = both.std(axis=1) if enough else np.ones(2)
        self.spread_: Float64 = np.where(deviation > 1e-9, deviation, 1.0)

    def _score(self, measured: Measured) -> Float64:
        cosine = (measured.cosine - self.centre_[0]) / self.spread_[0]
        distance = (measured.distance - self.centre_[1]) / self.spread_[1]
        scores = np.minimum(cosine, 0.0) - np.abs(distance - _TOO_CLOSE) - _TOO_CLOSE
        # A sample gets the same score alone and in a batch: float32 sums differ beyond this digit.
        return np.asarray(np.round(scores, _DECIMALS))

    def _calibrate(self, measured: Measured) -> None:
        scores = self._score(measured)
        if isinstance(self.calibration_, MondrianCalibration):
            self.calibration_.add(scores, measured.nearest)
        else:
            self.calibration_.add(scores)
        self._publish()

    def _thresholds(self, measured: Measured) -> Float64 | float:
        if not isinstance(self.calibration_, MondrianCalibration):
            return self.offset_
        by_class = self.calibration_.thresholds(self.false_alarm_rate)
        return np.array([by_class.get(k, -np.inf) for k in measured.nearest.tolist()])

    def _publish(self) -> None:
        """Set the attributes that depend on the calibration."""
        calibration = self.calibration_
        self.can_meet_rate_ = calibration.can_meet(self.false_alarm_rate)
        self.min_p_value_ = calibration.min_p_value
        self.offset_ = calibration.threshold(self.false_alarm_rate)
        self.n_bytes_ = self.reference_.n_bytes + calibration.n_bytes


def _has_taps(X: Any) -> TypeGuard[Mapping[str, ArrayLike]]:
    """Whether X maps names to arrays; some sparse matrices are mappings too."""
    return isinstance(X, Mapping) and not hasattr(X, "toarray")

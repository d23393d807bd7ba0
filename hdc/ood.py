"""Strangers among embeddings, at a false-alarm rate that the user states.

The score of a sample is that of `hdc._views`: direction and whitened distance, of all taps
together and of narrow taps alone. The threshold is conformal (`hdc.conformal`): known samples
held out of the fit in turn (cross-fitting) say how low a known sample may score. Held-out scores
come from models with fewer samples than the final one, which makes them slightly too low and
alarms slightly too rare.

Sources: K. Lee et al., "A simple unified framework for detecting out-of-distribution samples",
NeurIPS 2018 (Mahalanobis distance); S. Wilson et al., "Hyperdimensional feature fusion for
out-of-distribution detection", WACV 2023 (hypervectors); E. Nalisnick et al., "Detecting
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
from hdc._checks import (
    Float32,
    Float64,
    IntArray,
    RandomState,
    check_count,
    check_dims,
    check_rate,
    derive_seed,
)
from hdc._estimator import (
    Estimator,
    OutlierMixin,
    check_is_fitted,
    check_random_state,
    check_X,
    check_y,
)
from hdc._views import Recipe, Scored, Views, fit_views
from hdc.conformal import Calibration, MondrianCalibration
from hdc.covariance import Taps
from hdc.whitening import Form, Shrinkage, check_options

_KIND, _VERSION = "hdc.OODDetector", 2


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
        seed = derive_seed(self.random_state)
        recipe = Recipe(check_dims(self.n_dims), seed, self.shrinkage, self.form, self.rank)
        self.views_, held_out = fit_views(self._folds(joined, codes, seed), taps, recipe)
        self.taps_, self.n_features_in_ = taps, joined.shape[1]
        self.calibration_: Calibration | MondrianCalibration = calibration
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
        self._calibrate(self._score(X))
        return self

    def score_samples(self, X: ArrayLike | Mapping[str, ArrayLike]) -> Float64:
        """How normal each sample is, (n,); higher is more normal, 0 about average."""
        return self._score(X).scores

    def decision_function(self, X: ArrayLike | Mapping[str, ArrayLike]) -> Float64:
        """Score less threshold, (n,): negative for strange samples; +inf where none can be."""
        scored = self._score(X)
        return np.asarray(scored.scores - self._thresholds(scored))

    def predict(
        self, X: ArrayLike | Mapping[str, ArrayLike]
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """+1 for each known sample and -1 for each strange one, (n,) int64."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_value(self, X: ArrayLike | Mapping[str, ArrayLike]) -> Float64:
        """How often a fresh known sample would look as strange, (n,); low is strange."""
        scores, nearest = self._score(X)
        if isinstance(self.calibration_, MondrianCalibration):
            return self.calibration_.p_values(scores, nearest)
        return self.calibration_.p_values(scores)

    def to_state(self) -> tuple[_state.Header, _state.Arrays]:
        """Return header and arrays; `from_state` continues identically."""
        check_is_fitted(self)
        views, arrays = self.views_.to_state()
        calibration, scores = self.calibration_.to_state()
        header = _state.make_header(
            _KIND,
            _VERSION,
            parameters=self.get_params() | {"random_state": self.views_.joint.projection.seed},
            taps=None if self.taps_ is None else list(self.taps_.widths.items()),
            views=views,
            calibration=calibration,
        )
        return header, _state.nest("views", arrays) | _state.nest("calibration", scores)

    @classmethod
    def from_state(cls, header: _state.Header, arrays: _state.Arrays) -> OODDetector:
        """Rebuild what `to_state` gave; raises `ValueError` for anything else."""
        _state.check_header(header, _KIND, _VERSION)
        new = cls(**_state.parameters(header, cls().get_params()))
        check_rate(new.false_alarm_rate, "false_alarm_rate")
        taps = _state.field(header, "taps")
        new.taps_ = None if taps is None else Taps(dict(taps))
        new.views_ = Views.from_state(*_state.nested("views", header, arrays))
        new.n_features_in_ = new.views_.joint.whitening.n_features
        if new.taps_ is not None and new.taps_.n_features != new.n_features_in_:
            raise ValueError(f"state has taps of {new.taps_.n_features} features in all")
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

    def _folds(self, X: Float32, codes: IntArray, seed: int) -> list[tuple[Float32, IntArray]]:
        """Samples and classes in parts, dealt out class by class: each has its share of all."""
        n_folds = min(check_count(self.n_folds, "n_folds", 2), len(X))
        order = check_random_state(seed).permutation(len(X))
        order = order[np.argsort(codes[order], kind="stable")]
        return [(X[rows], codes[rows]) for rows in (order[k::n_folds] for k in range(n_folds))]

    def _score(self, X: Any) -> Scored:
        check_is_fitted(self)
        return self.views_.score(self._join(X))

    def _calibrate(self, scored: Scored) -> None:
        if isinstance(self.calibration_, MondrianCalibration):
            self.calibration_.add(scored.scores, scored.nearest)
        else:
            self.calibration_.add(scored.scores)
        self._publish()

    def _thresholds(self, scored: Scored) -> Float64 | float:
        if not isinstance(self.calibration_, MondrianCalibration):
            return self.offset_
        by_class = self.calibration_.thresholds(self.false_alarm_rate)
        return np.array([by_class.get(k, -np.inf) for k in scored.nearest.tolist()])

    def _publish(self) -> None:
        """Set the attributes that depend on the calibration."""
        calibration = self.calibration_
        self.can_meet_rate_ = calibration.can_meet(self.false_alarm_rate)
        self.min_p_value_ = calibration.min_p_value
        self.offset_ = calibration.threshold(self.false_alarm_rate)
        self.n_bytes_ = self.views_.n_bytes + calibration.n_bytes


def _has_taps(X: Any) -> TypeGuard[Mapping[str, ArrayLike]]:
    """Whether X maps names to arrays; some sparse matrices are mappings too."""
    return isinstance(X, Mapping) and not hasattr(X, "toarray")

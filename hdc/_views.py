"""Several looks at one sample, and one score: all features together, and each narrow tap alone.

Whitened together, taps count once what they share, and no tap dominates by its scale. But a change
that shows in a tap of 24 features drowns among 1,456; such a tap is looked at alone as well. (A
tap of half the features or more would see what the joint view sees, at twice the memory.)

Each view measures a sample in two ways, as neither is enough alone: the cosine of its hypervector
to the nearest prototype ignores its length, and the whitened (Mahalanobis) distance to the nearest
class mean ignores its direction among many dimensions. Both are standardised on known samples held
out of the fit, then summed:

* cosine: below average counts as strange; above average earns nothing, so that a typical
  direction cannot make up for a strange length;
* distance: more is stranger, but so is less than `_TOO_CLOSE` deviations below the mean. In many
  dimensions known samples keep a distance from their mean, and a blank input does not.

Views are standardised alike and added. The joint view counts once; the taps together count as much
as they tell known classes apart, held out: a tap that knows nothing of them counts nothing.
Strangers choose no weight. The sum is `hdc.ood`'s score; its threshold is found there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hdc import _state
from hdc._checks import Float32, Float64, IntArray
from hdc._reference import Measured, Reference
from hdc.covariance import PooledCovariance, Taps
from hdc.projection import SignedHadamard
from hdc.whitening import Form, Shrinkage

_KIND, _VERSION = "hdc.Views", 1
_TOO_CLOSE = -2.0  # deviations
_DECIMALS = 4
_WIDE = 0.5  # share of all features


class Recipe(NamedTuple):
    """How a view is made of statistics."""

    n_dims: int
    seed: int
    shrinkage: Shrinkage
    form: Form
    rank: int

    def view(self, statistics: PooledCovariance, shrinkage: Shrinkage) -> Reference:
        """Freeze the statistics as they are now."""
        projection = SignedHadamard(statistics.n_features, self.n_dims, self.seed)
        return Reference.of(
            statistics, projection, shrinkage=shrinkage, form=self.form, rank=self.rank
        )


class Scored(NamedTuple):
    """Scores (n,), higher is more normal, and the class (n,) nearest in the joint view."""

    scores: Float64
    nearest: IntArray


@dataclass(frozen=True)
class Views:
    """Frozen views of known samples, the joint one first, and how to add what they say.

    Attributes
    ----------
    columns : the features that each view sees
    weights : (n_views,); the first is 1
    scale : (n_views, 3, 2): mean and deviation, held out, of cosine, distance and the view's score
    """

    references: tuple[Reference, ...]
    columns: tuple[slice, ...]
    weights: Float64
    scale: Float64

    @property
    def joint(self) -> Reference:
        """The view of all features together."""
        return self.references[0]

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return sum(r.n_bytes for r in self.references) + self.weights.nbytes + self.scale.nbytes

    def score(self, X: Float32) -> Scored:
        """Score samples (n, n_features)."""
        views = zip(self.references, self.columns, strict=True)
        return self._scored([view.measure(X[:, at]) for view, at in views])

    def _scored(self, measured: Sequence[Measured]) -> Scored:
        total = np.zeros(len(measured[0].nearest))
        for one, weight, scale in zip(measured, self.weights, self.scale, strict=True):
            total += weight * _standardised(_view_score(one, scale), scale[2])
        # A sample gets the same score alone and in a batch: float32 sums differ beyond this digit.
        return Scored(np.round(total, _DECIMALS), measured[0].nearest)

    def to_state(self) -> tuple[_state.Header, _state.Arrays]:
        """Return header and arrays; `from_state` scores identically."""
        columns = [[at.start, at.stop] for at in self.columns]
        arrays: _state.Arrays = {"weights": self.weights.copy(), "scale": self.scale.copy()}
        fields = {}
        for k, reference in enumerate(self.references):
            fields[f"view{k}"], own = reference.to_state()
            arrays |= _state.nest(f"view{k}", own)
        return _state.make_header(_KIND, _VERSION, columns=columns, **fields), arrays

    @classmethod
    def from_state(cls, header: _state.Header, arrays: _state.Arrays) -> Views:
        """Rebuild what `to_state` gave; raises `ValueError` for anything else."""
        _state.check_header(header, _KIND, _VERSION)
        columns = _state_columns(header)
        n_views = len(columns)
        references = tuple(
            Reference.from_state(*_state.nested(f"view{k}", header, arrays)) for k in range(n_views)
        )
        for view, at in zip(references, columns, strict=True):
            if view.whitening.n_features != at.stop - at.start:
                raise ValueError(
                    f"state has a view of {view.whitening.n_features} features at {at}"
                )
        weights = _state.take(arrays, "weights", (n_views,), np.float64)
        scale = _state.take(arrays, "scale", (n_views, 3, 2), np.float64)
        if (weights < 0).any() or (scale[..., 1] <= 0).any():
            raise ValueError("state has negative weights or deviations that are not positive")
        return cls(references, columns, weights, scale)


def fit_views(
    parts: Sequence[tuple[Float32, IntArray]], taps: Taps | None, recipe: Recipe
) -> tuple[Views, Scored]:
    """Fit to all parts; score each part by a fit to all others.

    The others are shrunk as much as the whole. Were each to choose for its fewer samples, it would
    shrink more, and with about as many samples as features alarms were 20 % too many.

    Parameters
    ----------
    parts : (X, classes) of each fold; a lone part is fitted and nothing held out
    """
    n_features = parts[0][0].shape[1]
    columns = _columns(taps, n_features)
    statistics = [PooledCovariance(n_features).update(X, y) for X, y in parts]
    whole = _merged(statistics)
    references = tuple(recipe.view(whole.part(at), recipe.shrinkage) for at in columns)
    amounts = [view.whitening.shrinkage_ for view in references]
    held_out: list[list[Measured]] = [[] for _ in columns]
    if len(parts) > 1:
        for others, (X, _) in zip(_without_each(statistics), parts, strict=True):
            for one, at, amount in zip(held_out, columns, amounts, strict=True):
                one.append(recipe.view(others.part(at), amount).measure(X[:, at]))
    measured = [_joined(one) for one in held_out]
    y = np.concatenate([y for _, y in parts]) if len(parts) > 1 else np.empty(0, np.int64)
    views = Views(references, columns, _weights(measured, y), _scales(measured))
    return views, views._scored(measured)


def _columns(taps: Taps | None, n_features: int) -> tuple[slice, ...]:
    """All features, then those of each narrow tap."""
    alone = [] if taps is None else list(taps.slices.values())
    narrow = [at for at in alone if at.stop - at.start < _WIDE * n_features]
    return (slice(0, n_features), *narrow)


def _merged(statistics: Sequence[PooledCovariance]) -> PooledCovariance:
    whole = PooledCovariance(statistics[0].n_features)
    for one in statistics:
        whole.merge(one)
    return whole


def _without_each(statistics: Sequence[PooledCovariance]) -> Iterator[PooledCovariance]:
    for left_out in statistics:
        yield _merged([one for one in statistics if one is not left_out])


def _joined(folds: Sequence[Measured]) -> Measured:
    if not folds:
        return Measured(np.empty(0), np.empty(0), np.empty(0, np.int64))
    return Measured(*(np.concatenate(column) for column in zip(*folds, strict=True)))


def _weights(measured: Sequence[Measured], y: IntArray) -> Float64:
    """1 for the joint view; for a tap its share of the taps, by how well it tells classes apart."""
    weights = np.ones(len(measured))
    if len(measured) == 1:
        return weights
    n_classes = len(np.unique(y))
    if n_classes > 1:  # accuracy beyond chance, relative to that of all features together
        gains = np.array([(one.nearest == y).mean() for one in measured]) - 1 / n_classes
        weights = np.clip(gains / max(gains[0], 1e-9), 0.0, 1.0)
        weights[0] = 1.0
    weights[1:] /= len(measured) - 1
    return weights


def _scales(measured: Sequence[Measured]) -> Float64:
    scale = np.empty((len(measured), 3, 2))
    for one, own in zip(measured, scale, strict=True):
        own[0], own[1] = _moments(one.cosine), _moments(one.distance)
        own[2] = _moments(_view_score(one, own))
    return scale


def _moments(values: Float64) -> tuple[float, float]:
    """Mean and deviation; 0 and 1 of a lone value, which has no deviation."""
    if len(values) < 2:
        return 0.0, 1.0
    deviation = float(values.std())
    return float(values.mean()), deviation if deviation > 1e-9 else 1.0


def _standardised(values: Float64, scale: Float64) -> Float64:
    return np.asarray((values - scale[0]) / scale[1])


def _view_score(measured: Measured, scale: Float64) -> Float64:
    cosine = _standardised(measured.cosine, scale[0])
    distance = _standardised(measured.distance, scale[1])
    return np.asarray(np.minimum(cosine, 0.0) - np.abs(distance - _TOO_CLOSE))


def _state_columns(header: _state.Header) -> tuple[slice, ...]:
    found = _state.field(header, "columns")
    is_valid = isinstance(found, list) and all(
        isinstance(at, list) and len(at) == 2 and all(type(end) is int for end in at)
        for at in found
    )
    if not is_valid or not found or any(not found[0][0] <= a < b <= found[0][1] for a, b in found):
        raise ValueError(f"state has views of columns {found!r}, expected ranges, the widest first")
    return tuple(slice(start, stop) for start, stop in found)

"""A frozen linear transform after which the within-class covariance is close to the identity.

Features are centred, divided by their within-class standard deviation, and decorrelated by the
correlation matrix shrunk towards the identity: ``R' = (1 - s) R + s I``. Inner products after
full whitening are Mahalanobis products.

==========  ===========================================  =====================================
form        what is removed                              float32 held (d features, k directions)
==========  ===========================================  =====================================
full        all correlation, by the inverse of Cholesky  d * d + 2 d
low_rank    that of the k strongest eigen-directions;    k * d + k + 1 + 2 d
            the rest is scaled as a whole
diagonal    none: every feature has unit variance        2 d
==========  ===========================================  =====================================

A fourth form, "discriminant", is full whitening followed by a rotation onto the k < n_classes
directions in which the class means differ (linear discriminant analysis): k * d + 2 d floats and
k outputs. Which mean is nearest does not change, whether by distance or by cosine; but the angles
between samples and means become large, so that a packed hypervector needs far fewer bits. It sees
nothing outside those directions: use it to classify, not to detect strangers or to add classes.

Features without variance are ignored: they come out as zero. Statistics come from
`hdc.covariance`. Not done here: learning; make a new transform when the statistics have changed.

Source of both automatic shrinkages: Y. Chen, A. Wiesel, Y. C. Eldar, A. O. Hero, "Shrinkage
algorithms for MMSE covariance estimation", IEEE Trans. Signal Processing 58, 2010: the
Rao-Blackwellised Ledoit-Wolf estimator and OAS. Both need the covariance alone, so they stream.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hdc import _state
from hdc._checks import Float32, Float64, check_count, check_matrix, check_rate
from hdc.covariance import PooledCovariance

Form: TypeAlias = Literal["full", "low_rank", "diagonal", "discriminant"]
Shrinkage: TypeAlias = "float | Literal['ledoit_wolf', 'oas']"

_KIND, _VERSION = "hdc.Whitening", 1
_NEGLIGIBLE = 1e-6  # a deviation below this part of the mean is rounding of float32 input
_FORMS = ("full", "low_rank", "diagonal", "discriminant")
_RANK_TOLERANCE = 1e-5  # class means that differ by less than this part of the largest difference
_MIN_SHRINKAGE = 1e-4  # keeps the inverse finite with fewer samples than features


class Whitening:
    """Whitened features of samples, ``z = W ((x - mean) / deviation)``.

    Make one by `Whitening.of`.

    Attributes
    ----------
    n_features, n_outputs : width of input and output; they differ in form "discriminant" only
    shrinkage_ : float, the shrinkage used
    n_bytes : bytes held

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 0.0], [2.0, 4.0], [0.0, 4.0], [2.0, 0.0]])
    >>> whitening = Whitening.of(PooledCovariance(2).update(X), shrinkage=0.1)
    >>> bool(np.allclose(np.cov(whitening.transform(X).T), np.eye(2), atol=1e-6))
    True
    """

    def __init__(self, form: Form, shrinkage: float, mean: Float64, scale: Float64) -> None:
        self.form = form
        self.shrinkage_ = shrinkage
        self.mean_ = mean.astype(np.float32)
        self.scale_ = scale.astype(np.float32)
        self.matrix_: Float32 = np.empty((0, len(mean)), np.float32)
        self.gains_: Float32 = np.empty(0, np.float32)

    @classmethod
    def of(
        cls,
        statistics: PooledCovariance,
        *,
        shrinkage: Shrinkage = "oas",
        form: Form = "full",
        rank: int = 64,
    ) -> Whitening:
        """Make the whitening of the statistics as they are now.

        Parameters
        ----------
        statistics : with at least one sample. Without any within-class degree of freedom (a
            single sample of each class) features are centred only.
        shrinkage : 0 to 1, or "ledoit_wolf" or "oas" to choose it from the data; raised to 1e-4
            if smaller
        form : "full", "low_rank", "diagonal" or "discriminant"
        rank : directions of "low_rank"
        """
        check_options(form, shrinkage)
        mean = statistics.mean_
        if statistics.degrees_ <= 0:
            return cls("diagonal", 1.0, mean, np.ones_like(mean))
        variance = np.diag(statistics.scatter_).astype(np.float64) / statistics.degrees_
        floor = np.abs(statistics.class_means_).max(axis=0) * _NEGLIGIBLE
        varies = variance > np.maximum(floor**2, np.finfo(np.float32).tiny)
        scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
        correlation = _correlation(statistics, scale)
        amount = _choose_shrinkage(shrinkage, correlation, int(varies.sum()), statistics.degrees_)
        new = cls(form, amount, mean, scale)
        shrunk = (1 - amount) * correlation
        shrunk[np.diag_indices_from(shrunk)] = 1.0
        if form == "full":
            new.matrix_ = np.linalg.inv(np.linalg.cholesky(shrunk)).astype(np.float32)
        elif form == "low_rank":
            new.matrix_, new.gains_ = _strongest(shrunk, rank)
        elif form == "discriminant":
            new.matrix_ = _discriminant(shrunk, (statistics.class_means_ - mean) * scale)
        return new

    @property
    def n_features(self) -> int:
        """Width of the input."""
        return len(self.mean_)

    @property
    def n_outputs(self) -> int:
        """Width of the output."""
        return len(self.matrix_) if self.form == "discriminant" else self.n_features

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return sum(a.nbytes for a in (self.mean_, self.scale_, self.matrix_, self.gains_))

    def transform(self, X: ArrayLike) -> Float32:
        """Whitened samples, (n, n_outputs) float32."""
        Z: Float32 = (check_matrix(X, self.n_features) - self.mean_) * self.scale_
        if self.form in ("full", "discriminant"):
            return np.asarray(Z @ self.matrix_.T)
        if self.form == "low_rank":
            Z += ((Z @ self.matrix_.T) * self.gains_[:-1]) @ self.matrix_
            Z *= self.gains_[-1]
        return Z

    def to_state(self) -> tuple[_state.Header, _state.Arrays]:
        """Return header and arrays; `from_state` gives the same transform."""
        header = _state.make_header(_KIND, _VERSION, form=self.form, shrinkage=self.shrinkage_)
        names = ("mean", "scale", "matrix", "gains")
        return header, {name: getattr(self, f"{name}_").copy() for name in names}

    @classmethod
    def from_state(cls, header: _state.Header, arrays: _state.Arrays) -> Whitening:
        """Rebuild what `to_state` gave; raises `ValueError` for anything else."""
        _state.check_header(header, _KIND, _VERSION)
        form, f4 = _state.field(header, "form"), np.float32
        if form not in _FORMS:
            raise ValueError(f"state has form {form!r}, expected one of {_FORMS}")
        mean = _state.take(arrays, "mean", (None,), f4)
        d = len(mean)
        scale = _state.take(arrays, "scale", (d,), f4)
        new = cls(form, _state.number(header, "shrinkage"), mean, scale)
        rows = {"full": d, "diagonal": 0}.get(form)
        new.matrix_ = _state.take(arrays, "matrix", (rows, d), f4)
        n_gains = len(new.matrix_) + 1 if form == "low_rank" else 0
        new.gains_ = _state.take(arrays, "gains", (n_gains,), f4)
        return new


def _strongest(shrunk: Float64, rank: int) -> tuple[Float32, Float32]:
    """Return directions of largest variance (k, d); their gains less 1, then that of the rest."""
    rank = check_count(rank, "rank", 1, len(shrunk))
    values, vectors = np.linalg.eigh(shrunk)
    rest = values[:-rank].mean() if rank < len(values) else values[0]
    gains = np.append(np.sqrt(rest / values[-rank:]) - 1, 1 / np.sqrt(rest))
    return np.ascontiguousarray(vectors[:, -rank:].T, np.float32), gains.astype(np.float32)


def _discriminant(shrunk: Float64, means: Float64) -> Float32:
    """Rows (k, d) that map onto an orthonormal basis of the whitened class means.

    With whitened means ``M``, ``M M'`` needs no square root of the inverse. At least one row is
    kept, so that a single class has an output.
    """
    solved = np.linalg.solve(shrunk, means.T)
    values, vectors = np.linalg.eigh(means @ solved)
    keep = values > values[-1] * _RANK_TOLERANCE**2
    keep[-1] = True
    basis = vectors[:, keep] / np.sqrt(np.maximum(values[keep], np.finfo(np.float32).tiny))
    return np.ascontiguousarray((solved @ basis).T[::-1], np.float32)


def _correlation(statistics: PooledCovariance, scale: Float64) -> Float64:
    """Within-class correlations (d, d); ignored features have none."""
    matrix = statistics.scatter_.astype(np.float64)
    matrix *= scale[:, None] * (scale / statistics.degrees_)
    return matrix


def check_options(form: str, shrinkage: Any) -> None:
    """Refuse a form or a shrinkage that `Whitening.of` does not know."""
    if form not in _FORMS:
        raise ValueError(f"form is {form!r}, expected one of {_FORMS}")
    if shrinkage not in ("ledoit_wolf", "oas"):
        check_rate(shrinkage, "shrinkage", closed=True)


def _choose_shrinkage(
    shrinkage: Any, correlation: Float64, n_features: int, degrees: float
) -> float:
    """Return the given amount, or what the estimator of this name finds."""
    if shrinkage not in ("ledoit_wolf", "oas"):
        return max(float(shrinkage), _MIN_SHRINKAGE)
    d, n = max(n_features, 1), degrees
    square = float(np.einsum("ij,ij->", correlation, correlation))  # tr(R R); tr(R) is d
    if shrinkage == "oas":
        above, below = (1 - 2 / d) * square + d * d, n + 1 - 2 / d
    else:
        above, below = (n - 2) / n * square + d * d, n + 2
    spread = below * (square - d)
    return 1.0 if spread <= 0 else float(np.clip(above / spread, _MIN_SHRINKAGE, 1.0))

"""Streaming means and one pooled within-class scatter: all that whitening needs to know of data.

Welford's update in the form for groups (T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae
and a pairwise algorithm for computing sample variances", 1979). The order of samples does not
matter, and two boards' statistics add up to what one board would have found; both up to rounding,
which is relative 1e-15 in float64, and in float32 about 1e-7 times the square root of the number
of updates. The samples themselves are not kept.

`Taps` joins several named vectors into one. The transform itself is in `hdc.whitening`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hdc import _state
from hdc._checks import Float32, Float64, check_count, check_matrix

_KIND, _VERSION = "hdc.PooledCovariance", 1


class Taps:
    """Named vectors in a fixed order, joined into one feature vector.

    Parameters
    ----------
    widths : tap name -> number of features; the order counts

    Examples
    --------
    >>> taps = Taps({"early": 2, "embedding": 3})
    >>> taps.join({"early": [[1, 2]], "embedding": [[3, 4, 5]]})
    array([[1., 2., 3., 4., 5.]], dtype=float32)
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        if not widths:
            raise ValueError("no taps: expected at least one name and width")
        self.widths = {name: check_count(w, f"width of tap {name!r}") for name, w in widths.items()}
        ends = np.cumsum(list(self.widths.values())).tolist()
        starts = [0, *ends[:-1]]
        self.slices = {n: slice(a, b) for n, a, b in zip(self.widths, starts, ends, strict=True)}
        self.n_features: int = ends[-1]

    @classmethod
    def of(cls, X: Mapping[str, ArrayLike]) -> Taps:
        """Return the taps that a mapping of (n, width) arrays has."""
        return cls({name: check_matrix(a, name=f"tap {name!r}").shape[1] for name, a in X.items()})

    def join(self, X: Mapping[str, ArrayLike]) -> Float32:
        """One matrix (n, n_features) of all taps side by side.

        Raises
        ------
        ValueError
            A tap is missing, unknown, out of order, of another width, or of another length.
        """
        if not isinstance(X, Mapping):
            raise TypeError(f"taps are {type(X).__name__}, expected a mapping of {self.names}")
        if list(X) != self.names:
            raise ValueError(f"taps are {list(X)}, expected {self.names} in this order")
        parts = [check_matrix(X[n], self.widths[n], f"tap {n!r}") for n in self.names]
        lengths = {n: len(p) for n, p in zip(self.names, parts, strict=True)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"taps have different numbers of samples: {lengths}")
        return np.concatenate(parts, axis=1)

    @property
    def names(self) -> list[str]:
        """Tap names in order."""
        return list(self.widths)


class PooledCovariance:
    """Class means and counts, and the scatter of samples about the mean of their class.

    Parameters
    ----------
    n_features : width of the samples
    dtype : of the scatter, float64 or float32 (half the bytes); None keeps none at all

    Attributes
    ----------
    classes_ : (n_classes,) int64, ascending
    counts_ : (n_classes,) float64, summed weights
    class_means_ : (n_classes, n_features) float64
    scatter_ : (n_features, n_features), sum of outer products of deviations; (0, 0) if not kept
    degrees_ : float, degrees of freedom of the scatter: one is lost to each class mean

    Examples
    --------
    >>> statistics = PooledCovariance(1).update([[1.0], [3.0], [9.0]], [0, 0, 1])
    >>> statistics.class_means_.ravel().tolist(), float(statistics.scatter_[0, 0])
    ([2.0, 9.0], 2.0)
    """

    def __init__(self, n_features: int, dtype: DTypeLike | None = np.float64) -> None:
        self.n_features = check_count(n_features, "n_features")
        self.dtype = None if dtype is None else np.dtype(dtype)
        if self.dtype not in (None, np.float32, np.float64):
            raise TypeError(f"dtype is {self.dtype}, expected float32, float64 or None")
        self.classes_: NDArray[np.int64] = np.empty(0, np.int64)
        self.counts_: Float64 = np.empty(0)
        self.class_means_: Float64 = np.empty((0, self.n_features))
        width = 0 if dtype is None else self.n_features
        self.scatter_: NDArray[Any] = np.zeros((width, width), self.dtype)
        self.degrees_ = 0.0

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        arrays = (self.classes_, self.counts_, self.class_means_, self.scatter_)
        return sum(array.nbytes for array in arrays)

    @property
    def mean_(self) -> Float64:
        """Mean of all samples, (n_features,): class means weighted by their counts."""
        self._check_not_empty()
        return np.asarray(self.counts_ @ self.class_means_ / self.counts_.sum())

    def update(
        self, X: ArrayLike, y: ArrayLike | None = None, weight: float = 1.0
    ) -> PooledCovariance:
        """Add samples, in any order and grouping.

        Parameters
        ----------
        X : (n, n_features)
        y : (n,) integer classes, new ones welcome; None: all of class 0
        weight : how often each sample counts
        """
        X = check_matrix(X, self.n_features)
        y = check_labels(y, len(X))
        if not 0 < weight < np.inf:
            raise ValueError(f"weight is {weight!r}, expected a positive number")
        for label in np.unique(y):
            self._add_group(label, X[y == label].astype(np.float64), float(weight))
        return self

    def merge(self, other: PooledCovariance) -> PooledCovariance:
        """Add the statistics of another board; the result is that of all samples together."""
        if other.n_features != self.n_features:
            raise ValueError(f"other has {other.n_features} features, expected {self.n_features}")
        if (other.dtype is None) != (self.dtype is None):
            raise ValueError("only one of the two keeps a scatter: their sum would be wrong")
        mine = set(self.classes_.tolist())
        self.scatter_ += other.scatter_
        self.degrees_ += other.degrees_
        groups = zip(other.classes_.tolist(), other.counts_, other.class_means_, strict=True)
        for label, count, mean in groups:
            self.degrees_ += 1.0 if label in mine else 0.0
            self._shift_mean(label, count, mean)
        return self

    def part(self, columns: slice) -> PooledCovariance:
        """Return the statistics of some of the features, as if only those had been seen."""
        means = self.class_means_[:, columns]
        new = PooledCovariance(means.shape[1], self.dtype)
        new.classes_, new.counts_ = self.classes_.copy(), self.counts_.copy()
        new.class_means_, new.degrees_ = means.copy(), self.degrees_
        new.scatter_ = self.scatter_[columns, columns].copy()
        return new

    def remove_class(self, label: int) -> PooledCovariance:
        """Forget a class's mean and count. Its share of the pooled scatter stays."""
        keep = self.classes_ != label
        if keep.all():
            raise ValueError(f"no class {label!r}, only {self.classes_.tolist()}")
        self.classes_, self.counts_ = self.classes_[keep], self.counts_[keep]
        self.class_means_ = self.class_means_[keep]
        return self

    def to_state(self) -> tuple[_state.Header, _state.Arrays]:
        """Return header and arrays; `from_state` continues identically."""
        fields = {
            "n_features": self.n_features,
            "dtype": self._dtype_name,
            "degrees": self.degrees_,
        }
        header = _state.make_header(_KIND, _VERSION, **fields)
        return header, {
            "classes": self.classes_.copy(),
            "counts": self.counts_.copy(),
            "class_means": self.class_means_.copy(),
            "scatter": self.scatter_.copy(),
        }

    @classmethod
    def from_state(cls, header: _state.Header, arrays: _state.Arrays) -> PooledCovariance:
        """Rebuild what `to_state` gave; raises `ValueError` for anything else."""
        _state.check_header(header, _KIND, _VERSION)
        dtype = _state.field(header, "dtype")
        if dtype not in ("float32", "float64", None):
            raise ValueError(f"state has dtype {dtype!r}, expected float32, float64 or None")
        new = cls(_state.integer(header, "n_features"), dtype)
        new.degrees_ = _state.number(header, "degrees")
        new.classes_ = _state.take(arrays, "classes", (None,), np.int64)
        n, d = len(new.classes_), new.n_features
        new.counts_ = _state.take(arrays, "counts", (n,), np.float64)
        new.class_means_ = _state.take(arrays, "class_means", (n, d), np.float64)
        new.scatter_ = _state.take(arrays, "scatter", new.scatter_.shape, new.scatter_.dtype)
        if (np.diff(new.classes_) <= 0).any() or (new.counts_ <= 0).any() or new.degrees_ < 0:
            raise ValueError("state has unordered classes or counts that are not positive")
        return new

    def _add_group(self, label: int, X: Float64, weight: float) -> None:
        """Add samples of one class: their own scatter, and that of the two means."""
        is_new = label not in self.classes_
        mean = X.mean(axis=0)
        self._scatter(X - mean, weight)
        self.degrees_ += weight * len(X) - (1.0 if is_new else 0.0)
        self._shift_mean(label, weight * len(X), mean)

    def _shift_mean(self, label: int, count: float, mean: Float64) -> None:
        """Join a group's mean to its class; the distance of the two means adds to the scatter."""
        at = int(np.searchsorted(self.classes_, label))
        if at == len(self.classes_) or self.classes_[at] != label:
            self.classes_ = np.insert(self.classes_, at, label)
            self.counts_ = np.insert(self.counts_, at, count)
            self.class_means_ = np.insert(self.class_means_, at, mean, axis=0)
            return
        total = self.counts_[at] + count
        step = mean - self.class_means_[at]
        self._scatter(step[None], self.counts_[at] * count / total)
        self.class_means_[at] += step * (count / total)
        self.counts_[at] = total

    def _scatter(self, deviations: Float64, weight: float) -> None:
        if self.dtype is not None:
            rows = (deviations * np.sqrt(weight)).astype(self.dtype)
            self.scatter_ += rows.T @ rows

    @property
    def _dtype_name(self) -> str | None:
        return None if self.dtype is None else self.dtype.name

    def _check_not_empty(self) -> None:
        if len(self.classes_) == 0:
            raise ValueError("no samples yet: call update first")


def check_labels(y: ArrayLike | None, n_samples: int) -> NDArray[np.int64]:
    """Return integer labels (n_samples,); all zero where ``y`` is None."""
    if y is None:
        return np.zeros(n_samples, np.int64)
    labels = np.asarray(y)
    if labels.dtype.kind not in "biu":
        raise TypeError(f"y has dtype {labels.dtype}, expected integers")
    if labels.shape != (n_samples,):
        raise ValueError(f"y has shape {labels.shape}, expected ({n_samples},)")
    return labels.astype(np.int64)

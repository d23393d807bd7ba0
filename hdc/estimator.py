"""scikit-learn's estimator contract, without scikit-learn.

Parameters, cloning, tags, error classes and the validation of X, y and random_state. scikit-learn
is used only where it is loaded already or asks for its tags, so that a board needs NumPy alone.
Nothing here learns. It stands in the lowest package, for the estimators of `adaptors` too.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Self = TypeVar("Self", bound="Estimator")


class NotFittedError(ValueError, AttributeError):
    """The estimator was used before `fit`; where scikit-learn is loaded, its own is raised."""


def _sklearn_exception(name: str, otherwise: type[Any]) -> type[Any]:
    """Scikit-learn's own exception where scikit-learn is loaded: its users catch that one."""
    found = getattr(sys.modules.get("sklearn.exceptions"), name, otherwise)
    return found if isinstance(found, type) else otherwise


class Estimator:
    """Parameters are the constructor's arguments, stored untouched under their own names."""

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        arguments = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {a.name: a.default for a in arguments if a.kind is a.POSITIONAL_OR_KEYWORD}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments; ``deep`` is scikit-learn's and changes nothing."""
        return {name: getattr(self, name) for name in sorted(self._defaults())}

    def set_params(self: Self, **params: Any) -> Self:
        """Change constructor arguments; they take effect at the next `fit`."""
        valid = self._defaults()
        for name, value in params.items():
            if name not in valid:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}. "
                    f"Valid parameters are: {sorted(valid)}."
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if repr(getattr(self, name)) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_tags__(self) -> Any:
        # By name, because an import statement would be a dependency.
        tags = importlib.import_module("sklearn.utils")
        return tags.Tags(estimator_type=None, target_tags=tags.TargetTags(required=False))


class ClassifierMixin:
    """A classifier: y is required, `score` is the accuracy."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.estimator_type = "classifier"
        tags.classifier_tags = importlib.import_module("sklearn.utils").ClassifierTags()
        tags.target_tags.required = True
        return tags

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None) -> float:
        """Return the accuracy on X, y, between 0 and 1; higher is better."""
        right = np.asarray(self.predict(X)) == np.asarray(y)  # type: ignore[attr-defined]
        return float(np.average(right, weights=sample_weight))


class RegressorMixin:
    """A regressor: y is required, `score` is the coefficient of determination."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.estimator_type = "regressor"
        tags.regressor_tags = importlib.import_module("sklearn.utils").RegressorTags()
        tags.target_tags.required = True
        return tags

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None) -> float:
        """Return R squared on X, y, at most 1; higher is better, 0 is a constant guess."""
        truth = np.asarray(y, dtype=np.float64)
        error = (truth - np.asarray(self.predict(X))) ** 2  # type: ignore[attr-defined]
        spread = (truth - np.average(truth, weights=sample_weight)) ** 2
        unexplained = np.average(error, weights=sample_weight)
        return float(1.0 - unexplained / np.average(spread, weights=sample_weight))


class OutlierMixin:
    """A detector: `fit_predict` is `fit`, then `predict`: +1 in distribution, -1 out of it."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.estimator_type = "outlier_detector"
        return tags

    def fit_predict(self, X: npt.ArrayLike, y: Any = None) -> Array:
        """Fit to X, then return +1 for each row in distribution and -1 for each out of it."""
        labels: Array = self.fit(X).predict(X)  # type: ignore[attr-defined]
        return labels


def check_is_fitted(estimator: object) -> None:
    """Raise NotFittedError unless the estimator has seen data (it then has ``n_features_in_``)."""
    if not hasattr(estimator, "n_features_in_"):
        raise _sklearn_exception("NotFittedError", NotFittedError)(
            f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' with "
            "appropriate arguments before using this estimator."
        )


def check_X(
    estimator: object, X: Any, *, reset: bool = False, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Return X as a finite, C-contiguous (n_samples, n_features) array; it may share memory with X.

    With ``reset`` the width is learned as ``n_features_in_``; else it must be that width.
    """
    if hasattr(X, "toarray"):
        raise TypeError("Sparse data was passed, but dense data is required: use X.toarray().")
    array = np.asarray(X)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: X has dtype {array.dtype}.")
    if array.dtype.kind not in "biufO":
        raise ValueError(f"X has dtype {array.dtype}, expected numbers.")
    if array.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {array.ndim}D array of shape {array.shape} instead. "
            "Reshape your data either using array.reshape(-1, 1) if your data has a single "
            "feature or array.reshape(1, -1) if it contains a single sample."
        )
    for size, unit in zip(array.shape, ("sample", "feature"), strict=True):
        if size == 0:
            raise ValueError(
                f"Found array with 0 {unit}(s) (shape={array.shape}) while a minimum of 1 is "
                "required."
            )
    _check_width(estimator, array.shape[1], reset)
    with np.errstate(over="ignore"):  # too large for dtype becomes inf, refused below
        array = np.ascontiguousarray(array, dtype=dtype)
    if not np.isfinite(array).all():
        found = (
            "NaN" if np.isnan(array).any() else f"infinity or a value too large for {array.dtype}"
        )
        raise ValueError(f"Input X contains {found}; only finite numbers can be used.")
    if reset:
        estimator.n_features_in_ = array.shape[1]  # type: ignore[attr-defined]
    return array


def _check_width(estimator: object, width: int, reset: bool) -> None:
    expected = getattr(estimator, "n_features_in_", width)
    if not reset and width != expected:
        raise ValueError(
            f"X has {width} features, but {type(estimator).__name__} is expecting {expected} "
            "features as input"
        )


def check_y(y: Any, n_samples: int, *, numeric: bool = False) -> Array:
    """Return one label per sample, int64 or str and never both; finite float64 if ``numeric``."""
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    # As objects, because NumPy would turn the 1 of [1, "one"] into a string.
    array = y if isinstance(y, np.ndarray) else np.asarray(y, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected; ravel() was applied.",
            _sklearn_exception("DataConversionWarning", UserWarning),
            stacklevel=3,
        )
        array = array.ravel()
    if array.shape != (n_samples,):
        raise ValueError(f"y has shape {array.shape}, expected ({n_samples},): one per row of X.")
    array = np.array(array.tolist()) if array.dtype.kind == "O" and _one_kind(array) else array
    if array.dtype.kind == "c":
        raise ValueError("Complex data not supported: y is complex.")
    if array.dtype.kind in "fiub" and not np.isfinite(array).all():
        raise ValueError("Input y contains NaN or infinity.")
    if numeric:
        return array.astype(np.float64)
    return _labels(array)


def _one_kind(array: Array) -> bool:
    return len({isinstance(label, str) for label in array.tolist()}) == 1


def _labels(array: Array) -> Array:
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"Unknown label type: dtype {array.dtype}; labels are integers or strings, never both."
        )
    if array.dtype.kind == "f" and (array != np.floor(array)).any():
        raise ValueError("Unknown label type: continuous; labels are integers or strings.")
    is_wide = array.dtype.kind in "fu" and array.size  # a bool cannot be compared with 2**63
    if is_wide and (array.max() >= 2**63 or array.min() < -(2**63)):
        raise ValueError("Unknown label type: an integer label does not fit into 64 bits.")
    return array.astype(np.int64)


def check_random_state(random_state: Any) -> np.random.Generator:
    """Return a Generator: fresh for None, seeded for an int >= 0, the very same for a Generator."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if random_state is None:
        return np.random.default_rng()
    if isinstance(random_state, bool) or not isinstance(random_state, (int, np.integer)):
        raise TypeError(
            f"random_state is {random_state!r}; expected None, an int or a numpy Generator."
        )
    if random_state < 0:
        raise ValueError(f"random_state is {random_state}; a seed is 0 or more.")
    return np.random.default_rng(int(random_state))

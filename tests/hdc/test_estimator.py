"""The estimator contract, without any learner behind it."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning

from hdc import estimator as contract


class Centre(contract.OutlierMixin, contract.Estimator):
    def __init__(self, scale=1.0, random_state=None):
        self.scale = scale
        self.random_state = random_state

    def fit(self, X, y=None):
        X = contract.check_X(self, X, reset=True)
        self.mean_ = X.mean(axis=0)
        return self

    def predict(self, X):
        contract.check_is_fitted(self)
        distance = np.abs(contract.check_X(self, X) - self.mean_).max(axis=1)
        return np.where(distance < self.scale, 1, -1)


class Mean(contract.RegressorMixin, contract.Estimator):
    def fit(self, X, y):
        X = contract.check_X(self, X, reset=True)
        self.mean_ = contract.check_y(y, len(X), numeric=True).mean()
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_parameters_are_stored_untouched_and_cloned():
    rng = np.random.default_rng(0)
    estimator = Centre(scale=2.0, random_state=rng)
    assert estimator.get_params() == {"scale": 2.0, "random_state": rng}
    assert clone(Centre(scale=3.0)).scale == 3.0
    assert estimator.set_params(scale=4.0) is estimator
    assert estimator.scale == 4.0


def test_an_unknown_parameter_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"Invalid parameter 'size'.*\['random_state', 'scale'\]"):
        Centre().set_params(size=1)


def test_repr_shows_what_differs_from_the_defaults():
    assert repr(Centre()) == "Centre()"
    assert repr(Centre(scale=0.5)) == "Centre(scale=0.5)"


def test_mixins_provide_the_combined_verbs():
    X = np.array([[0.0], [0.0], [9.0]])
    assert Centre(scale=4.0).fit_predict(X).tolist() == [1, 1, -1]
    regressor = Mean().fit(X, [1.0, 2.0, 3.0])
    assert regressor.score(X, [1.0, 2.0, 3.0]) == 0.0


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [(Centre(), "outlier_detector"), (Mean(), "regressor")],
)
def test_tags_tell_scikit_learn_the_kind(estimator, kind):
    tags = estimator.__sklearn_tags__()
    assert tags.estimator_type == kind
    assert tags.target_tags.required == (kind == "regressor")


def test_the_not_fitted_error_is_scikit_learns_where_that_is_loaded(monkeypatch):
    with pytest.raises(sys.modules["sklearn.exceptions"].NotFittedError, match="not fitted yet"):
        Centre().predict([[1.0]])
    monkeypatch.delitem(sys.modules, "sklearn.exceptions")
    with pytest.raises(contract.NotFittedError, match="not fitted yet") as caught:
        Centre().predict([[1.0]])
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AttributeError)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([1.0, 2.0], ValueError, "Expected 2D array, got 1D array.*Reshape your data"),
        (np.zeros((2, 2, 2)), ValueError, "Expected 2D array, got 3D"),
        (np.zeros((0, 2)), ValueError, r"0 sample\(s\).*minimum of 1 is required"),
        (np.zeros((2, 0)), ValueError, r"0 feature\(s\)"),
        ([[np.nan, 1.0]], ValueError, "contains NaN"),
        ([[np.inf, 1.0]], ValueError, "contains infinity or a value too large for float32"),
        ([[1e300, 1.0]], ValueError, "too large for float32"),
        ([[1j, 1.0]], ValueError, "Complex data not supported"),
        ([["a", "b"]], ValueError, "expected numbers"),
        (np.array([["a", {}]], dtype=object), (TypeError, ValueError), "."),
    ],
)
def test_bad_X_is_refused_with_what_was_found(X, error, message):
    with pytest.raises(error, match=message):
        contract.check_X(Centre(), X)


@pytest.mark.skipif(find_spec("scipy") is None, reason="sparse matrices come from SciPy")
def test_a_sparse_X_is_refused():
    from scipy.sparse import csr_array

    with pytest.raises(TypeError, match=r"Sparse data was passed.*toarray"):
        contract.check_X(Centre(), csr_array(np.eye(3)))


def test_another_width_is_refused_in_scikit_learns_words():
    fitted = Centre().fit([[1.0, 2.0]])
    with pytest.raises(
        ValueError, match="X has 1 features, but Centre is expecting 2 features as input"
    ):
        fitted.predict([[1.0]])


def test_a_refused_fit_does_not_change_the_width():
    fitted = Centre().fit([[1.0, 2.0]])
    with pytest.raises(ValueError, match="NaN"):
        fitted.fit([[np.nan]])
    assert fitted.n_features_in_ == 2


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        ([1], r"shape \(1,\), expected \(2,\)"),
        ([[1, 2], [3, 4]], "shape"),
        ([1j, 2j], "Complex"),
        ([0.5, 1.0], "continuous"),
        ([np.nan, 1.0], "NaN"),
        ([np.inf, 1.0], "NaN or infinity"),
        ([1, "one"], "never both"),
        (np.array([1, "one"], dtype=object), "never both"),
        ([None, None], "Unknown label type"),
        ([b"a", b"b"], "Unknown label type"),
        (np.array([1, 2**64 - 1], dtype=np.uint64), "64 bits"),
    ],
)
def test_bad_y_is_refused_with_what_was_found(y, message):
    with pytest.raises(ValueError, match=message):
        contract.check_y(y, 2)


@pytest.mark.parametrize("y", [[1, 2], [1.0, 2.0], np.array([1, 2], dtype=object), np.int8([1, 2])])
def test_integer_labels_of_any_type_become_int64(y):
    labels = contract.check_y(y, 2)
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 2]


@pytest.mark.parametrize("y", [[True, False], np.array([True, False])])
def test_booleans_are_the_labels_1_and_0(y):
    assert contract.check_y(y, 2).tolist() == [1, 0]


def test_string_labels_stay_strings():
    assert contract.check_y(np.array(["a", "bb"], dtype=object), 2).dtype.kind == "U"


def test_a_column_of_labels_is_flattened_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        assert contract.check_y([[1], [2]], 2).shape == (2,)


def test_random_state_is_none_an_int_or_a_generator():
    rng = np.random.default_rng(1)
    assert contract.check_random_state(rng) is rng
    assert isinstance(contract.check_random_state(None), np.random.Generator)
    draws = [contract.check_random_state(np.int64(5)).integers(1 << 30) for _ in range(2)]
    assert draws[0] == draws[1]


@pytest.mark.parametrize("bad", [True, "0", 1.5])
def test_any_other_random_state_is_refused(bad):
    with pytest.raises(TypeError, match="expected None, an int or a numpy Generator"):
        contract.check_random_state(bad)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="0 or more"):
        contract.check_random_state(-1)

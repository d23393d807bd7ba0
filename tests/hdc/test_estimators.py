"""Every estimator keeps scikit-learn's contract, and the contract of this project besides."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import hdc
from hdc import OODDetector, PrototypeClassifier

TOO_FEW = "ignore:.*too few for a false-alarm rate:UserWarning"
ESTIMATORS = [
    PrototypeClassifier(n_dims=1024, random_state=0),
    PrototypeClassifier(n_dims=1024, shrinkage=1.0, random_state=0),
    OODDetector(n_dims=512, random_state=0),
]


def scikit_learn_checks():
    with warnings.catch_warnings():  # by design: scikit-learn is not a dependency
        warnings.filterwarnings("ignore", ".*does not inherit from")
        names, checks = parametrize_with_checks(ESTIMATORS).args
        # Older ones, Python 3.10's last among them, give a generator, which pytest 9 warns about.
        return pytest.mark.parametrize(names, list(checks), ids=check_name)


def check_name(value):
    """What a case is called: the estimator, or the function that checks it."""
    return getattr(value, "func", value).__name__ if callable(value) else repr(value)


@pytest.mark.filterwarnings(TOO_FEW, "ignore:.*does not inherit from")
@scikit_learn_checks()
def test_scikit_learn_agrees(estimator, check):
    check(estimator)


def data(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return (rng.standard_normal((n, 6)) + 4 * np.eye(6)[y]).astype(np.float32), y


def answers(estimator, X):
    names = ("decision_function", "p_value", "score_samples")
    return [getattr(estimator, name)(X) for name in names if hasattr(estimator, name)]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_a_seed_repeats_and_input_is_neither_changed_nor_kept(estimator):
    X, y = data()
    before = X.copy()
    one = clone(estimator).fit(X, y)
    first = answers(one, X)
    assert (before == X).all()
    X[:] = 0
    y[:] = 0
    again = answers(one, before)
    other = answers(clone(estimator).fit(before, np.arange(len(before)) % 3), before)
    for a, b, c in zip(first, again, other, strict=True):
        assert (a == b).all()
        assert (a == c).all()


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_numbers_that_are_not_finite_are_refused_everywhere(estimator, bad):
    X, y = data()
    fitted = clone(estimator).fit(X, y)
    X = X.astype(np.float64)
    X[3, 2] = bad
    for call in (lambda: clone(estimator).fit(X, y), lambda: answers(fitted, X)):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            call()


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_a_refused_fit_leaves_what_was_learned(estimator):
    X, y = data()
    fitted = clone(estimator).fit(X, y)
    before = answers(fitted, X)
    with pytest.raises(ValueError, match="NaN"):
        fitted.fit(np.full((5, 2), np.nan), np.zeros(5, int))
    for name in set(fitted.get_params()) & {"shrinkage", "n_folds", "max_classes"}:
        with pytest.raises((TypeError, ValueError)):
            fitted.set_params(**{name: -1}).fit(X[:, :2], y)
        fitted.set_params(**{name: estimator.get_params()[name]})
    for a, b in zip(answers(fitted, X), before, strict=True):
        assert (a == b).all()


def test_every_public_name_is_there_and_no_other():
    assert dir(hdc) == hdc.__all__
    assert all(getattr(hdc, name).__name__ == name for name in hdc.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        hdc.nothing  # noqa: B018


def test_importing_everything_needs_numpy_alone():
    code = (
        "import sys, hdc\n"
        "assert 'numpy' not in sys.modules\n"
        "[getattr(hdc, name) for name in hdc.__all__]\n"
        "hdc.PrototypeClassifier().fit([[0.0], [1.0]], [0, 1]).predict([[1.0]])\n"
        "print(sorted({'numba', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

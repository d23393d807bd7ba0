"""The prototypes of a board as an estimator: classes by angle, new ones at any time."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hdc import PrototypeClassifier


def model(**parameters) -> PrototypeClassifier:
    return PrototypeClassifier(**{"n_dims": 2048, "random_state": 0} | parameters)


def draw(n=200, n_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return rng.standard_normal((n, 10)) + 5 * np.eye(10)[y], y


def test_digits_are_told_apart():
    X, y = load_digits(return_X_y=True)
    fitted = model(n_dims=8192).fit(X[::2], y[::2])
    assert fitted.score(X[1::2], y[1::2]) > 0.9
    assert fitted.counts_.sum() == len(X[::2])


def test_rows_may_come_in_any_order_and_grouping():
    X, y = draw()
    one = model().fit(X[:80], y[:80])
    other = model().fit(X[:80], y[:80])
    one.partial_fit(X[80:], y[80:])
    for i in np.random.default_rng(1).permutation(np.arange(80, 200)):
        other.partial_fit(X[i : i + 1], y[i : i + 1])
    np.testing.assert_allclose(one.decision_function(X), other.decision_function(X), atol=2e-3)
    assert one.counts_.tolist() == other.counts_.tolist() == [50] * 4


def test_a_class_may_be_new_or_announced():
    X, y = draw()
    names = np.array(["d", "b", "c", "a"])[y]
    old = y < 2
    fitted = model().fit(X[old], names[old])
    assert fitted.classes_.tolist() == ["b", "d"]
    fitted.partial_fit(X[y == 3], names[y == 3], classes=["c"])
    assert fitted.classes_.tolist() == ["a", "b", "c", "d"]
    assert fitted.counts_.tolist() == [50, 50, 0, 50]
    assert "c" not in set(fitted.predict(X).tolist())
    seen = y != 2
    assert (fitted.predict(X[seen]) == names[seen]).mean() > 0.95
    assert not fitted.prototypes_[2].any()
    assert fitted.predict_proba(X).sum(axis=1) == pytest.approx(np.ones(len(X)))


def test_taps_are_joined():
    X, y = draw()
    fitted = model().fit({"early": X[:, :4], "late": X[:, 4:]}, y)
    assert (fitted.predict({"early": X[:, :4], "late": X[:, 4:]}) == y).mean() > 0.95


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_dims": 65}, "multiple of 64"),
        ({"shrinkage": -0.1}, "shrinkage"),
        ({"max_classes": 3}, "at most 3"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        model(**parameters).fit(*draw())


def test_labels_of_another_kind_are_refused():
    X, y = draw()
    with pytest.raises(ValueError, match="expected the kind of"):
        model().fit(X, y).partial_fit(X[:1], ["a"])

"""One row of a stream: answered the short way, bit for bit as in any batch."""

import numpy as np
import pytest

from adaptors import (
    Dense,
    TargetProjectionClassifier,
    TargetProjectionNetwork,
    TargetProjectionRegressor,
)
from adaptors.activations import ACTIVATIONS
from tests.adaptors.learning import blobs


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (7,), (16, 5)], ids=str)
def test_an_answer_is_bit_for_bit_that_of_the_row_in_a_batch(activation, hidden):
    X, y = blobs(n=50)
    clf = TargetProjectionClassifier(hidden, activation=activation, random_state=0).fit(X, y)
    logits, labels = clf.decision_function(X), clf.predict(X)
    for i in range(len(X)):
        assert clf.decision_function(X[i : i + 1]).tobytes() == logits[i : i + 1].tobytes()
        assert clf.decision_function(X[i : i + 1].tolist()).tobytes() == logits[i].tobytes()
        assert clf.predict(X[i : i + 1]).tolist() == [labels[i]]


def test_a_value_is_bit_for_bit_that_of_the_row_in_a_batch():
    X, y = blobs(n=50)
    model = TargetProjectionRegressor((9,), random_state=0).fit(X, y.astype(float))
    values = model.predict(X)
    for i in range(len(X)):
        assert model.predict(X[i : i + 1]).tobytes() == values[i : i + 1].tobytes()


def test_the_estimator_answers_as_its_network_does_for_standardised_rows():
    X, y = blobs()
    clf = TargetProjectionClassifier((8,), random_state=0).fit(X, y)
    outputs = clf.network_.decision_function(clf._scaler.transform(X))
    np.testing.assert_array_equal(clf.decision_function(X), outputs)


@pytest.mark.parametrize("spoil", [np.nan, np.inf, 1e30])
def test_a_row_that_cannot_be_answered_is_refused_as_in_a_batch(spoil):
    net = TargetProjectionNetwork([Dense(4)], 3, 2, random_state=0)
    X = np.array([[1, spoil, 0]], dtype=np.float32)
    for rows in (X, np.concatenate([X, X])):
        with pytest.raises(ValueError, match="NaN, infinity or values beyond"):
            net.decision_function(rows)


@pytest.mark.parametrize("layer", [Dense(4), Dense(4, normalise=True)], ids=["plain", "normalised"])
def test_a_network_answers_one_row_of_any_layout_as_in_a_batch(layer):
    net = TargetProjectionNetwork([layer], 6, 2, random_state=0)
    X = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32)
    net.step(X, np.arange(9) % 2)
    net.add_classes(1)
    together = net.decision_function(X)
    for i in range(len(X)):
        assert net.decision_function(X[i : i + 1]).tobytes() == together[i].tobytes()
        assert net.decision_function(X[:, ::-1][i : i + 1, ::-1]).tobytes() == together[i].tobytes()
        assert net.decision_function(X[i : i + 1].astype(float)).tobytes() == together[i].tobytes()

"""Networks whose outputs are values: targets of hidden layers are projections of the values."""

import json

import numpy as np
import pytest

from adaptors import Conv1d, Conv2d, Dense, Recurrent, TargetProjectionNetwork
from adaptors.losses import LOSSES
from adaptors.rule import needs_all_codes

LAYERS = [
    (Dense(5), (6,)),
    (Conv1d(4, padding=1, pool="max"), (9, 2)),
    (Conv2d(4, kernel=2, pool="average"), (6, 5, 2)),
    (Recurrent(4), (5, 3)),
    (Recurrent(4, cell="gru", target="each"), (5, 3)),
]


def samples(shape, n=6):
    return np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    "loss", sorted(name for name in LOSSES if not needs_all_codes(LOSSES[name]))
)
@pytest.mark.parametrize(("spec", "shape"), LAYERS, ids=repr)
def test_values_are_learned(spec, shape, loss):
    net = TargetProjectionNetwork([spec], shape, 2, loss, random_state=0, outputs="values")
    X = samples(shape, 8)
    values = np.random.default_rng(1).standard_normal((8, 2))
    before = np.square(net.decision_function(X) - values).sum()
    for _ in range(100):
        net.step(X, values, hidden_learning_rate=0.1)
    assert np.square(net.decision_function(X) - values).sum() < before


def test_values_without_hidden_layers_are_least_squares():
    net = TargetProjectionNetwork([], 3, 1, outputs="values")
    X = samples((3,), 20)
    values = X @ np.array([[1.0], [-2.0], [0.5]], np.float32) + 3
    for _ in range(500):
        net.step(X, values)
    np.testing.assert_allclose(net.decision_function(X), values, atol=1e-2)


def test_a_network_of_values_continues_from_its_state():
    net = TargetProjectionNetwork([Dense(5)], 3, 2, random_state=0, outputs="values")
    X = samples((3,))
    header, saved = net.to_state()
    other = TargetProjectionNetwork.from_state(json.loads(json.dumps(header)), saved)
    for one in (net, other):
        one.step(X, X[:, :2])
    for name, array in net.to_state()[1].items():
        np.testing.assert_array_equal(array, other.to_state()[1][name])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(6), "y has shape"),
        (np.zeros((6, 3)), "y has shape"),
        (np.full((6, 2), np.nan), "NaN"),
        (np.full((6, 2), 1e3), "standardise"),
    ],
)
def test_bad_values_are_refused(y, message):
    net = TargetProjectionNetwork([Dense(5)], 3, 2, random_state=0, outputs="values")
    with pytest.raises(ValueError, match=message):
        net.step(samples((3,)), y)


def test_what_values_cannot_do_is_refused():
    def build(layer, loss="l2", outputs="values"):
        return TargetProjectionNetwork([layer], (6, 5, 1), 2, loss, 0, outputs=outputs)

    with pytest.raises(ValueError, match="compares classes"):
        build(Dense(5), "cross_entropy")
    with pytest.raises(ValueError, match="cannot be added"):
        build(Dense(5)).add_classes(1)
    with pytest.raises(ValueError, match="full-map"):
        build(Conv2d(2, target="map"))
    with pytest.raises(ValueError, match="expected 'classes' or 'values'"):
        build(Dense(5), outputs="words")

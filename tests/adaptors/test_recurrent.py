"""Recurrent layers: what a cell computes, and that a step of learning looks one step back only."""

import tracemalloc

import numpy as np
import pytest

from adaptors import Recurrent, TargetProjectionNetwork
from adaptors.losses import LOSSES
from adaptors.rule import Goal

cells = pytest.mark.parametrize("cell", ["elman", "gru"])


def sequences(n=3, n_steps=5, n_features=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n_steps, n_features)).astype(np.float32)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def next_state(cell, weights, bias, x, h):
    """The cell as its paper writes it, for one sample in double precision."""
    u, v = len(h), np.concatenate([x, h])
    if cell == "elman":
        return np.tanh(weights @ v + bias)
    z = sigmoid(weights[:u] @ v + bias[:u])
    r = sigmoid(weights[u : 2 * u] @ v + bias[u : 2 * u])
    candidate = np.tanh(weights[2 * u :] @ np.concatenate([x, r * h]) + bias[2 * u :])
    return (1 - z) * h + z * candidate


@cells
@pytest.mark.parametrize("kept", [False, True])
def test_a_cell_is_what_its_paper_says(cell, kept):
    layer = Recurrent(4, cell, sequences=kept).build((5, 2), np.random.default_rng(0))
    layer.bias[:] = np.random.default_rng(1).standard_normal(len(layer.bias))
    X = sequences()
    for sample, out in zip(X, layer.forward(X), strict=True):
        h, states = np.zeros(4), []
        for x in sample:
            h = next_state(cell, layer.weights, layer.bias, x, h)
            states.append(h)
        np.testing.assert_allclose(out, states if kept else h, rtol=1e-4, atol=1e-5)


def local_loss(cell, layer, states, X, goal, target):
    """The loss of each step as a function of the weights, from states that stay as they were."""
    total = 0.0
    for t in range(X.shape[1]) if target == "each" else [X.shape[1] - 1]:
        h = [
            next_state(cell, layer.weights.astype(float), layer.bias.astype(float), x, before)
            for x, before in zip(X[:, t], states[:, t], strict=True)
        ]
        total += goal.loss.value(np.array(h), goal.codes, goal.y).sum()
    return total


@cells
@pytest.mark.parametrize("target", ["each", "last"])
@pytest.mark.parametrize("loss", ["l2", "cross_entropy", "huber"])
def test_a_step_is_the_gradient_inside_each_cell_by_finite_differences(cell, target, loss):
    layer = Recurrent(3, cell, target=target, sequences=True).build(
        (4, 2), np.random.default_rng(0)
    )
    X, rng = sequences(n_steps=4), np.random.default_rng(1)
    codes = rng.choice([-0.9, 0.9], (3, 3)).astype(np.float32)
    goal = Goal(codes, np.array([0, 2, 1]), LOSSES[loss])
    states = np.concatenate([np.zeros((3, 1, 3)), layer.forward(X)[:, :-1]], axis=1)
    expected = np.empty_like(layer.weights)
    for at in np.ndindex(*expected.shape):
        values = []
        for step in (0.001, -0.002):
            layer.weights[at] += step
            values.append(local_loss(cell, layer, states, X, goal, target))
        layer.weights[at] += 0.001
        expected[at] = (values[0] - values[1]) / 0.002
    before = layer.weights.copy()
    layer.learn(X, goal, 1.0)
    step = before - layer.weights
    blocks = [slice(None)] if cell == "elman" else [slice(0, 6), slice(6, 9)]
    for rows in blocks:
        along = np.sum(step[rows] * expected[rows])
        cosine = along / np.linalg.norm(step[rows]) / np.linalg.norm(expected[rows])
        assert cosine > 0.999


@cells
@pytest.mark.parametrize("target", ["each", "last"])
def test_learning_needs_no_more_memory_for_a_longer_sequence(cell, target):
    peaks = []
    for n_steps in (10, 1000):
        net = TargetProjectionNetwork(
            [Recurrent(16, cell, target=target)], (n_steps, 4), 3, random_state=0
        )
        X, y = sequences(8, n_steps, 4), np.arange(8) % 3
        net.step(X, y)
        tracemalloc.start()
        net.step(X, y)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # What grows is the check of the input, one byte or one float for each of its numbers.
    assert peaks[1] - peaks[0] <= 1.2 * X.nbytes


@cells
def test_the_order_of_a_sequence_is_learned_beyond_a_frozen_layer(cell):
    """Which of two pulses came first, with noise in between."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    X = rng.standard_normal((300, 8, 2)).astype(np.float32) * 0.3
    X[np.arange(300), 1, y] += 2
    X[np.arange(300), 5, 1 - y] += 2

    def accuracy(hidden_rate):
        layers = [Recurrent(16, cell)]
        net = TargetProjectionNetwork(layers, (8, 2), 2, "cross_entropy", random_state=0)
        for start in range(0, 6400, 16):
            rows = np.arange(start, start + 16) % 200
            net.step(X[rows], y[rows], hidden_learning_rate=hidden_rate)
        return (net.decision_function(X[200:]).argmax(axis=1) == y[200:]).mean()

    assert accuracy(1.0) >= max(accuracy(0.0), 0.95)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_units": 0}, "n_units is 0"),
        ({"n_units": "8"}, "expected an int"),
        ({"cell": "lstm"}, "cell is 'lstm'"),
        ({"activation": "relu"}, "must be bounded"),
        ({"activation": "gelu"}, "activation is 'gelu'"),
        ({"target": "first"}, "target is 'first'"),
    ],
)
def test_a_bad_recurrent_layer_is_refused(fields, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Recurrent(**{"n_units": 2, **fields})


def test_an_input_that_is_no_sequence_is_refused():
    with pytest.raises(ValueError, match=r"expected \(n_steps, n_features\)"):
        Recurrent(2).build((4,), np.random.default_rng(0))


@pytest.mark.parametrize(
    "change", [{"cell": "gru"}, {"n_units": 10**12}, {"sequences": True}, {"x": 1}]
)
def test_a_header_that_does_not_fit_is_refused(change):
    net = TargetProjectionNetwork([Recurrent(2)], (5, 3), 3, random_state=0)
    header, arrays = net.to_state()
    header["layers"][0].update(change)
    with pytest.raises(ValueError, match="state"):
        TargetProjectionNetwork.from_state(header, arrays)

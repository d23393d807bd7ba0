"""Layers and the network: the local rule, its stability, classes added later, saved state."""

import json
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors import Dense, TargetProjectionNetwork
from adaptors.layers import Goal
from adaptors.losses import LOSSES

seeds = st.integers(0, 2**32 - 1)


def problem(seed=0, n=24, n_inputs=6, n_classes=3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, n_inputs)).astype(np.float32)
    return X, rng.integers(n_classes, size=n)


def network(loss="l2", widths=(8, 5), activation="tanh", seed=0):
    layers = [Dense(width, activation) for width in widths]
    return TargetProjectionNetwork(layers, 6, 3, loss, random_state=seed)


def arrays(net):
    return net.to_state()[1]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("bad", [0, -3])
def test_a_layer_needs_a_unit(bad):
    with pytest.raises(ValueError, match="expected 1 or more"):
        Dense(bad)


@pytest.mark.parametrize("bad", [True, 2.5, "8"])
def test_a_width_is_an_int(bad):
    with pytest.raises(TypeError, match="expected an int"):
        Dense(bad)


@pytest.mark.parametrize("loss", sorted(LOSSES))
@given(seed=seeds, n=st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_a_step_follows_the_mean_gradient_of_its_own_loss_alone(loss, seed, n):
    X, y = problem(seed, n)
    layer = Dense(5).build(6, np.random.default_rng(seed))
    codes = np.random.default_rng(seed).choice([-0.9, 0.9], (3, 5)).astype(np.float32)
    before = layer.weights.copy()
    h = layer.learn(X, Goal(codes, y, LOSSES[loss]), rate=1e-3)
    np.testing.assert_allclose(h, np.tanh(X @ before.T), rtol=1e-4, atol=1e-5)
    delta = LOSSES[loss].delta(h, codes, y) * (1 - h * h)
    gram = X.astype(np.float64) @ X.T + 1
    expected = -1e-3 * delta.T @ X / np.linalg.norm(gram)
    np.testing.assert_allclose(layer.weights - before, expected, rtol=2e-2, atol=1e-6)


@given(seed=seeds, n=st.integers(2, 12))
@settings(max_examples=20, deadline=None)
def test_a_step_at_rate_one_never_raises_the_l2_loss_of_a_linear_layer(seed, n):
    X, y = problem(seed, n)
    layer = Dense(4, "linear").build(6, np.random.default_rng(seed))
    codes = np.random.default_rng(seed).choice([-1, 1], (3, 4)).astype(np.float32)
    goal = Goal(codes, y, LOSSES["l2"])
    losses = [goal.loss.value(layer.learn(X, goal, 1.0), codes, y).sum() for _ in range(5)]
    assert all(b <= a * (1 + 1e-5) for a, b in pairwise(losses))


def test_at_rate_one_a_linear_unit_lands_on_the_target_of_one_sample():
    X, y = problem(n=1)
    layer = Dense(4, "linear").build(6, np.random.default_rng(0))
    codes = np.ones((3, 4), dtype=np.float32)
    layer.learn(X, Goal(codes, y, LOSSES["l2"]), 1.0)
    np.testing.assert_allclose(layer.forward(X), 1.0, atol=1e-5)


def test_a_later_layer_never_changes_an_earlier_one():
    X, y = problem()
    one, two = network(widths=(8,)), network(widths=(8, 5))
    two._targets.tables[0] = one._targets.tables[0]
    two.layers[0].weights[:] = one.layers[0].weights
    for net in (one, two):
        net.step(X, y)
    np.testing.assert_array_equal(one.layers[0].weights, two.layers[0].weights)


@pytest.mark.parametrize("n", [1, 5])
def test_a_step_neither_changes_nor_keeps_its_input(n):
    X, y = problem(n=n)
    net, before = network(), X.copy()
    net.step(X, y)
    np.testing.assert_array_equal(X, before)
    held = [*arrays(net).values(), net.decision_function(X)]
    assert not any(np.shares_memory(X, array) for array in held)


def test_memory_does_not_grow_with_steps():
    X, y = problem()
    net = network()
    keys, n_bytes = set(vars(net.layers[0])), net.n_bytes
    for _ in range(20):
        net.step(X, y)
    assert net.n_bytes == n_bytes
    assert set(vars(net.layers[0])) == keys


def test_n_bytes_counts_weights_biases_and_codes():
    weights, biases, codes = 8 * 6 + 5 * 8 + 3 * 5, 8 + 5 + 3, 3 * (8 + 5)
    assert network().n_bytes == 4 * (weights + biases + codes)


@pytest.mark.parametrize("n", [1, 6])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_seed_repeats_exactly(loss, n):
    X, y = problem(n=n)
    first, second = network(loss), network(loss)
    for net in (first, second):
        net.step(X, y)
    assert_same(arrays(first), arrays(second))


def test_weights_count_as_copies():
    X, y = problem(n=4)
    weighted, copied = network(), network()
    weighted.step(X, y, weights=np.array([1, 0, 3, 2]))
    copied.step(np.repeat(X, [1, 0, 3, 2], axis=0), np.repeat(y, [1, 0, 3, 2]))
    for name, array in arrays(weighted).items():
        np.testing.assert_allclose(array, arrays(copied)[name], rtol=1e-4, atol=1e-6)


def test_tiny_weights_are_as_good_as_any():
    X, y = problem(n=4)
    tiny, plain = network(), network()
    tiny.step(X, y, weights=np.full(4, 1e-30))
    plain.step(X, y)
    assert_same(arrays(tiny), arrays(plain))


@pytest.mark.parametrize("bad", [[1.0], [-1.0] * 4, [np.nan] * 4, [0.0] * 4])
def test_bad_weights_are_refused(bad):
    X, y = problem(n=4)
    with pytest.raises(ValueError, match="weight"):
        network().step(X, y, weights=bad)


def test_an_added_class_changes_nothing_that_was_there():
    X, y = problem()
    net = network()
    net.step(X, y)
    logits, codes = net.decision_function(X), [c.copy() for c in net._targets.tables]
    weights = net.output.weights.copy()
    net.add_classes(2)
    assert net.n_classes == 5
    np.testing.assert_array_equal(net.output.weights[:3], weights)
    # A matrix product of another height may be summed in another order.
    np.testing.assert_allclose(net.decision_function(X)[:, :3], logits, rtol=1e-5, atol=1e-7)
    for old, new in zip(codes, net._targets.tables, strict=True):
        np.testing.assert_array_equal(new[:3], old)
    net.step(X, y + 2)


def test_added_classes_have_the_codes_they_would_have_had_from_the_start():
    late, early = network(), TargetProjectionNetwork([Dense(8), Dense(5)], 6, 5, random_state=0)
    late.add_classes(2)
    for a, b in zip(late._targets.tables, early._targets.tables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n", [1, 8])
def test_a_diverging_rate_is_halved_and_reported_and_weights_stay_finite(n):
    X, y = problem(n=n)
    net = network(widths=(8,), activation="linear")

    def learn():
        for _ in range(100):
            net.step(X, y, hidden_learning_rate=64.0)

    with pytest.warns(RuntimeWarning, match=r"diverges at learning rate \d+: .* its rate halved"):
        learn()
    assert net.layers[0].rate_factor <= 1 / 2
    assert all(np.isfinite(array).all() for array in arrays(net).values())


@pytest.mark.parametrize("activation", ["tanh", "hard_tanh", "sigmoid", "relu", "linear"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
@given(seed=seeds, scale=st.sampled_from([1e-6, 1.0, 1e5]), n=st.integers(1, 8))
@settings(max_examples=8, deadline=None)
def test_at_rate_one_nothing_diverges_at_any_scale(loss, activation, seed, scale, n):
    X, y = problem(seed, n)
    net = network(loss, activation=activation, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(30):
            net.step(X * np.float32(scale), y)
    assert np.isfinite(net.decision_function(X * np.float32(scale))).all()


@pytest.mark.parametrize("delta", [lambda h: h * np.nan, lambda h: h[:, :1]])
def test_a_broken_loss_of_ones_own_is_refused_before_the_layer_moves(delta):
    class Broken:
        def value(self, h, codes, y):
            return np.zeros(len(h))

        def delta(self, h, codes, y):
            return delta(h)

    X, y = problem()
    net = network(Broken())
    before = net.layers[0].weights.copy()
    with pytest.raises(ValueError, match=r"Broken\.delta returned"):
        net.step(X, y)
    np.testing.assert_array_equal(net.layers[0].weights, before)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 5)), r"shape \(2, 5\), expected \(n_samples, 6\)"),
        (np.zeros(6), "expected"),
        (np.zeros((0, 6)), "n_samples >= 1"),
        (np.full((1, 6), np.nan), "NaN"),
        (np.full((1, 6), np.inf), "infinity"),
        (np.full((1, 6), 1e300), "standardise"),
        (np.full((1, 6), 1e7), "standardise"),
    ],
)
def test_a_bad_X_is_refused(X, message):
    net = network()
    with pytest.raises(ValueError, match=message):
        net.decision_function(X)
    with pytest.raises(ValueError, match=message):
        net.step(X, [0])


@pytest.mark.parametrize("y", [[3, 0], [-1, 0], [0], [0.0, 1.0], ["a", "b"], [[0], [1]]])
def test_bad_class_indices_are_refused(y):
    net, before = network(), arrays(network())
    with pytest.raises(ValueError, match="y "):
        net.step(np.zeros((2, 6)), y)
    assert_same(arrays(net), before)


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("n", [1, 7])
def test_learning_continues_from_a_saved_state_as_if_nothing_had_happened(loss, n):
    X, y = problem(n=n)
    net = network(loss)
    net.step(X, y)
    net.layers[0].rate_factor = 0.5
    header, saved = net.to_state()
    other = TargetProjectionNetwork.from_state(json.loads(json.dumps(header)), saved)
    for one in (net, other):
        one.step(X, y)
        one.add_classes(1)
        one.step(X, np.full(n, 3))
    assert_same(arrays(net), arrays(other))
    assert other.to_state()[0] == net.to_state()[0]


def test_a_state_shares_no_memory_with_the_network():
    net = network()
    header, saved = net.to_state()
    other = TargetProjectionNetwork.from_state(header, saved)
    saved["hidden0.weights"][:] = 7
    assert not (net.layers[0].weights == 7).any()
    assert not (other.layers[0].weights == 7).any()


def test_a_network_with_its_own_loss_says_that_it_cannot_be_saved():
    with pytest.raises(ValueError, match="no saved form"):
        network(LOSSES["l2"]).to_state()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3},
        {"format": "other"},
        {"input_shape": [7]},
        {"input_shape": ["6"]},
        {"input_shape": [True]},
        {"input_shape": []},
        {"input_shape": 6},
        {"n_outputs": 10**12},
        {"n_outputs": 0},
        {"seed": -1},
        {"seed": 1.5},
        {"loss": "hubris"},
        {"loss": None},
        {"layers": []},
        {"layers": [{"kind": "dense", "n_units": 10**12, "activation": "tanh"}] * 2},
        {"layers": [{"kind": "dense", "n_units": 8, "activation": "gelu"}] * 2},
        {"layers": [{"kind": "conv", "n_units": 8, "activation": "tanh"}] * 2},
        {"layers": [{"kind": "dense", "n_units": 8}] * 2},
        {"outputs": "words"},
        {"outputs": "values", "loss": "cross_entropy"},
        {"codes": "morse"},
        {"codes": None},
        {"momentum": 0.5},
        {"momentum": 1.0},
        {"momentum": float("nan")},
        {"noise": -1.0},
        {"noise": "loud"},
        {"n_steps": -1},
        {"layers": 5},
        {"layers": [None]},
        {"rate_factors": [1.0]},
        {"rate_factors": [0.0, 1.0, 1.0]},
        {"rate_factors": [float("nan"), 1.0, 1.0]},
        {"rate_factors": ["a", 1.0, 1.0]},
        {"seed": ...},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_refused(change):
    header, saved = network().to_state()
    header = {k: v for k, v in {**header, **change}.items() if v is not ...}
    with pytest.raises(ValueError, match=r"state|loss|activation|outputs|codes|momentum|noise"):
        TargetProjectionNetwork.from_state(header, saved)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("hidden0.weights", np.zeros((8, 7), dtype=np.float32)),
        ("hidden0.weights", np.zeros((8, 6))),
        ("hidden0.weights", [[0.0] * 6] * 8),
        ("hidden0.bias", np.full(8, np.nan, dtype=np.float32)),
        ("hidden0.bias", None),
        ("hidden0.extra", np.zeros(8, dtype=np.float32)),
        ("hidden7.bias", np.zeros(8, dtype=np.float32)),
        ("output.bias", np.array([None] * 3)),
    ],
)
def test_an_array_that_does_not_fit_is_refused(name, array):
    header, saved = network().to_state()
    with pytest.raises(ValueError, match="state"):
        TargetProjectionNetwork.from_state(header, {**saved, name: array})


def test_a_missing_array_is_refused():
    header, saved = network().to_state()
    del saved["output.bias"]
    with pytest.raises(ValueError, match="expected"):
        TargetProjectionNetwork.from_state(header, saved)

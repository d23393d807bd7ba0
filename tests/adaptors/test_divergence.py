"""A rate that diverges: the step that goes too far is not taken, is reported, and learning goes on.

Rates of 1 and less are in `test_network` and `test_layers`: there nothing diverges.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors import Dense, Recurrent, TargetProjectionNetwork, _backend, _twins
from adaptors.activations import ACTIVATIONS
from adaptors.losses import LOSSES
from adaptors.network import MAX_INPUT, MAX_RATE
from adaptors.rule import clipped

seeds = st.integers(0, 2**32 - 1)
modules = pytest.mark.parametrize(
    "module", [_backend.kernels(), _twins], ids=lambda module: module.__name__
)


def blobs(n=240, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.normal(0, 2, (3, n_features))[y] + rng.normal(0, 0.3, (n, n_features))
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32), y


def network(loss="l2", activation="tanh", widths=(16,), **options):
    layers = [Dense(width, activation) for width in widths]
    return TargetProjectionNetwork(layers, 5, 3, loss, 0, **options)


def arrays(net):
    return net.to_state()[1]


def learn(net, X, y, n, **rates):
    """One pass, ``n`` rows at a time; return what was reported."""
    with warnings.catch_warnings(record=True) as reported:
        warnings.simplefilter("always")
        for start in range(0, len(X), n):
            net.step(X[start : start + n], y[start : start + n], **rates)
    assert all(w.category is RuntimeWarning for w in reported), [str(w.message) for w in reported]
    return [str(w.message) for w in reported]


def is_finite(net):
    return all(np.isfinite(array).all() for array in arrays(net).values())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
@given(
    seed=seeds,
    rates=st.tuples(*[st.sampled_from([0.5, 2.5, 64.0, MAX_RATE])] * 2),
    n=st.sampled_from([1, 9]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    momentum=st.sampled_from([0.0, 0.9]),
)
@settings(max_examples=6, deadline=None)
def test_weights_and_answers_stay_finite_at_any_rate(
    loss, activation, seed, rates, n, scale, momentum
):
    X, y = blobs(90, seed=seed)
    net = network(loss, activation, (6, 4), momentum=momentum)
    learn(net, X * np.float32(scale), y, n, learning_rate=rates[0], hidden_learning_rate=rates[1])
    assert is_finite(net)
    assert np.isfinite(net.decision_function(X)).all()


def test_the_largest_noise_leaves_finite_weights_and_more_is_refused():
    X, y = blobs()
    net = network("l2", "linear", noise=999.0)
    learn(net, X, y, 8)
    assert is_finite(net)
    with pytest.raises(ValueError, match=r"noise is 1000\.0, expected 0 or more, below 1000"):
        network(noise=1000.0)


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("loss", ["l2", "l1", "cross_entropy"])
def test_thousands_of_steps_on_hostile_rows_leave_finite_weights(loss, activation, n):
    """Signs that flip and sizes that jump from one row to the next, up to the largest allowed."""
    rng = np.random.default_rng(0)
    sizes = rng.choice(np.array([1e-6, 1.0, 1e3, MAX_INPUT], np.float32), (2000, 1))
    X = rng.choice(np.array([-1, 1], np.float32), (2000, 5)) * sizes
    y = rng.integers(3, size=len(X))
    net = network(loss, activation, (4, 4, 4))
    learn(net, X, y, n, learning_rate=MAX_RATE, hidden_learning_rate=MAX_RATE)
    assert is_finite(net)
    assert np.isfinite(net.decision_function(X)).all()


@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("loss", ["l2", "l1", "cross_entropy", "huber"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_refused_step_leaves_every_bit_of_the_layer_and_halves_its_rate(n, loss, momentum):
    X, y = blobs()
    net = network(loss, momentum=momentum)
    before = arrays(net)
    reported = learn(net, X[:n], y[:n], n, learning_rate=MAX_RATE, hidden_learning_rate=MAX_RATE)
    assert [r.split(":")[0] for r in reported] == [
        "a layer of 16 units diverges at learning rate 1000",
        "a layer of 3 units diverges at learning rate 1000",
    ]
    assert [layer.rate_factor for layer in (*net.layers, net.output)] == [0.5, 0.5]
    for name, array in arrays(net).items():
        assert array.tobytes() == before[name].tobytes(), name


def test_a_layer_that_refuses_does_not_keep_others_from_learning():
    X, y = blobs()
    net = network()
    before = arrays(net)
    learn(net, X[:8], y[:8], 8, hidden_learning_rate=MAX_RATE)
    changed = {name for name, array in arrays(net).items() if (array != before[name]).any()}
    assert changed == {"output.weights", "output.bias"}


def test_a_recurrent_layer_refuses_too():
    net = TargetProjectionNetwork([Recurrent(4)], (5, 2), 3, "l2", random_state=0)
    X = np.random.default_rng(0).standard_normal((6, 5, 2)).astype(np.float32)
    before = arrays(net)
    (reported,) = learn(net, X, np.arange(6) % 3, 6, hidden_learning_rate=MAX_RATE)
    assert "its step was not taken and its rate halved" in reported
    np.testing.assert_array_equal(arrays(net)["hidden0.weights"], before["hidden0.weights"])


def test_a_network_of_values_refuses_too():
    net = TargetProjectionNetwork([], 5, 1, outputs="values")
    X, _ = blobs()
    values = X[:, :1] * 2 + 1
    reported = [r for _ in range(40) for r in learn(net, X, values, 8, learning_rate=MAX_RATE)]
    assert 0 < len(reported) <= 10
    np.testing.assert_allclose(net.decision_function(X), values, atol=1e-2)


@pytest.mark.parametrize("n", [1, 16])
@pytest.mark.parametrize(
    ("loss", "activation"),
    [(loss, activation) for loss in ("l2", "cross_entropy") for activation in ("tanh", "sigmoid")]
    + [("l1", "tanh"), ("cross_entropy", "relu"), ("cross_entropy", "linear")],
)
def test_learning_goes_on_after_the_largest_rate_and_ends_well(loss, activation, n):
    X, y = blobs()
    net = network(loss, activation)
    rates = {"learning_rate": MAX_RATE, "hidden_learning_rate": MAX_RATE}
    reported = [r for _ in range(10) for r in learn(net, X, y, n, **rates)]
    # Each report is one halving, and a rate of 1 is reported no more.
    assert 0 < len(reported) <= 20
    factors = [layer.rate_factor for layer in (*net.layers, net.output)]
    assert sum(np.log2(factors)) == -len(reported)
    assert (net.decision_function(X).argmax(axis=1) == y).mean() > 0.95


@given(seeds, st.floats(2.0, 1000.0), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_a_linear_layer_is_never_farther_from_its_codes_than_the_largest_move(seed, rate, n):
    X, y = blobs(96, seed=seed)
    net = network(activation="linear")
    learn(net, X, y, n, hidden_learning_rate=rate)
    before = np.abs(net.hidden(X[:1])).max()
    learn(net, X[:1], y[:1], 1, hidden_learning_rate=rate)
    after = np.abs(net.hidden(X[:1])).max()
    assert after <= before + _twins.MAX_MOVE + 1e-2


@modules
@pytest.mark.parametrize("bad", [17.0, -17.0, np.inf, np.nan])
def test_the_step_of_one_row_is_all_or_nothing(module, bad):
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((4, 9)).astype(np.float32), np.ones(4, np.float32)
    x, delta = rng.standard_normal(9).astype(np.float32), np.ones(4, np.float32)
    before, delta[2] = W.copy(), bad
    assert module.rank_one_step(x, delta, 2.0, W, b) == 1  # 2 * 17 is more than 32
    assert W.tobytes() == before.tobytes()
    assert b.tolist() == [1.0] * 4
    delta[2] = 15.0
    assert module.rank_one_step(x, delta, 2.0, W, b) == 0
    assert (before != W).all()


@modules
@pytest.mark.parametrize(("bad", "move"), [(150.0, 100.0), (-np.inf, -100.0), (np.nan, 0.0)])
def test_at_rate_one_an_excessive_derivative_is_clipped(module, bad, move):
    W, b = np.zeros((2, 1), np.float32), np.zeros(2, np.float32)
    delta = np.array([bad, 1.0], np.float32)
    assert module.rank_one_step(np.ones(1, np.float32), delta, 1.0, W, b) == 1
    assert W.ravel().tolist() == b.tolist() == [-move / 2, -0.5]


@modules
@pytest.mark.parametrize("rate", [1.0, 4.0])
@pytest.mark.parametrize("huge", [1e30, np.inf, np.nan])
def test_a_row_whose_square_is_no_number_is_not_learned(module, rate, huge):
    W, b = np.ones((2, 3), np.float32), np.ones(2, np.float32)
    X = np.array([[1.0, huge, 1.0]], np.float32)
    assert module.rank_one_step(X[0], np.ones(2, np.float32), rate, W, b) > 0
    assert module.softmax_step(X, 0, rate, W, b) > 0
    assert (W == 1).all()
    assert (b == 1).all()


@pytest.mark.parametrize(("rate", "largest"), [(0.3, 100.0), (1.0, 100.0), (2.0, 16.0)])
def test_the_bound_of_a_batch_is_that_of_one_row(rate, largest):
    delta = np.array([[0.5, -largest], [0.0, 1.0]], np.float32)
    assert not clipped(delta, rate)[1]
    delta[0, 1] *= np.float32(1.01)
    within, is_too_far = clipped(delta, rate)
    assert is_too_far
    assert np.abs(within).max() <= 100.0
    delta[1, 0] = np.nan
    assert np.isfinite(clipped(delta, rate)[0]).all()

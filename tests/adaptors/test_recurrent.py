"""Recurrent layers: what a cell computes, and how far back a step of learning looks."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors import Recurrent, TargetProjectionNetwork, _kernels, _twins, recurrent
from adaptors.losses import LOSSES
from adaptors.rule import Goal

cells = pytest.mark.parametrize("cell", ["elman", "gru"])


def sequences(n=3, n_steps=5, n_features=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n_steps, n_features)).astype(np.float32)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def reset_gate(cell, weights, bias, x, h):
    u = len(h)
    if cell == "elman":
        return 1
    return sigmoid(weights[u : 2 * u] @ np.concatenate([x, h]) + bias[u : 2 * u])


def moved(cell, weights, bias, x, h, leak, reset=None):
    """What the state moves to, and how far: as the papers write it, one sample in double."""
    if reset is None:
        reset = reset_gate(cell, weights, bias, x, h)
    u, v = len(h), np.concatenate([x, h])
    candidate = np.tanh(weights[-u:] @ np.concatenate([x, reset * h]) + bias[-u:])
    return candidate, leak if cell == "elman" else sigmoid(weights[:u] @ v + bias[:u])


def next_state(cell, weights, bias, x, h, leak=1.0):
    candidate, share = moved(cell, weights, bias, x, h, leak)
    return (1 - share) * h + share * candidate


@pytest.mark.parametrize(("cell", "leak"), [("elman", 1.0), ("elman", 0.3), ("gru", 0.3)])
@pytest.mark.parametrize("kept", [False, True])
def test_a_cell_is_what_its_paper_says(cell, leak, kept):
    spec = Recurrent(4, cell, sequences=kept, leak=leak)
    layer = spec.build((5, 2), np.random.default_rng(0))
    layer.bias[:] = np.random.default_rng(1).standard_normal(len(layer.bias))
    X = sequences()
    learned = layer.learn(X, Goal(np.zeros((1, 4), np.float32), np.zeros(3, int), LOSSES["l2"]), 0)
    for sample, out, before in zip(X, layer.forward(X), learned, strict=True):
        h, states = np.zeros(4), []
        for x in sample:
            h = next_state(cell, layer.weights, layer.bias, x, h, leak)
            states.append(h)
        expected = states if kept else h
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(before, expected, rtol=1e-4, atol=1e-5)


def test_a_gated_unit_renews_the_given_share_to_begin_with():
    layer = Recurrent(6, "gru", leak=0.2).build((5, 2), np.random.default_rng(0))
    np.testing.assert_allclose(sigmoid(layer.bias[:6]), 0.2, rtol=1e-5)
    assert not layer.bias[6:].any()


def loss_one_step_back(layer, states, X, goal, parameters):
    """The loss of each step as a function of the weights, from states that stay as they were."""
    weights, bias = parameters[:, :-1], parameters[:, -1]
    cell, leak = layer.spec.cell, layer.spec.leak
    total = 0.0
    for t in range(X.shape[1]) if layer.spec.target == "each" else [X.shape[1] - 1]:
        h = [
            next_state(cell, weights, bias, x, before, leak)
            for x, before in zip(X[:, t], states[:, t], strict=True)
        ]
        total += goal.loss.value(np.array(h), goal.codes, goal.y).sum()
    return total


def loss_along_own_past(layer, states, X, goal, parameters):
    """The same where a unit's own kept state follows the weights; what it reads stays as it was."""
    weights, bias = parameters[:, :-1], parameters[:, -1]
    present = layer.weights.astype(float), layer.bias.astype(float)
    cell, leak = layer.spec.cell, layer.spec.leak
    total, own = 0.0, np.zeros((len(X), layer.n_units))
    for t in range(X.shape[1]):
        for i, (x, read) in enumerate(zip(X[:, t], states[:, t], strict=True)):
            reset = reset_gate(cell, *present, x, read)
            candidate, share = moved(cell, weights, bias, x, read, leak, reset)
            own[i] += share * (candidate - own[i])
        if layer.spec.target == "each" or t == X.shape[1] - 1:
            total += goal.loss.value(own, goal.codes, goal.y).sum()
    return total


def gradient(loss, parameters):
    found = np.empty_like(parameters)
    for at in np.ndindex(*parameters.shape):
        step = np.zeros_like(parameters)
        step[at] = 1e-4
        found[at] = (loss(parameters + step) - loss(parameters - step)) / 2e-4
    return found


@cells
@pytest.mark.parametrize("leak", [0.3, 0.9])
@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("target", ["each", "last"])
@pytest.mark.parametrize("loss", ["l2", "cross_entropy", "huber"])
def test_a_step_is_the_gradient_by_finite_differences(cell, leak, trace, target, loss):
    """Inside each cell without traces; with traces, along each unit's own past."""
    spec = Recurrent(3, cell, target=target, sequences=True, leak=leak, trace=trace)
    layer = spec.build((4, 2), np.random.default_rng(0))
    layer.bias += 0.1
    X, rng = sequences(n_steps=4), np.random.default_rng(1)
    codes = rng.choice([-0.9, 0.9], (3, 3)).astype(np.float32)
    goal = Goal(codes, np.array([0, 2, 1]), LOSSES[loss])
    states = np.concatenate([np.zeros((3, 1, 3)), layer.forward(X)[:, :-1]], axis=1)
    parameters = np.column_stack([layer.weights, layer.bias]).astype(float)

    def slope(function):
        return gradient(lambda each: function(layer, states, X, goal, each), parameters)

    expected = slope(loss_along_own_past if trace else loss_one_step_back)
    if cell == "gru":  # reset gates have no trace
        expected[3:6] = slope(loss_one_step_back)[3:6]
    layer.learn(X, goal, 1.0)
    step = parameters - np.column_stack([layer.weights, layer.bias])
    # Rows that read the same inputs share one scale.
    for rows in [slice(None)] if cell == "elman" else [slice(0, 6), slice(6, 9)]:
        along = np.sum(step[rows] * expected[rows])
        cosine = along / np.linalg.norm(step[rows]) / np.linalg.norm(expected[rows])
        assert cosine > 0.9999


@cells
def test_samples_that_do_not_fit_together_are_gone_through_in_parts(cell, monkeypatch):
    X, y = sequences(7), np.arange(7) % 3
    goal = Goal(np.eye(3, 4, dtype=np.float32), y, LOSSES["l2"], np.arange(1, 8, dtype=np.float32))
    steps, outputs = [], []
    for room in (recurrent.TRACE_ROOM, 1):
        monkeypatch.setattr(recurrent, "TRACE_ROOM", room)
        layer = Recurrent(4, cell).build((5, 2), np.random.default_rng(0))
        before = layer.weights.copy()
        outputs.append(layer.learn(X, goal, 1.0))
        steps.append(before - layer.weights)
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)
    # The same direction. The sum of Gram norms is a bound that parts make looser, not tighter.
    for rows in np.split(np.arange(len(layer.bias)), recurrent.CELLS[cell]):
        lengths = [np.linalg.norm(step[rows]) for step in steps]
        np.testing.assert_allclose(
            steps[0][rows] / lengths[0], steps[1][rows] / lengths[1], atol=2e-4
        )
        assert lengths[1] <= lengths[0] * 1.00001


def test_what_came_long_before_the_end_is_learned_by_its_trace_alone():
    """One step tells the class, eleven of silence follow, and only the last state is taught."""

    def accuracy(trace):
        rng = np.random.default_rng(0)
        y = rng.integers(2, size=200)
        X = np.zeros((200, 12, 8), np.float32)
        X[:, 0] = rng.standard_normal((200, 8)) * 0.5
        X[np.arange(200), 0, 0] = 2 * y - 1
        spec = Recurrent(8, target="last", leak=0.1, trace=trace)
        layer = spec.build((12, 8), np.random.default_rng(0))
        layer.weights[:] *= 0.1
        codes = np.where(y[:, None] == 1, 0.9, -0.9) * np.ones(8)
        goal = Goal(codes.astype(np.float32), np.arange(200), LOSSES["l2"])
        for _ in range(300):
            layer.learn(X, goal, 1.0)
        return float((np.sign(layer.forward(X).mean(axis=1)) == 2 * y - 1).mean())

    assert accuracy(trace=True) > 0.95 > 0.8 > accuracy(trace=False)


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
        layers = [Recurrent(16, cell, target="last")]
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
        ({"leak": 0.0}, "leak is 0.0"),
        ({"leak": 1.5}, "leak is 1.5"),
        ({"leak": True}, "leak is True"),
        ({"leak": "0.3"}, "leak is '0.3'"),
        ({"leak": float("nan")}, "leak is nan"),
        ({"cell": "gru", "leak": 1.0}, "no gate of a GRU"),
        ({"trace": 1}, "trace is 1"),
    ],
)
def test_a_bad_recurrent_layer_is_refused(fields, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Recurrent(**{"n_units": 2, **fields})


def test_an_input_that_is_no_sequence_is_refused():
    with pytest.raises(ValueError, match=r"expected \(n_steps, n_features\)"):
        Recurrent(2).build((4,), np.random.default_rng(0))


@pytest.mark.parametrize(
    "change",
    [
        {"cell": "gru"},
        {"n_units": 10**12},
        {"sequences": True},
        {"x": 1},
        {"leak": -1.0},
        {"leak": None},
        {"trace": "yes"},
    ],
)
def test_a_header_that_does_not_fit_is_refused(change):
    net = TargetProjectionNetwork([Recurrent(2)], (5, 3), 3, random_state=0)
    header, arrays = net.to_state()
    header["layers"][0].update(change)
    with pytest.raises(ValueError, match=r"state|leak|trace"):
        TargetProjectionNetwork.from_state(header, arrays)


@cells
def test_a_state_from_before_there_were_traces_goes_on_as_it_was(cell):
    plain = Recurrent(4, cell, target="each", leak=1.0 if cell == "elman" else 0.5, trace=False)
    net = TargetProjectionNetwork([plain], (5, 2), 3, random_state=0)
    header, arrays = net.to_state()
    del header["layers"][0]["leak"], header["layers"][0]["trace"]
    old = TargetProjectionNetwork.from_state(header, arrays)
    assert old.layers[0].spec == plain
    X, y = sequences(6), np.arange(6) % 3
    for each in (net, old):
        each.step(X, y)
    np.testing.assert_array_equal(net.decision_function(X), old.decision_function(X))


seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(*[st.integers(1, 9)] * 4)


def drawn(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@given(seeds, sizes, st.sampled_from([0, 1, 2]), st.booleans(), st.floats(0.01, 1.0))
@settings(max_examples=40, deadline=None)
def test_a_leaky_cell_equals_its_twin_and_without_a_leak_the_plain_one(
    seed, shape, activation, every, leak
):
    n, n_steps, n_features, n_units = shape
    X, W, b = drawn(seed, (n, n_steps, n_features), (n_units, n_features + n_units), n_units)
    W /= np.float32(n_units)  # so that rounding is not amplified from step to step
    fast, slow, plain = np.empty((3, n, n_steps if every else 1, n_units), dtype=np.float32)
    _kernels.leaky(X, W, b, activation, leak, fast)
    _twins.leaky(X, W, b, activation, leak, slow)
    np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-5)
    _kernels.leaky(X, W, b, activation, 1.0, fast)
    _kernels.elman(X, W, b, activation, plain)
    np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-5)


@given(seeds, sizes)
@settings(max_examples=40, deadline=None)
def test_a_step_of_traces_equals_its_twin(seed, shape):
    n, n_rows, width, _ = shape
    V, keep, gain, delta = drawn(seed, (n, width), *[(n, n_rows)] * 3)
    P, G = drawn(seed + 1, (n, n_rows, width), (n_rows, width))
    fast, slow = (P.copy(), G.copy()), (P.copy(), G.copy())
    _kernels.trace_step(V, keep, gain, delta, *fast)
    _twins.trace_step(V, keep, gain, delta, *slow)
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)

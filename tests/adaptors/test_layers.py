"""What holds for a layer of any kind: gradient, step length, memory, state, momentum, noise."""

import json
import tracemalloc
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors import Conv1d, Conv2d, Dense, Recurrent, TargetProjectionNetwork
from adaptors.losses import LOSSES
from adaptors.normalise import normalised
from adaptors.rule import Goal, gram_norm
from tests.adaptors.learning import arrays, assert_same_arrays

seeds = st.integers(0, 2**32 - 1)

# A layer of each kind and a shape it reads.
LAYERS = {
    "dense": (Dense(5), (6,)),
    "flattening dense": (Dense(5, normalise=True), (3, 2)),
    "conv1d": (Conv1d(4, kernel=3, padding=1, pool="max"), (9, 2)),
    "wide conv1d": (Conv1d(2, kernel=5, stride=2), (9, 3)),
    "conv2d": (Conv2d(4, kernel=2, pool="average"), (6, 5, 2)),
    "strided conv2d": (Conv2d(3, kernel=(3, 2), stride=2, padding=1, normalise=True), (6, 5, 2)),
    "map conv2d": (Conv2d(3, kernel=3, target="map"), (6, 5, 1)),
    "depthwise": (Conv2d(2, kernel=3, padding=1, depthwise=True), (4, 5, 2)),
    "elman": (Recurrent(4), (5, 3)),
    "elman sequence": (Recurrent(4, sequences=True, target="each", normalise=True), (5, 3)),
    "gru": (Recurrent(4, cell="gru"), (5, 3)),
    "gru each": (Recurrent(4, cell="gru", target="each"), (5, 3)),
}
kinds = pytest.mark.parametrize("kind", LAYERS)
# Kinds whose step is one gradient over one Gram norm, so that it can be held against theory.
RECURRENT = {"elman", "elman sequence", "gru", "gru each"}


def batch(shape, seed=0, n=6, n_classes=3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, *shape)).astype(np.float32)
    return X, rng.integers(n_classes, size=n)


def network(kind, seed=0, loss="l2", **options):
    spec, shape = LAYERS[kind]
    return TargetProjectionNetwork([spec], shape, 3, loss, random_state=seed, **options)


@kinds
@given(seed=seeds, n=st.integers(1, 5))
@settings(max_examples=5, deadline=None)
def test_output_has_the_promised_shape_and_learning_returns_the_output_from_before(kind, seed, n):
    spec, shape = LAYERS[kind]
    layer = spec.build(shape, np.random.default_rng(seed))
    X, y = batch(shape, seed, n)
    before = layer.forward(X)
    assert before.shape == (n, *layer.output_shape)
    assert before.dtype == np.float32
    codes = np.full((3, layer.code_size), 0.5, np.float32)
    np.testing.assert_allclose(
        layer.learn(X, Goal(codes, y, LOSSES["l2"]), 1.0), before, rtol=1e-4, atol=1e-5
    )


@kinds
def test_an_output_does_not_depend_on_the_other_samples(kind):
    net = network(kind)
    X, _ = batch(net.input_shape, n=7)
    together = net.decision_function(X)
    alone = np.concatenate([net.decision_function(X[i : i + 1]) for i in range(7)])
    np.testing.assert_array_equal(together, alone)


@kinds
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_one_sample_is_a_batch_of_one(kind, loss):
    """A copy of weight nearly zero makes it a batch of two, which takes the other way."""
    one, two = network(kind, loss=loss), network(kind, loss=loss)
    X, y = batch(one.input_shape, n=1)
    for _ in range(3):
        one.step(X, y)
        two.step(np.repeat(X, 2, axis=0), np.repeat(y, 2), weights=[1.0, 0.0])
    for name, array in arrays(one).items():
        np.testing.assert_allclose(array, arrays(two)[name], rtol=2e-3, atol=2e-5, err_msg=name)


@kinds
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_weights_count_as_copies(kind, loss):
    weighted, copied = network(kind, loss=loss), network(kind, loss=loss)
    X, y = batch(weighted.input_shape, n=4)
    counts = [1, 0, 3, 2]
    weighted.step(X, y, weights=counts)
    copied.step(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    for name, array in arrays(weighted).items():
        np.testing.assert_allclose(array, arrays(copied)[name], rtol=2e-3, atol=2e-5, err_msg=name)


@kinds
@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("n", [1, 5])
def test_at_rate_one_nothing_diverges_at_any_scale(kind, loss, n):
    for scale in (1e-4, 1.0, 1e4):
        net = network(kind, loss=loss)
        X, y = batch(net.input_shape, n=n)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(20):
                net.step(X * np.float32(scale), y)
        assert all(np.isfinite(array).all() for array in arrays(net).values())


@pytest.mark.parametrize("kind", sorted(set(LAYERS) - RECURRENT))
@given(seed=seeds, n=st.integers(1, 4))
@settings(max_examples=5, deadline=None)
def test_a_step_at_rate_one_never_raises_the_l2_loss_of_a_linear_map(kind, seed, n):
    spec, shape = LAYERS[kind]
    linear = {"activation": "linear", "pool": None}
    fields = {name: linear.get(name, value) for name, value in vars(spec).items()}
    layer = type(spec)(**fields).build(shape, np.random.default_rng(seed))
    X, y = batch(shape, seed, n)
    codes = np.random.default_rng(seed).choice([-1, 1], (3, layer.code_size)).astype(np.float32)
    wanted = codes[y].reshape(n, -1, layer.n_units)
    goal = Goal(codes, y, LOSSES["l2"])
    outputs = [layer.learn(X, goal, 1.0).reshape(n, -1, layer.n_units) for _ in range(5)]
    losses = [np.square(out - wanted).sum() for out in outputs]
    assert all(b <= a * (1 + 1e-5) + 1e-8 for a, b in pairwise(losses))


@kinds
@pytest.mark.parametrize("n", [1, 5])
def test_a_step_neither_changes_nor_keeps_its_input(kind, n):
    net = network(kind)
    X, y = batch(net.input_shape, n=n)
    before = X.copy()
    net.step(X, y)
    np.testing.assert_array_equal(X, before)
    held = [*net.layers[0].arrays.values(), net.hidden(X)]
    assert not any(np.shares_memory(X, array) for array in held)


@kinds
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_learning_continues_from_a_saved_state_as_if_nothing_had_happened(kind, n, momentum):
    net = network(kind, loss="cross_entropy", momentum=momentum, noise=0.1, codes="gaussian")
    X, y = batch(net.input_shape, n=n)
    net.step(X, y)
    net.layers[0].rate_factor = 0.5
    header, saved = net.to_state()
    other = TargetProjectionNetwork.from_state(json.loads(json.dumps(header)), saved)
    for one in (net, other):
        one.step(X, y)
        one.add_classes(1)
        one.step(X, np.full(n, 3))
    assert_same_arrays(arrays(net), arrays(other))
    assert other.to_state()[0] == net.to_state()[0]
    assert other.n_bytes == net.n_bytes


@kinds
def test_a_seed_repeats_exactly(kind):
    first, second = (network(kind, noise=0.5, momentum=0.5) for _ in range(2))
    X, y = batch(first.input_shape)
    for net in (first, second):
        net.step(X, y)
    assert_same_arrays(arrays(first), arrays(second))


@kinds
def test_momentum_is_a_running_mean_of_steps_and_counts_among_the_bytes(kind):
    plain, heavy = network(kind), network(kind, momentum=0.75)
    X, y = batch(plain.input_shape)
    start = arrays(plain)
    assert heavy.n_bytes == plain.n_bytes + sum(array.nbytes for array in start.values())
    for net in (plain, heavy):
        net.step(X, y)
    for name, array in start.items():
        step, damped = arrays(plain)[name] - array, arrays(heavy)[name] - array
        np.testing.assert_allclose(damped, step / 4, rtol=1e-2, atol=1e-5)
        if name.startswith("hidden"):
            np.testing.assert_allclose(-arrays(heavy)[f"{name}_velocity"], damped, atol=1e-5)


@kinds
def test_noise_moves_weights_otherwise_but_not_without_a_step(kind):
    plain, noisy, still = network(kind), network(kind, noise=0.5), network(kind, noise=0.5)
    X, y = batch(plain.input_shape)
    plain.step(X, y)
    noisy.step(X, y)
    still.step(X, y, learning_rate=0.0, hidden_learning_rate=0.0)
    assert not np.array_equal(plain.layers[0].weights, noisy.layers[0].weights)
    assert_same_arrays(arrays(still), arrays(network(kind)))


@pytest.mark.parametrize("options", [{"momentum": 1.0}, {"momentum": -0.1}, {"noise": -1.0}])
def test_momentum_and_noise_have_a_range(options):
    with pytest.raises(ValueError, match="expected 0 or more"):
        network("dense", **options)


@kinds
@pytest.mark.parametrize("n", [1, 6])
def test_a_broken_loss_is_refused_before_the_layer_moves(kind, n):
    class Broken:
        def value(self, h, codes, y):
            return np.zeros(len(h))

        def delta(self, h, codes, y):
            return np.full_like(h, np.nan)

    net = network(kind, loss=Broken())
    X, y = batch(net.input_shape, n=n)
    before = net.layers[0].weights.copy()
    with pytest.raises(ValueError, match=r"Broken\.delta returned"):
        net.step(X, y)
    np.testing.assert_array_equal(net.layers[0].weights, before)


@kinds
def test_a_derivative_beyond_bounds_is_clipped_and_reported_once(kind):
    class Steep:
        def value(self, h, codes, y):
            return np.zeros(len(h))

        def delta(self, h, codes, y):
            return np.full_like(h, 1e30)

    net = network(kind, loss=Steep())
    X, y = batch(net.input_shape)
    with pytest.warns(RuntimeWarning, match="diverges at learning rate 2: .* its rate halved"):
        net.step(X, y, hidden_learning_rate=2.0)
    assert net.layers[0].rate_factor == 1 / 2
    assert all(np.isfinite(array).all() for array in net.layers[0].arrays.values())


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf, 1e9])
@pytest.mark.parametrize("name", ["learning_rate", "hidden_learning_rate"])
def test_a_rate_has_a_range(name, rate):
    X, y = batch((6,))
    with pytest.raises(ValueError, match="expected 0 to 1000"):
        network("dense").step(X, y, **{name: rate})


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([Conv2d(8, padding=1) for _ in range(6)], (16, 16, 4)),
        ([Conv1d(8, padding=1) for _ in range(6)], (256, 8)),
        ([Dense(512) for _ in range(6)], (512,)),
        ([Recurrent(8, sequences=True) for _ in range(6)], (256, 8)),
    ],
    ids=["conv2d", "conv1d", "dense", "recurrent"],
)
def test_a_step_needs_the_memory_of_its_largest_layer_not_of_all(layers, shape):
    """Backpropagation keeps what a layer computed before and after its activation, for all six."""
    net = TargetProjectionNetwork(layers, shape, 3, "l2", random_state=0)
    X, y = batch(shape, n=1024 if len(shape) > 1 else 4096)
    net.step(X[:2], y[:2])
    every_activation = sum(2 * 4 * len(X) * np.prod(layer.output_shape) for layer in net.layers)
    tracemalloc.start()
    net.step(X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= every_activation / 4


@given(seed=seeds, n=st.integers(1, 9), width=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_gram_norm_is_that_of_the_rows_with_a_one(seed, n, width):
    rng = np.random.default_rng(seed)
    X, weights = rng.standard_normal((n, width)), rng.random(n)
    rows = np.concatenate([X, np.ones((n, 1))], axis=1)
    X32, weights32 = X.astype(np.float32), weights.astype(np.float32)
    expected = np.linalg.norm(rows @ rows.T)
    assert gram_norm(X32) == pytest.approx(expected, rel=1e-4)
    rows *= np.sqrt(weights)[:, None]
    assert gram_norm(X32, weights32) == pytest.approx(np.linalg.norm(rows @ rows.T), rel=1e-4)


def test_a_normalised_sample_has_mean_0_and_variance_1():
    X = 5 + 3 * np.random.default_rng(0).standard_normal((4, 6, 2)).astype(np.float32)
    out = normalised(X, 2)
    np.testing.assert_allclose(out.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(out.var(axis=(1, 2)), 1, rtol=1e-3)


@kinds
def test_normalising_makes_the_scale_of_a_sample_irrelevant(kind):
    spec, shape = LAYERS[kind]
    layer = type(spec)(**{**vars(spec), "normalise": True}).build(shape, np.random.default_rng(0))
    X, _ = batch(shape)
    np.testing.assert_allclose(layer.forward(7 * X + 2), layer.forward(X), rtol=1e-3, atol=1e-4)


def test_layers_of_all_kinds_stack():
    layers = [
        Conv2d(4, padding=1, pool="max"),
        Conv2d(4, depthwise=True, padding=1, normalise=True),
        Dense(6),
    ]
    net = TargetProjectionNetwork(layers, (8, 8, 1), 3, random_state=0)
    X, y = batch((8, 8, 1))
    net.step(X, y)
    assert net.decision_function(X).shape == (6, 3)
    layers = [Conv1d(4, pool="average"), Recurrent(5, sequences=True), Recurrent(5, "gru")]
    net = TargetProjectionNetwork(layers, (20, 2), 3, random_state=0)
    X, y = batch((20, 2))
    net.step(X, y)
    assert net.hidden(X).shape == (6, 5)
    assert net.n_inputs == 40


@pytest.mark.parametrize("shape", [(), (0,), (3, -1), (2.5,), (True,)])
def test_a_bad_input_shape_is_refused(shape):
    with pytest.raises((TypeError, ValueError), match="input_shape"):
        TargetProjectionNetwork([Dense(2)], shape, 2)


@kinds
def test_a_bad_X_is_refused(kind):
    net = network(kind)
    X, _ = batch(net.input_shape)
    with pytest.raises(ValueError, match="expected \\(n_samples, "):
        net.decision_function(X[..., :1][..., [0] * 9])
    with pytest.raises(ValueError, match="NaN"):
        net.decision_function(X * np.nan)


def test_a_state_of_the_first_version_is_still_read():
    net = TargetProjectionNetwork([Dense(5)], 6, 3, random_state=0)
    X, y = batch((6,))
    net.step(X, y)
    header, saved = net.to_state()
    first = {
        "format": "adaptors.network",
        "version": 1,
        "n_inputs": 6,
        "n_classes": 3,
        "layers": [{"kind": "dense", "n_units": 5, "activation": "tanh"}],
        "loss": "l2",
        "seed": header["seed"],
        "rate_factors": [1.0, 1.0],
    }
    old = TargetProjectionNetwork.from_state(first, saved)
    for one in (net, old):
        one.step(X, y)
    assert_same_arrays(arrays(net), arrays(old))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spec", [Dense(3), Dense(7, "relu"), Dense(6, normalise=True), Dense(9)])
def test_an_input_that_may_be_overwritten_changes_nothing_else(spec, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5_000, 7)).astype(np.float32)
    y = rng.integers(3, size=len(X))
    codes = rng.normal(size=(3, spec.n_units)).astype(np.float32)
    weights = rng.uniform(size=len(X)).astype(np.float32) if weighted else None
    goal = Goal(codes, y, LOSSES["cross_entropy"], weights)
    kept, reused = (spec.build(7, np.random.default_rng(1)) for _ in range(2))
    before = X.copy()
    out = kept.learn(X, goal, 1.0)
    np.testing.assert_array_equal(X, before)
    again = reused.learn(X, goal, 1.0, owned=True)
    np.testing.assert_array_equal(again, out)
    assert_same_arrays(reused.arrays, kept.arrays)
    assert np.shares_memory(again, X) == (spec.n_units <= 7 and not spec.normalise)


def test_samples_of_the_caller_are_never_overwritten():
    X = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    before = X.copy()
    net = TargetProjectionNetwork([Dense(6), Dense(4), Dense(4, normalise=True)], 6, 2)
    net.step(X, np.arange(20) % 2)
    np.testing.assert_array_equal(X, before)

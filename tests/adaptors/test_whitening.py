"""Steps that see their inputs whitened: what is remembered, what it changes, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptors import Conv2d, Dense, Recurrent, TargetProjectionNetwork
from adaptors.rule import gram_norm
from adaptors.whitening import MEMORY, WIDEST, Mean, SecondMoment, Sums
from tests.adaptors.learning import arrays, assert_same, blobs


def rows(seed, n, width):
    rng = np.random.default_rng(seed)
    return rng.normal(rng.normal(size=width), 2, (n, width)).astype(np.float32)


def network(layers=(), n_inputs=5, **params):
    params = {"whiten": True, "random_state": 0, "loss": "cross_entropy", **params}
    return TargetProjectionNetwork(list(layers), n_inputs, 3, **params)


def trained(net, X, y, n_epochs=5, size=10, **rates):
    for _ in range(n_epochs):
        for start in range(0, len(X), size):
            net.step(X[start : start + size], y[start : start + size], **rates)
    return net


@given(st.integers(0, 99), st.integers(1, 8), st.integers(1, 6), st.booleans())
def test_sums_have_the_gram_norm_of_their_rows(seed, n, width, weighted):
    X = rows(seed, n, width)
    weights = np.random.default_rng(seed).uniform(0.1, 1, n).astype(np.float32)
    weights = weights if weighted else None
    assert Sums.of_rows(X, weights).norm() == pytest.approx(gram_norm(X, weights), rel=1e-4)
    augmented = Sums.of_rows(X, weights).augmented()
    assert np.linalg.norm(augmented) == pytest.approx(gram_norm(X, weights), rel=1e-4)


@given(st.integers(0, 99), st.integers(1, 8), st.integers(1, 6))
def test_centred_sums_are_those_of_centred_rows(seed, n, width):
    X, mean = rows(seed, n, width), rows(seed + 1, 1, width)[0]
    found, expected = Sums.of_rows(X).centred(mean), Sums.of_rows(X - mean)
    np.testing.assert_allclose(found.gram, expected.gram, atol=1e-3 * np.abs(X).max() ** 2 * n)
    np.testing.assert_allclose(found.total, expected.total, atol=1e-3 * np.abs(X).max() * n)


def test_a_step_is_multiplied_by_the_inverse_second_moment():
    X, moment = rows(0, 200, 4), SecondMoment.of_width(4)
    size = moment.observe(Sums.of_rows(X), len(X))
    augmented = np.column_stack([X, np.ones(200)]).astype(np.float64)
    second = augmented.T @ augmented / 200
    second += 0.01 * np.trace(second) / 5 * np.eye(5)
    steps = {"weights": rows(1, 3, 4), "bias": rows(2, 1, 3)[0]}
    found = moment.straighten(steps)
    both = np.column_stack([steps["weights"], steps["bias"]]) @ np.linalg.inv(second)
    np.testing.assert_allclose(found["weights"], both[:, :-1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["bias"], both[:, -1], rtol=1e-3, atol=1e-4)
    whitened = augmented @ np.linalg.inv(second) @ augmented.T
    assert size == pytest.approx(np.linalg.norm(whitened), rel=1e-3)


def test_where_the_mean_is_known_a_shift_of_the_inputs_changes_nothing():
    X, y = rows(0, 60, WIDEST + 1), np.arange(60) % 3
    near, far = (
        trained(network(n_inputs=WIDEST + 1), X + np.float32(shift), y, size=60)
        for shift in (0, 20)
    )
    assert isinstance(near.output.statistics, Mean)
    expected, found = near.decision_function(X), far.decision_function(X + np.float32(20))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_where_the_second_moment_is_known_correlated_inputs_are_no_slower():
    X, y = blobs(n=300)
    squeezed = X @ np.diag([1, 1, 1, 1, 0.01]).astype(np.float32) + np.float32(30)
    scores = {}
    for whiten in (False, True):
        net = trained(network(whiten=whiten), squeezed, y, n_epochs=2)
        scores[whiten] = (net.decision_function(squeezed).argmax(axis=1) == y).mean()
    assert scores[True] > 0.95
    assert scores[True] > scores[False]


def test_older_samples_fade():
    moment = SecondMoment.of_width(1)
    for value, n in ((0.0, MEMORY), (10.0, MEMORY // 2)):
        X = np.full((n, 1), value, np.float32)
        moment.observe(Sums.of_rows(X), len(X))
    assert moment.value[0, 0] == pytest.approx(50.0)
    assert moment.seen[0] == MEMORY


@pytest.mark.parametrize("n_inputs", [5, WIDEST + 1])
def test_one_sample_at_a_time_stays_finite_and_learns(n_inputs):
    X, y = blobs(n=150, n_features=n_inputs)
    net = trained(network([Dense(8, "relu")], n_inputs), X, y, size=1, n_epochs=2)
    assert all(np.isfinite(a).all() for a in arrays(net).values())
    assert (net.decision_function(X).argmax(axis=1) == y).mean() > 0.9


def test_inputs_that_are_all_zero_are_survived():
    net = trained(network([Dense(4, "relu")]), np.zeros((6, 5), np.float32), np.arange(6) % 3)
    assert all(np.isfinite(a).all() for a in arrays(net).values())


def test_which_layers_remember_what():
    image = TargetProjectionNetwork(
        [Conv2d(4, 3, padding=1), Conv2d(4, 3, depthwise=True)], (8, 8, 1), 2, whiten=True
    )
    first, depthwise = image.layers
    assert first.arrays["moment"].shape == (10, 10)
    assert depthwise.statistics is None
    assert image.output.arrays["moment"].shape == (145, 145)
    series = TargetProjectionNetwork([Recurrent(4)], (5, 2), 2, whiten=True)
    assert series.layers[0].statistics is None
    assert series.whiten
    assert not TargetProjectionNetwork([], 3, 2).whiten


def test_a_network_goes_on_from_its_state_as_if_nothing_had_happened():
    X, y = blobs()
    net = trained(network([Dense(8, "relu")]), X, y)
    again = TargetProjectionNetwork.from_state(*net.to_state())
    assert again.whiten
    assert_same(trained(again, X, y), trained(net, X, y))


def test_a_new_class_leaves_the_statistics_of_inputs_alone():
    X, y = blobs()
    net = trained(network(momentum=0.5), X, y)
    before = net.output.arrays["moment"].copy()
    net.add_classes(2)
    np.testing.assert_array_equal(net.output.arrays["moment"], before)
    assert net.output.arrays["weights_velocity"].shape == (5, 5)
    trained(net, X, y + 2)


def hostile(change):
    net = trained(network(), *blobs())
    header, state = net.to_state()
    change(state)
    return header, state


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["output.moment"].__setitem__((0, 1), 1e6),
        lambda s: s["output.moment"].__imul__(-1),
        lambda s: s["output.seen"].__setitem__(0, -1),
        lambda s: s["output.seen"].__setitem__(0, 2 * MEMORY),
        lambda s: s["output.moment"].__setitem__((0, 0), np.nan),
        lambda s: s.pop("output.seen"),
        lambda s: s.update({"output.moment": s["output.moment"][:-1]}),
    ],
)
def test_statistics_that_no_inputs_have_are_refused(change):
    with pytest.raises(ValueError, match="state"):
        TargetProjectionNetwork.from_state(*hostile(change))

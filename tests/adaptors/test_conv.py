"""Convolutions: what they compute, what they learn, and how long a step may be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors import Conv1d, Conv2d, TargetProjectionNetwork
from adaptors.conv_layer import SHARPNESS, _intervals
from adaptors.losses import LOSSES
from adaptors.rule import Goal

seeds = st.integers(0, 2**32 - 1)
L2 = LOSSES["l2"]


def images(seed=0, n=3, shape=(6, 5, 2)):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *shape)).astype(np.float32)


def slow_convolution(X, layer, spec):
    """Four nested loops over a patch at a time."""
    (kh, kw), (sh, sw), (ph, pw) = spec.kernel, spec.stride, spec.padding
    X = np.pad(X, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    height, width = (X.shape[1] - kh) // sh + 1, (X.shape[2] - kw) // sw + 1
    out = np.zeros((len(X), height, width, layer.n_units))
    for n in range(len(X)):
        for i in range(height):
            for j in range(width):
                patch = X[n, i * sh : i * sh + kh, j * sw : j * sw + kw]
                if spec.depthwise:
                    weights = layer.weights.reshape(-1, kh, kw).transpose(1, 2, 0)
                    out[n, i, j] = (patch * weights).sum(axis=(0, 1)) + layer.bias
                else:
                    out[n, i, j] = layer.weights @ patch.ravel() + layer.bias
    return out


@given(
    seed=seeds,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    depthwise=st.booleans(),
    padded=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_convolution_is_what_the_textbook_says(seed, kernel, stride, depthwise, padded):
    padding = tuple((k - 1) // 2 for k in kernel) if padded else 0
    spec = Conv2d(2, kernel, "linear", stride, padding, depthwise=depthwise)
    layer = spec.build((6, 5, 2), np.random.default_rng(seed))
    layer.bias[:] = [0.5, -1.0]
    X = images(seed)
    np.testing.assert_allclose(
        layer.forward(X), slow_convolution(X, layer, spec), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("pool", "function"), [("max", np.max), ("average", np.mean)])
@pytest.mark.parametrize("size", [2, (1, 3), (3, 2)])
def test_pooling_takes_windows_and_drops_the_rest(pool, function, size):
    whole = Conv2d(3, 2).build((6, 7, 2), np.random.default_rng(0))
    pooled = Conv2d(3, 2, pool=pool, pool_size=size).build((6, 7, 2), np.random.default_rng(0))
    h = whole.forward(images(shape=(6, 7, 2)))
    high, wide = (size, size) if isinstance(size, int) else size
    rows, columns = h.shape[1] // high, h.shape[2] // wide
    h = h[:, : rows * high, : columns * wide].reshape(3, rows, high, columns, wide, 3)
    np.testing.assert_allclose(
        pooled.forward(images(shape=(6, 7, 2))), function(h, axis=(2, 4)), rtol=1e-5, atol=1e-6
    )


def test_conv1d_is_conv2d_of_height_one():
    one = Conv1d(4, 3, stride=2, padding=1, pool="max").build((9, 2), np.random.default_rng(0))
    two = Conv2d(4, (1, 3), stride=(1, 2), padding=(0, 1), pool="max", pool_size=(1, 2)).build(
        (1, 9, 2), np.random.default_rng(0)
    )
    X = images(shape=(9, 2))
    np.testing.assert_array_equal(one.forward(X), two.forward(X[:, None])[:, 0])


def loss_of(layer, X, goal, target):
    """The loss whose gradient a step follows: over positions a sum, or of their mean."""
    h = layer.forward(X).astype(np.float64).reshape(len(X), -1, layer.n_units)
    if target == "map":
        return goal.loss.value(h.reshape(len(X), -1), goal.codes, goal.y).sum()
    if target == "mean":
        return h.shape[1] * goal.loss.value(h.mean(axis=1), goal.codes, goal.y).sum()
    flat = h.reshape(-1, layer.n_units)
    return goal.loss.value(flat, goal.codes, np.repeat(goal.y, h.shape[1])).sum()


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    ("loss", "target"), [("l2", "channel"), ("l2", "map"), ("cross_entropy", "mean")]
)
def test_a_step_goes_down_the_gradient_by_finite_differences(loss, target, depthwise):
    spec = Conv2d(
        2, 3, padding=1, depthwise=depthwise, target="map" if target == "map" else "channel"
    )
    layer = spec.build((4, 5, 2), np.random.default_rng(0))
    layer.weights *= 2
    X, rng = images(shape=(4, 5, 2)), np.random.default_rng(1)
    codes = rng.choice([-0.9, 0.9], (3, layer.code_size)).astype(np.float32)
    goal = Goal(codes, np.array([0, 2, 1]), LOSSES[loss])
    expected = np.empty_like(layer.weights)
    for at in np.ndindex(*expected.shape):
        values = []
        for step in (0.01, -0.02):
            layer.weights[at] += step
            values.append(loss_of(layer, X, goal, target))
        layer.weights[at] += 0.01
        expected[at] = (values[0] - values[1]) / 0.02
    before = layer.weights.copy()
    size = layer._size(X, None)
    layer.learn(X, goal, 0.5)
    gradient = (before - layer.weights) * np.reshape(size, (-1, 1)) / 0.5
    np.testing.assert_allclose(gradient, expected, rtol=0.03, atol=0.01 * np.abs(expected).max())


@given(
    seed=seeds,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    smooth=st.booleans(),
    weighted=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_length_of_a_step_is_bounded_by_the_patches(seed, kernel, stride, smooth, weighted):
    """Both ways: the exact Gram norm, and the bound that is used for long patches."""
    padding = tuple((k - 1) // 2 for k in kernel)
    layer = Conv2d(3, kernel, "tanh", stride, padding).build((6, 5, 2), np.random.default_rng(0))
    X = images(seed) / 10 + 1 if smooth else images(seed)
    weights = np.random.default_rng(seed).random(3).astype(np.float32) if weighted else None
    A = layer._rows(X).astype(np.float64)
    rows = np.concatenate([A, np.ones((*A.shape[:2], 1))], axis=2)
    if weights is not None:
        rows *= np.sqrt(weights)[:, None, None]
    rows = rows.reshape(-1, rows.shape[2])
    gram = rows.T @ rows
    assert layer._patch_sums(X, weights).norm() == pytest.approx(np.linalg.norm(gram), rel=1e-3)
    assert layer._gram_bound(X, weights) >= np.linalg.eigvalsh(gram)[-1] * (1 - 1e-4)


def test_the_bound_is_near_the_truth_for_smooth_maps():
    layer = Conv2d(3, 3, padding=1).build((8, 8, 2), np.random.default_rng(0))
    X = images(shape=(8, 8, 2)) / 10 + 1
    assert layer._gram_bound(X, None) < 1.5 * layer._patch_sums(X, None).norm()


def test_codes_of_a_map_are_not_kept():
    channel = TargetProjectionNetwork([Conv2d(4)], (8, 8, 1), 3, random_state=0)
    whole = TargetProjectionNetwork([Conv2d(4, target="map")], (8, 8, 1), 3, random_state=0)
    assert channel.n_bytes - whole.n_bytes == 3 * 4 * 4
    assert whole.layers[0].code_size == 36 * 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_channels": 0}, "n_channels is 0, expected 1"),
        ({"n_channels": 2.5}, "expected an int"),
        ({"kernel": 0}, "kernel is 0"),
        ({"kernel": (3, 3, 3)}, "expected one number or 2"),
        ({"kernel": "ab"}, "expected an int"),
        ({"kernel": None}, "kernel is None"),
        ({"stride": 0}, "stride is 0"),
        ({"padding": -1}, "padding is -1"),
        ({"padding": 3}, "expected less than kernel"),
        ({"pool": "min"}, "pool is 'min'"),
        ({"pool_size": 0}, "pool_size is 0"),
        ({"target": "pixel"}, "target is 'pixel'"),
        ({"activation": "gelu"}, "activation is 'gelu'"),
    ],
)
def test_a_bad_convolution_is_refused(fields, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Conv2d(**{"n_channels": 2, **fields})


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (Conv2d(2), (8, 8), "expected 3 dimensions"),
        (Conv1d(2), (8, 8, 1), "expected 2 dimensions"),
        (Conv2d(2, 9), (8, 8, 1), "no output"),
        (Conv2d(2, 7, pool="max", pool_size=3), (8, 8, 1), "no output"),
        (Conv2d(2, depthwise=True), (8, 8, 3), "as many channels as its input, 3, not 2"),
    ],
)
def test_a_convolution_that_does_not_fit_its_input_is_refused(spec, shape, message):
    with pytest.raises(ValueError, match=message):
        spec.build(shape, np.random.default_rng(0))


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": [3, 10**9]},
        {"kernel": 3.5},
        {"n_channels": 10**12},
        {"stride": [0, 1]},
        {"pool": "min"},
        {"depthwise": 2, "n_channels": 3},
        {"extra": 1},
        {"kind": "conv3d"},
        {"kind": "conv1d"},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_refused(change):
    net = TargetProjectionNetwork([Conv2d(2)], (8, 8, 1), 3, random_state=0)
    header, arrays = net.to_state()
    header["layers"][0].update(change)
    with pytest.raises(ValueError, match=r"state|kernel|stride|pool|depthwise|output|dimensions"):
        TargetProjectionNetwork.from_state(header, arrays)


def test_what_can_be_told_apart_by_texture_is_learned():
    """Stripes, one way or the other, at random places: a frozen filter bank has to be lucky."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    X = rng.standard_normal((200, 8, 8)).astype(np.float32) / 2
    phase = rng.integers(2, size=(200, 1)) + np.arange(8)
    stripes = np.where(phase % 2, 1.0, -1.0).astype(np.float32)
    X += np.where(y[:, None, None] > 0, stripes[:, :, None], stripes[:, None, :])
    layers = [Conv2d(4, 2, "relu", pool="average", pool_size=7)]
    net = TargetProjectionNetwork(layers, (8, 8, 1), 2, "cross_entropy", random_state=0)
    for start in range(0, 1600, 16):
        rows = np.arange(start, start + 16) % 100
        net.step(X[rows, :, :, None], y[rows])
    assert (net.decision_function(X[100:, :, :, None]).argmax(axis=1) == y[100:]).mean() > 0.9


@pytest.mark.parametrize(("pool", "share"), [(None, 1 / 4), ("max", 1), ("average", 1 / 4)])
def test_a_grid_target_is_met_by_the_means_of_regions_of_the_pooled_map(pool, share):
    rng = np.random.default_rng(0)
    layer = Conv2d(3, 3, "tanh", padding=1, pool=pool, target="grid").build((8, 8, 2), rng)
    codes = rng.normal(size=(4, layer.code_size)).astype(np.float32)
    goal = Goal(codes, np.array([1, 3]), LOSSES["cross_entropy"])
    h = rng.normal(size=(2, 64, 3))

    def value(h):
        side = layer._pooled[0] // 4
        maps = layer._outward(h).reshape(2, 4, side, 4, side, 3).mean(axis=(2, 4))
        return goal.loss.value(SHARPNESS * maps.reshape(2, -1), codes, goal.y).sum()

    found = layer._delta(h.astype(np.float32), goal, slice(None))
    for place in [(0, 0, 0), (1, 40, 2), (0, 61, 1)]:
        step = np.zeros_like(h)
        step[place] = 1e-4
        slope = (value(h + step) - value(h - step)) / 2e-4
        # What is spread over a mean is not divided by its number, as with other targets.
        assert found[place] * share * SHARPNESS == pytest.approx(slope, abs=2e-3)


@given(st.integers(1, 30), st.integers(1, 4))
def test_regions_cover_a_map_evenly(length, n_parts):
    starts, sizes = _intervals(length, min(n_parts, length))
    assert starts[0] == 0
    assert sizes.sum() == length
    assert (starts[1:] == np.cumsum(sizes)[:-1]).all()
    assert sizes.max() - sizes.min() <= 1


def test_a_grid_is_no_finer_than_the_map():
    layer = Conv2d(3, 3, pool="max", target="grid").build((6, 14, 1), np.random.default_rng(0))
    assert layer.code_size == 3 * 2 * 4


def test_local_training_of_whitened_convolutions_beats_random_ones():
    # A bar of either direction, anywhere: edges tell them apart, not places.
    scores = {0.0: [], 10.0: []}
    spec = Conv2d(2, 3, "relu", padding=1, pool="max", pool_size=12, normalise=True, target="grid")
    for seed in range(3):
        X, y = bars(seed, 400)
        for rate, found in scores.items():
            net = TargetProjectionNetwork(
                [spec], (12, 12, 1), 2, "cross_entropy", seed, whiten=True
            )
            for start in 10 * list(range(0, 300, 20)):
                rows = slice(start, start + 20)
                net.step(X[rows], y[rows], hidden_learning_rate=rate)
            found.append((net.decision_function(X[300:]).argmax(axis=1) == y[300:]).mean())
    assert np.mean(scores[10.0]) > np.mean(scores[0.0]) + 0.1


def bars(seed, n):
    """Noisy images of 12 by 12 with a horizontal (class 1) or a vertical bar (class 0)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = 0.5 * rng.standard_normal((n, 12, 12, 1))
    for image, label in zip(X, y, strict=True):
        place = rng.integers(0, 12)
        (image[place] if label else image[:, place])[...] += 1
    return X.astype(np.float32), y

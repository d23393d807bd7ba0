"""Every compiled loop against its NumPy twin."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors import _backend, _twins
from adaptors.activations import BY_CODE
from adaptors.losses import CrossEntropy

kernels = pytest.importorskip("adaptors._kernels")

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 40)


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=2e-5)


def arguments_of(function):
    return list(inspect.signature(getattr(function, "py_func", function)).parameters)


@pytest.mark.parametrize("kernel", kernels.KERNELS, ids=lambda k: k.__name__)
def test_every_kernel_has_a_twin_with_the_same_arguments(kernel):
    assert arguments_of(kernel) == arguments_of(getattr(_twins, kernel.__name__))


def test_no_compiled_function_is_missing_from_the_table():
    source = inspect.getsource(kernels)
    assert source.count("\n@kernel(") == len(kernels.KERNELS)


def test_both_sides_have_the_same_bounds():
    for name in ("MAX_DELTA", "MAX_MOVE", "CLIP", "RELATIVE_EPS", "SMALLEST"):
        assert getattr(kernels, name) == getattr(_twins, name), name


def test_fastmath_keeps_nan_and_infinity():
    assert not kernels.FASTMATH & {"nnan", "ninf", "fast"}
    X, W, b = draw(0, (2, 3), (4, 3), 4)
    X[0, 1], Z = np.nan, np.empty((2, 4), dtype=np.float32)
    kernels.dense(X, W, b, 4, Z)
    assert np.isnan(Z[0]).all()
    assert np.isfinite(Z[1]).all()


@given(seeds, sizes, sizes, sizes, st.sampled_from(range(len(BY_CODE))))
@settings(max_examples=80, deadline=None)
def test_dense_equals_its_twin(seed, n, n_inputs, n_units, activation):
    X, W, b = draw(seed, (n, n_inputs), (n_units, n_inputs), n_units)
    fast, slow = np.empty((2, n, n_units), dtype=np.float32)
    kernels.dense(X, W, b, activation, fast)
    _twins.dense(X, W, b, activation, slow)
    close(fast, slow)


@pytest.mark.parametrize("module", [kernels, _twins], ids=["kernel", "twin"])
@given(seed=seeds, n=st.integers(1, 40), n_inputs=st.integers(1, 99), n_units=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_a_row_of_dense_does_not_depend_on_its_neighbours(module, seed, n, n_inputs, n_units):
    X, W, b = draw(seed, (n, n_inputs), (n_units, n_inputs), n_units)
    together, alone = np.empty((2, n, n_units), dtype=np.float32)
    module.dense(X, W, b, 0, together)
    for i in range(n):
        module.dense(X[i : i + 1], W, b, 0, alone[i : i + 1])
    np.testing.assert_array_equal(together, alone)


@given(seeds, sizes, sizes, st.integers(1, 12), st.sampled_from(range(len(BY_CODE))), st.booleans())
@settings(max_examples=80, deadline=None)
def test_answer_equals_its_twin(seed, n_inputs, n_units, n_classes, activation, framed):
    X, W, b, V, c, half_mean, scale = draw(
        seed, (1, n_inputs), (n_units, n_inputs), n_units, (n_classes, n_units), n_classes,
        n_inputs, n_inputs,
    )  # fmt: skip
    frame = np.stack([half_mean, np.abs(scale)])[: 2 * framed]
    fast = kernels.answer(X, 1e6, frame, W, b, activation, V, c)
    close(fast, _twins.answer(X, 1e6, frame, W, b, activation, V, c))


@pytest.mark.parametrize("module", [kernels, _twins], ids=["kernel", "twin"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 11.0, -11.0])
def test_answer_has_none_for_a_row_that_is_not_within_its_limit(module, bad):
    X, W, b, V, c = draw(0, (1, 5), (4, 5), 4, (3, 4), 3)
    nothing = np.empty((0, 5), np.float32)
    assert module.answer(X, 10.0, nothing, W, b, 0, V, c).shape == (1, 3)
    X[0, 3] = bad
    assert module.answer(X, 10.0, nothing, W, b, 0, V, c).shape == (0, 3)


@given(seeds, sizes, sizes, st.sampled_from([1.0, 1e10]))
@settings(max_examples=40, deadline=None)
def test_gram_norm_equals_its_twin(seed, n, n_inputs, scale):
    X, last = draw(seed, (n, n_inputs), n)
    X *= np.float32(scale)  # at 1e10, the square of the norm is beyond float32
    assert kernels.gram_norm(X, last) == pytest.approx(_twins.gram_norm(X, last), rel=1e-4)


@given(seeds, sizes, sizes, st.sampled_from(range(len(BY_CODE))), st.sampled_from([0, 1]))
@settings(max_examples=80, deadline=None)
def test_dense_step_equals_its_twin(seed, n_inputs, n_units, activation, loss):
    X, target, W, b, H = draw(
        seed, (1, n_inputs), n_units, (n_units, n_inputs), n_units, (1, n_units)
    )
    fast, slow = (W.copy(), b.copy(), H.copy()), (W.copy(), b.copy(), H.copy())
    kernels.dense_step(X, target, activation, loss, 0.7, *fast)
    _twins.dense_step(X, target, activation, loss, 0.7, *slow)
    for a, e in zip(fast, slow, strict=True):
        close(a, e)


@pytest.mark.parametrize("module", [kernels, _twins], ids=["kernel", "twin"])
def test_dense_step_clips_and_counts_an_excessive_delta(module):
    W = np.array([[1000.0], [0.0]], dtype=np.float32)
    b, H = np.zeros(2, dtype=np.float32), np.zeros((1, 2), dtype=np.float32)
    X, target = np.ones((1, 1), dtype=np.float32), np.zeros(2, dtype=np.float32)
    assert module.dense_step(X, target, 4, 0, 1.0, W, b, H) == 1
    assert W.ravel().tolist() == [950.0, 0.0]
    assert module.dense_step(X, target, 4, 0, 2.0, W, b, H) == 1
    assert W.ravel().tolist() == [950.0, 0.0]
    assert H.tolist() == [[900.0, 0.0]]


@given(seeds, sizes, st.integers(1, 12), st.sampled_from([0.7, 40.0]))
@settings(max_examples=40, deadline=None)
def test_softmax_step_equals_its_twin(seed, n_inputs, n_classes, rate):
    X, W, b = draw(seed, (1, n_inputs), (n_classes, n_inputs), n_classes)
    fast, slow = (W.copy(), b.copy()), (W.copy(), b.copy())
    n_fast = kernels.softmax_step(X, n_classes - 1, rate, *fast)
    assert n_fast == _twins.softmax_step(X, n_classes - 1, rate, *slow)
    for a, e in zip(fast, slow, strict=True):
        close(a, e)


@given(seeds, sizes, sizes, st.sampled_from([1.0, 20.0, 200.0]), st.sampled_from([0.7, 1.5]))
@settings(max_examples=60, deadline=None)
def test_rank_one_step_equals_its_twin(seed, n_inputs, n_units, scale, rate):
    x, delta, W, b = draw(seed, n_inputs, n_units, (n_units, n_inputs), n_units)
    delta *= np.float32(scale)
    fast, slow = (W.copy(), b.copy()), (W.copy(), b.copy())
    n_fast = kernels.rank_one_step(x, delta, rate, *fast)
    assert n_fast == _twins.rank_one_step(x, delta, rate, *slow)
    for a, e in zip(fast, slow, strict=True):
        close(a, e)


@pytest.mark.parametrize("module", [kernels, _twins], ids=["kernel", "twin"])
@pytest.mark.parametrize("value", [3.1, -3.1, np.nan, np.inf, -np.inf])
def test_within_sees_what_is_not(module, value):
    x = np.full(37, -3.0, dtype=np.float32)
    assert module.within(x, 3.0)
    x[20] = value
    assert not module.within(x, 3.0)


@given(
    seeds,
    st.tuples(*[st.integers(1, 4)] * 4),
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)),
)
@settings(max_examples=40, deadline=None)
def test_patches_equal_their_twin(seed, shape, more):
    n, high, wide, channels = shape
    height, width, down, right = high + more[0], wide + more[1], *more[2:]
    (X,) = draw(seed, (n, height, width, channels))
    n_patches = ((height - high) // down + 1) * ((width - wide) // right + 1)
    fast, slow = np.empty((2, n, n_patches, high * wide * channels), dtype=np.float32)
    kernels.patches(X, high, wide, down, right, fast)
    _twins.patches(X, high, wide, down, right, slow)
    np.testing.assert_array_equal(fast, slow)


@pytest.mark.parametrize(("name", "n_blocks"), [("elman", 1), ("gru", 3)])
@given(seeds, st.tuples(*[st.integers(1, 9)] * 4), st.sampled_from([0, 1, 2]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_recurrent_cells_equal_their_twins(name, n_blocks, seed, shape, activation, every):
    n, n_steps, n_features, n_units = shape
    X, W, b = draw(
        seed,
        (n, n_steps, n_features),
        (n_blocks * n_units, n_features + n_units),
        n_blocks * n_units,
    )
    W /= np.float32(n_units)  # so that rounding is not amplified from step to step
    fast, slow = np.empty((2, n, n_steps if every else 1, n_units), dtype=np.float32)
    getattr(kernels, name)(X, W, b, activation, fast)
    getattr(_twins, name)(X, W, b, activation, slow)
    close(fast, slow)


@given(seeds, st.integers(1, 40), st.sampled_from([0.0, 1e-20, 1.0, 1e6]))
def test_standardise_step_equals_its_twin(seed, n_inputs, scale):
    sides = []
    for module in (kernels, _twins):
        rows = np.random.default_rng(seed).standard_normal((5, n_inputs)).astype(np.float32)
        statistics = np.zeros((2, n_inputs)), np.empty((3, n_inputs), np.float32)
        rows *= np.float32(scale)
        for total, x in enumerate(rows, start=1):
            module.standardise_step(x, float(total), *statistics[0], *statistics[1])
        sides.append(statistics)
    (sums, outputs), (other_sums, other_outputs) = sides
    np.testing.assert_allclose(sums, other_sums, rtol=1e-9, atol=1e-12 * max(scale, 1) ** 2)
    np.testing.assert_allclose(outputs, other_outputs, rtol=1e-4, atol=1e-5)


@given(seeds, sizes, sizes, st.sampled_from([0.0, 1e-20, 1.0, 1e6]), st.booleans())
@settings(deadline=None)
def test_count_rows_equals_its_twin(seed, n, n_inputs, scale, is_first):
    X, weights = draw(seed, (n, n_inputs), n)
    X, weights = X * np.float32(scale), np.abs(weights) + np.float32(0.1)
    total, sides = 0.0 if is_first else 3.0, []
    for module in (kernels, _twins):
        sums, outputs = np.full((2, n_inputs), total * scale), np.empty((2, n_inputs), np.float32)
        after = module.count_rows(X, weights, total, *sums, *outputs)
        assert after == pytest.approx(total + weights.sum(dtype=np.float64), rel=1e-6)
        sides.append((sums, outputs))
    (sums, outputs), (other_sums, other_outputs) = sides
    np.testing.assert_allclose(sums, other_sums, rtol=1e-9, atol=1e-12 * max(scale, 1) ** 2)
    np.testing.assert_allclose(outputs, other_outputs, rtol=1e-4, atol=1e-5)


@given(seeds, sizes, sizes, st.sampled_from([1e-3, 1.0, 1e37]))
@settings(deadline=None)
def test_standardise_equals_its_twin(seed, n, n_inputs, scale):
    X, half_mean, twice_scale = draw(seed, (n, n_inputs), n_inputs, n_inputs)
    X *= np.float32(scale)
    twice_scale[::3] = 0.0
    fast, slow = np.empty((2, n, n_inputs), np.float32)
    kernels.standardise(X, half_mean, twice_scale, fast)
    _twins.standardise(X, half_mean, twice_scale, slow)
    np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-6)
    assert np.abs(fast).max() <= kernels.CLIP


@given(seeds, st.integers(1, 40), st.integers(1, 6), st.integers(0, 4), st.sampled_from([1, 3]))
def test_similarity_delta_equals_its_twin_and_the_loss(seed, n_units, n_classes, code, sharpness):
    loss = CrossEntropy(sharpness)
    tau = loss.temperature(n_units)
    rng = np.random.default_rng(seed)
    h = BY_CODE[code].function(rng.standard_normal((1, n_units)).astype(np.float32))
    codes = rng.choice([-0.9, 0.9], (n_classes, n_units)).astype(np.float32)
    label = int(rng.integers(n_classes))
    fast, slow = np.empty((2, n_units), np.float32)
    kernels.similarity_delta(h[0], codes, label, code, tau, fast)
    _twins.similarity_delta(h[0], codes, label, code, tau, slow)
    expected = loss.delta(h, codes, np.array([label])) * BY_CODE[code].slope(h)
    np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(slow, expected[0], rtol=1e-4, atol=1e-5)


def test_kernels_accept_read_only_inputs():
    X, W, b = draw(3, (2, 3), (4, 3), 4)
    for array in (X, W, b):
        array.flags.writeable = False
    kernels.dense(X, W, b, 0, np.empty((2, 4), dtype=np.float32))


def test_a_kernel_compiles_where_no_cache_can_be_written(monkeypatch):
    real = kernels.nb.njit

    def without_cache(signature, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(signature, **options)

    monkeypatch.setattr(kernels.nb, "njit", without_cache)
    add = kernels.kernel(kernels.f4(kernels.f4))(lambda x: x + 1)
    assert add(1.0) == 2.0


@pytest.mark.parametrize(("value", "name"), [("1", "_twins"), ("0", "_kernels"), ("", "_kernels")])
def test_the_switch_follows_numba_disable_jit(monkeypatch, value, name):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", value)
    assert _backend.kernels.__wrapped__().__name__ == f"adaptors.{name}"

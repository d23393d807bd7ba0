"""Streaming statistics equal those of all samples at once, in any order and grouping."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdc.covariance import PooledCovariance, Taps


def sample(seed: int, n: int = 60, d: int = 4, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    return (rng.standard_normal((n, d)) + 100 * y[:, None]).astype(np.float32), y


def naive(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    X = X.astype(np.float64)
    means = np.stack([X[y == c].mean(axis=0) for c in np.unique(y)])
    deviations = X - means[np.searchsorted(np.unique(y), y)]
    return means, deviations.T @ deviations


def assert_same(a: PooledCovariance, b: PooledCovariance, **tolerance: float) -> None:
    assert a.classes_.tolist() == b.classes_.tolist()
    assert a.counts_.tolist() == b.counts_.tolist()
    assert a.degrees_ == b.degrees_
    assert np.allclose(a.class_means_, b.class_means_, **tolerance)
    assert np.allclose(a.scatter_, b.scatter_, **tolerance)


@given(st.integers(0, 10**6), st.integers(1, 20))
def test_updates_in_groups_equal_the_naive_statistics(seed, step):
    X, y = sample(seed)
    statistics = PooledCovariance(4)
    for start in range(0, len(X), step):
        statistics.update(X[start : start + step], y[start : start + step])
    means, scatter = naive(X, y)
    assert np.allclose(statistics.class_means_, means, rtol=1e-12)
    assert np.allclose(statistics.scatter_, scatter, rtol=1e-9, atol=1e-9)
    assert statistics.degrees_ == len(X) - len(means)


@given(st.integers(0, 10**6), st.integers(0, 60))
def test_merging_two_boards_equals_one_board_that_saw_all(seed, cut):
    X, y = sample(seed)
    boards = [PooledCovariance(4), PooledCovariance(4)]
    for board, rows in zip(boards, (slice(cut), slice(cut, None)), strict=True):
        if len(X[rows]):
            board.update(X[rows], y[rows])
    whole = PooledCovariance(4).update(X, y)
    assert_same(boards[0].merge(boards[1]), whole, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 10**6))
def test_order_does_not_matter(seed):
    X, y = sample(seed)
    order = np.random.default_rng(seed).permutation(len(X))
    forward, shuffled = PooledCovariance(4).update(X, y), PooledCovariance(4)
    for i in order:
        shuffled.update(X[i : i + 1], y[i : i + 1])
    assert_same(forward, shuffled, rtol=1e-9, atol=1e-9)


def test_float32_is_as_accurate_as_stated_and_half_the_size():
    X, y = sample(0, n=2000, d=50)
    exact, small = PooledCovariance(50), PooledCovariance(50, np.float32)
    for start in range(0, 2000, 10):
        exact.update(X[start : start + 10], y[start : start + 10])
        small.update(X[start : start + 10], y[start : start + 10])
    error = np.abs(small.scatter_ - exact.scatter_).max() / np.abs(exact.scatter_).max()
    assert error < 1e-7 * np.sqrt(200)
    assert small.scatter_.nbytes * 2 == exact.scatter_.nbytes


def test_a_weight_counts_a_sample_several_times():
    X, y = sample(1)
    twice = PooledCovariance(4).update(X, y).update(X, y)
    assert_same(PooledCovariance(4).update(X, y, weight=2.0), twice, rtol=1e-9)


def test_without_scatter_only_means_are_kept():
    X, y = sample(1)
    means_only = PooledCovariance(4, None).update(X, y)
    assert means_only.scatter_.size == 0
    assert np.allclose(means_only.class_means_, naive(X, y)[0])
    with pytest.raises(ValueError, match="scatter"):
        means_only.merge(PooledCovariance(4))


def test_removing_a_class_keeps_the_pooled_scatter():
    X, y = sample(1)
    statistics = PooledCovariance(4).update(X, y)
    scatter = statistics.scatter_.copy()
    statistics.remove_class(1)
    assert statistics.classes_.tolist() == [0, 2]
    assert (statistics.scatter_ == scatter).all()
    with pytest.raises(ValueError, match="no class 1"):
        statistics.remove_class(1)


def test_the_overall_mean_is_that_of_all_samples():
    X, y = sample(2)
    mean = X.astype(np.float64).mean(axis=0)
    assert np.allclose(PooledCovariance(4).update(X, y).mean_, mean)
    with pytest.raises(ValueError, match="no samples"):
        _ = PooledCovariance(4).mean_


def test_state_goes_round_and_continues_identically():
    X, y = sample(3)
    for dtype in (np.float64, np.float32, None):
        original = PooledCovariance(4, dtype).update(X, y)
        header, arrays = original.to_state()
        copy = PooledCovariance.from_state(header, arrays)
        assert_same(copy.update(X, y), original.update(X, y), rtol=0, atol=0)


def test_state_and_input_share_no_memory():
    X, y = sample(3)
    before = X.copy()
    statistics = PooledCovariance(4).update(X, y)
    assert (before == X).all()
    _, arrays = statistics.to_state()
    arrays["scatter"][:] = np.pi
    assert not (statistics.scatter_ == np.pi).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"kind": "other"}, "other"),
        ({"dtype": "object"}, "dtype"),
        ({"degrees": float("nan")}, "finite"),
        ({"degrees": -1.0}, "not positive"),
        ({"n_features": "4"}, "integer"),
        ({"n_features": 5}, "shape"),
    ],
)
def test_hostile_headers_are_refused(change, message):
    header, arrays = PooledCovariance(4).update(*sample(0)).to_state()
    with pytest.raises(ValueError, match=message):
        PooledCovariance.from_state(header | change, arrays)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scatter", None, "no array"),
        ("scatter", np.full((4, 4), np.nan), "NaN"),
        ("scatter", np.zeros((4, 4), np.float32), "dtype"),
        ("counts", np.zeros(3), "not positive"),
        ("classes", np.array([2, 1, 0], np.int64), "unordered"),
        ("class_means", np.zeros((2, 4)), "shape"),
    ],
)
def test_hostile_arrays_are_refused(name, value, message):
    header, arrays = PooledCovariance(4).update(*sample(0)).to_state()
    arrays[name] = value
    if value is None:
        del arrays[name]
    with pytest.raises(ValueError, match=message):
        PooledCovariance.from_state(header, arrays)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((2, 3)), None, "3 features, expected 4"),
        (np.ones((2, 4)), [0], "shape"),
        (np.full((2, 4), np.nan), None, "NaN"),
        (np.ones((0, 4)), None, "no samples"),
        (np.ones(4), None, "n_samples"),
    ],
)
def test_bad_samples_are_refused_and_change_nothing(X, y, message):
    statistics = PooledCovariance(4)
    with pytest.raises(ValueError, match=message):
        statistics.update(X, y)
    assert len(statistics.classes_) == 0


def test_bad_parameters_are_refused():
    with pytest.raises(TypeError, match="float16"):
        PooledCovariance(4, np.float16)
    with pytest.raises(TypeError, match="integers"):
        PooledCovariance(1).update([[1.0]], [0.5])
    with pytest.raises(ValueError, match="weight"):
        PooledCovariance(1).update([[1.0]], weight=-1)
    with pytest.raises(ValueError, match="other has 2"):
        PooledCovariance(1).merge(PooledCovariance(2))


TAPS = Taps({"early": 2, "late": 3})


def test_taps_are_joined_in_order():
    joined = TAPS.join({"early": [[1, 2]], "late": [[3, 4, 5]]})
    assert joined.tolist() == [[1, 2, 3, 4, 5]]
    assert TAPS.slices == {"early": slice(0, 2), "late": slice(2, 5)}
    assert Taps.of({"a": np.ones((1, 7))}).widths == {"a": 7}


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"early": [[1, 2]]}, "in this order"),
        ({"late": [[3, 4, 5]], "early": [[1, 2]]}, "in this order"),
        ({"early": [[1, 2]], "late": [[3, 4, 5]], "more": [[1]]}, "in this order"),
        ({"early": [[1, 2, 3]], "late": [[3, 4, 5]]}, "'early' has 3 features"),
        ({"early": [[1, 2]] * 2, "late": [[3, 4, 5]]}, "different numbers"),
        ({"early": [[1, np.nan]], "late": [[3, 4, 5]]}, "'early' contains NaN"),
    ],
)
def test_taps_that_differ_from_those_expected_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        TAPS.join(X)


def test_taps_must_be_a_mapping_and_not_empty():
    with pytest.raises(TypeError, match="mapping"):
        TAPS.join(np.ones((1, 5)))
    with pytest.raises(ValueError, match="no taps"):
        Taps({})

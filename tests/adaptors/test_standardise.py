"""Running standardisation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors._twins import CLIP
from adaptors.standardise import Standardiser


def data(seed, n=30):
    return np.random.default_rng(seed).normal(3.0, 2.0, (n, 4)).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 29), max_size=4))
@settings(max_examples=30, deadline=None)
def test_any_chunking_gives_the_statistics_of_the_whole(seed, cuts):
    X, running = data(seed), Standardiser(4)
    for part in np.split(X, sorted(set(cuts))):
        running.update(part)
    np.testing.assert_allclose(running.mean, X.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(running.transform(X).std(axis=0), 1.0, rtol=1e-4)


def test_a_weight_counts_as_copies():
    X, weights = data(0, 3), np.array([1, 3, 2], dtype=np.float32)
    weighted = Standardiser(4).update(X, weights)
    copied = Standardiser(4).update(np.repeat(X, [1, 3, 2], axis=0))
    np.testing.assert_allclose(weighted.mean, copied.mean)
    np.testing.assert_allclose(weighted.squares, copied.squares)


def test_a_feature_that_never_varied_maps_to_zero():
    X = np.full((5, 1), 0.1, dtype=np.float32)
    constant = Standardiser(1).update(X)
    assert constant.transform(np.array([[7.0]], dtype=np.float32)).tolist() == [[0.0]]


def test_extreme_values_are_clipped_without_a_warning():
    top = np.finfo(np.float32).max
    running = Standardiser(2).update(np.array([[-top, 0], [-top, 1]], dtype=np.float32))
    assert running.transform(np.array([[top, top]], dtype=np.float32)).tolist() == [[0.0, CLIP]]


def test_transforming_changes_neither_input_nor_statistics():
    X = data(1)
    running, before = Standardiser(4).update(X), X.copy()
    mean = running.mean.copy()
    running.transform(X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(running.mean, mean)


def test_one_row_is_counted_in_the_same_way_whether_or_not_it_is_wanted_back():
    X, one, other = data(2), Standardiser(4), Standardiser(4)
    for i in range(len(X)):
        Z = one.learn_row(X[i : i + 1])
        np.testing.assert_array_equal(Z, other.update(X[i : i + 1]).transform(X[i : i + 1]))
    assert one.count == other.count == len(X)
    np.testing.assert_array_equal(one.squares, other.squares)
    whole = Standardiser(4).update(X)
    np.testing.assert_allclose(one.squares, whole.squares, rtol=1e-12)
    np.testing.assert_allclose(one.half_mean, whole.half_mean, rtol=1e-6)


def test_layout_and_dtype_of_rows_make_no_difference():
    X = data(3)
    plain = Standardiser(4).update(X)
    for other in (np.asfortranarray(X), X.astype(np.float64), np.repeat(X, 2, axis=0)[::2]):
        np.testing.assert_allclose(Standardiser(4).update(other).squares, plain.squares)
        np.testing.assert_allclose(
            plain.transform(other.astype(np.float32)), plain.transform(X), rtol=1e-6
        )


def test_a_map_is_standardised_channel_by_channel_and_a_row_as_in_a_batch():
    X, running = data(4), Standardiser(4).update(data(4))
    Z = running.transform(X)
    assert running.transform(X.reshape(5, 3, 2, 4)).tolist() == Z.reshape(5, 3, 2, 4).tolist()
    for i in range(len(X)):
        assert running.transform(X[i : i + 1]).tolist() == [Z[i].tolist()]


@pytest.mark.parametrize(
    ("count", "change"),
    [
        (float("nan"), {}),
        (0.0, {}),
        ("3", {}),
        (3.0, {"squares": -np.ones(4)}),
        (3.0, {"mean": np.full(4, np.nan)}),
        (3.0, {"mean": np.ones(5)}),
        (3.0, {"mean": np.ones(4, dtype=np.float32)}),
        (3.0, {"extra": np.ones(4)}),
    ],
)
def test_damaged_statistics_are_refused(count, change):
    with pytest.raises(ValueError, match="state"):
        Standardiser.restore(4, count, {"mean": np.ones(4), "squares": np.ones(4), **change})

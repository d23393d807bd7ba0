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

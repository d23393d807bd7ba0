"""Conformal p-values: what is promised of them holds, and three ways to ask say the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdc.detection.conformal import p_value, p_values, threshold

SCORES = st.lists(st.integers(-5, 5), max_size=30)


@given(SCORES, st.integers(-6, 6))
def test_a_p_value_counts_what_is_at_least_as_strange(reference, score):
    ascending = np.sort(np.array(reference, float))
    n_as_strange = sum(other >= score for other in reference)
    assert p_value(ascending, score) == (n_as_strange + 1) / (len(reference) + 1)


@given(SCORES, st.lists(st.integers(-6, 6), max_size=9))
def test_many_are_as_one_by_one(reference, scores):
    ascending = np.sort(np.array(reference, float))
    expected = [p_value(ascending, score) for score in scores]
    assert p_values(ascending, scores).tolist() == expected


@given(SCORES, st.floats(0.01, 0.99))
def test_no_more_of_the_reference_lies_above_the_threshold_than_stated(reference, rate):
    ascending = np.sort(np.array(reference, float))
    above = threshold(ascending, rate)
    assert np.count_nonzero(ascending > above) <= rate * (len(reference) + 1)


def test_without_ties_the_threshold_is_where_p_values_reach_the_rate():
    rng = np.random.default_rng(0)
    reference = np.sort(rng.normal(size=199))
    fresh = rng.normal(size=2000)
    for rate in (0.005, 0.05, 0.3):
        alarms = p_values(reference, fresh) <= rate
        assert (alarms == (fresh > threshold(reference, rate))).all()


def test_a_rate_below_the_smallest_p_value_is_never_signalled():
    assert threshold(np.arange(18.0), 0.05) == np.inf
    assert threshold(np.arange(19.0), 0.05) == 18.0
    assert p_value(np.zeros(0), 1e9) == 1.0


@pytest.mark.parametrize("n", [5, 50])
def test_fresh_samples_fall_below_a_rate_no_more_often_than_that(n):
    rng = np.random.default_rng(0)
    p = [p_values(np.sort(rng.normal(size=n)), rng.normal(size=20)) for _ in range(2000)]
    for rate in (0.02, 0.1, 0.5):
        assert np.mean(np.concatenate(p) <= rate) <= rate + 0.01

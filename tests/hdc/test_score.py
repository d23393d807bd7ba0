"""How strange a sample is: conformal p-values, by slot and by cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import StateError
from edge_runtime.model.restoring import score_from
from hdc.detection.conformal import p_value
from hdc.detection.score import LEAST_OF_A_SLOT, OODScore, views


def held_out(n=200, n_slots=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)) * [1, 5, 0.1] + 7, np.arange(n) % 3, np.arange(n) % n_slots


@given(st.lists(st.integers(-5, 5), max_size=30), st.integers(-6, 6))
def test_p_values_are_those_of_conformal_prediction(reference, score):
    found = p_value(np.sort(np.array(reference, float)), float(score))
    n_as_strange = sum(other >= score for other in reference)
    assert found == (n_as_strange + 1) / (len(reference) + 1)


def test_fresh_samples_are_called_strange_as_often_as_promised():
    score = OODScore(*held_out(2000))
    fresh, _, _ = held_out(4000, seed=1)
    for rate in (0.01, 0.05, 0.2):
        p = np.array([p_value(score.reference(0), s) for s in score.of(fresh)])
        assert np.mean(p <= rate) == pytest.approx(rate, abs=0.35 * rate + 0.01)


def test_every_view_counts_alike():
    score = OODScore(*held_out())
    shifts = np.eye(3) * [1, 5, 0.1]
    base = score.of(np.full((1, 3), 7.0))
    np.testing.assert_allclose(score.of(np.full((1, 3), 7.0) + shifts) - base, 1, rtol=0.2)


def test_a_view_that_never_varied_says_nothing_until_it_does():
    found, classes, slots = held_out()
    others = OODScore(found[:, [0, 1, 1]], classes, slots)
    found[:, 2] = 3.0
    score = OODScore(found, classes, slots)
    two_views = others.of(found[:, [0, 1, 1]]) - others.of(found[:, [1, 1, 1]] * [0, 0, 1])
    assert np.ptp(score.of(found) - two_views) < 40
    moved = score.of(found + np.array([0, 0, 10]))
    np.testing.assert_allclose(moved - score.of(found), 10)


def test_a_slot_of_few_held_out_samples_is_ranked_among_all():
    found, classes, slots = held_out(100)
    slots[: LEAST_OF_A_SLOT - 1] = 9
    score = OODScore(found, classes, slots)
    assert len(score.reference(9)) == len(score.reference(77)) == 100
    assert len(score.reference(0)) == np.count_nonzero(slots == 0)
    assert len(score.of_cell(1, 0)) == np.count_nonzero((classes == 1) & (slots == 0))


def test_without_held_out_samples_nothing_is_strange():
    empty = np.zeros(0, np.int64)
    score = OODScore(np.zeros((0, 3)), empty, empty)
    assert len(score) == 0
    assert p_value(score.reference(0), 1e9) == 1.0
    assert score.of(np.ones((2, 3))).tolist() == [0.0, 0.0]


def test_views_are_higher_further_out_and_finite():
    similarities = np.array([[0.9, 0.1], [0.2, 0.1]])
    D = np.array([[0.0, 3.0], [9.0, 8.0]], np.float32)
    found = views(similarities, D, np.array([0.0, 4.0]))
    assert np.isfinite(found).all()
    assert (found[1] > found[0]).all()


def test_it_comes_back_from_its_state():
    score = OODScore(*held_out())
    again = score_from(score.to_state())
    np.testing.assert_array_equal(again.of_cell(2, 1), score.of_cell(2, 1))
    np.testing.assert_array_equal(again.reference(1), score.reference(1))
    state = score.to_state()
    with pytest.raises(StateError, match="scores holds NaN"):
        score_from({**state, "scores": state["scores"] * np.nan})

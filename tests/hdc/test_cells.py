"""Cells: exact sums in any order, one Gaussian for all, and a vote of slots for each class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdc.domain.cells import Cells

KEYS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=30)


def projections(n, d=3):
    """Whole numbers, whose sums are exact."""
    return np.random.default_rng(n).integers(-9, 9, size=(n, d)).astype(np.float32)


def of(keys, U, pull=0.0):
    cells = Cells(U.shape[1], pull)
    cells.add(U, [k for k, _ in keys], [slot for _, slot in keys])
    return cells


def by_key(cells):
    keys = zip(cells.classes.tolist(), cells.slots.tolist(), strict=True)
    values = zip(cells.counts.tolist(), cells.sums.tolist(), cells.means.tolist(), strict=True)
    return dict(zip(keys, values, strict=True))


@given(KEYS, st.randoms(), st.sampled_from([0.0, 4.0]))
def test_sums_are_the_same_in_any_order(keys, random, pull):
    U, order = projections(len(keys)), list(range(len(keys)))
    random.shuffle(order)
    one, other = of(keys, U, pull), of([keys[i] for i in order], U[order], pull)
    mine, theirs = by_key(one), by_key(other)
    assert mine.keys() == theirs.keys()
    for key, (count, sums, means) in mine.items():
        assert theirs[key][:2] == (count, sums)
        np.testing.assert_allclose(theirs[key][2], means, rtol=1e-6, atol=1e-6)


@given(KEYS)
def test_rows_one_by_one_or_at_once_or_as_sums_are_the_same(keys):
    U = projections(len(keys))
    one_by_one = Cells(3, 0.0)
    for u, (k, slot) in zip(U, keys, strict=True):
        one_by_one.add(u[None], [k], [slot])
    at_once = of(keys, U)
    summed = Cells(3, 0.0)
    summed.add(at_once.sums, at_once.classes, at_once.slots, at_once.counts)
    assert by_key(one_by_one) == by_key(at_once) == by_key(summed)


def test_means_are_drawn_to_those_of_their_class_in_all_slots():
    keys, U = [(0, 0)] * 4 + [(0, 1)], np.array([[0.0]] * 4 + [[10.0]], np.float32)
    assert of(keys, U).means.ravel().tolist() == [0.0, 10.0]
    means = of(keys, U, pull=4.0).means.ravel()
    np.testing.assert_allclose(means, [4 * 5 / 8, (10 + 4 * 5) / 5])


def test_a_class_without_a_second_slot_is_drawn_nowhere():
    cells = of([(0, 0), (1, 0)], projections(2), pull=16.0)
    np.testing.assert_allclose(cells.means, projections(2))


def test_distances_are_squared_lengths():
    cells = of([(0, 0), (1, 0), (1, 1)], projections(3))
    V = projections(7)
    expected = ((V[:, None] - cells.means[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(cells.distances(V), expected, atol=1e-3)


def test_the_score_of_a_class_is_the_sum_over_its_slots():
    cells = of([(0, 0), (2, 0), (0, 1)], projections(3))
    D = cells.distances(projections(6))
    scores = cells.scores(D, 0.1, 4)
    expected = np.logaddexp(-0.05 * D[:, 0], -0.05 * D[:, 2])
    np.testing.assert_allclose(scores[:, 0] - scores[:, 2], expected + 0.05 * D[:, 1], atol=1e-3)
    assert (scores[:, [1, 3]] < -1e5).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scores_are_finite_however_far_a_sample_is(scale):
    cells = of([(0, 0), (1, 0), (1, 1)], projections(3))
    D = cells.distances(projections(5) * np.float32(1e4))
    assert np.isfinite(cells.scores(D, scale, 2)).all()

"""Exemplars: rows come back as they were given, in whatever unit they came."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import StateError
from edge_runtime.memory.exemplars import FAR, WIDE, Exemplars


def filled(X, labels=None, **columns):
    store = Exemplars(X.shape[1])
    for i, x in enumerate(X):
        store.add(x, 0 if labels is None else int(labels[i]), sample=i, time=float(i), **columns)
    return store


def rows(n=40, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize(
    ("scale", "offset"), [(1, 0), (1, 1e9), (1e-6, 3.0), (2e4, 5e6), (60, 1.7e9), (1e30, -1e31)]
)
def test_raw_values_come_back_within_a_thousandth_of_their_spread(scale, offset):
    X = rows(300) * scale + offset
    error = np.abs(filled(X).raw() - X).max(axis=0)
    assert (error < 4e-3 * scale).all()


def test_constant_features_come_back_and_leave_the_others_alone():
    X = rows()
    X[:, 1], X[:, 2] = 0.0, 101_325.0
    store = filled(X)
    np.testing.assert_allclose(store.raw(), X, rtol=1e-6, atol=5e-3)
    assert np.isfinite(store.units()).all()


def test_a_feature_that_begins_to_move_late_is_resolved():
    X = rows(200)
    X[:40, 0] = 5.0
    assert np.abs(filled(X).raw() - X)[:, 0].max() < 0.02


def test_units_are_made_anew_for_a_row_that_is_far_away():
    store = filled(rows())
    before = store.scale.copy()
    store.add(np.full(4, 10 * FAR), 1)
    assert (store.scale > 10 * before).all()
    assert np.abs(store.units()).max() < FAR
    np.testing.assert_allclose(store.raw([40])[0], 10 * FAR, rtol=1e-3)


def test_frozen_units_stay_and_what_is_out_of_reach_is_cut():
    store = filled(rows())
    store.is_frozen = True
    centre, scale = store.centre.copy(), store.scale.copy()
    store.add(np.full(4, 1e30), 1)
    np.testing.assert_array_equal(store.centre, centre)
    np.testing.assert_array_equal(store.scale, scale)
    assert np.isfinite(store.units()).all()


@given(st.integers(1, 3), st.lists(st.floats(-1e30, 1e30, width=64), min_size=1, max_size=12))
def test_whatever_numbers_come_rows_stay_finite(d, values):
    store = Exemplars(d)
    for value in values:
        store.add(np.full(d, value), 0)
    assert np.isfinite(store.units()).all()
    assert np.isfinite(store.raw()).all()


def test_wide_rows_in_int8_are_off_by_a_thirtieth_of_their_spread_at_most():
    X = rows(60, WIDE)
    store = filled(X)
    before = store.n_bytes
    store.to_int8()
    inside = np.abs(store.to_units(X)) < 7
    assert np.abs(store.raw() - X)[inside].max() < 0.04 * store.scale.max()
    assert store.n_bytes < 0.6 * before
    store.add(X[0], 1, sample=60)
    assert store.rows.dtype == np.int8
    np.testing.assert_allclose(store.units([0]), store.units([60]), atol=1 / 16)


def test_a_sample_is_found_by_its_id_and_origin():
    store = filled(rows(5))
    store.add(np.zeros(4), 1, sample=2, origin=7)
    assert (store.find(2), store.find(2, origin=7), store.find(9), store.find(-1)) == (2, 5, -1, -1)


def test_rows_without_an_id_are_never_found():
    store = Exemplars(1)
    store.add(np.zeros(1), 0)
    assert store.find(-1) == -1


def test_what_is_kept_stays_in_order_and_columns_stay_together():
    X = rows(30)
    store = filled(X, np.arange(30) % 3)
    store.keep(np.arange(30) % 2 == 0)
    assert store.column("samples").tolist() == list(range(0, 30, 2))
    assert store.column("labels").tolist() == [i % 3 for i in range(0, 30, 2)]
    np.testing.assert_allclose(store.raw(), X[::2], atol=5e-3)
    assert store.add(X[1], 1, sample=99) == 15  # and there is room for more


def test_classes_behind_a_removed_one_move_up():
    store = filled(rows(9), np.arange(9) % 3)
    store.remove_class(1)
    assert store.column("labels").tolist() == [0, 1, 0, 1, 0, 1]
    assert store.column("samples").tolist() == [0, 2, 3, 5, 6, 8]


def test_bytes_are_those_of_the_columns():
    store = filled(rows(100))
    store.keep(np.ones(100, bool))
    units = store.centre.nbytes + store.scale.nbytes
    assert store.n_bytes == 100 * store.row_bytes + units


def test_a_restored_store_is_equal_and_goes_on_alike():
    X = rows(70)
    store = filled(X[:50], np.arange(50) % 2, scene=3, slot=1)
    again = Exemplars.from_state(store.to_state(), 4)
    for x in X[50:]:
        store.add(x, 1)
        again.add(x, 1)
    for name, array in store.to_state().items():
        np.testing.assert_array_equal(again.to_state()[name], array, err_msg=name)


def test_a_store_of_another_width_is_refused():
    with pytest.raises(StateError, match="rows"):
        Exemplars.from_state(filled(rows()).to_state(), 5)

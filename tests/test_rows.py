"""Rows in few bits: what comes back is what went in, as far as the bits reach."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_runtime.labelled import WIDE, LabelledSet, bytes_of_rows
from edge_runtime.rows import FLOAT16_MAX, Float16Rows, Int8Rows, Rows

Matrix = npt.NDArray[np.float32]
finite = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-6e4, 6e4, width=32),
)


def filled(rows: Rows, X: Matrix) -> Rows:
    rows = rows.with_room(len(X))
    for n, x in enumerate(X):
        rows.put(n, x)
    return rows


@given(finite)
def test_int8_is_off_by_less_than_a_63rd_of_the_largest_deviation(X: Matrix) -> None:
    rows = filled(Int8Rows(X.shape[1]), X)
    largest = np.abs(X - X[0]).max(axis=0)
    least = 2.0**-18 * np.maximum(np.abs(X[0]), 1)  # float32 itself rounds what is added to X[0]
    assert (np.abs(rows.get(slice(len(X))) - X) <= 1.01 * largest / 63 + least).all()


@given(finite)
def test_float16_is_off_by_a_thousandth(X: Matrix) -> None:
    rows = filled(Float16Rows(X.shape[1]), X)
    np.testing.assert_allclose(rows.get(slice(len(X))), X, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", [Float16Rows, Int8Rows])
def test_values_beyond_float16_are_clipped_and_stay_finite(kind: type[Rows]) -> None:
    X = np.array([[0.0, 1e30], [-1e30, 1.0]], np.float32)
    held = filled(kind(2), X).get(slice(2))
    assert np.isfinite(held).all()
    assert np.abs(held).max() <= 1.02 * FLOAT16_MAX


@pytest.mark.parametrize("kind", [Float16Rows, Int8Rows])
def test_more_room_is_room_of_its_own(kind: type[Rows]) -> None:
    X = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    rows = filled(kind(5), X[:2])
    more = rows.with_room(3)
    before = rows.get(slice(2))
    more.put(2, 100 * X[2])  # the units of int8 grow, those of the other rows do not
    np.testing.assert_array_equal(rows.get(slice(2)), before)
    assert more.nbytes - rows.nbytes == rows.take([0]).nbytes - rows.take([]).nbytes


@pytest.mark.parametrize("kind", [Float16Rows, Int8Rows])
def test_rows_survive_their_state(kind: type[Rows]) -> None:
    X = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    rows = filled(kind(5), X)
    again = kind.from_state(rows.to_state(3))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(again.get(slice(3)), rows.get(slice(3)))


def test_rows_that_were_cut_are_refused() -> None:
    state = filled(Int8Rows(3), np.ones((2, 3), np.float32)).to_state(2)
    with pytest.raises(ValueError, match="cut"):
        Int8Rows.from_state({**state, "unit": state["unit"][:2]})
    with pytest.raises(ValueError, match="cut"):
        Int8Rows.from_state({**state, "centre": np.full(3, np.nan, np.float32)})


@pytest.mark.parametrize("width", [4, WIDE])
def test_a_labelled_set_takes_no_more_bytes_than_are_set_aside(width: int) -> None:
    kept = LabelledSet(width, capacity=50)
    rng = np.random.default_rng(0)
    for n in range(50):
        kept.add(rng.normal(size=width).astype(np.float32), n % 3)
        assert kept.n_bytes <= bytes_of_rows(50, width)
    others = kept.without_class(1)
    np.testing.assert_array_equal(others.X, kept.X[kept.y != 1])
    again = LabelledSet.from_state(kept.to_state(), width, 50)
    np.testing.assert_array_equal(again.X, kept.X)


def test_a_copy_is_not_changed_by_what_comes_later() -> None:
    kept = LabelledSet(WIDE, capacity=9)
    rng = np.random.default_rng(0)
    for n in range(3):
        kept.add(rng.normal(size=WIDE).astype(np.float32), n)
    copy = kept.copy()
    before = copy.X
    copy.add(1000 * rng.normal(size=WIDE).astype(np.float32), 0)
    np.testing.assert_array_equal(kept.X, before)
    again = kept.copy()
    kept.add(1000 * rng.normal(size=WIDE).astype(np.float32), 0)
    np.testing.assert_array_equal(again.X, before)


def test_a_set_of_the_other_kind_is_refused() -> None:
    state = {"X": np.zeros((1, WIDE), np.float16), "y": np.zeros(1, np.int64)}
    with pytest.raises(ValueError, match="dtype"):
        LabelledSet.from_state(state, WIDE, 4)

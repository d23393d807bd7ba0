"""Sums of what had to go: order does not matter, and a class or an origin can be taken out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import StateError
from edge_runtime.memory.statistics import Statistics

KEYS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40
)


def rows(n):
    return np.random.default_rng(n).integers(-50, 50, size=(n, 3)).astype(np.float32)


def groups(gone):
    keys = zip(gone.classes.tolist(), gone.slots.tolist(), gone.origins.tolist(), strict=True)
    values = zip(gone.counts.tolist(), gone.sums.tolist(), strict=True)
    return dict(zip(keys, values, strict=True))


def taken_in(keys, Z, parts=1):
    gone = Statistics(3)
    for part in np.array_split(np.arange(len(keys)), parts):
        if len(part):
            gone.add(Z[part], *np.array(keys)[part].T)
    return gone


@given(KEYS, st.integers(1, 5), st.randoms())
def test_neither_order_nor_portions_matter(keys, parts, random):
    Z, order = rows(len(keys)), list(range(len(keys)))
    random.shuffle(order)
    shuffled = taken_in([keys[i] for i in order], Z[order], parts)
    assert groups(shuffled) == groups(taken_in(keys, Z))
    assert len(shuffled) == len(keys)


@given(KEYS)
def test_an_origin_can_be_taken_out_as_if_it_had_never_been(keys):
    Z, gone = rows(len(keys)), taken_in(keys, rows(len(keys)))
    gone.keep(gone.origins != 1)
    others = [i for i, key in enumerate(keys) if key[2] != 1]
    expected = groups(taken_in([keys[i] for i in others], Z[others])) if others else {}
    assert groups(gone) == expected


@given(KEYS)
def test_a_class_can_be_taken_out_and_those_behind_it_move_up(keys):
    Z, gone = rows(len(keys)), taken_in(keys, rows(len(keys)))
    gone.remove_class(1)
    others = [i for i, key in enumerate(keys) if key[0] != 1]
    moved = [(keys[i][0] - (keys[i][0] > 1), *keys[i][1:]) for i in others]
    assert groups(gone) == (groups(taken_in(moved, Z[others])) if others else {})


def test_it_comes_back_from_its_state_and_another_width_is_refused():
    gone = taken_in([(0, 0, 0), (1, 0, 2), (0, 0, 0)], rows(3))
    assert groups(Statistics.from_state(gone.to_state(), 3)) == groups(gone)
    with pytest.raises(StateError, match="sums"):
        Statistics.from_state(gone.to_state(), 4)


def test_bytes_grow_with_groups_and_not_with_rows():
    gone = taken_in([(0, 0, 0)], rows(1))
    before = gone.n_bytes
    for _ in range(50):
        gone.add(rows(5), np.zeros(5), np.zeros(5), np.zeros(5))
    assert gone.n_bytes == before

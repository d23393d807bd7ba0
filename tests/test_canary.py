"""The canary set: bounded, fair to every slot and class, the same for the same stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.canary import CanarySet

STREAMS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=120)


def filled(groups: list[tuple[int, int]], capacity: int = 12) -> CanarySet:
    canaries = CanarySet(3, capacity, seed=0)
    for i, (slot, k) in enumerate(groups):
        canaries.add(np.full(3, i, np.float32), k, slot)
    return canaries


@settings(max_examples=30)
@given(STREAMS)
def test_it_never_holds_more_than_its_capacity_nor_forgets_a_group(groups) -> None:
    canaries = filled(groups, capacity=20)
    assert len(canaries) == min(len(groups), 20)
    assert canaries.X.nbytes // 2 <= canaries.most_bytes
    held = set(zip(canaries.slots.tolist(), canaries.y.tolist(), strict=True))
    assert held == set(groups)  # at most twenty groups: each keeps one at least


@settings(max_examples=30)
@given(STREAMS)
def test_state_goes_on_exactly_where_it_was(groups) -> None:
    canaries = filled(groups)
    again = CanarySet.from_state(canaries.to_state(), 3, 12, seed=0)
    for i in range(20):
        canaries.add(np.full(3, i, np.float32), i % 2, 0)
        again.add(np.full(3, i, np.float32), i % 2, 0)
    for name, array in canaries.to_state().items():
        np.testing.assert_array_equal(array, again.to_state()[name])


def test_each_group_is_a_uniform_sample_of_what_it_saw() -> None:
    kept = np.zeros(100)
    for seed in range(200):
        canaries = CanarySet(1, 10, seed)
        for i in range(100):
            canaries.add(np.full(1, i, np.float32), 0, 0)
        kept[canaries.X[:, 0].astype(int)] += 1
    early, late = kept[:50].sum(), kept[50:].sum()
    assert abs(early - late) < 200  # of 2,000; the standard deviation is about 42


def test_removing_a_class_moves_those_behind_it_up() -> None:
    canaries = filled([(0, 0), (0, 1), (0, 2), (1, 2)])
    canaries.remove_class(1)
    assert sorted(canaries.y.tolist()) == [0, 1, 1]
    canaries.add(np.zeros(3, np.float32), 1, 0)
    assert canaries.to_state()["seen"].tolist() == [[0, 0, 1], [0, 1, 2], [1, 1, 1]]


def test_slots_can_go_or_be_taken_over() -> None:
    canaries = filled([(0, 0), (1, 0), (2, 0)])
    canaries.rename_slot(1, 0)
    canaries.remove_slot(2)
    assert canaries.slots.tolist() == [0, 0]
    assert canaries.to_state()["seen"].tolist() == [[0, 0, 2]]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("X", np.zeros((2, 4))),
        ("groups", np.zeros((1, 2), np.int64)),
        ("seen", np.zeros(3)),
        ("order", np.zeros(1)),
    ],
)
def test_state_that_does_not_fit_is_refused(name: str, bad) -> None:
    state = filled([(0, 0), (0, 1)]).to_state()
    with pytest.raises(ValueError, match="canaries have shapes"):
        CanarySet.from_state({**state, name: bad}, 3, 12, 0)


def test_values_beyond_float16_are_clipped_and_sizes_checked() -> None:
    canaries = CanarySet(1, 2, 0)
    canaries.add(np.array([1e9], np.float32), 0, 0)
    assert np.isfinite(canaries.X).all()
    with pytest.raises(ValueError, match="expected 1 or more"):
        CanarySet(0, 2, 0)

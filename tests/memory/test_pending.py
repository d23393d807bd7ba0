"""Samples that wait for a label: bounded, the oldest goes first, and ids are never given twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import LabelError
from edge_runtime.memory.pending import PendingSample, PendingSamples


def waiting(capacity=5, n=0, predicted=0):
    pending = PendingSamples(capacity)
    for _ in range(n):
        pending.add(PendingSample(np.zeros(2), 0, predicted))
    return pending


@given(st.integers(1, 20), st.integers(0, 60))
def test_they_are_bounded_and_the_oldest_goes_first(capacity, n):
    pending = waiting(capacity)
    for i in range(n):
        forgotten = pending.add(PendingSample(np.zeros(2), None, 0))
        assert forgotten == (i - capacity if i >= capacity else None)
    assert len(pending) == min(n, capacity)
    assert pending.n_bytes == min(n, capacity) * 16


def test_a_sample_that_was_never_seen_is_told_from_one_that_is_forgotten():
    pending = waiting(5, 8)
    assert 7 in pending
    assert 2 not in pending
    for unknown in (8, -1, 10**30):
        with pytest.raises(LabelError, match="never seen: ids so far are 0 to 7"):
            pending.get(unknown)
    with pytest.raises(LabelError, match="forgotten: the last 5 samples are kept"):
        pending.get(2)
    with pytest.raises(LabelError, match="none was"):
        waiting().get(0)


def test_ids_of_an_earlier_run_are_never_given_again():
    pending = waiting(5, 2)
    pending.skip_to(100)
    pending.skip_to(7)
    pending.add(PendingSample(np.zeros(2), 0, 0))
    assert 100 in pending
    assert pending.next_id == 101


def test_the_newest_can_be_marked_faulty():
    pending = waiting(3, 5)
    pending.spoil_last(2)
    assert [pending.get(i).is_faulty for i in (2, 3, 4)] == [False, True, True]
    pending.spoil_last(100)
    assert pending.get(2).is_faulty


def test_answers_follow_the_classes_when_one_is_removed():
    pending = waiting(9)
    for predicted in (-1, 0, 1, 2):
        pending.add(PendingSample(np.zeros(2), 0, predicted))
    pending.remove_class(1)
    assert [pending.get(i).predicted for i in range(4)] == [-1, 0, -1, 1]

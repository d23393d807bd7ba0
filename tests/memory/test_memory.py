"""Memory: edits are of rows, eviction keeps counts and means, and bytes stay within their bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import StateError
from edge_runtime.memory.exemplars import WIDE
from edge_runtime.memory.memory import LEAST_ROWS, Memory


def filled(n=200, d=4, n_classes=3, n_slots=1, seed=0):
    memory = Memory(d)
    X = np.random.default_rng(seed).normal(size=(n, d)) + 100
    for i, x in enumerate(X):
        memory.exemplars.add(
            x, i % n_classes, sample=i, slot=i // n_classes % n_slots, origin=i % 2
        )
    return memory


def means(memory, n_classes=3):
    """Mean of each class over rows and what is kept of evicted ones."""
    store, gone = memory.exemplars, memory.gone
    found = []
    for k in range(n_classes):
        rows = store.units(store.column("labels") == k)
        total = rows.sum(axis=0, dtype=float) + gone.sums[gone.classes == k].sum(axis=0)
        found.append(total / (len(rows) + gone.counts[gone.classes == k].sum()))
    return np.array(found)


def states_equal(one, other):
    mine, theirs = one.to_state(), other.to_state()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(theirs[name], array, err_msg=name)


def test_a_label_given_again_takes_the_place_of_the_first_and_is_confirmed():
    memory = filled(10)
    memory.suspect(np.arange(10), np.array([4]))
    memory.relabel(4, 2)
    store = memory.exemplars
    assert (store.labels[4], store.is_confirmed[4], store.is_suspect[4]) == (2, 1, 0)
    assert memory.version == 1


def test_suspects_are_told_once_and_rehabilitated_when_judged_again():
    memory = filled(10)
    everyone = np.arange(10)
    assert memory.suspect(everyone, np.array([2, 5])).tolist() == [2, 5]
    assert memory.suspect(everyone, np.array([5, 7])).tolist() == [7]
    assert np.flatnonzero(memory.exemplars.column("is_suspect")).tolist() == [5, 7]
    memory.suspect(np.array([7]), np.zeros(0, np.int64))
    assert np.flatnonzero(memory.exemplars.column("is_suspect")).tolist() == [5]


@given(st.integers(40, 400), st.integers(1, 6), st.integers(1, 3), st.floats(0.15, 1.2))
def test_eviction_keeps_every_count_every_mean_and_the_bound(n, n_classes, n_slots, share):
    memory = filled(n, 4, n_classes, n_slots)
    memory.exemplars.keep(np.ones(n, bool))
    counts, before = memory.counts(n_classes), means(memory, n_classes)
    bound = max(int(memory.n_bytes * share), memory.exemplars.row_bytes * 2 * LEAST_ROWS + 2000)
    memory.fit_into(bound)
    after = memory.counts(n_classes)
    assert counts.keys() == after.keys()
    for slot, each in counts.items():
        np.testing.assert_array_equal(after[slot], each)
    np.testing.assert_allclose(means(memory, n_classes), before, atol=1e-5)
    assert len(memory) == n
    assert memory.n_bytes <= bound


def test_an_eviction_makes_room_for_labels_to_come():
    memory = filled(500)
    bound = memory.n_bytes // 2
    assert "are kept as means only" in memory.fit_into(bound).message
    for i in range(5):
        memory.exemplars.add(np.zeros(4), 0, sample=1000 + i)
        assert memory.fit_into(bound) is None


def test_nothing_happens_while_there_is_room():
    memory = filled()
    version = memory.version
    assert memory.fit_into(10**6) is None
    assert memory.version == version


def test_labels_come_one_by_one_into_a_full_memory_and_the_bound_holds():
    memory, bound = Memory(4), 12_000
    rng = np.random.default_rng(0)
    for i in range(1500):
        memory.exemplars.add(rng.normal(size=4), i % 5, sample=i)
        memory.fit_into(bound)
        assert memory.n_bytes <= bound
    assert len(memory) == 1500


def test_wide_rows_go_to_int8_before_any_is_evicted():
    memory = filled(100, WIDE)
    assert "half the bytes" in memory.fit_into(int(memory.n_bytes * 0.8)).message
    assert len(memory.exemplars) == 100
    assert len(memory.gone) == 0


def test_units_stay_once_sums_are_in_them():
    memory = filled(500)
    memory.fit_into(memory.n_bytes // 2)
    centre = memory.exemplars.centre.copy()
    memory.exemplars.add(np.full(4, 1e9), 0)
    np.testing.assert_array_equal(memory.exemplars.centre, centre)


def test_suspected_labels_leave_nothing_behind_when_they_are_evicted():
    memory = filled(300)
    memory.suspect(np.arange(300), np.arange(300))
    memory.fit_into(memory.n_bytes // 2)
    assert len(memory.gone) == 0
    assert len(memory.exemplars) < 300


def test_a_forgotten_class_leaves_rows_and_sums():
    memory = filled(500)
    memory.fit_into(memory.n_bytes // 2)
    memory.remove_class(1)
    assert memory.counts(2)[0].tolist() == [167, 166]
    assert memory.exemplars.labels.max() == 1


def test_an_origin_is_forgotten_with_all_that_it_brought():
    memory = filled(500)
    memory.fit_into(memory.n_bytes // 2)
    assert memory.remove_origin(1) == 250
    assert len(memory) == 250
    assert (memory.exemplars.column("origins") == 0).all()


def test_a_copy_does_not_follow_its_original():
    memory = filled()
    copied = memory.copy()
    states_equal(copied, memory)
    memory.relabel(0, 2)
    memory.exemplars.add(np.zeros(4), 0)
    assert len(copied) == 200
    assert copied.exemplars.labels[0] == 0


def test_memory_comes_back_from_its_state():
    memory = filled(500)
    memory.fit_into(memory.n_bytes // 2)
    states_equal(Memory.from_state(memory.to_state(), 4, 3), memory)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exemplars/labels", 3),
        ("exemplars/labels", -1),
        ("exemplars/slots", -1),
        ("exemplars/scale", 0.0),
        ("statistics/classes", 3),
        ("statistics/classes", -1),
        ("statistics/slots", -7),
        ("statistics/counts", 0),
    ],
)
def test_a_state_out_of_range_is_refused(name, value):
    memory = filled(500)
    memory.fit_into(memory.n_bytes // 2)
    state = memory.to_state()
    state[name] = state[name].copy()
    state[name][-1] = value
    with pytest.raises(StateError):
        Memory.from_state(state, 4, 3)

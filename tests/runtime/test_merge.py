"""Two learners become one, and apart again."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime
from edge_runtime.errors import LabelError, StateError
from tests.domains import domain


def taught(number: int, n: int = 60, **options: object) -> EdgeRuntime:
    runtime = EdgeRuntime(n_dims=512, adaptor=None, **options)
    X, y = domain(number, n, number)
    runtime.learn_many(list(X), y.tolist())
    return runtime


def accuracy(runtime: EdgeRuntime, number: int) -> float:
    X, y = domain(number, 80, 99)
    answers = runtime.peek_many(list(X))
    return float(np.mean([p.label == k for p, k in zip(answers, y.tolist(), strict=True)]))


def test_what_another_learned_is_known_and_keeps_slots_of_its_own():
    ours, theirs = taught(0), taught(1)
    assert accuracy(ours, 1) < 0.9
    events = ours.merge(theirs)
    assert [event.kind for event in events if event.kind == "merged"] == ["merged"]
    assert accuracy(ours, 0) > 0.9
    assert accuracy(ours, 1) > 0.9
    assert [slot.n_labels for slot in ours.slots] == [60, 60]


def test_what_was_merged_can_be_taken_out_as_if_it_had_never_been_there():
    ours, theirs = taught(0), taught(1)
    X, _ = domain(0, 40, 7)
    before = [p.probabilities for p in ours.peek_many(list(X))]
    origin = ours.merge(theirs)[-1].evidence["origin"]
    ours.unmerge(origin)
    after = [p.probabilities for p in ours.peek_many(list(X))]
    np.testing.assert_allclose(after, before, atol=0.05)  # units were made anew meanwhile
    assert [slot.n_labels for slot in ours.slots] == [60]
    with pytest.raises(LabelError, match="origin 1"):
        ours.unmerge(origin)


def test_classes_of_the_other_join_by_name():
    ours, theirs = taught(0), EdgeRuntime(n_dims=512, adaptor=None)
    X, _ = domain(1, 30, 3)
    theirs.learn_many(list(X), [9] * 30)
    ours.merge(theirs)
    assert sorted(ours.classes) == [0, 1, 2, 3, 9]
    assert ours.peek(X[0]).label == 9


def test_other_taps_are_refused_and_nothing_has_changed():
    ours, theirs = taught(0), EdgeRuntime(n_dims=512, adaptor=None)
    theirs.learn_many([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    with pytest.raises(StateError, match="same encoder and taps"):
        ours.merge(theirs)
    with pytest.raises(StateError, match="same encoder and taps"):
        ours.merge(ours)
    assert [slot.n_labels for slot in ours.slots] == [60]


def test_labels_since_a_sample_are_forgotten_together():
    runtime = taught(0)
    X, _ = domain(0, 6, 5)
    ids = [runtime.step(x).sample_id for x in X]
    for sample_id in ids:
        runtime.learn(sample_id, 7)
    runtime.forget_since(ids[2])
    assert sum(slot.n_labels for slot in runtime.slots) == 62
    with pytest.raises(LabelError, match="kept by itself"):
        runtime.forget_since(ids[2])


def test_labels_since_a_time_are_forgotten_and_what_was_learned_in_a_batch_stays():
    runtime = taught(0)
    X, _ = domain(0, 6, 5)
    for hour, x in enumerate(X):
        runtime.learn(runtime.step(x, now_s=3600.0 * (hour + 1)).sample_id, 7)
    runtime.forget_since(time_s=3600.0 * 3)
    assert sum(slot.n_labels for slot in runtime.slots) == 62
    with pytest.raises(LabelError, match="time 10800 or later"):
        runtime.forget_since(time_s=3600.0 * 3)
    with pytest.raises(TypeError, match="a sample or a time"):
        runtime.forget_since()

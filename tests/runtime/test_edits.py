"""Edits: forget, rename and explain; as if it had never been learned otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime
from edge_runtime.errors import LabelError
from tests.domains import domain
from tests.runtime.teaching import (
    SMALL,
    accuracy,
    assert_same_answers,
    learn_all,
    live,
    of_two_domains,
    taught,
)

N = 50


def learned(X, labels):
    runtime = EdgeRuntime(**SMALL)
    runtime.learn_many(X, labels)
    return runtime


def assert_alike(one, other):
    """Both have learned the same, up to rounding; what is close to a border may differ."""
    X, _ = domain(0, 200, 77)
    labels = [[p.label for p in runtime.peek_many(X)] for runtime in (one, other)]
    assert np.mean(np.array(labels[0]) == np.array(labels[1])) > 0.98
    assert sorted(one.classes) == sorted(other.classes)
    assert one.slots[0].n_labels == other.slots[0].n_labels


def test_a_forgotten_label_leaves_answers_as_if_it_had_never_been():
    X, y = domain(0, N, 0)
    runtime = learned(X, y.tolist())
    runtime.forget(N - 1)
    assert_same_answers(runtime, learned(X[:-1], y[:-1].tolist()))


def test_a_label_forgotten_from_the_middle_leaves_next_to_nothing():
    X, y = domain(0, N, 0)
    runtime = learned(X, y.tolist())
    runtime.forget(17)
    others = np.arange(N) != 17
    assert_alike(runtime, learned(X[others], y[others].tolist()))


def test_a_forgotten_label_can_be_given_again():
    runtime = taught(N)
    sample_id = runtime.step(domain(0, 1, 3)[0][0]).sample_id
    runtime.learn(sample_id, 0)
    runtime.forget(sample_id)
    with pytest.raises(LabelError, match="has no label"):
        runtime.forget(sample_id)
    runtime.learn(sample_id, 1)
    assert runtime.status()["exemplars"] == N + 1


def test_a_sample_without_a_label_cannot_be_forgotten():
    runtime = taught(N)
    sample_id = runtime.step(domain(0, 1, 3)[0][0]).sample_id
    for unknown in (sample_id, -1, 10**12):
        with pytest.raises(LabelError, match="has no label"):
            runtime.forget(unknown)


def test_all_labels_may_be_forgotten_and_learning_starts_anew():
    runtime = taught(10)
    for sample_id in range(10):
        runtime.forget(sample_id)
    prediction = runtime.step(domain(0, 1, 1)[0][0])
    assert (prediction.label, prediction.slot) == (None, None)
    assert prediction.wants_label
    assert runtime.explain(domain(0, 1, 1)[0][0]) == []
    X, y = domain(0, 60, 2)
    learn_all(runtime, X, y.tolist())
    assert accuracy(runtime, 0) > 0.9


def test_a_forgotten_class_leaves_every_slot_and_buffer():
    runtime = of_two_domains()
    waiting = [runtime.step(x).sample_id for x in domain(0, 20, 4)[0]]
    runtime.forget_class(2)
    assert 2 not in runtime.classes
    for number in (0, 1):
        assert accuracy(runtime, number, classes=(0, 1, 3)) > 0.9
        answers = runtime.peek_many(domain(number, 50, 98, (2,))[0])
        assert all(p.label != 2 and p.probabilities.shape == (3,) for p in answers)
    assert all(slot.n_classes == 3 for slot in runtime.slots)
    runtime.learn(waiting[0], 0)  # what waited still gets its label


def test_forgetting_a_class_is_as_never_having_learned_it():
    X, y = domain(0, N, 0)
    others = y != 2
    runtime = learned(X, y.tolist())
    runtime.forget_class(2)
    assert_alike(runtime, learned(X[others], y[others].tolist()))


def test_a_forgotten_class_is_strange_again_and_may_come_back():
    runtime = taught(200)
    runtime.forget_class(2)
    strangers = runtime.peek_many(domain(0, 50, 5, (2,))[0])
    assert np.mean([p.is_ood for p in strangers]) > 0.9
    learn_all(runtime, domain(0, 60, 6, (2,))[0], [2] * 60)
    assert accuracy(runtime, 0) > 0.9
    assert runtime.classes[-1] == 2


def test_classes_can_be_forgotten_one_by_one_to_the_last():
    runtime = taught(N)
    for label in list(runtime.classes):
        runtime.forget_class(label)
        runtime.step(domain(0, 1, 5)[0][0])
    assert runtime.classes == []
    assert runtime.peek(domain(0, 1, 5)[0][0]).label is None
    learn_all(runtime, domain(0, 30, 6)[0], ["new"] * 30)
    assert runtime.classes == ["new"]


def test_a_class_without_labels_can_be_forgotten():
    runtime = EdgeRuntime(None, ["a", "b", "c"], **SMALL)
    runtime.forget_class("b")
    runtime.learn(runtime.step(np.zeros(3)).sample_id, "c")
    runtime.forget_class("a")
    assert runtime.peek(np.zeros(3)).label == "c"


@pytest.mark.parametrize("label", [17, "2"])
def test_a_class_that_is_not_there_cannot_be_forgotten_or_renamed(label):
    runtime = taught(N)
    before = repr(runtime.status())
    with pytest.raises(LabelError, match="no class"):
        runtime.forget_class(label)
    with pytest.raises(LabelError, match="no class"):
        runtime.rename_class(label, 5)
    assert repr(runtime.status()) == before


@pytest.mark.parametrize("label", [None, 2.0, (1,)])
def test_what_is_no_label_is_no_class(label):
    with pytest.raises(LabelError, match="expected int or str"):
        taught(N).forget_class(label)


def test_a_class_gets_another_name():
    X, y = domain(0, N, 0)
    runtime, other = learned(X, y.tolist()), learned(X, [7 if k == 2 else int(k) for k in y])
    runtime.rename_class(2, 7)
    assert_same_answers(runtime, other)


def test_two_classes_become_one_under_the_name_of_the_other():
    X, y = domain(0, N, 0)
    runtime = learned(X, y.tolist())
    runtime.rename_class(2, 0)
    merged = learned(X, [0 if k == 2 else int(k) for k in y])
    assert_alike(runtime, merged)
    assert 2 not in runtime.classes


def test_a_name_of_another_type_is_refused():
    runtime = taught(N)
    with pytest.raises(LabelError, match="'cat' is no int"):
        runtime.rename_class(0, "cat")
    runtime.rename_class(0, 0)
    assert 0 in runtime.classes


def test_edits_while_a_drift_is_asked_about_do_no_harm():
    runtime = taught(300)
    ids = []
    for x, k in zip(*domain(1, 120, 8), strict=True):
        prediction = runtime.step(x)
        if prediction.wants_label and runtime.status()["state"] == "asking" and len(ids) < 8:
            runtime.learn(prediction.sample_id, int(k))
            ids.append(prediction.sample_id)
    assert len(ids) == 8
    for sample_id in ids[::3]:
        runtime.forget(sample_id)
    runtime.forget_class(2)
    runtime.rename_class(0, 1)
    live(runtime, 1, 100, 9, classes=(1, 3))
    assert accuracy(runtime, 0, classes=(1, 3)) > 0.9


def test_the_nearest_exemplars_explain_an_answer():
    runtime = taught(200)
    x, k = (each[0] for each in domain(0, 1, 44))
    found = runtime.explain(x, 5)
    assert len(found) == 5
    distances = [distance for _, _, distance in found]
    assert distances == sorted(distances)
    assert sum(label == k for _, label, _ in found) >= 4
    assert runtime.explain(domain(0, 200, 0)[0][7], 1)[0][0] == 7
    assert EdgeRuntime(**SMALL).explain(x) == []

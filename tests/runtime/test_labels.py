"""Labels: one by one or at once, late, wrong and corrected, and those that cannot be taken."""

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
    kinds,
    learn_all,
    taught,
)

N = 24


def one_by_one(labels, n=N):
    runtime = EdgeRuntime(**SMALL)
    learn_all(runtime, domain(0, n, 0)[0], labels)
    return runtime


def refitted(runtime):
    """With a model that is of all labels: one more was learned and forgotten."""
    sample_id = runtime.step(domain(0, 1, 90)[0][0]).sample_id
    runtime.learn(sample_id, runtime.classes[0])
    runtime.forget(sample_id)
    return runtime


def test_a_batch_is_learned_as_its_labels_would_be_one_by_one():
    X, y = domain(0, N, 0)
    batch = EdgeRuntime(**SMALL)
    (event,) = batch.learn_many(X, y.tolist())
    assert (event.kind, event.evidence["labels"]) == ("grown", N)
    singly = one_by_one(y.tolist())
    assert singly.classes == batch.classes
    assert singly.status()["exemplars"] == batch.status()["exemplars"] == N
    assert_same_answers(refitted(batch), refitted(singly))


def test_a_batch_before_a_whole_one_is_the_same_as_both_at_once():
    X, y = domain(0, N, 0)
    runtime = EdgeRuntime(**SMALL)
    runtime.learn_many(X[:10], y[:10].tolist())
    runtime.learn_many(X[10:], y[10:].tolist())
    once = EdgeRuntime(**SMALL)
    once.learn_many(X, y.tolist())
    assert_same_answers(refitted(runtime), refitted(once))


def test_ids_of_a_batch_go_on_and_can_be_corrected():
    runtime = taught(N)
    assert runtime.step(domain(0, 1, 1)[0][0]).sample_id == N
    wrong = [each for each in runtime.classes if each != domain(0, N, 0)[1][3]]
    runtime.learn(3, wrong[0])
    assert runtime.status()["exemplars"] == N


@pytest.mark.parametrize("at", [3, N - 1])
def test_a_wrong_label_that_is_corrected_leaves_nothing_behind(at):
    _, y = domain(0, N, 0)
    labels = y.tolist()
    labels[at] = (labels[at] + 1) % 4
    corrected = one_by_one(labels)
    corrected.learn(at, int(y[at]))
    right = one_by_one(y.tolist())
    right.learn(at, int(y[at]))  # confirmed as well
    assert sorted(corrected.classes) == sorted(right.classes)
    if corrected.classes == right.classes:
        assert_same_answers(refitted(corrected), refitted(right))
    assert [slot.n_labels for slot in corrected.slots] == [N]


def test_the_last_of_many_labels_of_a_sample_counts():
    runtime = taught(N)
    (x,) = domain(0, 1, 5)[0]
    sample_id = runtime.step(x).sample_id
    for label in (0, 1, 2, 3, 2):
        runtime.learn(sample_id, label)
    assert runtime.explain(x, 1)[0][:2] == (sample_id, 2)
    assert runtime.status()["exemplars"] == N + 1


def test_a_label_may_be_late_as_long_as_its_sample_is_kept():
    runtime = taught(N, pending_samples=5)
    ids = [runtime.step(x).sample_id for x in domain(0, 10, 14)[0]]
    for known in ids[-5:]:
        runtime.learn(known, 0)
    with pytest.raises(LabelError, match="forgotten: the last 5 samples are kept"):
        runtime.learn(ids[0], 0)
    with pytest.raises(LabelError, match="never seen"):
        runtime.learn(10_000, 0)


def test_a_label_of_a_sample_that_left_the_buffer_can_still_be_corrected():
    runtime = taught(N, pending_samples=5)
    ids, _ = learn_all(runtime, domain(0, 20, 14)[0], [0] * 20)
    runtime.learn(ids[0], 1)
    assert runtime.status()["exemplars"] == N + 20


@pytest.mark.parametrize("label", ["text", 1.5, None, (1,), b"x"])
def test_a_label_of_another_type_is_refused_and_the_sample_stays(label):
    runtime = taught(N)
    sample_id = runtime.step(domain(0, 1, 15)[0][0]).sample_id
    before = repr(runtime.status())
    with pytest.raises(LabelError):
        runtime.learn(sample_id, label)
    with pytest.raises(LabelError):
        runtime.learn_many(domain(0, 2, 0)[0], [0, label])
    assert repr(runtime.status()) == before
    runtime.learn(sample_id, 0)


def test_a_label_that_is_refused_makes_no_class():
    runtime = taught(N, pending_samples=5)
    with pytest.raises(LabelError):
        runtime.learn(10_000, 77)
    assert 77 not in runtime.classes


def test_batches_of_different_lengths_or_none_are_refused():
    runtime = EdgeRuntime(**SMALL)
    with pytest.raises(LabelError, match="expected as many"):
        runtime.learn_many(np.zeros((3, 4)), [0, 1])
    with pytest.raises(LabelError, match="expected as many"):
        runtime.learn_many([], [])
    with pytest.raises(LabelError, match="groups for"):
        runtime.learn_many(np.zeros((2, 4)), [0, 1], groups=[1])
    assert runtime.classes == []


def test_scenes_of_a_batch_are_never_parted_when_accuracy_is_stated():
    rng = np.random.default_rng(0)  # nearly equal frames, of labels that mean nothing
    X = np.repeat(rng.normal(size=(24, 16)), 10, axis=0) + 0.01 * rng.normal(size=(240, 16))
    runtime = EdgeRuntime(**SMALL)
    labels = np.repeat(rng.integers(0, 2, 24), 10).tolist()
    runtime.learn_many(X, labels, groups=np.repeat(np.arange(24), 10).tolist())
    (slot,) = runtime.slots
    assert slot.accuracy < 0.75


def test_labels_of_a_new_domain_in_a_batch_are_learned():
    runtime = taught(300)
    X, y = domain(1, 120, 3)
    runtime.learn_many(X, y.tolist())
    assert accuracy(runtime, 1) > 0.9
    assert accuracy(runtime, 0) > 0.9


def test_suspected_labels_are_told_once_listed_and_heard_when_given_again():
    runtime = taught(200)
    X, y = domain(0, 100, 7)
    other = (y + np.random.default_rng(0).integers(1, 4, 100)) % 4
    labels = np.where(np.arange(100) % 4 == 1, other, y)
    ids, events = learn_all(runtime, X, labels.tolist())
    runtime.forget(ids[0])  # a fit of all labels
    told = [e.evidence["sample"] for e in events if e.kind == "label_noise"]
    assert len(told) == len(set(told))
    suspected = dict(runtime.suspected_labels())
    wrong = {ids[i]: int(labels[i]) for i in range(100) if labels[i] != y[i]}
    assert len(suspected.keys() & wrong.keys()) >= len(wrong) / 2
    assert len(suspected.keys() - wrong.keys()) <= 2
    assert all(suspected[i] == wrong[i] for i in suspected.keys() & wrong.keys())
    assert runtime.status()["suspected_labels"] == len(suspected)
    insisted = next(iter(suspected.keys() & wrong.keys()))
    runtime.learn(insisted, wrong[insisted])
    assert insisted not in dict(runtime.suspected_labels())


def test_right_labels_are_hardly_ever_suspected():
    runtime = taught(200)
    X, y = domain(0, 150, 8)
    _, events = learn_all(runtime, X, y.tolist())
    assert kinds(events).count("label_noise") <= 2
    assert accuracy(runtime, 0) > 0.95


def test_a_few_wrong_labels_do_not_spoil_the_answers():
    runtime = taught(200)
    X, y = domain(0, 200, 9)
    wrong = np.random.default_rng(0).random(200) < 0.1
    learn_all(runtime, X, np.where(wrong, (y + 1) % 4, y).tolist())
    assert accuracy(runtime, 0) > 0.95


def test_counters_count_samples_and_labels():
    runtime = taught(N)
    assert runtime.status()["counters"]["labels"] == N
    learn_all(runtime, domain(0, 5, 1)[0], [0] * 5)
    assert runtime.status()["counters"] == {
        "samples": 5, "labels": N + 5, "ood": runtime.status()["counters"]["ood"],
        "rejected": 0, "requested": runtime.status()["counters"]["requested"],
    }  # fmt: skip

"""Classes and domains in any order, some classes in some domains only; and a class that must go."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime
from edge_runtime.errors import LabelError
from tests.domains import domain
from tests.test_runtime import accuracy, live, taught


def learn_stream(runtime: EdgeRuntime, number: int, n: int, seed: int, classes: tuple) -> None:
    for x, truth in zip(*domain(number, n, seed, classes), strict=True):
        runtime.learn(runtime.step(x).sample_id, int(truth))


def accuracy_on(runtime: EdgeRuntime, number: int, classes: tuple) -> float:
    X, y = domain(number, 200, 99, classes)
    return float(np.mean([p.label == k for p, k in zip(runtime.peek_many(X), y, strict=True)]))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_new_classes_and_new_domains_in_one_stream_in_any_order(order: tuple) -> None:
    stages = [(0, (0, 1)), (1, (0, 1)), (0, (2,)), (1, (3,))]  # 2 in domain 0 only, 3 in 1 only
    runtime = EdgeRuntime(n_dims=2048)
    first = stages[order[0]]
    X, y = domain(first[0], 150, 1, first[1])
    runtime.learn_many(X, y.tolist())
    for i, at in enumerate(order[1:], start=2):
        number, classes = stages[at]
        learn_stream(runtime, number, 150, i, classes)
    learn_stream(runtime, 0, 60, 9, (0, 1, 2))  # and the first domain returns
    assert accuracy_on(runtime, 0, (0, 1, 2)) > 0.9
    assert accuracy_on(runtime, 1, (0, 1, 3)) > 0.9
    assert sorted(runtime.classes) == [0, 1, 2, 3]


def two_domains() -> EdgeRuntime:
    runtime = taught()
    live(runtime, 1, 250, 3)
    assert len(runtime.slots) == 2
    return runtime


@pytest.mark.parametrize("is_mature", [False, True])
def test_a_forgotten_class_leaves_every_slot_and_buffer(is_mature: bool) -> None:
    runtime = two_domains()
    for slot in runtime.slots if is_mature else ():
        slot.adaptor = slot.fit_adaptor(slot.young.X, slot.young.y)
        slot.young = slot.parent = None
    before = runtime.bank.guard.canaries.y
    k = runtime.classes.index(2)
    waiting = [runtime.step(x).sample_id for x in domain(0, 20, 4)[0]]
    (event,) = runtime.forget_class(2)
    assert event.kind == "forgotten"
    assert event.evidence["label"] == 2
    assert event.evidence["labels"] > 0
    assert 2 not in runtime.classes
    n = len(runtime.classes)
    for slot in runtime.slots:
        assert len(slot.domain.counts) <= n
        assert slot.young is None or slot.young.y.max() < n
        assert slot.adaptor is None or max(slot.adaptor.classes_) < n
    assert len(runtime.bank.guard.canaries) == np.sum(before != k)
    assert runtime.bank.guard.copies_n_bytes(runtime.bank) == 0
    for number in (0, 1):
        assert accuracy_on(runtime, number, (0, 1, 3)) > 0.9
        answers = [p.label for p in runtime.peek_many(domain(number, 50, 98, (2,))[0])]
        assert 2 not in answers
    assert runtime.peek(domain(0, 1, 5)[0][0]).probabilities.shape == (n,)
    runtime.learn(waiting[0], 0)  # what waited still gets its label


def test_a_forgotten_class_is_strange_again_and_may_come_back() -> None:
    runtime = taught()
    runtime.forget_class(2)
    strangers = runtime.peek_many(domain(0, 50, 5, (2,))[0])
    assert np.mean([p.is_ood for p in strangers]) > 0.9
    learn_stream(runtime, 0, 60, 6, (2,))
    assert accuracy(runtime, 0) > 0.9
    assert runtime.classes[-1] == 2


def test_a_class_in_one_domain_only_takes_its_slot_along() -> None:
    runtime = taught()
    X, _ = domain(1, 100, 7)
    lonely = runtime.bank.new_slot().start(X, np.full(100, 4))
    runtime.bank.add(lonely)
    runtime.classes.append("lonely" if isinstance(runtime.classes[0], str) else 99)
    (event,) = runtime.forget_class(99)
    assert event.evidence["slots_gone"] == 1
    assert [slot.number for slot in runtime.slots] == [0]
    assert accuracy(runtime, 0) > 0.9


def test_labels_collected_for_a_trial_are_forgotten_too() -> None:
    runtime = taught()
    for x, truth in zip(*domain(1, 25, 8), strict=True):
        prediction = runtime.step(x)
        if prediction.wants_label:
            runtime.learn(prediction.sample_id, int(truth))
    runtime.forget_class(2)
    _, events = live(runtime, 1, 250, 9)  # the class comes back with the labels of the domain
    assert "grown" in {event.kind for event in events}
    assert accuracy_on(runtime, 1, (0, 1, 3)) > 0.9


def test_forgetting_can_be_undone_unless_it_was_purged(tmp_path) -> None:
    runtime = taught()
    runtime.save(tmp_path)
    runtime.forget_class(2)
    assert 2 not in EdgeRuntime.load(tmp_path).classes  # a power cut does not bring it back
    assert runtime.undo() == 3
    assert 2 in runtime.classes
    runtime.forget_class(2, purge=True)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".edge"] == [
        "state-00000004.edge"
    ]
    assert 2 not in EdgeRuntime.load(tmp_path).classes


@pytest.mark.parametrize("label", [17, "2", None, True, 2.0])
def test_a_class_that_is_not_there_cannot_be_forgotten(label: object) -> None:
    runtime = taught()
    before = repr(runtime.status())
    with pytest.raises(LabelError, match="no class"):
        runtime.forget_class(label)  # type: ignore[arg-type]
    assert repr(runtime.status()) == before


def test_the_last_class_is_kept() -> None:
    runtime = taught()
    for label in list(runtime.classes)[:-1]:
        runtime.forget_class(label)
    with pytest.raises(LabelError, match="last class"):
        runtime.forget_class(runtime.classes[0])
    assert runtime.step(domain(0, 1, 5)[0][0]).label == runtime.classes[0]

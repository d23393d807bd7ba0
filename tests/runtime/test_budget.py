"""Bytes: the budget is a promise, kept while labels, classes and domains come."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime
from edge_runtime.errors import BudgetError, LabelError
from edge_runtime.inputs.encoders import IdentityEncoder
from tests.domains import domain
from tests.runtime.teaching import SMALL, accuracy, kinds, learn_all, live, taught

# Room for a hundred exemplars or two beside all else.
BUDGET = 160_000


def test_a_budget_too_small_for_anything_is_refused_with_the_bytes_needed():
    with pytest.raises(BudgetError, match="24 features need"):
        EdgeRuntime(IdentityEncoder(24), budget_bytes=1000)
    with pytest.raises(BudgetError, match="raise it"):
        EdgeRuntime(budget_bytes=1000).step(np.zeros(24))


def test_a_class_that_cannot_fit_is_refused_and_nothing_changes():
    runtime = EdgeRuntime(budget_bytes=118_000, pending_samples=8, **SMALL)
    X, _ = domain(0, 256, 0)
    runtime.learn_many(X[:2], [0, 1])
    before = repr(runtime.status())
    with pytest.raises(BudgetError, match="classes of 24 features need"):
        runtime.learn_many(X, list(range(256)))
    assert repr(runtime.status()) == before


@pytest.mark.parametrize("n_features", [3, 40])
@pytest.mark.parametrize("budget", [200_000, pytest.param(500_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("adaptor", [None, 64])
def test_many_classes_are_refused_before_they_exceed_the_budget(n_features, budget, adaptor):
    runtime = EdgeRuntime(budget_bytes=budget, pending_samples=16, n_dims=1024, adaptor=adaptor)
    rng = np.random.default_rng(0)
    for k in range(256):
        try:
            runtime.learn_many(k + rng.normal(size=(4, n_features)), [k] * 4)
        except BudgetError:
            break
        assert runtime.n_bytes <= budget
    assert 4 <= len(runtime.classes) < 256
    assert runtime.n_bytes <= budget


def full(n=1500, budget=BUDGET):
    """A runtime that has learned more than it can keep, and the events of it."""
    runtime = EdgeRuntime(budget_bytes=budget, pending_samples=16, **SMALL)
    X, y = domain(0, n, 0)
    return runtime, runtime.learn_many(X, y.tolist())


@pytest.mark.parametrize("budget", [BUDGET, pytest.param(8 * BUDGET, marks=pytest.mark.slow)])
def test_the_budget_is_kept_by_a_large_batch(budget):
    runtime, _ = full(3000, budget)
    assert runtime.n_bytes <= budget
    assert sum(runtime.bytes_by_part.values()) == runtime.n_bytes
    assert accuracy(runtime, 0) > 0.95


def test_the_budget_is_kept_label_by_label_and_domain_by_domain():
    runtime, _ = full(300)
    for number in (0, 1):
        for x, k in zip(*domain(number, 80, 7), strict=True):
            runtime.learn(runtime.step(x).sample_id, int(k))
            assert runtime.n_bytes <= BUDGET
    assert accuracy(runtime, 0) > 0.9
    assert accuracy(runtime, 1) > 0.9


def test_a_full_memory_says_so_and_keeps_every_count():
    runtime, events = full()
    evicted = [event for event in events if event.kind == "evicted"]
    assert evicted
    assert evicted[0].message.startswith("Memory is full: ")
    status = runtime.status()
    assert status["evicted_labels"] > 0
    assert status["exemplars"] + status["evicted_labels"] == 1500
    assert runtime.slots[0].n_labels == 1500
    assert accuracy(runtime, 0) > 0.95


def test_a_class_whose_labels_were_evicted_can_be_forgotten():
    runtime, _ = full()
    runtime.forget_class(2)
    assert runtime.slots[0].n_classes == 3
    assert accuracy(runtime, 0, classes=(0, 1, 3)) > 0.95


def test_an_evicted_label_is_neither_corrected_nor_learned_twice():
    runtime, _ = full(300)
    X, y = domain(0, 16, 9)
    ids = [runtime.step(x).sample_id for x in X]
    for sample, k in zip(ids, y.tolist(), strict=True):
        runtime.learn(sample, k)
    runtime.learn_many(*(each.tolist() for each in domain(0, 1200, 10)))
    n = runtime.slots[0].n_labels
    evicted = 0
    for sample, k in zip(ids, y.tolist(), strict=True):
        try:
            runtime.learn(sample, (k + 1) % 4)
        except LabelError as error:
            evicted += "was evicted into sums" in str(error)
    assert evicted > 0
    assert sum(slot.n_labels for slot in runtime.slots) == n


def test_memory_stays_flat_over_many_samples():
    runtime = taught(pending_samples=64)
    X, _ = domain(0, 100, 32)
    runtime.step_many(X)
    before = runtime.n_bytes
    for _ in range(5):
        runtime.step_many(X)
    assert runtime.n_bytes == before


def test_a_slot_grows_under_a_tight_budget():
    budget = int(taught(300).n_bytes * 1.5)
    runtime = taught(300, budget_bytes=budget, pending_samples=32)
    _, events = live(runtime, 1, 250, 3)
    assert {"grown", "adapted"} & set(kinds(events))
    assert runtime.n_bytes <= budget
    assert accuracy(runtime, 1) > 0.9
    learn_all(runtime, domain(0, 20, 5)[0], domain(0, 20, 5)[1].tolist())
    assert runtime.n_bytes <= budget

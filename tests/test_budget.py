"""The memory contract: never above the budget, in the order that the user set, and it says so."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime import EdgeRuntime, PolicySettings
from edge_runtime.budget import Usage, make_room
from edge_runtime.errors import BudgetError, LabelError
from edge_runtime.records import Event
from tests.domains import domain
from tests.test_runtime import accuracy, kinds, live, taught

SMALL = {"n_dims": 256, "rank": 4, "hidden": (8,), "pending_samples": 16}


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


def grown_until_full(n_domains: int, **options: object) -> tuple[EdgeRuntime, list[Event]]:
    """Domains one after the other in a budget for two slots and a half."""
    roomy = taught()
    shared = roomy._reserved_bytes + roomy.bank.shared_bytes(8)
    budget = shared + int(2.5 * roomy.slots[0].n_bytes)
    runtime = taught(budget_bytes=budget, **options)
    events = []
    for number in range(1, n_domains):
        events += live(runtime, number, 150, 20 + number)[1]
        assert runtime.n_bytes <= budget
    return runtime, events


def test_slots_are_quantised_before_any_is_dropped() -> None:
    runtime, events = grown_until_full(6)
    told = [event.kind for event in events if event.kind in ("quantised", "dropped")]
    assert told[0] == "quantised"
    assert "dropped" in told
    assert all(event.evidence["freed_bytes"] >= 0 for event in of_kind(events, "quantised"))
    assert accuracy(runtime, 5) > 0.9  # where the stream is


def test_nothing_is_forgotten_unless_the_user_says_so() -> None:
    runtime, events = grown_until_full(6, when_full=("merge", "quantise"))
    assert "dropped" not in kinds(events)
    assert "quantised" in kinds(events)
    assert any("no room" in event.message for event in of_kind(events, "rejected"))
    assert accuracy(runtime, 0) > 0.9


def test_the_least_used_slot_goes_and_not_the_one_the_stream_is_in() -> None:
    runtime = taught(max_slots=2, when_full=("drop",))
    live(runtime, 1, 200, 3)
    live(runtime, 0, 600, 4)
    _, events = live(runtime, 2, 250, 5)
    (dropped,) = of_kind(events, "dropped")
    assert dropped.slot == 1
    assert accuracy(runtime, 0) > 0.9
    assert accuracy(runtime, 2) > 0.9


def test_a_late_label_for_a_dropped_slot_is_learned_elsewhere() -> None:
    runtime = taught(max_slots=2, when_full=("drop",))
    live(runtime, 1, 200, 3)
    late = runtime.step(domain(1, 1, 9)[0][0])
    runtime.bank.remove(runtime.bank.get(1))
    assert runtime.learn(late.sample_id, 0) == []


def test_a_quantised_slot_costs_less_answers_alike_and_goes_on_learning(tmp_path) -> None:
    runtime = taught()
    (slot,) = runtime.slots
    slot.adaptor = slot.fit_adaptor(slot.young.X, slot.young.y)
    n_bytes, right = slot.n_bytes - slot.young.n_bytes, accuracy(runtime, 0)
    before = runtime.peek_many(domain(0, 100, 3)[0])
    slot.quantise()
    assert slot.n_bytes < 0.7 * n_bytes
    after = runtime.peek_many(domain(0, 100, 3)[0])
    assert np.mean([p.label == q.label for p, q in zip(before, after, strict=True)]) >= 0.99
    for x, truth in zip(*domain(0, 100, 4), strict=True):
        runtime.learn(runtime.step(x).sample_id, int(truth))
    assert slot.is_quantised
    assert accuracy(runtime, 0) >= right - 0.01
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    assert again.slots[0].is_quantised
    assert again.slots[0].n_bytes == slot.n_bytes
    assert accuracy(again, 0) == accuracy(runtime, 0)


STREAMS = st.lists(
    st.tuples(
        st.integers(0, 5),  # domain
        st.integers(1, 40),  # samples
        st.sampled_from([(0, 1), (2, 3), (0, 1, 2, 3)]),  # its classes
        st.sampled_from(["asked", "all", "none", "new"]),  # labels
    ),
    max_size=6,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(STREAMS, st.floats(1.0, 3.0), st.sampled_from([(), ("merge",), ("drop", "quantise")]))
def test_whatever_the_stream_the_budget_is_kept(stream, factor, when_full) -> None:
    empty = EdgeRuntime(**SMALL)
    empty.step(domain(0, 1, 0)[0][0])
    reserved = empty._reserved_bytes
    budget = reserved + int(factor * empty.bank.bytes_of_one(4))
    policy = PolicySettings(first_trial_labels=4, trial_every_labels=4)
    runtime = EdgeRuntime(budget_bytes=budget, when_full=when_full, policy=policy, **SMALL)
    n_new = 0
    for i, (number, n, classes, labels) in enumerate(stream):
        for x, truth in zip(*domain(number, n, i, classes), strict=True):
            prediction = runtime.step(x)
            if labels in ("all", "new") or (labels == "asked" and prediction.wants_label):
                n_new += labels == "new"
                label = 10 + n_new if labels == "new" else int(truth)
                with contextlib.suppress(BudgetError, LabelError):
                    runtime.learn(prediction.sample_id, label)
            assert runtime.n_bytes <= budget
            assert sum(runtime.bytes_by_part.values()) == runtime.status()["bytes"]


def test_others_give_way_to_the_labels_of_the_slot_where_the_stream_is() -> None:
    runtime = EdgeRuntime(**SMALL)
    for number in (0, 1):
        X, y = domain(number, 60, number)
        runtime.learn_many(X, y.tolist())
    bank = runtime.bank
    first, second = bank.slots
    first.mature()
    bank.guard.drop_copies()
    bank.budget_bytes = bank.n_bytes - 1
    assert [(relief.kind, relief.slot) for relief in make_room(bank)] == [("quantised", 0)]
    assert second.young is not None
    bank.budget_bytes = bank.n_bytes - 1
    make_room(bank)
    assert second.young is None
    assert not second.is_quantised


def test_a_class_that_cannot_fit_is_refused_and_nothing_changes() -> None:
    runtime = EdgeRuntime(**SMALL)
    X, y = domain(0, 60, 1)
    runtime.learn_many(X, y.tolist())
    runtime.bank.budget_bytes = runtime.bank.bytes_of_one(4)
    sample_id = runtime.step(X[0]).sample_id
    with pytest.raises(BudgetError, match="5 classes of 24 features need"):
        runtime.learn(sample_id, 99)
    assert runtime.classes == sorted(runtime.classes, key=runtime.classes.index)
    assert 99 not in runtime.classes
    runtime.learn(sample_id, int(y[0]))  # it still waits for its label


@pytest.mark.parametrize("bad", [("forget",), ("merge", "merge"), "drop"])
def test_measures_that_are_none_are_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="when_full"):
        EdgeRuntime(when_full=bad)  # type: ignore[arg-type]


def test_usage_of_long_ago_counts_less_and_never_overflows() -> None:
    usage = Usage()
    usage.take(0, 1000)
    for _ in range(50):
        usage.take(1, 100_000)
    assert 0 <= usage.of(0) < 1
    assert np.isfinite(usage.of(1))
    again = Usage()
    again.restore(usage.to_state())
    assert again.of(1) == pytest.approx(usage.of(1))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_is_flat_over_a_million_samples() -> None:
    runtime = EdgeRuntime(**SMALL)
    X, y = domain(0, 1000, 1)
    runtime.learn_many(X[:200], y[:200].tolist())
    other, _ = domain(1, 1000, 2)
    mixed = np.concatenate([X, X, X, other])  # drift alarms, questions that nobody answers
    rng = np.random.default_rng(0)
    sizes, n_seen = [], 0
    while n_seen < 1_000_000:
        batch = mixed[rng.integers(0, len(mixed), 20_000)]
        n_seen += len(runtime.step_many(batch))
        sizes.append(runtime.n_bytes)
    assert len(set(sizes)) == 1
    assert runtime.status()["counters"]["samples"] == n_seen

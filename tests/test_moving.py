"""A domain that moves slowly is followed by few labels in place, and is not forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime, PolicySettings
from edge_runtime.asking import LabelRequests
from edge_runtime.policy import Policy
from edge_runtime.verdict import Case, judge
from tests.domains import N_CLASSES, N_FEATURES, domain
from tests.test_policy import answer, kinds, stable_policy
from tests.test_runtime import taught

LABELS_PER_CLASS = 10


def turned(X: np.ndarray, progress: np.ndarray | float) -> np.ndarray:
    """Domain 0, its first half of features turned towards the second by up to a right angle."""
    half, angle = N_FEATURES // 2, np.pi / 2 * np.broadcast_to(progress, len(X))[:, None]
    first, second = X[:, :half], X[:, half:]
    parts = (
        np.cos(angle) * first - np.sin(angle) * second,
        np.sin(angle) * first + np.cos(angle) * second,
    )
    return np.concatenate(parts, axis=1).astype(np.float32)


def accuracy(runtime: EdgeRuntime, progress: float) -> float:
    X, y = domain(0, 400, seed=99)
    answers = runtime.peek_many(turned(X, progress))
    return float(np.mean([each.label == k for each, k in zip(answers, y, strict=True)]))


def followed(seed: int) -> tuple[EdgeRuntime, int, list[str]]:
    """A runtime that went through the turn with few labels: itself, labels given, event kinds."""
    runtime, seen = taught(), []
    X, y = domain(0, 1500, seed)
    given = np.zeros((2, N_CLASSES), int)
    for i, x in enumerate(turned(X, np.minimum(np.arange(1500) / 1000, 1))):
        k = int(y[i])
        prediction = runtime.step(x)
        seen += kinds(prediction.events)
        if prediction.wants_label and given[i // 1000, k] < LABELS_PER_CLASS:
            given[i // 1000, k] += 1
            seen += kinds(runtime.learn(prediction.sample_id, k))
    return runtime, int(given.sum()), seen


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_domain_that_turns_is_followed_in_place_and_not_forgotten(seed: int) -> None:
    assert accuracy(taught(), 1.0) < 0.4
    runtime, n_labels, seen = followed(seed)
    assert accuracy(runtime, 1.0) > 0.95
    assert accuracy(runtime, 0.0) > 0.95
    assert len(runtime.slots) == 1
    assert n_labels <= 2 * LABELS_PER_CLASS * N_CLASSES
    assert "grown" not in seen


def test_what_was_loosened_whitens_by_few_labels_at_once() -> None:
    slot = taught().slots[0].copy_domain()
    assert slot.adaptor is not None
    slot.loosen()
    assert slot.adaptor is None
    X, y = domain(0, 20, seed=5)
    before = slot.domain.whiten(X)
    for x, k in zip(turned(X, 0.5), y, strict=True):
        slot.domain.update(x, int(k))
    np.testing.assert_array_equal(slot.domain.whiten(X), before)  # they wait for more
    slot.settle()
    assert not np.allclose(slot.domain.whiten(X), before)


def test_a_moved_domain_is_adapted_unless_labels_deny_it() -> None:
    settings = PolicySettings()
    moved = Case(25, 1.0, 0.92, 0.92, stated=0.97, has_moved=True)
    assert judge(moved, settings, is_last=True) == "adapt"
    assert judge(moved, settings, is_last=False) == "wait"
    assert judge(moved._replace(has_moved=False), settings, is_last=True) == "reject"
    assert judge(moved._replace(adapted=0.8, grown=0.8), settings, is_last=True) == "reject"


def moving_policy() -> Policy:
    """A policy that has just had slot 0 follow its domain, and is content again."""
    policy = stable_policy()
    for sample_id in range(100):
        policy.observe(sample_id, answer(0.002), 0)
        if policy.state == "asking":
            break
    policy.on_verdict("adapt", 0, is_moving=True)
    assert policy.state == "adapting"
    assert policy.is_moving(0)
    assert not policy.is_moving(1)
    return policy


def test_labels_of_a_domain_that_is_known_to_move_are_learned_without_a_trial() -> None:
    policy, rng = moving_policy(), np.random.default_rng(0)
    for sample_id in range(200, 3000):
        if sample_id == 1500:
            assert policy.state == "stable"
        shift = 0.0005 * max(sample_id - 1500, 0)  # off together, and more and more
        p_value = float(rng.uniform())
        if "drift" in kinds(policy.observe(sample_id, answer(p_value), 0, shift=shift)[0]):
            break
    else:
        raise AssertionError("a domain that moved on raised no alarm")
    assert policy.state == "adapting"
    assert policy.on_label(sample_id, 0) == "learn"
    again = Policy(policy.settings)
    again.restore(policy.to_state())
    assert again.is_moving(0)


def test_a_new_domain_is_put_on_trial_even_after_one_that_moved() -> None:
    policy = moving_policy()
    for sample_id in range(200, 300):  # none was off, and all at once all are strange
        policy.observe(sample_id, answer(0.5), 0, shift=0.0)
    seen = []
    for sample_id in range(300, 400):
        seen += kinds(policy.observe(sample_id, answer(0.002), 0, shift=0.3)[0])
        if "drift" in seen:
            break
    assert policy.state == "asking"


def test_requests_that_nobody_answers_end_the_wait_for_a_domain_that_moves() -> None:
    policy = stable_policy()
    for sample_id in range(100):
        policy.observe(sample_id, answer(0.002), 0)
    policy.is_gradual = True
    for sample_id in range(100, 120):
        policy.requests.ask(sample_id, sample_id % 3, 0.0)
        policy.on_label(sample_id, sample_id % 3)
    for sample_id in range(200, 203):
        assert not policy.requests.are_in_vain
        policy.requests.ask(sample_id, 0, 0.0)
        policy.forget(sample_id)
    assert policy.requests.are_in_vain
    assert policy.is_decision_due()
    policy.on_label(300, 0)
    assert not policy.requests.are_in_vain


def test_where_all_seem_to_be_of_one_class_it_asks_in_the_end() -> None:
    requests = LabelRequests(PolicySettings())
    for sample_id in range(4):
        requests.answered(sample_id, 1)
    requests.answered(4, 0)
    patience = 2 * PolicySettings().calm_window
    answers = [requests.would_help(1, is_stranger_to_young=False) for _ in range(patience)]
    assert answers == [False] * (patience - 1) + [True]


@pytest.mark.parametrize(("shift", "pace"), [(0.0, "sudden"), (0.02, "gradual")])
def test_strangers_that_are_off_in_no_common_way_are_no_move(shift: float, pace: str) -> None:
    policy, rng = stable_policy(), np.random.default_rng(0)
    for sample_id in range(3000):
        p_value = float(rng.uniform(0, 1 if sample_id < 200 else 0.8))
        events = policy.observe(sample_id, answer(p_value), 0, shift=shift)[0]
        drifts = [event for event in events if event.kind == "drift"]
        if drifts:
            assert drifts[0].evidence["suspected_samples"] >= policy.settings.gradual_samples
            assert drifts[0].evidence["pace"] == pace
            return
    raise AssertionError("no alarm")

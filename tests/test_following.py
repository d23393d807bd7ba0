"""A slow drift is followed without labels: bounded, taken back, and only by what is known."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime, PolicySettings
from tests.domains import domain
from tests.test_runtime import accuracy, taught

FOLLOWING = PolicySettings(follow_rate=0.02, follow_limit=3.0)


def drifted(n: int, seed: int, far: float) -> tuple[np.ndarray, np.ndarray]:
    """A stream of domain 0 whose features move by `far` along one direction, little by little."""
    X, y = domain(0, n, seed)
    direction = np.random.default_rng(7).normal(size=X.shape[1])
    return (X + far * np.linspace(0, 1, n)[:, None] * direction).astype(np.float32), y


def run(runtime: EdgeRuntime, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Accuracy and share of strangers in the last quarter; no label is given."""
    answers = runtime.step_many(X)[-len(X) // 4 :]
    right = [a.label == k for a, k in zip(answers, y[-len(answers) :], strict=True)]
    return float(np.mean(right)), float(np.mean([a.is_ood for a in answers]))


def test_a_slow_drift_is_followed_without_a_label() -> None:
    X, y = drifted(3000, 1, far=4.0)
    runtime = taught(policy=FOLLOWING)
    right, strange = run(runtime, X, y)
    assert right > 0.97
    assert strange < 0.1
    assert runtime.status()["counters"]["asked"] == 0
    assert run(taught(), X, y)[1] > 0.9  # left alone, all become strangers


def test_it_is_off_unless_it_is_asked_for() -> None:
    runtime = taught()
    run(runtime, *drifted(300, 2, far=1.0))
    assert runtime.slots[0].follower.length == 0


def test_without_drift_it_changes_next_to_nothing() -> None:
    runtime = taught(policy=FOLLOWING)
    before = accuracy(runtime, 0)
    run(runtime, *drifted(2000, 3, far=0.0))
    assert abs(accuracy(runtime, 0) - before) <= 0.01
    assert runtime.slots[0].follower.length < 0.3


def test_it_goes_no_farther_than_its_limit_and_can_be_taken_back() -> None:
    runtime = taught(policy=PolicySettings(follow_rate=0.02, follow_limit=0.1))
    before = accuracy(runtime, 0)
    run(runtime, *drifted(2000, 4, far=3.0))
    follower = runtime.slots[0].follower
    assert 0 < follower.length <= 0.1 + 1e-6
    follower.revert()
    assert accuracy(runtime, 0) == before


def test_strangers_are_not_followed() -> None:
    runtime = taught(policy=FOLLOWING)
    runtime.step_many(domain(1, 100, 5)[0])
    assert runtime.slots[0].follower.length < 0.1


def test_a_shift_survives_a_restart_and_another_width_is_refused(tmp_path) -> None:
    runtime = taught(policy=FOLLOWING)
    run(runtime, *drifted(500, 6, far=1.0))
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    np.testing.assert_array_equal(again.slots[0].follower.shift, runtime.slots[0].follower.shift)
    slot = runtime.slots[0]
    with pytest.raises(ValueError, match="shift"):
        type(slot).from_state(
            {**slot.to_state(), "shift": np.zeros(3)}, slot.settings, slot.projection, slot.lift, {}
        )

"""Raw measures and their random Fourier features: a map that is fixed by the first labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import EdgeRuntime
from edge_runtime.lifting import ROWS, Lift


def measures(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 3)) * [1.0, 1000.0, 0.01]).astype(np.float32)


def test_without_fourier_features_samples_stay_as_they_are() -> None:
    lift, X = Lift((3,), 0, 0), measures(5)
    assert lift(X) is X
    assert lift.widths == (3,)
    assert lift.fitted(X) is lift
    assert lift.n_bytes == 0
    assert lift.to_state() == {}


def test_measures_of_different_units_count_alike() -> None:
    X = measures(ROWS)
    lift = Lift((3,), 1024, 0).fitted(X)
    moved = X[:1] + np.array([3.0, 0.0, 0.0], np.float32)
    also_moved = X[:1] + np.array([0.0, 3000.0, 0.0], np.float32)
    F = lift(np.concatenate([X[:1], moved, also_moved]))[:, 3:]
    assert F[0] @ F[1] < 0.7
    assert F[0] @ F[2] < 0.7


def test_the_map_is_fixed_by_enough_samples_and_never_before() -> None:
    X = measures(ROWS)
    few = Lift((3,), 128, 0).fitted(X[:10])
    assert not few.is_fixed
    enough = few.fitted(X)
    assert enough.is_fixed
    assert enough.fitted(10 * X) is enough
    assert few.fixed().fitted(X).to_state()["mean"].tolist() == few.to_state()["mean"].tolist()


@given(st.integers(0, 2**32 - 1))
def test_state_survives(seed: int) -> None:
    X = measures(20, seed)
    lift = Lift((1, 2), 128, 7).fitted(X)
    again = Lift((1, 2), 128, 7).restored(lift.to_state())
    np.testing.assert_array_equal(again(X), lift(X))
    assert again.is_fixed == lift.is_fixed


@pytest.mark.parametrize(
    "damage",
    [
        {"mean": np.zeros(4, np.float32)},
        {"scale": np.zeros(3, np.float32)},
        {"scale": np.full(3, np.nan, np.float32)},
        {"mean": np.full(3, np.inf, np.float32)},
        {"fixed": np.zeros(2, np.uint8)},
        {"mean": None},
    ],
)
def test_damaged_state_is_refused(damage: dict[str, np.ndarray | None]) -> None:
    state = {**Lift((3,), 128, 0).fitted(measures(9)).to_state(), **damage}
    with pytest.raises(ValueError, match="a lift has"):
        Lift((3,), 128, 0).restored({k: v for k, v in state.items() if v is not None})


def rings(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes that no plane parts: short and long vectors of every direction, in four quadrants."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def test_what_no_plane_parts_is_told_apart(tmp_path: Path) -> None:
    X, y = rings(600, 0)
    X_test, y_test = rings(200, 1)
    scores = {}
    for n_fourier in (0, 512):
        runtime = EdgeRuntime(n_dims=2048, n_fourier=n_fourier, hidden=(8,))
        runtime.learn_many(X, y.tolist())
        found = [each.label for each in runtime.peek_many(X_test)]
        scores[n_fourier] = float(np.mean(np.array(found) == y_test))
        assert runtime.status()["bytes"] <= runtime.status()["budget_bytes"]
    assert scores[512] > 0.85
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    for before, after in zip(runtime.peek_many(X_test), again.peek_many(X_test), strict=True):
        np.testing.assert_array_equal(before.probabilities, after.probabilities)


def test_a_stream_that_begins_with_one_label_is_lifted_too() -> None:
    X, y = rings(400, 3)
    runtime = EdgeRuntime(n_dims=2048, n_fourier=512, hidden=(8,))
    for x, k in zip(X, y.tolist(), strict=True):
        runtime.learn(runtime.step(x).sample_id, k)
    X_test, y_test = rings(200, 4)
    found = np.array([each.label for each in runtime.peek_many(X_test)])
    assert np.mean(found == y_test) > 0.75
    assert len({id(slot.lift) for slot in runtime.slots}) == 1

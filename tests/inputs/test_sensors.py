"""Broken sensors are told from new domains, and what repeats by nature is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.inputs.sensors import BASELINE_SAMPLES, SensorWatch

N = 2 * BASELINE_SAMPLES


def watched(samples: np.ndarray) -> SensorWatch:
    watch = SensorWatch()
    for sample in samples:
        assert watch.look(sample) is None
    return watch


def kinds(watch: SensorWatch, samples: np.ndarray) -> list[str | None]:
    faults = [watch.look(sample) for sample in samples]
    return [None if fault is None else fault.kind for fault in faults]


def noise(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def test_a_sample_that_repeats_means_stuck_until_it_moves_again() -> None:
    watch = watched(noise(N, 6))
    found = kinds(watch, np.repeat(noise(1, 6, seed=1), 10, axis=0))
    assert found[:4] == [None] * 4
    assert set(found[4:]) == {"stuck"}
    assert kinds(watch, noise(3, 6, seed=2)) == [None] * 3


def test_images_repeat_too() -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(3, 32, 32, 3)).astype(np.uint8)
    watch = watched(images)
    assert kinds(watch, np.repeat(images[:1], 6, axis=0))[-1] == "stuck"


def test_a_channel_that_does_not_move_is_dead_and_named() -> None:
    watch = watched(noise(N, 6))
    broken = noise(10, 6, seed=1)
    broken[:, 2] = 0.25
    faults = [watch.look(sample) for sample in broken]
    assert faults[-1] is not None
    assert (faults[-1].kind, faults[-1].channels) == ("dead", (2,))
    assert next(i for i, fault in enumerate(faults) if fault) <= 5


def test_a_channel_at_the_end_of_its_range_is_saturated() -> None:
    watch = watched(noise(N, 4))
    cut = noise(40, 4, seed=1) * 3
    cut[:, 1] = np.clip(cut[:, 1] * 5, -6, 6)
    assert "saturated" in kinds(watch, cut)


def test_windows_are_judged_channel_by_channel() -> None:
    windows = noise(N, 20, 3)
    watch = watched(windows)
    broken = noise(2, 20, 3, seed=1)
    broken[0, :, 1] = 0.0
    broken[1, :, 2] = np.clip(broken[1, :, 2] * 50, -1, 1)
    first, second = (watch.look(window) for window in broken)
    assert first is not None
    assert second is not None
    assert (first.kind, first.channels) == ("dead", (1,))
    assert (second.kind, second.channels) == ("saturated", (2,))


@pytest.mark.parametrize("shift", [0.0, 5.0, -100.0])
def test_a_new_domain_is_no_broken_sensor(shift: float) -> None:
    watch = watched(noise(N, 6))
    assert set(kinds(watch, noise(200, 6, seed=1) * 3 + shift)) == {None}


def test_whole_numbers_and_cut_features_repeat_by_nature() -> None:
    rng = np.random.default_rng(0)
    watched(rng.integers(0, 4, size=(300, 16)).astype(np.float32))
    watched(np.maximum(rng.normal(size=(300, 16)) - 1, 0))
    wide = rng.normal(size=(300, 200))
    wide[100:, :50] = 0
    watched(wide)


def test_the_watch_survives_its_state() -> None:
    watch, again = watched(noise(N, 6)), SensorWatch()
    again.restore(watch.to_state())
    broken = noise(10, 6, seed=1)
    broken[:, 0] = 1.0
    assert kinds(watch, broken) == kinds(again, broken)
    with pytest.raises(ValueError, match="fit together"):
        again.restore({**watch.to_state(), "run": np.zeros(2)})


def test_samples_that_are_no_numbers_are_not_judged() -> None:
    assert SensorWatch().look(np.array(["a"])) is None
    assert SensorWatch().look(np.zeros(0)) is None


def test_a_channel_whose_extremes_return_while_it_is_healthy_is_not_saturated() -> None:
    rng = np.random.default_rng(0)
    watch = SensorWatch()
    pixels = np.clip(rng.normal(0.5, 0.5, size=(80, 4)), 0, 1)  # often black, often white
    white = np.clip(rng.normal(1.0, 0.3, size=(60, 4)), 0, 1)
    assert [watch.look(each) for each in (*pixels, *white)] == [None] * 140

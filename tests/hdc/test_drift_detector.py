"""The drift detector keeps its promise, and answers soon when something is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from hdc.drift import DriftDetector


def run_length(seed: int, promised: float, n_calibration: int) -> int:
    """Samples until a false alarm, with p-values from a calibration sample of that size."""
    rng = np.random.default_rng(seed)
    detector, scores = DriftDetector(promised), np.sort(rng.uniform(size=n_calibration))
    limit = int(20 * promised)
    for n, score in enumerate(rng.uniform(size=limit), start=1):
        p_value = (1 + np.searchsorted(scores, score)) / (1 + n_calibration)
        if detector.update(float(p_value), n_calibration):
            return n
    return limit


@pytest.mark.parametrize("n_calibration", [60, 500])
def test_false_alarms_are_at_least_as_rare_as_promised(n_calibration: int) -> None:
    lengths = [run_length(seed, 300, n_calibration) for seed in range(30)]
    assert np.mean(lengths) >= 300


def test_half_the_samples_strange_is_noticed_within_fifty() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        detector = DriftDetector(100_000)
        strange = rng.uniform(size=50) < 0.6
        p_values = np.where(strange, rng.uniform(0.002, 0.05, 50), rng.uniform(0.05, 1, 50))
        assert any(detector.update(float(p), 500) for p in p_values)


def test_one_stranger_alone_is_no_drift() -> None:
    detector = DriftDetector(100_000)
    assert not detector.update(1e-9)
    assert not any(detector.update(0.5) for _ in range(1000))


def test_after_a_reset_there_is_no_evidence() -> None:
    detector = DriftDetector(100)
    while not detector.update(0.01):
        pass
    detector.reset()
    assert detector.evidence == 0


@pytest.mark.parametrize("p_value", [0.0, -0.1, 1.5, float("nan")])
def test_what_is_no_p_value_is_refused(p_value: float) -> None:
    with pytest.raises(ValueError, match="p-value"):
        DriftDetector(100).update(p_value)


@pytest.mark.parametrize("length", [1.0, 0.0, -5.0, float("nan")])
def test_a_senseless_run_length_is_refused(length: float) -> None:
    with pytest.raises(ValueError, match="run_length"):
        DriftDetector(length)

"""The drift detector keeps its promise, and answers soon when something is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from hdc.drift import DriftDetector, ErrorDetector


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
    assert not any(detector.update(p) for _ in range(200) for p in (0.1, 0.9, 0.5, 0.3, 0.7))


def test_a_bulk_without_high_p_values_is_a_drift_although_none_is_low() -> None:
    detector = DriftDetector(100_000)
    p_values = np.random.default_rng(0).uniform(0.08, 0.5, size=100)
    assert any(detector.update(p, 1000) for p in p_values)


@pytest.mark.parametrize("seed", range(5))
def test_errors_at_the_stated_rate_raise_no_alarm_and_more_do(seed: int) -> None:
    rng, detector = np.random.default_rng(seed), ErrorDetector(100_000)
    assert not any(detector.update(wrong, 0.15, 500) for wrong in rng.random(5000) < 0.15)
    assert any(detector.update(wrong, 0.15, 500) for wrong in rng.random(60) < 0.55)


def test_an_error_rate_measured_on_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 labels"):
        ErrorDetector(100).update(True, 0.1, 0)
    with pytest.raises(ValueError, match="run_length"):
        ErrorDetector(1)


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

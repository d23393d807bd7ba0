"""P-values keep the rate they promise, with any number of calibration scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdc.conformal import (
    Calibration,
    MondrianCalibration,
    conformal_p_values,
    conformal_threshold,
)

SCORES = st.lists(st.integers(-5, 5), min_size=0, max_size=60)


def naive_p_value(calibration: list[float], score: float) -> float:
    return (1 + sum(c <= score for c in calibration)) / (1 + len(calibration))


@given(SCORES, st.integers(-6, 6))
def test_p_values_equal_their_definition_and_ties_are_conservative(scores, score):
    found = conformal_p_values(np.sort(np.array(scores, float)), [score])[0]
    assert found == pytest.approx(naive_p_value(scores, score))
    assert 1 / (1 + len(scores)) <= found <= 1


@given(SCORES, st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5]))
def test_below_the_threshold_is_the_same_as_a_small_p_value(scores, rate):
    calibration = np.sort(np.array(scores, float))
    threshold = conformal_threshold(calibration, rate)
    for score in range(-6, 7):
        small = conformal_p_values(calibration, [score])[0] <= rate + 1e-12
        assert (score < threshold) == small


@pytest.mark.parametrize("n", [20, 50, 200])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
def test_the_mean_false_alarm_rate_never_exceeds_the_stated_one(n, rate):
    rng = np.random.default_rng(n)
    alarms = []
    for _ in range(1000):
        calibration = np.sort(rng.standard_normal(n))
        alarms.append(np.mean(conformal_p_values(calibration, rng.standard_normal(100)) <= rate))
    assert np.mean(alarms) <= rate * 1.1


def test_random_ties_make_p_values_uniform():
    rng = np.random.default_rng(0)
    p = [
        conformal_p_values(np.sort(rng.integers(3, size=9)), [rng.integers(3)], [rng.random()])[0]
        for _ in range(4000)
    ]
    assert np.allclose(np.quantile(p, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_nineteen_scores_are_needed_for_five_percent():
    scores = np.arange(19.0)
    assert Calibration().add(scores).can_meet(0.05)
    assert not Calibration().add(scores[:-1]).can_meet(0.05)
    assert Calibration().add(scores).min_p_value == 0.05
    assert Calibration().add(scores[:-1]).threshold(0.05) == -np.inf


def test_without_scores_nothing_is_strange():
    empty = Calibration()
    assert empty.p_values([-1e9]).tolist() == [1.0]
    assert empty.min_p_value == 1
    assert not empty.can_meet(0.9)


def test_a_sliding_set_keeps_the_latest():
    calibration = Calibration(3).add([1, 2]).add([3, 4, 5])
    assert calibration.scores.tolist() == [3, 4, 5]
    assert calibration.n_seen == 5
    assert calibration.n_bytes == 48


def test_a_reservoir_is_a_uniform_sample_of_all():
    kept = np.zeros(20)
    for seed in range(2000):
        reservoir = Calibration(5, "reservoir")
        for chunk in np.split(np.arange(20.0), 4):
            reservoir.add(chunk, np.random.default_rng([seed, int(chunk[0])]))
        kept[reservoir.scores.astype(int)] += 1
    assert np.allclose(kept / 2000, 0.25, atol=0.05)


def test_a_full_reservoir_needs_a_generator():
    with pytest.raises(TypeError, match="generator"):
        Calibration(2, "reservoir").add([1, 2, 3])


def test_every_class_keeps_the_rate_on_its_own():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    spread = np.array([1.0, 10.0])
    mondrian = MondrianCalibration().add(rng.standard_normal(400) * spread[y], y)
    fresh = rng.standard_normal(20_000) * spread[np.arange(20_000) % 2]
    strange = mondrian.p_values(fresh, np.arange(20_000) % 2) <= 0.1
    assert strange[::2].mean() == pytest.approx(0.1, abs=0.05)
    assert strange[1::2].mean() == pytest.approx(0.1, abs=0.05)
    assert mondrian.thresholds(0.1)[1] < 3 * mondrian.thresholds(0.1)[0]
    assert mondrian.can_meet(0.01)
    assert not mondrian.can_meet(0.001)
    assert mondrian.min_p_value == 1 / 201
    assert mondrian.thresholds(0.1)[1] < mondrian.threshold(0.1) < mondrian.thresholds(0.1)[0]


def test_an_unknown_class_is_never_strange():
    assert MondrianCalibration().p_values([0.0], [7]).tolist() == [1.0]
    assert not MondrianCalibration().can_meet(0.5)


@pytest.mark.parametrize("policy", ["sliding", "reservoir"])
def test_state_goes_round_and_continues_identically(policy):
    rng = np.random.default_rng(0)
    original = Calibration(10, policy).add(rng.standard_normal(30), rng)
    copy = Calibration.from_state(*original.to_state())
    for one in (original, copy):
        one.add(np.arange(5.0), np.random.default_rng(1))
    assert original.scores.tolist() == copy.scores.tolist()
    assert original.n_seen == copy.n_seen


def test_state_of_classes_goes_round():
    original = MondrianCalibration(9).add([1.0, 2.0, 3.0], [0, -5, 0])
    copy = MondrianCalibration.from_state(*original.to_state())
    assert copy.thresholds(0.5) == original.thresholds(0.5)
    assert copy.n_bytes == original.n_bytes


@pytest.mark.parametrize(
    ("header", "arrays", "message"),
    [
        ({"version": 2}, {}, "version 2"),
        ({"policy": "x"}, {}, "policy"),
        ({"capacity": 1}, {}, "more than"),
        ({"n_seen": 1}, {}, "more than"),
        ({"capacity": 2.0}, {}, "integer"),
        ({}, {"scores": np.array([np.nan, 1.0])}, "NaN"),
        ({}, {"scores": np.array([1, 2])}, "dtype"),
    ],
)
def test_hostile_state_is_refused(header, arrays, message):
    own_header, own_arrays = Calibration(5).add([1.0, 2.0]).to_state()
    with pytest.raises(ValueError, match=message):
        Calibration.from_state(own_header | header, own_arrays | arrays)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Calibration(0), "capacity"),
        (lambda: Calibration(1, "fifo"), "policy"),
        (lambda: Calibration().add([np.nan]), "NaN"),
        (lambda: Calibration().p_values([np.inf]), "infinity"),
        (lambda: Calibration().threshold(0.0), "rate"),
        (lambda: Calibration().threshold(1.0), "rate"),
        (lambda: MondrianCalibration().add([1.0], [1, 2]), "1 scores but 2 classes"),
    ],
)
def test_bad_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

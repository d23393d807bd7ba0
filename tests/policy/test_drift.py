"""The drift detector: silent while nothing changes, in whatever order; soon there when it does."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.policy.drift import LONGEST_SCENE, SceneDriftDetector
from edge_runtime.records import Answer
from tests.domains import N_CLASSES, N_FEATURES, domain
from tests.model.test_fitting import answers, fitted, remembered

RUN_LENGTH = 100_000
CENTRES = domain(0, 4000, 77)


@pytest.fixture(scope="module")
def known():
    X, y = domain(0, 400, 0)
    memory = remembered(X, y)
    return fitted(memory).model


def detector(known, run_length=RUN_LENGTH):
    made = SceneDriftDetector(run_length)
    made.start_anew(known.reference.chances)
    return made


def alarms(known, made, X, groups=None):
    """Samples at which the alarm rings; evidence starts anew after each, as in the policy."""
    found = []
    for i, each in enumerate(answers(known, X, N_CLASSES)):
        if made.take(each, None if groups is None else int(groups[i])):
            found.append(i)
            made.start_anew()
    return found


def stream(n, seed, y=None, rho=0.0):
    """Samples of domain 0: of given classes, with noise like that of the sample before."""
    X, labels = CENTRES
    means = np.stack([X[labels == k].mean(axis=0) for k in range(N_CLASSES)])
    rng = np.random.default_rng(seed)
    y = rng.integers(0, N_CLASSES, n) if y is None else y
    noise = rng.normal(size=(n, N_FEATURES))
    for i in range(1, n):
        noise[i] = rho * noise[i - 1] + np.sqrt(1 - rho**2) * noise[i]
    return means[y] + noise


def in_runs(n, length):
    return np.arange(n) // length % N_CLASSES


@pytest.mark.parametrize("seed", [1, 2])
def test_a_shuffled_stream_raises_no_alarm(known, seed):
    assert alarms(known, detector(known), stream(3000, seed)) == []


@pytest.mark.parametrize("length", [10, 100, 1000])
def test_a_stream_with_classes_in_runs_raises_no_alarm(known, length):
    assert alarms(known, detector(known), stream(3000, 3, in_runs(3000, length))) == []


def test_a_stream_of_one_class_alone_raises_no_alarm(known):
    assert alarms(known, detector(known), stream(2000, 4, np.zeros(2000, int))) == []


@pytest.mark.parametrize("seed", [5, 6])
def test_a_stream_whose_samples_resemble_their_neighbours_raises_none_once_scenes_are_measured(
    known, seed
):
    made = detector(known)
    found = alarms(known, made, stream(3000, seed, rho=0.9))
    assert [at for at in found if at > 300] == []
    assert made.scene_length > 2


@pytest.mark.parametrize("seed", [7, 8])
def test_a_domain_that_changes_is_noticed_within_a_hundred_samples(known, seed):
    made = detector(known)
    assert alarms(known, made, stream(300, seed)) == []
    found = alarms(known, made, domain(1, 100, seed)[0])
    assert found
    assert found[0] < 60


def test_a_shift_that_makes_no_sample_strange_is_noticed_too(known):
    direction = np.random.default_rng(0).normal(size=N_FEATURES)
    shift = 2 * direction / np.linalg.norm(direction)
    made = detector(known)
    assert alarms(known, made, stream(300, 9)) == []
    X = stream(200, 10) + shift
    assert np.mean([each.p_value <= 0.05 for each in answers(known, X, N_CLASSES)]) < 0.4
    assert alarms(known, made, X)[0] < 100


def test_scenes_that_the_user_names_count_once(known):
    X, made = np.repeat(stream(12, 11), 50, axis=0), detector(known)
    assert alarms(known, made, X, np.repeat(np.arange(12), 50)) == []
    assert made.n_scenes == 11


def test_there_is_no_alarm_before_scenes_could_be_measured(known):
    found = alarms(known, detector(known, run_length=2), stream(200, 12) + 5)
    assert found[0] >= 50


def test_a_cell_of_few_labels_says_nothing():
    made = SceneDriftDetector(2.0)
    strange = Answer(np.ones(1), 0, 0, 9.0, 0.001, 5, 1.0)
    assert not any(made.take(strange) for _ in range(500))
    assert made.evidence < 2


def test_a_refuted_alarm_doubles_the_length_of_scenes():
    made = SceneDriftDetector(RUN_LENGTH)
    lengths = []
    for _ in range(14):
        lengths.append(made.scene_length)
        made.on_refuted()
    assert lengths[:4] == [1, 2, 4, 8]
    assert lengths[-1] == LONGEST_SCENE


def test_scene_lengths_survive_a_restart_and_evidence_does_not(known):
    made = detector(known)
    alarms(known, made, stream(1500, 13, rho=0.9))
    again = SceneDriftDetector(RUN_LENGTH)
    again.restore(made.to_state())
    assert again.scene_length == made.scene_length > 1
    assert again.evidence == 0


@pytest.mark.parametrize(
    "damage", [{"least_scene": "x"}, {"ratios": 3}, {"ratios": [[1.0]]}, {"n_scenes": None}]
)
def test_a_damaged_state_is_refused(damage):
    saved = {**SceneDriftDetector(RUN_LENGTH).to_state(), **damage}
    with pytest.raises((ValueError, KeyError, TypeError)):
        SceneDriftDetector(RUN_LENGTH).restore(saved)

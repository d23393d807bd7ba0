"""Sequential tests keep their false-alarm rates, and find what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.evidence import Contradictions, Decline, Losses


def first_alarm(labels: Contradictions, shares: float, seed: int, n: int) -> int | None:
    wrong = np.random.default_rng(seed).random(n) < shares
    return next((i for i, each in enumerate(wrong.tolist()) if labels.update(each)), None)


def test_contradictions_at_the_stated_rate_alarm_no_more_often_than_stated() -> None:
    n_alarms = 0
    for seed in range(40):
        n_alarms += first_alarm(Contradictions(0.03, 2000), 0.03, seed, 1000) is not None
    # Forty times 1,000 labels at a mean run of at least 2,000: 20 are expected at the most.
    assert n_alarms <= 20


@pytest.mark.parametrize(("share", "most"), [(0.1, 600), (0.3, 60), (1.0, 10)])
def test_wrong_labels_are_found_the_sooner_the_more_there_are(share: float, most: int) -> None:
    found = [first_alarm(Contradictions(0.03, 10_000), share, seed, 5000) for seed in range(20)]
    assert None not in found
    assert np.median([each for each in found if each is not None]) <= most


def test_evidence_against_labels_ends_when_they_agree_again() -> None:
    labels = Contradictions(0.03, 10_000)
    for _ in range(100):
        labels.update(True)
    assert labels.is_loud
    for _ in range(600):
        labels.update(False)
    assert labels.is_quiet
    assert not labels.is_loud


def test_equal_answerers_are_told_apart_no_more_often_than_stated() -> None:
    rng = np.random.default_rng(0)
    n_found = 0
    for _ in range(300):
        losses = Losses(0.01)
        n_found += any(
            losses.update(*((0, 1) if lost else (1, 0))) for lost in rng.random(200) < 0.5
        )
    assert n_found <= 8  # 3 expected at the most; 9 or more of 300 come once in 250 tries


def test_the_worse_answerer_is_found() -> None:
    losses = Losses(0.001)
    assert any(losses.update(wins=1, losses=4) for _ in range(20))


def test_a_decline_is_claimed_of_equals_no_more_often_than_stated() -> None:
    rng = np.random.default_rng(0)
    runs = []
    for _ in range(100):
        decline, n = Decline(run_length=50), 1
        while not decline.update(is_win=bool(rng.random() < 0.5)):
            n += 1
        runs.append(n)
    assert np.mean(runs) >= 50


@pytest.mark.parametrize("won", [0, 20, 2000])
def test_a_decline_is_found_as_soon_whatever_was_won_before(won: int) -> None:
    decline = Decline(run_length=200)
    assert not any(decline.update(is_win=True) for _ in range(won))
    assert next(n for n in range(1, 100) if decline.update(is_win=n % 5 == 0)) < 30


def test_a_run_length_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="run_length is 1"):
        Decline(run_length=1.0)


@pytest.mark.parametrize("bad", [0.0, 0.1, 0.5, -1.0])
def test_a_rate_outside_its_range_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="rate is"):
        Contradictions(bad, 100)


def test_a_run_length_or_false_rate_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="run_length"):
        Contradictions(0.03, 1)
    with pytest.raises(ValueError, match="false_rate"):
        Losses(1.0)

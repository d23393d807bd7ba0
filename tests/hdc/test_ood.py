"""The detector finds what is out of distribution, and keeps the false-alarm rate it promises."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from hdc import OODDetector

TOO_FEW = "ignore:.*too few for a false-alarm rate:UserWarning"


def draw(rng, n: int, d: int = 12, n_classes: int = 3):
    y = rng.integers(n_classes, size=n)
    return rng.standard_normal((n, d)) + 6 * np.eye(d)[y], y


def detector(**parameters) -> OODDetector:
    return OODDetector(**{"n_dims": 1024, "random_state": 0} | parameters)


@pytest.mark.filterwarnings(TOO_FEW)
@pytest.mark.parametrize("n", [20, 50, 200])
def test_fresh_known_samples_raise_no_more_alarms_than_stated(n):
    alarms = {rate: [] for rate in (0.01, 0.05, 0.1)}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        fitted = detector().fit(*draw(rng, n))
        p = fitted.p_value(draw(rng, 500)[0])
        for rate, found in alarms.items():
            found.append(np.mean(p <= rate))
    for rate, found in alarms.items():
        chance = 2 * np.std(found) / np.sqrt(len(found))
        assert np.mean(found) <= rate * 1.1 + chance


def test_predict_p_value_and_threshold_say_the_same():
    rng = np.random.default_rng(0)
    fitted = detector().fit(*draw(rng, 300))
    X = np.concatenate([draw(rng, 100)[0], 9 * rng.standard_normal((100, 12))])
    assert ((fitted.p_value(X) <= 0.05) == (fitted.predict(X) == -1)).all()
    assert (fitted.decision_function(X) == fitted.score_samples(X) - fitted.offset_).all()


@pytest.mark.parametrize("shrinkage", [0.1, 0.3])
def test_digits_that_were_never_seen_are_out_of_distribution(shrinkage):
    X, y = load_digits(return_X_y=True)
    known, other = X[y < 5], X[y >= 5]
    fitted = detector(n_dims=4096, shrinkage=shrinkage).fit(known[::2], y[y < 5][::2])
    scores = [fitted.score_samples(known[1::2]), fitted.score_samples(other)]
    truth = np.repeat([1, 0], [len(scores[0]), len(scores[1])])
    assert roc_auc_score(truth, np.concatenate(scores)) > 0.9


def test_too_few_samples_are_said_and_alarm_never():
    X, y = draw(np.random.default_rng(0), 18)
    with pytest.warns(UserWarning, match=r"18 samples are too few .* 0\.05: .* 0\.053"):
        fitted = detector().fit(X, y)
    assert not fitted.can_meet_rate_
    assert fitted.offset_ == -np.inf
    assert fitted.predict(X + 1e6).min() == 1
    assert fitted.min_p_value_ == pytest.approx(1 / 19)


@pytest.mark.filterwarnings(TOO_FEW)
@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("shrinkage", [0.01, 0.3, 1.0])
def test_a_handful_of_samples_is_safe(n, shrinkage):
    X, _ = draw(np.random.default_rng(n), n)
    for y in (None, np.arange(n), np.zeros(n, int)):
        fitted = detector(shrinkage=shrinkage).fit(X, y)
        assert np.isfinite(fitted.score_samples(X)).all()
        assert (fitted.p_value(X) >= 1 / (n + 1)).all()


def test_constant_features_and_one_class_are_safe():
    X, _ = draw(np.random.default_rng(0), 100)
    X[:, 3] = 5.0
    fitted = detector().fit(X)
    assert fitted.predict(X).mean() > 0.7
    assert np.isfinite(fitted.score_samples(np.ones((2, 12)))).all()


def taps(X) -> dict[str, np.ndarray]:
    return {"early": X[:, :5] * 1000, "embedding": X[:, 5:]}


def test_taps_are_fused_whatever_their_scale():
    rng = np.random.default_rng(0)
    X, y = draw(rng, 300)
    alone, fused = detector().fit(X, y), detector().fit(taps(X), y)
    fresh = np.concatenate([draw(rng, 50)[0], 4 * rng.standard_normal((50, 12))])
    assert (alone.predict(fresh) == fused.predict(taps(fresh))).mean() > 0.95


def test_taps_must_stay_as_they_were():
    X, y = draw(np.random.default_rng(0), 60)
    fused, plain = detector().fit(taps(X), y), detector().fit(X, y)
    swapped = dict(reversed(taps(X).items()))
    for bad in (swapped, {"early": X[:, :5]}, taps(X) | {"more": X}, X):
        with pytest.raises(ValueError, match="as at fit"):
            fused.score_samples(bad)
    with pytest.raises(ValueError, match="as at fit"):
        plain.score_samples(taps(X))
    with pytest.raises(ValueError, match="with one n"):
        fused.score_samples({"early": X[:, :5], "embedding": X[1:, 5:]})


def test_one_sample_scores_as_it_does_in_a_batch():
    X, y = draw(np.random.default_rng(0), 100)
    fitted = detector().fit(X, y)
    alone = np.concatenate([fitted.score_samples(row[None]) for row in X])
    assert (alone == fitted.score_samples(X)).mean() > 0.9
    assert np.allclose(alone, fitted.score_samples(X), atol=2e-4)


def test_bytes_are_stated():
    X, y = draw(np.random.default_rng(0), 100)
    narrow, wide = (detector(n_dims=n).fit(X, y).n_bytes_ for n in (1024, 8192))
    assert wide - narrow >= 3 * (8192 - 1024) / 8  # a prototype for each class


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"false_alarm_rate": 0.0}, "false_alarm_rate"),
        ({"false_alarm_rate": 1.5}, "false_alarm_rate"),
        ({"shrinkage": 1.5}, "shrinkage"),
        ({"n_folds": 1}, "n_folds"),
        ({"n_dims": 65}, "multiple of 64"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        detector(**parameters).fit(*draw(np.random.default_rng(0), 60))

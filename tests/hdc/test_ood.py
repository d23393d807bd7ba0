"""The detector finds strangers, near and far, and keeps the rate of false alarms it promises."""

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
@pytest.mark.parametrize("per_class", [False, True])
def test_fresh_known_samples_raise_no_more_alarms_than_stated(n, per_class):
    alarms = {rate: [] for rate in (0.01, 0.05, 0.1)}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        fitted = detector(per_class=per_class).fit(*draw(rng, n))
        p = fitted.p_value(draw(rng, 500)[0])
        for rate, found in alarms.items():
            found.append(np.mean(p <= rate))
    for rate, found in alarms.items():
        chance = 2 * np.std(found) / np.sqrt(len(found))
        assert np.mean(found) <= rate * 1.1 + chance


def test_predict_p_value_and_threshold_say_the_same():
    rng = np.random.default_rng(0)
    for per_class in (False, True):
        fitted = detector(per_class=per_class).fit(*draw(rng, 300))
        X = np.concatenate([draw(rng, 100)[0], 9 * rng.standard_normal((100, 12))])
        assert ((fitted.p_value(X) <= 0.05) == (fitted.predict(X) == -1)).all()
    fitted = detector().fit(*draw(rng, 300))
    assert (fitted.decision_function(X) == fitted.score_samples(X) - fitted.offset_).all()


@pytest.mark.parametrize("form", ["full", "low_rank", "diagonal"])
def test_digits_that_were_never_seen_are_strange(form):
    X, y = load_digits(return_X_y=True)
    known, strange = X[y < 5], X[y >= 5]
    fitted = detector(n_dims=4096, form=form, rank=20).fit(known[::2], y[y < 5][::2])
    normal, other = fitted.score_samples(known[1::2]), fitted.score_samples(strange)
    truth = np.repeat([1, 0], [len(normal), len(other)])
    assert roc_auc_score(truth, np.concatenate([normal, other])) > (
        0.9 if form == "diagonal" else 0.93
    )


def test_a_blank_input_does_not_look_normal():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 60)) * 3 + 1
    fitted = detector().fit(X)
    assert fitted.predict(np.full((1, 60), 1.0)).tolist() == [-1]  # the mean itself
    assert fitted.predict(np.zeros((1, 60))).tolist() == [-1]
    X, y = load_digits(return_X_y=True)
    assert detector().fit(X, y).predict(np.zeros((1, 64))).tolist() == [-1]


def test_too_few_samples_are_said_and_alarm_never():
    X, y = draw(np.random.default_rng(0), 18)
    with pytest.warns(UserWarning, match=r"18 samples are too few .* 0\.05: .* 0\.053"):
        fitted = detector().fit(X, y)
    assert not fitted.can_meet_rate_
    assert fitted.offset_ == -np.inf
    assert fitted.predict(X + 1e6).min() == 1
    assert fitted.min_p_value_ == pytest.approx(1 / 19)


def test_calibration_continues_on_line():
    rng = np.random.default_rng(0)
    X, y = draw(rng, 18)
    with pytest.warns(UserWarning, match="too few"):
        fitted = detector(capacity=25).fit(X, y)
    fitted.calibrate(draw(rng, 5)[0])
    assert fitted.can_meet_rate_
    assert fitted.offset_ > -np.inf
    fitted.calibrate(draw(rng, 5)[0])
    assert fitted.min_p_value_ == 1 / 26
    assert fitted.predict(X + 1e6).max() == -1


@pytest.mark.filterwarnings(TOO_FEW)
@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("form", ["full", "low_rank", "diagonal"])
def test_a_handful_of_samples_is_safe(n, form):
    X, _ = draw(np.random.default_rng(n), n)
    for y in (None, np.arange(n), np.zeros(n, int)):
        fitted = detector(form=form).fit(X, y)
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
    copy = OODDetector.from_state(*fused.to_state())
    assert (copy.score_samples(taps(fresh)) == fused.score_samples(taps(fresh))).all()


def test_taps_must_stay_as_they_were():
    X, y = draw(np.random.default_rng(0), 60)
    fused, plain = detector().fit(taps(X), y), detector().fit(X, y)
    swapped = dict(reversed(taps(X).items()))
    for bad in (swapped, {"early": X[:, :5]}, taps(X) | {"more": X}):
        with pytest.raises(ValueError, match="in this order"):
            fused.score_samples(bad)
    with pytest.raises(ValueError, match="'embedding' has 6 features, expected 7"):
        fused.score_samples({"early": X[:, :5], "embedding": X[:, 6:]})
    with pytest.raises(TypeError, match="expected a mapping"):
        fused.score_samples(X)
    with pytest.raises(TypeError, match="expected one matrix"):
        plain.score_samples(taps(X))


def test_one_sample_scores_as_it_does_in_a_batch():
    X, y = draw(np.random.default_rng(0), 100)
    fitted = detector().fit(X, y)
    alone = np.concatenate([fitted.score_samples(row[None]) for row in X])
    assert (alone == fitted.score_samples(X)).mean() > 0.9
    assert np.allclose(alone, fitted.score_samples(X), atol=2e-4)


def test_bytes_are_stated():
    X, y = draw(np.random.default_rng(0), 100)
    small, large = (detector(form=form).fit(X, y).n_bytes_ for form in ("diagonal", "full"))
    assert large - small == 4 * 12 * 12


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"false_alarm_rate": 0.0}, "false_alarm_rate"),
        ({"false_alarm_rate": 1.5}, "false_alarm_rate"),
        ({"form": "discriminant"}, "blind"),
        ({"form": "zca"}, "form"),
        ({"n_folds": 1}, "n_folds"),
        ({"capacity": 0}, "capacity"),
        ({"n_dims": 65}, "multiple of 64"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        detector(**parameters).fit(*draw(np.random.default_rng(0), 60))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("views/view0/bits", np.zeros((3, 16), np.uint64), "prototypes"),
        ("views/view0/classes", np.zeros(0, np.int64), "shape"),
        ("views/scale", np.zeros((1, 3, 2), np.float32), "dtype"),
        ("views/scale", np.zeros((1, 3, 2)), "deviations"),
        ("calibration/scores", np.full(3, np.inf), "infinity"),
    ],
)
def test_hostile_state_is_refused(name, value, message):
    header, arrays = detector().fit(*draw(np.random.default_rng(0), 60)).to_state()
    with pytest.raises(ValueError, match=message):
        OODDetector.from_state(header, arrays | {name: value})


def test_state_with_taps_of_another_width_is_refused():
    header, arrays = detector().fit(*draw(np.random.default_rng(0), 60)).to_state()
    with pytest.raises(ValueError, match="taps of 3 features"):
        OODDetector.from_state(header | {"taps": [["early", 3]]}, arrays)

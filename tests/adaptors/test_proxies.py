"""Zero-shot scores: what each must say on features that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptors import proxies


def clouds(gap, n_per_class=20, n_features=6, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(3), n_per_class)
    centres = gap * np.eye(3, n_features)
    return (centres[y] + rng.normal(size=(len(y), n_features))).astype(np.float32), y


LABELLED = (proxies.alignment, proxies.nearest_mean_accuracy)


@pytest.mark.parametrize("proxy", [*LABELLED, proxies.ridge_fit])
def test_a_score_that_uses_labels_grows_with_the_distance_of_the_classes(proxy):
    near, far = (proxy(*clouds(gap)) for gap in (0.5, 8.0))
    assert near < far <= 1.0


@pytest.mark.parametrize("proxy", LABELLED)
def test_leave_one_out_scores_do_not_reward_features_without_meaning(proxy):
    # 300 features of 60 samples: any fit is perfect on the samples it was fitted to.
    noise = np.random.default_rng(1).normal(size=(60, 300))
    assert proxy(noise, np.repeat(np.arange(3), 20)) < 0.55


def test_leave_one_out_is_what_leaving_one_out_gives(monkeypatch):
    monkeypatch.setattr(proxies, "RIDGES", (1e-9,))
    X, y = clouds(1.0, n_per_class=8)
    T = proxies.one_hot(y)
    predicted = proxies.leave_one_out(X, T)
    direct = np.empty_like(T)
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        A = np.column_stack([X[rest], np.ones(rest.sum())])
        solution = np.linalg.lstsq(A, T[rest], rcond=None)[0]
        direct[i] = np.append(X[i], 1.0) @ solution
    np.testing.assert_allclose(predicted, direct, atol=1e-5)


def test_nearest_mean_leaves_the_sample_itself_out():
    X, y = clouds(1.0, n_per_class=7)
    right = []
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        means = [X[rest & (y == k)].mean(axis=0) for k in range(3)]
        right.append(np.argmin([np.square(X[i] - m).sum() for m in means]) == y[i])
    assert proxies.nearest_mean_accuracy(X, y) == pytest.approx(np.mean(right))


def test_a_class_of_one_sample_is_scored_not_refused():
    X, y = clouds(5.0, n_per_class=5)
    y = y.copy()
    y[0] = 3
    assert all(np.isfinite(proxy(X, y)) for proxy in (*LABELLED, proxies.ridge_fit))


@given(st.integers(2, 30), st.integers(1, 40), st.integers(0, 10))
def test_entropy_lies_between_none_and_that_of_all_directions(n, d, seed):
    F = np.random.default_rng(seed).normal(size=(n, d))
    assert -1e-9 <= proxies.spectral_entropy(F) <= np.log(min(n, d)) + 1e-9
    assert proxies.spectrum(F).sum() == pytest.approx(1.0)


@given(st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_scores_do_not_depend_on_scale_or_origin(scale, shift):
    X, y = clouds(2.0)
    X = X.astype(np.float64)
    moved = X * scale + shift
    for proxy in (*LABELLED, proxies.ridge_fit):
        assert proxy(moved, y) == pytest.approx(proxy(X, y), abs=1e-6)
    assert proxies.effective_rank(moved) == pytest.approx(proxies.effective_rank(X), rel=1e-6)


def test_features_that_do_not_vary_score_lowest_and_stay_finite():
    F, y = np.ones((12, 5)), np.repeat([0, 1], 6)
    assert proxies.effective_rank(F) == 1.0
    assert proxies.alignment(F, y) == 0.0
    assert np.isfinite([proxies.naswot(F), proxies.ridge_fit(F, y)]).all()


def test_naswot_prefers_codes_that_tell_samples_apart():
    rng = np.random.default_rng(0)
    apart, alike = rng.normal(size=(20, 64)), rng.normal(size=(20, 1)) * np.ones((1, 64))
    assert proxies.naswot(apart) > proxies.naswot(alike)


def test_progressivity_is_the_worst_step_and_nothing_for_a_single_output():
    narrow, wide = np.random.default_rng(0).normal(size=(2, 30, 8))
    narrow = narrow[:, :2]
    assert proxies.progressivity([wide]) == 0.0
    assert proxies.progressivity([wide, narrow]) < 0 < proxies.progressivity([narrow, wide])
    assert proxies.expressivity([narrow, wide]) > proxies.expressivity([wide])

"""Weights of experts: those of least loss, found as brute force finds them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_runtime.model.experts.mixing import best_temperature, fit_weights, log_softmax, loss_of


def experts(n=300, n_classes=3, seed=0, quality=(2.0, 1.0)):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    return [q * np.eye(n_classes)[y] + rng.normal(size=(n, n_classes)) for q in quality], y


def mixed(scores, weights, y):
    return loss_of(log_softmax(np.tensordot(weights, np.stack(scores), 1)), y)


def test_log_softmax_is_that_of_probabilities():
    scores = np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]])
    P = np.exp(log_softmax(scores))
    np.testing.assert_allclose(P.sum(axis=1), 1)
    np.testing.assert_allclose(P[0], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_grid_finds_weights_of_less_loss(seed):
    scores, y = experts(seed=seed)
    found = mixed(scores, fit_weights(scores, y), y)
    grid = np.linspace(0, 4, 41)
    best = min(mixed(scores, np.array(w), y) for w in itertools.product(grid, grid))
    assert found <= best + 0.005


def test_an_expert_that_says_nothing_or_the_contrary_has_no_weight():
    (good,), y = experts(quality=(2.0,))
    weights = fit_weights([good, -good, np.zeros_like(good)], y)
    assert weights[0] > 0
    assert weights[1] == 0
    assert (
        mixed([good, -good, np.zeros_like(good)], weights, y) < 1.01 * best_temperature(good, y)[0]
    )


def test_the_scale_of_an_expert_does_not_matter():
    scores, y = experts()
    small = [scores[0] * 0.05, scores[1] * 20]
    one, other = (mixed(each, fit_weights(each, y), y) for each in (scores, small))
    assert other == pytest.approx(one, abs=0.01)


def test_the_best_temperature_is_the_one_of_least_loss():
    (scores,), y = experts(quality=(3.0,))
    loss, t = best_temperature(scores, y)
    assert loss == loss_of(log_softmax(scores * t), y)
    assert all(loss <= loss_of(log_softmax(scores * s), y) for s in (0.02, 0.5, 1.0, 5.0, 40.0))


def test_one_slip_does_not_decide():
    scores = np.tile([50.0, 0.0], (100, 1))
    y = np.zeros(100, np.int64)
    y[0] = 1
    assert loss_of(log_softmax(scores), y) < 0.2


@pytest.mark.parametrize("n", [1, 2])
def test_few_labels_and_equal_scores_give_finite_weights(n):
    weights = fit_weights([np.zeros((n, 2)), np.ones((n, 2))], np.zeros(n, np.int64))
    assert np.isfinite(weights).all()

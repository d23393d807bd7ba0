"""The kernel head: exact where it says so, and a label that comes is heard at once."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.model.experts.kernel import (
    ARC,
    KERNELS,
    KernelChoice,
    KernelHead,
    choose,
    class_weights,
    kernel,
)

SMOOTH = KernelChoice(1.0, 0.3)


def rings(n, seed=0):
    """Two classes that no plane parts: one about the other."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    angle, radius = rng.uniform(0, 2 * np.pi, n), 0.4 + 0.8 * y + 0.1 * rng.normal(size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32), y


def head(U, y, choice=SMOOTH, n_classes=2, landmarks=None, **options):
    landmarks = np.arange(len(U)) if landmarks is None else landmarks
    weights = class_weights(y, n_classes)
    return KernelHead.fit(choice, U, y, weights, n_classes, landmarks, **options)


@pytest.mark.parametrize("width", KERNELS)
def test_kernels_are_symmetric_and_positive(width):
    U, _ = rings(40)
    K = kernel(width, U, U)
    np.testing.assert_allclose(K, K.T, atol=1e-5)
    assert np.linalg.eigvalsh(K.astype(float)).min() > -1e-3


def test_the_arc_cosine_kernel_is_that_of_endless_random_features():
    U, _ = rings(5)
    rng = np.random.default_rng(0)
    W = rng.normal(size=(200_000, 3))
    lifted = np.concatenate([3 * U, np.ones((5, 1))], axis=1)  # scaled, and a constant
    H = np.maximum(lifted @ W.T, 0)
    np.testing.assert_allclose(kernel(ARC, U, U), 2 * H @ H.T / len(W), rtol=0.05)


@pytest.mark.parametrize("choice", [SMOOTH, KernelChoice(4.0, 3.0), KernelChoice(ARC, 0.3)])
def test_with_every_row_a_landmark_it_is_kernel_ridge_regression(choice):
    U, y = rings(60)
    V, _ = rings(30, seed=1)
    K = kernel(choice.width, U, U).astype(float)
    inverse_weights = np.diag(1 / class_weights(y, 2))
    alpha = np.linalg.solve(K + choice.ridge * inverse_weights, np.eye(2)[y] - 0.5)
    expected = kernel(choice.width, V, U) @ alpha + 0.5
    np.testing.assert_allclose(head(U, y, choice).scores(V), expected, atol=0.02)


def test_a_few_landmarks_answer_nearly_as_all_rows_do():
    U, y = rings(400)
    V, truth = rings(200, seed=1)
    few = head(U, y, landmarks=np.arange(0, 400, 8)).scores(V)
    assert (few.argmax(axis=1) == truth).mean() > 0.97
    assert np.abs(few - head(U, y).scores(V)).mean() < 0.05


def test_rare_classes_weigh_as_much_as_common_ones():
    y = np.array([0] * 90 + [1] * 10)
    weights = class_weights(y, 3)
    assert weights[y == 0].sum() == pytest.approx(weights[y == 1].sum())
    assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("is_growing", [False, True])
def test_a_label_that_comes_later_is_heard_there_and_hardly_elsewhere(is_growing):
    U, y = rings(100)
    learner = head(U, y, KernelChoice(4.0, 0.3), is_growing=is_growing)
    V, _ = rings(20, seed=1)
    far, before = np.array([[3.0, 3.0]], np.float32), learner.scores(V)
    assert abs(learner.scores(far)[0, 1] - 0.5) < 0.1
    for _ in range(3):
        learner.append(far[0], 1)
    assert learner.scores(far)[0, 1] > 0.7
    assert np.abs(learner.scores(V) - before).max() < 0.1
    assert learner.n_recent == 3


def test_labels_that_come_one_by_one_answer_nearly_as_if_all_had_been_there():
    U, y = rings(200)
    V, truth = rings(200, seed=1)
    learner = head(U[:60], y[:60], is_growing=True)
    for u, k in zip(U[60:], y[60:].tolist(), strict=True):
        learner.append(u, k)
    found, whole = learner.scores(V), head(U, y).scores(V)
    assert (found.argmax(axis=1) == truth).mean() > 0.97
    assert np.abs(found - whole).mean() < 0.1


def test_a_class_may_be_new():
    U, y = rings(100)
    learner = head(U, y)
    far = np.array([3.0, 3.0], np.float32)
    for _ in range(4):
        learner.append(far, 3)
    assert learner.n_classes == 4
    assert learner.scores(far[None]).argmax() == 3


def test_the_choice_is_of_a_kernel_that_can_tell_the_classes_apart():
    U, y = rings(200)
    V, truth = rings(100, seed=1)
    choice = choose([(U, y, V, truth)], 2)
    assert (head(U, y, choice).scores(V).argmax(axis=1) == truth).mean() > 0.97


def test_duplicates_and_a_single_class_are_no_trouble():
    U, y = np.ones((6, 3), np.float32), np.zeros(6, np.int64)
    learner = head(U, y, n_classes=1)
    assert np.isfinite(learner.scores(U)).all()
    learner.append(U[0], 0)
    assert np.isfinite(learner.scores(U)).all()

"""EL2N scores, and which samples a full buffer keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptors import TargetProjectionClassifier
from benchmarks.full_buffer import el2n_scores, herding_scores, keep_highest, keep_random

labels = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def test_el2n_is_the_distance_to_the_one_hot_label():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 20)
    y = np.arange(20) % 4
    expected = [np.sqrt(((p[i] - np.eye(4)[y[i]]) ** 2).sum()) for i in range(20)]
    np.testing.assert_allclose(el2n_scores(p, y), expected)


def test_el2n_of_several_models_is_their_mean():
    p = np.random.default_rng(0).dirichlet(np.ones(3), (5, 7))
    y = np.arange(7) % 3
    expected = np.mean([el2n_scores(each, y) for each in p], axis=0)
    np.testing.assert_allclose(el2n_scores(p, y), expected)


@given(st.integers(1, 25), st.integers(1, 8), st.integers(0, 2**31))
def test_herding_takes_the_sample_that_brings_the_mean_nearest(n, n_first, seed):
    X = np.random.default_rng(seed).normal(size=(n, 4))
    scores = herding_scores(X, np.zeros(n, int), n_first=n_first)
    taken = np.argsort(-scores, kind="stable")[: min(n, n_first)].tolist()
    assert sorted(scores, reverse=True)[: len(taken)] == [-i for i in range(len(taken))]
    assert (np.delete(scores, taken) == -n_first).all()
    for i, chosen in enumerate(taken):
        gaps = np.linalg.norm((X[taken[:i]].sum(axis=0) + X) / (i + 1) - X.mean(axis=0), axis=1)
        gaps[taken[:i]] = np.inf
        assert gaps[chosen] == pytest.approx(gaps.min())


def test_herding_knows_each_class_alone_and_follows_the_means_that_it_is_given():
    X, y = np.arange(12.0).reshape(12, 1), np.arange(12) % 2
    alone = [herding_scores(X[y == k], np.zeros(6, int)) for k in (0, 1)]
    both = herding_scores(X, y)
    np.testing.assert_array_equal(both[y == 0], alone[0])
    np.testing.assert_array_equal(both[y == 1], alone[1])
    assert np.flatnonzero(herding_scores(X, y, [[10.0], [1.0]]) == 0).tolist() == [1, 10]


def test_mislabelled_samples_score_highest():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 3)) + 4 * y[:, None]
    wrong = y.copy()
    wrong[:5] = 1 - wrong[:5]
    clf = TargetProjectionClassifier(hidden=(16,), epochs=3, random_state=0).fit(X, wrong)
    scores = el2n_scores(clf.predict_proba(X), wrong)
    assert set(keep_highest(scores, 5)) == set(range(5))


@given(labels, st.integers(0, 70), st.integers(0, 2**31))
def test_balanced_choices_take_turns_and_each_class_gives_its_best(y, n_keep, seed):
    y, scores = np.array(y), np.random.default_rng(seed).random(len(y))
    kept = keep_highest(scores, n_keep, y)
    assert len(kept) == min(n_keep, len(y))
    assert (np.diff(kept) > 0).all()
    counts = np.bincount(y[kept], minlength=5)
    for label in np.unique(y):
        mine = np.flatnonzero(y == label)
        best = mine[np.argsort(-scores[mine])][: counts[label]]
        assert set(best) == set(kept[y[kept] == label])
        if counts[label] < len(mine):  # it had more to give, so no other class has two more
            assert counts.max() <= counts[label] + 1


@given(labels, st.integers(0, 70))
def test_a_seed_repeats_a_random_choice(y, n_keep):
    first, again = (keep_random(len(y), n_keep, y, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_random_choices_are_even():
    rng = np.random.default_rng(0)
    kept = np.concatenate([keep_random(10, 3, random_state=rng) for _ in range(2000)])
    counts = np.bincount(kept.astype(np.intp), minlength=10)
    assert np.abs(counts - 600).max() < 100


def test_between_equals_the_later_sample_is_kept():
    assert keep_highest(np.zeros(6), 2).tolist() == [4, 5]
    assert keep_highest(np.zeros(6), 2, y=[0, 1, 1, 1, 0, 1]).tolist() == [4, 5]


def test_inputs_are_left_alone():
    scores, y = np.array([3.0, 1.0, 2.0]), np.array([0, 1, 1])
    keep_highest(scores, 2, y)
    assert scores.tolist() == [3.0, 1.0, 2.0]
    assert y.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("probabilities", "y", "message"),
    [
        ([0.5, 0.5], [0], "shape"),
        (np.zeros((0, 2)), [], "shape"),
        (np.zeros((2, 0)), [0, 0], "shape"),
        ([[2.0, -1.0]], [0], "logits"),
        ([[0.3, 0.3]], [0], "logits"),
        ([[np.nan, 1.0]], [0], "logits"),
        ([[0.5, 0.5]], [2], "holds class 2"),
        ([[0.5, 0.5]], [-1], "class index -1"),
        ([[0.5, 0.5]], ["a"], "expected class indices"),
        ([[0.5, 0.5]], [0, 1], "expected class indices"),
    ],
)
def test_bad_probabilities_and_labels_are_refused(probabilities, y, message):
    with pytest.raises(ValueError, match=message):
        el2n_scores(probabilities, y)


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        ([1.0], [0], {}, "X has shape"),
        ([[np.nan]], [0], {}, "finite"),
        ([[1.0]], [0, 1], {}, "class indices"),
        ([[1.0]], [0], {"n_first": 0}, "n_first"),
        ([[1.0]], [0], {"n_first": True}, "n_first"),
        ([[1.0]], [1], {"means": [[1.0]]}, r"means have shape \(1, 1\), expected \(2, 1\)"),
        ([[1.0]], [0], {"means": [1.0]}, "means have shape"),
    ],
)
def test_what_cannot_be_herded_is_refused(X, y, options, message):
    with pytest.raises(ValueError, match=message):
        herding_scores(X, y, **options)


@pytest.mark.parametrize(
    ("scores", "n_keep", "y", "message"),
    [
        ([np.nan], 1, None, "finite"),
        ([np.inf], 1, None, "finite"),
        ([[1.0]], 1, None, "shape"),
        ([1.0], -1, None, "n_keep"),
        ([1.0], 1.5, None, "n_keep"),
        ([1.0], True, None, "n_keep"),
        ([1.0], 1, [0, 1], "class indices"),
        ([1.0], 1, [0.5], "class indices"),
    ],
)
def test_bad_scores_are_refused(scores, n_keep, y, message):
    with pytest.raises(ValueError, match=message):
        keep_highest(scores, n_keep, y)

"""Fits: of however little there is, the same of equal stores, open to what comes between two."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from edge_runtime.errors import StateError
from edge_runtime.memory.memory import Memory
from edge_runtime.model.derived import DerivedModel
from edge_runtime.model.fitting import FitOptions, fit
from tests.domains import domain


def remembered(X, labels, **columns):
    memory = Memory(X.shape[1])
    for i, (x, k) in enumerate(zip(np.asarray(X, float), labels, strict=True)):
        extra = {name: values[i] for name, values in columns.items()}
        memory.exemplars.add(x, int(k), sample=i, **extra)
    return memory


def fitted(memory, n_classes=None, **options):
    store = memory.exemplars
    if n_classes is None:
        n_classes = int(store.column("labels").max()) + 1
    options = {"n_dims": 512, "hidden": 0, **options}
    return fit(store, memory.gone, n_classes, FitOptions((store.n_features,), **options))


def answers(model, X, n_classes):
    return model.answer(np.asarray(X, float), n_classes)


def accuracy(model, X, y):
    found = answers(model, X, 4)
    return np.mean([each.best == k for each, k in zip(found, y.tolist(), strict=True)])


def check(memory, X, n_classes, **options):
    """A fit answers with probabilities, scores and p-values that are all finite."""
    model = fitted(memory, n_classes, **options).model
    for each in answers(model, X, n_classes):
        assert each.probabilities.shape == (n_classes,)
        assert each.probabilities.sum() == pytest.approx(1)
        assert np.isfinite([each.ood_score, each.certainty]).all()
        assert 0 < each.p_value <= 1
        assert 0 <= each.best < n_classes
    return model


@pytest.mark.parametrize("labels", [[0], [0, 0], [0, 1], [1, 0], [0, 0, 1], [0, 1, 2]])
def test_one_two_or_three_labels_are_enough_to_answer(labels):
    X, _ = domain(0, 3, 0)
    memory = remembered(X[: len(labels)], labels)
    model = check(memory, X, 3)
    for x, k in zip(X, labels, strict=False):
        assert answers(model, x[None], 3)[0].best == k


@pytest.mark.parametrize("n", [1, 5, 60])
def test_one_class_alone_is_answered(n):
    X, _ = domain(0, n, 0)
    check(remembered(X, np.zeros(n)), X, 1)


def test_constant_features_are_no_trouble():
    X, y = domain(0, 60, 0)
    X[:, 3], X[:, 4] = 0, 1e6
    memory = remembered(X, y)
    assert accuracy(check(memory, X, 4), X, y) > 0.95
    check(remembered(np.ones((20, 6)), np.arange(20) % 2), np.ones((2, 6)), 2)


def test_duplicate_rows_are_no_trouble():
    X, y = domain(0, 8, 0)
    check(remembered(np.repeat(X, 10, axis=0), np.repeat(y, 10)), X, 4)


def test_more_features_than_rows_are_no_trouble():
    X = np.random.default_rng(0).normal(size=(5, 256))
    check(remembered(X, [0, 1, 0, 1, 1]), X, 2)


def test_a_class_that_has_no_label_is_never_the_answer():
    X, y = domain(0, 60, 0, classes=(0, 2))
    memory = remembered(X, y)
    found = answers(fitted(memory, 4).model, X, 4)
    assert {each.best for each in found} == {0, 2}


def test_evicted_labels_count_as_means():
    X, y = domain(0, 600, 0)
    memory = remembered(X, y)
    memory.fit_into(memory.n_bytes // 3)
    assert len(memory.gone) > 100
    fresh, truth = domain(0, 100, 1)
    model = check(memory, fresh, 4)
    assert accuracy(model, fresh, truth) > 0.95
    assert model.cells.counts.sum() == 600


def test_a_class_of_which_only_sums_are_left_is_answered():
    X, y = domain(0, 400, 0)
    memory = remembered(X, y)
    memory.fit_into(memory.n_bytes // 2)
    memory.remove(memory.exemplars.column("labels") == 2)
    fresh, truth = domain(0, 100, 1)
    model = check(memory, fresh, 4)
    assert accuracy(model, fresh[truth != 2], truth[truth != 2]) > 0.95
    assert accuracy(model, fresh[truth == 2], truth[truth == 2]) > 0.25


def test_nothing_is_nothing_to_learn_from():
    with pytest.raises(ValueError, match="no label"):
        fitted(Memory(3), 1)


def test_where_all_labels_are_suspected_they_are_all_there_is():
    memory = remembered(*domain(0, 10, 0))
    memory.suspect(np.arange(10), np.arange(10))
    assert fitted(memory).model.n_fitted == 10


def test_equal_stores_give_equal_models_bit_for_bit():
    X, y = domain(0, 80, 0)
    states = [fitted(remembered(X, y), hidden=16).model.to_state() for _ in range(2)]
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        np.testing.assert_array_equal(states[1][name], array, err_msg=name)


def test_a_model_is_learned_from_few_labels_and_states_its_accuracy():
    X, y = domain(0, 60, 0)
    memory = remembered(X, y)
    found = fitted(memory)
    fresh, truth = domain(0, 200, 1)
    assert accuracy(found.model, fresh, truth) > 0.95
    accuracy_stated, n = found.model.stated[0]
    assert accuracy_stated > 0.9
    assert n == 60
    assert found.model.n_fitted == 60


def test_slots_are_told_apart_and_each_answers_for_its_domain():
    (X, y), (Z, z) = domain(0, 80, 0), domain(1, 80, 1)
    memory = remembered(np.concatenate([X, Z]), [*y, *z], slot=np.repeat([0, 1], 80))
    model = check(memory, X, 4)
    for number in (0, 1):
        fresh, truth = domain(number, 100, 2)
        found = answers(model, fresh, 4)
        assert np.mean([each.slot == number for each in found]) > 0.95
        assert np.mean([each.best == k for each, k in zip(found, truth, strict=True)]) > 0.95


def test_a_bursty_stream_does_not_state_the_accuracy_of_its_memory():
    rng = np.random.default_rng(0)  # scenes of ten nearly equal frames, whose labels mean nothing
    X = np.repeat(rng.normal(size=(24, 16)), 10, axis=0) + 0.01 * rng.normal(size=(240, 16))
    memory = remembered(
        X, np.repeat(rng.integers(0, 2, 24), 10), scene=np.repeat(np.arange(24), 10)
    )
    assert fitted(memory).model.stated[0][0] < 0.75


def test_wrong_labels_are_suspected_and_right_ones_hardly_ever():
    X, y = domain(0, 400, 0)
    labels = y.copy()
    labels[::8] = (labels[::8] + np.random.default_rng(1).integers(1, 4, 50)) % 4
    found = fitted(remembered(X, labels))
    wrong = set(range(0, 400, 8))
    assert len(wrong & set(found.suspects.tolist())) > 25
    assert len(set(found.suspects.tolist()) - wrong) <= 2
    assert len(fitted(remembered(X, y)).suspects) <= 2


def test_a_confirmed_label_is_never_suspected():
    X, y = domain(0, 200, 0)
    memory = remembered(X, y)
    for i in range(0, 200, 20):
        memory.relabel(i, int(y[i] + 1) % 4)
    assert len(fitted(memory).suspects) == 0


def test_suspects_are_not_learned():
    X, y = domain(0, 100, 0)
    memory = remembered(X, y)
    memory.suspect(np.arange(100), np.arange(50))
    assert fitted(memory).model.n_fitted == 50


def test_labels_appended_are_heard_at_once():
    X, y = domain(0, 100, 0, classes=(0, 1, 2))
    memory = remembered(X, y)
    model = fitted(memory, 4).model
    fresh, _ = domain(0, 20, 1, classes=(3,))
    for x in fresh:
        model.append(x.astype(float), 3, 0)
    test, truth = domain(0, 200, 2)
    assert accuracy(model, test, truth) > 0.95
    assert model.n_appended == 20


@pytest.mark.parametrize("hidden", [0, 8])
def test_a_model_comes_back_from_its_state_and_answers_bit_for_bit(hidden):
    X, y = domain(0, 200, 0)
    memory = remembered(X, y)
    model = fitted(memory, hidden=hidden).model
    again = DerivedModel.from_state(model.to_state(), 24, 0)
    fresh, _ = domain(1, 30, 1)
    for one, other in zip(*(answers(m, fresh, 4) for m in (model, again)), strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        assert (one.ood_score, one.p_value, one.slot) == (
            other.ood_score,
            other.p_value,
            other.slot,
        )
        np.testing.assert_array_equal(one.cell.off, other.cell.off)
    assert again.stated == model.stated


def test_a_model_of_more_classes_than_there_are_is_refused():
    model = fitted(remembered(*domain(0, 80, 0))).model
    model.check_classes(4)
    with pytest.raises(StateError, match="there are 3"):
        model.check_classes(3)


def test_no_fit_warns_of_numbers():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in (1e-12, 1.0, 1e12):
            X = rng.normal(size=(60, 5)) * scale + rng.normal(size=5) * scale * 1e6
            check(remembered(X, np.arange(60) % 3), X[:5], 3, hidden=8)

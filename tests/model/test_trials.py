"""What a trial measures: whether labels are a domain of their own, or more of what is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_runtime.model.trials import try_new_slot
from tests.domains import domain
from tests.model.test_fitting import fitted, remembered


def tried(number, n=24, classes=(0, 1, 2, 3), right=None, scene=None):
    """100 labels of domain 0, then n of another in the same slot."""
    (X, y), (Z, z) = domain(0, 100, 0), domain(number, n, 1, classes)
    scenes = np.full(100 + n, -1)
    if scene is not None:
        scenes[100:] = scene
    memory = remembered(np.concatenate([X, Z]), [*y, *z], scene=scenes)
    recent = np.arange(100, 100 + n)
    model = fitted(remembered(X, y)).model
    is_right = [False] * n if right is None else right
    return try_new_slot(memory.exemplars, recent, model, (24,), 4, is_right, 0)


def test_labels_of_another_domain_are_nearer_to_each_other():
    case = tried(1)
    assert case.nearer > 0.9
    assert case.n_shared > 10
    assert case.new_slot > 0.8
    assert case.n_labels == 24


def test_labels_of_the_same_domain_are_not():
    case = tried(0)
    assert case.nearer < 0.7
    assert case.one_model > 0.9


def test_what_was_answered_rightly_is_reported_as_it_was():
    case = tried(0, right=[True] * 18 + [False] * 6)
    assert case.existing == 0.75
    assert case.stated > 0.9


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_labels_are_measured_without_an_error(n):
    case = tried(1, n)
    assert all(math.isfinite(each) for each in case)
    assert case.n_labels == n


def test_labels_of_one_class_or_of_one_scene_are_measured_too():
    assert tried(1, classes=(2,)).n_labels == 24
    case = tried(1, scene=5)
    assert case.n_labels == 24


def test_where_all_labels_are_recent_there_is_nothing_to_compare_with():
    X, y = domain(0, 20, 0)
    memory = remembered(X, y)
    model = fitted(memory).model
    case = try_new_slot(memory.exemplars, np.arange(20), model, (24,), 4, [True] * 20, 0)
    assert case.n_shared == 0

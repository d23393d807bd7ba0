"""Class hypervectors: near the samples of their cell, the same everywhere, -1 where none is."""

from __future__ import annotations

import numpy as np

from hdc.domain.cells import ClassMembers
from hdc.domain.prototypes import Prototypes, by_class


def made(n_dims=1024, seed=0):
    rng = np.random.default_rng(0)
    means = rng.normal(size=(3, 8)).astype(np.float32)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    prototypes = Prototypes(8, n_dims, seed)
    prototypes.derive(means)
    return prototypes, means


def test_a_mean_is_most_like_its_own_prototype():
    prototypes, means = made()
    S = prototypes.similarities(prototypes.encode(means))
    np.testing.assert_allclose(np.diag(S), 1)
    assert (S.argmax(axis=1) == np.arange(3)).all()
    assert (np.abs(S) <= 1).all()


def test_how_far_a_sample_is_counts_as_well_as_its_direction():
    prototypes, means = made(8192)
    near, far = (prototypes.similarities(prototypes.encode(means * f)) for f in (1.1, 8.0))
    assert (np.diag(near) > np.diag(far)).all()


def test_bits_do_not_depend_on_the_company():
    prototypes, means = made()
    singly = np.concatenate([prototypes.encode(each[None]) for each in means])
    np.testing.assert_array_equal(singly, prototypes.encode(means))


def test_seeds_differ_and_are_kept():
    (one, means), (same, _), (other, _) = made(), made(), made(seed=1)
    np.testing.assert_array_equal(one.encode(means), same.encode(means))
    assert (one.encode(means) != other.encode(means)).any()


def test_a_class_has_the_best_of_its_cells_and_none_is_minus_one():
    S = np.array([[0.1, 0.7, 0.3]])
    assert by_class(S, ClassMembers(np.array([2, 0, 2])), 4).tolist() == [[0.7, -1.0, 0.3, -1.0]]


def test_no_cell_no_prototype():
    prototypes, means = made()
    prototypes.derive(means[:0])
    assert prototypes.similarities(prototypes.encode(means)).shape == (3, 0)

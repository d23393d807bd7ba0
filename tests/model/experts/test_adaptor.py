"""The adaptor: learns cells, sums them to classes, and leaves classes it has not met to others."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.errors import StateError
from edge_runtime.model.experts.adaptor import Adaptor
from hdc.domain.frame import fit_frame

UNKNOWN = np.log(np.full((1, 2), 0.5))


def trained(X, cells, classes, n_hidden=32, seed=0):
    frame = fit_frame(X, cells, np.ones(X.shape[1], np.float32), 0.3)
    rows = np.arange(len(X))
    return frame, Adaptor.fit(frame, lambda i: X[i], rows, cells, classes, n_hidden, seed)


def gaussians(n=400, n_cells=4, d=6):
    rng = np.random.default_rng(0)
    cells = np.arange(n) % n_cells
    X = rng.normal(size=(n_cells, d))[cells] * 3 + rng.normal(size=(n, d))
    return X.astype(np.float32), cells


def of_two_classes():
    """Four cells, two of each class: class 0 is cells 0 and 3."""
    X, cells = gaussians()
    classes = np.array([0, 1, 1, 0])
    frame, adaptor = trained(X, cells, classes)
    return X, classes[cells], frame, adaptor


def test_an_answer_is_the_sum_over_the_cells_of_a_class():
    X, y, frame, adaptor = of_two_classes()
    found = adaptor.log_probabilities(frame.centred(X), np.repeat(UNKNOWN, len(X), axis=0))
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-4)
    assert (found.argmax(axis=1) == y).mean() > 0.9


def test_a_class_it_has_never_met_has_the_probability_that_others_give_it():
    X, _, frame, adaptor = of_two_classes()
    others = np.log(np.tile([0.2, 0.2, 0.6], (len(X), 1)))
    found = np.exp(adaptor.log_probabilities(frame.centred(X), others))
    np.testing.assert_allclose(found[:, 2], 0.6, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-4)


def test_the_same_seed_trains_the_same_adaptor():
    X, cells = gaussians(120)
    one, same, other = (trained(X, cells, np.arange(4), seed=s)[1] for s in (0, 0, 1))
    np.testing.assert_array_equal(one.inward, same.inward)
    assert (one.inward != other.inward).any()


@pytest.mark.parametrize("scale", [0.0, 1e-10, 1e10])
def test_features_of_any_size_train_to_finite_weights(scale):
    X, cells = gaussians(80)
    frame, adaptor = trained(X * np.float32(scale), cells, np.arange(4), n_hidden=8)
    others = np.log(np.full((80, 4), 0.25))
    assert np.isfinite(adaptor.log_probabilities(frame.centred(X), others)).all()


def test_it_comes_back_from_its_state_and_another_width_is_refused():
    X, _, frame, adaptor = of_two_classes()
    again = Adaptor.from_state(adaptor.to_state(), 6)
    others = np.repeat(UNKNOWN, len(X), axis=0)
    one, other = (a.log_probabilities(frame.centred(X), others) for a in (adaptor, again))
    np.testing.assert_array_equal(one, other)
    assert again.n_bytes == adaptor.n_bytes
    with pytest.raises(StateError, match="inward"):
        Adaptor.from_state(adaptor.to_state(), 7)

"""Data that is quickly learned, a small classifier for it, and what makes two models the same."""

from __future__ import annotations

import numpy as np

from adaptors import TargetProjectionClassifier


def blobs(seed=0, n=90, n_classes=3, n_features=5):
    """Rows of each class about a centre of its own, far from the others: X (n, n_features), y."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    centres = rng.normal(0, 4, (n_classes, n_features))
    return (centres[y] + rng.normal(size=(n, n_features))).astype(np.float32), y


def small(**params):
    return TargetProjectionClassifier(**{"hidden": (16,), "random_state": 0, **params})


def arrays(model):
    return model.to_state()[1]


def assert_same_arrays(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def assert_same(first, second):
    """Two models have the same saved state: header and every array."""
    (header, weights), (other_header, other_weights) = first.to_state(), second.to_state()
    assert header == other_header
    assert_same_arrays(weights, other_weights)

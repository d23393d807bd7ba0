"""Fourier features approach the Gaussian kernel, and part classes that no plane parts."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdc import FourierFeatures, PrototypeClassifier


@given(st.integers(0, 2**32 - 1))
def test_inner_products_approach_the_gaussian_kernel(seed):
    X = np.random.default_rng(seed).standard_normal((6, 20))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    F = FourierFeatures(20, 8192, seed=seed, width=0.7).transform(X)
    kernel = np.exp(-np.square(X[:, None] - X).sum(axis=2) / (2 * 0.7**2))
    np.testing.assert_allclose(F @ F.T, kernel, atol=0.12)
    np.testing.assert_allclose(np.linalg.norm(F, axis=1), 1, rtol=1e-5)


def test_length_does_not_count_and_zero_is_finite():
    features = FourierFeatures(5, 256)
    X = np.random.default_rng(0).standard_normal((3, 5))
    np.testing.assert_allclose(features.transform(X), features.transform(100 * X), atol=1e-4)
    assert np.isfinite(features.transform(np.zeros((1, 5)))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((5, 100), "128"), ((5, 0), "n_outputs"), ((5, 256, 0, 0.0), "width"), ((0, 256), "features")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FourierFeatures(*arguments)


def rings(rng, n: int):
    """Two classes of directions with the same mean: near an axis on both sides, and between."""
    y = rng.integers(2, size=n)
    X = rng.standard_normal((n, 3)) * np.where(y[:, None] == 1, [4.0, 0.7, 0.7], [0.7, 4.0, 0.7])
    return X, y


def test_classes_with_equal_means_are_told_apart_by_fourier_features_alone():
    rng = np.random.default_rng(0)
    (X, y), (T, truth) = rings(rng, 600), rings(rng, 400)
    linear = PrototypeClassifier(n_dims=1024, random_state=0).fit(X, y)
    fourier = PrototypeClassifier(n_dims=1024, n_fourier=256, random_state=0).fit(X, y)
    assert linear.score(T, truth) < 0.65
    assert fourier.score(T, truth) > 0.85


@pytest.mark.parametrize("update", ["bundle", "adapt", "online"])
def test_a_classifier_with_fourier_features_survives_a_round_trip(update):
    X, y = rings(np.random.default_rng(0), 100)
    made = PrototypeClassifier(n_dims=512, n_fourier=128, update=update, random_state=0).fit(X, y)
    header, arrays = made.to_state()
    again = PrototypeClassifier.from_state(json.loads(json.dumps(header)), arrays)
    np.testing.assert_array_equal(again.decision_function(X), made.decision_function(X))
    again.partial_fit(X, y)
    header["parameters"] |= {"n_fourier": 256}
    with pytest.raises(ValueError, match="statistics of 128 features"):
        PrototypeClassifier.from_state(header, arrays)


def test_bundling_fourier_features_does_not_depend_on_the_order_of_samples():
    X, y = rings(np.random.default_rng(0), 100)
    make = {"n_dims": 512, "n_fourier": 128, "random_state": 0}
    forth = PrototypeClassifier(**make).partial_fit(X, y).refresh()
    back = PrototypeClassifier(**make).partial_fit(X[::-1], y[::-1]).refresh()
    assert (forth.prototypes_ != back.prototypes_).mean() < 0.01

"""A trained classifier in fewer bytes: how near it stays, and its saved state."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from adaptors import TargetProjectionClassifier
from adaptors.quantised import BLOCK, KINDS, QuantisedClassifier, QuantisedLayer

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    return TargetProjectionClassifier(hidden=(64,), random_state=0).fit(X, y), X_test, y_test


def few(n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(60) % n_classes
    X = rng.normal(size=(60, 4)) + 3 * rng.normal(size=(n_classes, 4))[y]
    return TargetProjectionClassifier(hidden=(8,), random_state=0).fit(X, y), X


@every_kind
def test_digits_are_answered_as_well_as_before(digits, kind):
    clf, X, y = digits
    small = QuantisedClassifier.of(clf, kind)
    assert abs(np.mean(small.predict(X) == y) - clf.score(X, y)) < 0.006
    assert np.mean(small.predict(X) == clf.predict(X)) > 0.99
    tolerance = {"int8": 0.1, "float16": 0.005}[kind]
    np.testing.assert_allclose(small.predict_proba(X), clf.predict_proba(X), atol=tolerance)


@pytest.mark.parametrize(("kind", "n_bytes"), [("int8", 1), ("float16", 2)])
def test_bytes_are_those_of_the_weights_and_some_vectors(kind, n_bytes):
    X = np.random.default_rng(0).normal(size=(40, 1280))
    clf = TargetProjectionClassifier(hidden=(64,), epochs=1, random_state=0)
    clf.fit(X, np.arange(40) % 10)
    weights = n_bytes * (1280 * 64 + 64 * 10)
    assert QuantisedClassifier.of(clf, kind).n_bytes_ == weights + 4 * (2 * 1280 + 2 * 64 + 2 * 10)
    if kind == "int8":
        assert QuantisedClassifier.of(clf, kind).n_bytes_ < 0.27 * clf.n_bytes_


@given(st.integers(0, 2**31), st.floats(1e-30, 1e30))
def test_no_weight_moves_by_more_than_half_a_step(seed, size):
    W = (np.random.default_rng(seed).normal(size=(3, 5)) * size).astype(np.float32)
    layer = QuantisedLayer.of(W, np.zeros(3, np.float32), "tanh", "int8")
    restored = layer.weights.astype(np.float64) * layer.scales[:, None]
    assert (np.abs(restored - W) <= 0.501 * layer.scales[:, None]).all()
    assert (np.abs(layer.weights).max(axis=1) == 127).all()


@every_kind
@pytest.mark.parametrize("size", [0.0, 1e-44, 3e38])
def test_rows_of_extreme_weights_stay_finite(kind, size):
    W = np.array([[size, -size], [1.0, 0.5]], dtype=np.float32)
    layer = QuantisedLayer.of(W, np.zeros(2, np.float32), "linear", kind)
    restored = layer.weights.astype(np.float32) * layer.scales[:, None]
    np.testing.assert_allclose(restored, W, rtol=0.01, atol=1e-38)


@every_kind
@pytest.mark.parametrize("n_inputs", [1, 7, BLOCK // 4, BLOCK * 2])
def test_blocks_of_rows_make_one_product(kind, n_inputs):
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(9, n_inputs)).astype(np.float32), np.ones(9, np.float32)
    X = rng.normal(size=(2, n_inputs)).astype(np.float32)
    layer = QuantisedLayer.of(W, b, "linear", kind)
    restored = layer.weights.astype(np.float32) * layer.scales[:, None]
    np.testing.assert_allclose(layer.forward(X), X @ restored.T + b, rtol=1e-3, atol=1e-2)


@every_kind
@pytest.mark.parametrize("n_classes", [1, 2, 3])
def test_answers_have_the_shapes_of_the_classifiers(kind, n_classes):
    clf, X = few(n_classes)
    small = QuantisedClassifier.of(clf, kind)
    for method in ("predict", "predict_proba", "decision_function"):
        found, expected = getattr(small, method)(X), getattr(clf, method)(X)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype


def test_deep_and_flat_networks_are_taken():
    X, y = np.eye(6)[np.arange(60) % 6], np.array(list("abcdef"))[np.arange(60) % 6]
    for hidden in ((), (8, 12)):
        clf = TargetProjectionClassifier(hidden=hidden, random_state=0).fit(X, y)
        assert (QuantisedClassifier.of(clf).predict(X) == clf.predict(X)).all()


def test_it_is_a_copy():
    clf, X = few()
    small = QuantisedClassifier.of(clf, "float16")
    before = small.predict_proba(X)
    clf.partial_fit(X * 5 + 1, np.zeros(60, int))
    np.testing.assert_array_equal(small.predict_proba(X), before)


@every_kind
def test_a_saved_state_answers_the_same(kind):
    clf, X = few()
    small = QuantisedClassifier.of(clf, kind)
    header, arrays = small.to_state()
    other = QuantisedClassifier.from_state(json.loads(json.dumps(header)), arrays)
    for array in arrays.values():
        array.fill(0)
    np.testing.assert_array_equal(other.predict_proba(X), small.predict_proba(X))
    assert other.n_bytes_ == small.n_bytes_
    assert other.classes_.dtype == small.classes_.dtype


@pytest.mark.parametrize(
    "change",
    [
        {"format": "adaptors.classifier"},
        {"version": 2},
        {"kind": "float16"},
        {"kind": "int4"},
        {"kind": None},
        {"kind": ["int8"]},
        {"n_features": 5},
        {"n_features": "4"},
        {"classes": [0, 1]},
        {"classes": [0, 1, 1]},
        {"classes": None},
        {"layers": []},
        {"layers": None},
        {"layers": [{"n_units": 8, "activation": "tanh"}]},
        {"layers": [{"n_units": 8, "activation": "gelu"}, {"n_units": 3, "activation": "linear"}]},
        {"layers": [{"n_units": 10**12, "activation": "tanh"}]},
        {"layers": ...},
    ],
    ids=str,
)
def test_a_damaged_header_is_refused(change):
    header, arrays = QuantisedClassifier.of(few()[0]).to_state()
    header = {k: v for k, v in {**header, **change}.items() if v is not ...}
    with pytest.raises(ValueError, match=r"."):
        QuantisedClassifier.from_state(header, arrays)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("layer0.weights", None),
        ("layer0.weights", np.zeros((8, 4), np.int16)),
        ("layer0.weights", np.zeros((8, 5), np.int8)),
        ("layer1.scales", np.zeros(3, np.float32)),
        ("layer1.bias", np.full(3, np.nan, np.float32)),
        ("frame.half_mean", np.zeros(4)),
        ("frame.more", np.zeros(4, np.float32)),
        ("layer2.weights", np.zeros((8, 4), np.int8)),
    ],
)
def test_damaged_arrays_are_refused(name, array):
    header, arrays = QuantisedClassifier.of(few()[0]).to_state()
    arrays = {k: v for k, v in {**arrays, name: array}.items() if v is not None}
    with pytest.raises(ValueError, match=r"state"):
        QuantisedClassifier.from_state(header, arrays)


def test_bad_input_is_refused():
    clf, X = few()
    with pytest.raises(ValueError, match=r"kind is 'int4', expected one of"):
        QuantisedClassifier.of(clf, "int4")
    with pytest.raises(ValueError, match="not fitted yet"):
        QuantisedClassifier.of(TargetProjectionClassifier())
    with pytest.raises(ValueError, match="X has 3 features"):
        QuantisedClassifier.of(clf).predict(X[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        QuantisedClassifier.of(clf).predict(X * np.nan)

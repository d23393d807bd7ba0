"""Prototypes: one pass in any order, classes that come and go, sums that cannot overflow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from hdc import PrototypeClassifier
from hdc.accumulators import LIMIT, UNIT, Accumulators
from hdc.hypervector import bundle, random, similarity

UPDATES = ["bundle", "adapt", "online"]


def blobs(seed: int = 0, n: int = 120, d: int = 10, n_classes: int = 4):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return (rng.standard_normal((n, d)) + 5 * np.eye(d)[y]).astype(np.float32), y


def model(**parameters) -> PrototypeClassifier:
    return PrototypeClassifier(**{"n_dims": 1024, "random_state": 0} | parameters)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("whiten", [True, False])
def test_easy_classes_are_learned(update, whiten):
    X, y = blobs()
    fitted = model(update=update, whiten=whiten).fit(X[:80], y[:80])
    assert fitted.score(X[80:], y[80:]) >= 0.95
    assert np.allclose(fitted.predict_proba(X).sum(axis=1), 1)
    assert (fitted.classes_[fitted.predict_proba(X).argmax(axis=1)] == fitted.predict(X)).all()


def test_whitening_gains_points_on_digits():
    X, y = load_digits(return_X_y=True)
    scores = [
        model(n_dims=2048, whiten=whiten).fit(X[::2], y[::2]).score(X[1::2], y[1::2])
        for whiten in (False, True)
    ]
    assert scores[0] > 0.83
    assert scores[1] > 0.92


@given(st.integers(0, 1000), st.integers(1, 30))
@settings(max_examples=15)
def test_bundling_does_not_depend_on_order_or_grouping(seed, step):
    X, y = blobs(seed)
    order = np.random.default_rng(seed).permutation(len(X))
    streamed = model()
    for start in range(0, len(X), step):
        rows = order[start : start + step]
        streamed.partial_fit(X[rows], y[rows])
    at_once = model().fit(X, y)
    assert (streamed.counts_ == at_once.counts_).all()
    similar = similarity(streamed.refresh().prototypes_, at_once.prototypes_)
    # Rounding may flip the sign of a dimension that is almost zero, and no more.
    assert similar.diagonal().min() > 0.99


def test_prototypes_follow_every_sample_between_two_whitenings():
    X, y = blobs()
    fitted = model().fit(X, y)
    before = fitted.prototypes_.copy()
    whitening = fitted.whitening_
    fitted.partial_fit(X[:1] + 30, y[:1])
    changed = (fitted.prototypes_ != before).any(axis=1)
    assert changed.tolist() == [True, False, False, False]
    assert fitted.whitening_ is whitening
    fitted.partial_fit(X, y)
    assert fitted.whitening_ is not whitening


@pytest.mark.parametrize("update", UPDATES)
def test_classes_come_and_go(update):
    X, y = blobs()
    names = np.array(["d", "b", "c", "a"])[y]
    fitted = model(update=update).fit(X[y < 3], names[y < 3])
    assert fitted.classes_.tolist() == ["b", "c", "d"]
    fitted.partial_fit(X[y == 3], names[y == 3])
    assert fitted.classes_.tolist() == ["a", "b", "c", "d"]
    assert fitted.counts_.tolist() == [30, 30, 30, 30]
    assert fitted.score(X, names) > 0.9
    fitted.remove_class("b")
    assert fitted.classes_.tolist() == ["a", "c", "d"]
    assert fitted.score(X[y != 1], names[y != 1]) > 0.9
    assert "b" not in fitted.predict(X)


@pytest.mark.parametrize("update", UPDATES)
def test_an_announced_class_is_never_predicted_before_its_first_sample(update):
    X, y = blobs()
    fitted = model(update=update).partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2, 3])
    assert fitted.classes_.tolist() == [0, 1, 2, 3]
    assert fitted.counts_.tolist() == [30, 30, 0, 0]
    assert set(fitted.predict(X)) <= {0, 1}
    fitted.partial_fit(X[y == 3], y[y == 3])
    assert (fitted.predict(X[y == 3]) == 3).mean() > 0.9
    fitted.remove_class(2)
    assert fitted.counts_.tolist() == [30, 30, 30]


def test_one_class_is_always_predicted():
    fitted = model().fit([[1.0, 2.0], [3.0, 4.0]], ["only", "only"])
    assert fitted.predict([[9.0, -9.0]]).tolist() == ["only"]
    with pytest.raises(ValueError, match="cannot remove"):
        fitted.remove_class("only")


def test_two_boards_merge_to_what_one_would_have_learned():
    X, y = blobs()
    a = model().fit(X[:50][y[:50] < 3], y[:50][y[:50] < 3])
    b = model(random_state=9).fit(X[50:][y[50:] > 0], y[50:][y[50:] > 0])
    seen = np.concatenate([np.flatnonzero(y[:50] < 3), 50 + np.flatnonzero(y[50:] > 0)])
    whole = model().fit(X[seen], y[seen])
    kept = b.counts_.copy()
    a.merge(b)
    assert (b.counts_ == kept).all()
    assert (a.counts_ == whole.counts_).all()
    assert similarity(a.prototypes_, whole.prototypes_).diagonal().min() > 0.99


def test_corrections_of_hypervectors_do_not_merge():
    X, y = blobs()
    with pytest.raises(ValueError, match="'online'"):
        model().fit(X, y).merge(model(update="online").fit(X, y))


def test_prototypes_take_one_bit_per_dimension():
    X, y = blobs(n=200, n_classes=10)
    assert model(n_dims=8192).fit(X, y).n_bytes_ == 10 * 1024
    assert model(n_dims=8192).fit(X, y).accumulators_.sums.nbytes == 0
    assert model(n_dims=8192, update="adapt").fit(X, y).accumulators_.sums.dtype == np.int32


def test_decision_function_of_two_classes_is_their_difference():
    X, y = blobs(n_classes=2)
    fitted = model().fit(X, y)
    assert fitted.decision_function(X).shape == (120,)
    assert ((fitted.decision_function(X) > 0) == fitted.predict(X)).all()


def test_too_many_classes_are_refused_and_nothing_changes():
    X, y = blobs()
    fitted = model(max_classes=3).fit(X[y < 3], y[y < 3])
    prototypes = fitted.prototypes_.copy()
    with pytest.raises(ValueError, match="4 classes, expected at most 3"):
        fitted.partial_fit(X[y == 3], y[y == 3])
    assert (fitted.prototypes_ == prototypes).all()
    with pytest.raises(ValueError, match="at most 3"):
        model(max_classes=3).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"update": "sgd"}, "update"),
        ({"n_dims": 100}, "multiple of 64"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": np.nan}, "learning_rate"),
        ({"epochs": -1}, "epochs"),
        ({"shrinkage": 2.0}, "shrinkage"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        model(**parameters).fit(*blobs())


def test_labels_of_another_kind_are_refused():
    X, y = blobs()
    with pytest.raises(ValueError, match="labels are"):
        model().fit(X, y).partial_fit(X[:1], ["a"])


def test_state_with_wrong_classes_is_refused():
    header, arrays = model().fit(*blobs()).to_state()
    for classes in ([3, 2, 1, 0], [0, 0, 1, 2], [0, 1, 2]):
        with pytest.raises(ValueError, match=r"classes|shape"):
            PrototypeClassifier.from_state(header | {"classes": classes}, arrays)


def test_accumulators_of_samples_are_their_bundle():
    hypervectors = random(5, 256, random_state=0)
    accumulators = Accumulators(256)
    accumulators.insert(0)
    accumulators.bundle(np.zeros(5, int), hypervectors)
    assert (accumulators.bits[0] == bundle(hypervectors)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_ten_million_updates_do_not_overflow(sign):
    accumulators = Accumulators(64)
    accumulators.insert(0)
    sample = random(1, 64, random_state=0)[0]
    accumulators.add(0, sample, sign)
    direction = np.sign(accumulators.sums[0])
    accumulators.sums[0] = direction * (10**7 * UNIT)  # as after so many updates
    for _ in range(10_000):  # and as many again, a thousand at a time
        accumulators.add(0, sample, sign * 1000)
    assert LIMIT // 2 <= np.abs(accumulators.sums.astype(np.int64)).max() <= LIMIT
    assert (np.sign(accumulators.sums[0]) == direction).all()


def test_rules_learn_from_mistakes_only():
    a, b = random(2, 1024, random_state=0)
    for rule in ("adapt", "online"):
        accumulators = Accumulators(1024)
        accumulators.insert(0)
        accumulators.insert(1)
        assert accumulators.learn(np.array([0, 1]), np.array([a, b]), rule, 1.0) == 0
        before = accumulators.sums.copy()
        assert accumulators.learn(np.array([0, 1]), np.array([a, b]), rule, 1.0) == 0
        assert (accumulators.sums == before).all()
        assert accumulators.learn(np.array([1]), np.array([a]), rule, 1.0) == 1
        changed = (accumulators.sums != before).any(axis=1)
        assert changed.tolist() == [rule == "adapt", True]  # "online": class 0 knows it fully


def test_the_online_rule_weighs_by_what_is_not_known_yet():
    a, b = random(2, 1024, random_state=0)
    accumulators = Accumulators(1024)
    accumulators.insert(0)
    accumulators.insert(1)
    accumulators.bundle(np.array([0, 1]), np.array([a, b]))
    before = accumulators.sums.copy()
    weight = round(UNIT * (1 - similarity(a, b)))
    accumulators.learn(np.array([1]), np.array([a]), "online", 1.0)
    assert np.abs(accumulators.sums - before).max(axis=1).tolist() == [0, weight]

"""The estimator: scikit-learn's contract, learning, labels, classes added later, saved state."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import check_estimator

from adaptors import TargetProjectionClassifier
from tests.adaptors.learning import assert_same, blobs, small


@pytest.mark.filterwarnings("ignore:Estimator .* does not inherit from `sklearn.base:UserWarning")
@pytest.mark.parametrize(
    "classifier",
    [
        TargetProjectionClassifier(),
        TargetProjectionClassifier(hidden=(16, 8), loss="cross_entropy", activation="relu"),
        TargetProjectionClassifier(hidden=(), batch_size=1),
    ],
    ids=repr,
)
def test_every_check_of_scikit_learn_passes(classifier):
    results = check_estimator(classifier, on_skip=None)
    # Skipped by scikit-learn itself unless SciPy's array API is switched on for the whole process.
    missed = {r["check_name"] for r in results if r["status"] != "passed"}
    assert missed <= {"check_array_api_input"}


@pytest.mark.parametrize(
    ("loss", "least"),
    [
        ("l2", 0.94),
        ("l1", 0.94),
        ("huber", 0.94),
        ("cosine", 0.94),
        ("binary_cross_entropy", 0.94),
        ("cross_entropy", 0.96),
        ("sharp_cross_entropy", 0.96),
    ],
)
def test_digits_are_learned_without_tuning(loss, least):
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    assert TargetProjectionClassifier(loss=loss, random_state=0).fit(X, y).score(X_test, y_test) > (
        least
    )


def test_trained_hidden_layers_beat_random_ones():
    # Few units and many noisy features: a random layer of this width loses the classes.
    rng = np.random.default_rng(0)
    y = np.arange(600) % 4
    centres = rng.normal(0, 1, (4, 100))
    X = centres[y] * 0.5 + rng.normal(size=(600, 100))
    trained, frozen = (
        small(hidden_learning_rate=rate).fit(X[:400], y[:400]).score(X[400:], y[400:])
        for rate in (1.0, 0.0)
    )
    assert trained > frozen + 0.1


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_and_offset_of_features_do_not_matter(scale):
    X, y = blobs()
    assert small().fit(X * scale + 3 * scale, y).score(X * scale + 3 * scale, y) > 0.95


def test_one_sample_at_a_time_learns_too():
    X, y = blobs(n=300)
    clf = small()
    for i in range(300):
        clf.partial_fit(X[i : i + 1], y[i : i + 1])
    assert clf.score(X, y) > 0.95


@pytest.mark.parametrize("params", [{}, {"loss": "l2"}, {"momentum": 0.9}, {"hidden": ()}], ids=str)
@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"]])
def test_the_fast_way_of_one_row_learns_the_same(params, labels):
    X, y = blobs(n=60)
    fast, slow = (small(**params).fit(X, np.array(labels)[y]) for _ in range(2))
    for x, label in zip(X, np.array(labels)[y], strict=True):
        fast.partial_fit(x[None], [label.item()])
        slow.partial_fit(x[None].tolist(), np.array([label], dtype=object))
    assert_same(fast, slow)


@pytest.mark.parametrize("y", [[3], np.array([3]), ["0"], [True], [0.0], [0, 1], 0, None])
def test_one_plain_row_is_validated_like_any_other(y):
    X, labels = blobs()
    outcomes = []
    for x in (X[:1], X[:1].tolist()):
        clf = small().fit(X, labels)
        try:
            outcomes.append(clf.partial_fit(x, y).classes_.tolist())
        except ValueError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_plain_row_that_is_not_finite_is_refused_and_changes_nothing(bad):
    X, y = blobs()
    clf, twin = small().fit(X, y), small().fit(X, y)
    x = X[:1].copy()
    x[0, 2] = bad
    for method in (lambda: clf.partial_fit(x, y[:1]), lambda: clf.predict(x)):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            method()
    assert_same(clf, twin)


def test_a_parameter_made_bad_between_two_rows_is_refused():
    X, y = blobs()
    clf = small().fit(X, y)
    clf.partial_fit(X[:1], y[:1])
    with pytest.raises(ValueError, match="expected"):
        clf.set_params(learning_rate=-1.0).partial_fit(X[:1], y[:1])


def test_partial_fit_of_all_rows_equals_partial_fit_step_by_step_once_the_scale_is_known():
    # Rows of one call share the statistics after all of them; that is the only difference.
    X, y = blobs(n=64)
    whole, parts = small(batch_size=16), small(batch_size=16)
    for clf in (whole, parts):
        clf.partial_fit(X, y)
        clf._scaler.count = 1e12  # nothing moves it any more
        clf._scaler.squares *= 1e12 / 64
    whole.partial_fit(X, y)
    for start in range(0, 64, 16):
        parts.partial_fit(X[start : start + 16], y[start : start + 16])
    np.testing.assert_allclose(whole.predict_proba(X), parts.predict_proba(X), atol=1e-5)


def test_one_epoch_of_partial_fit_is_near_one_of_fit():
    # fit shuffles, lets the rates fall to zero and merges equal rows; partial_fit does not.
    X, y = blobs(n=300)
    assert small().partial_fit(X, y).score(X, y) > 0.95
    assert small(epochs=1).fit(X, y).score(X, y) > 0.95


def test_the_hidden_rate_of_none_is_the_measured_one_but_at_most_one_per_row():
    clf = small()
    assert [clf._hidden_rate(n) for n in (1, 4, 16, 100)] == [1.0, 4.0, 10.0, 10.0]
    assert small(loss="l2")._hidden_rate(16) == 1.0
    assert small(hidden_learning_rate=3.0)._hidden_rate(1) == 3.0


def test_a_hidden_rate_of_none_equals_the_same_rate_given():
    X, y = blobs()
    none, given = small(loss="l2").fit(X, y), small(loss="l2", hidden_learning_rate=1.0).fit(X, y)
    np.testing.assert_array_equal(none.predict_proba(X), given.predict_proba(X))


@pytest.mark.parametrize("codes", ["sign", "gaussian", "orthogonal"])
@pytest.mark.parametrize("dynamics", [{"momentum": 0.9}, {"noise": 0.3}], ids=str)
def test_codes_momentum_and_noise_reach_the_network_and_learn(codes, dynamics):
    X, y = blobs(n=200)
    clf = small(codes=codes, **dynamics).fit(X, y)
    assert clf.score(X, y) > 0.95
    assert (clf.predict_proba(X) != small().fit(X, y).predict_proba(X)).any()
    assert_same(clf, small(codes=codes, **dynamics).fit(X, y))


def test_binary_cross_entropy_wants_a_bounded_range():
    X, y = blobs()
    assert small(loss="binary_cross_entropy").fit(X, y).score(X, y) > 0.95
    for activation in ("relu", "linear"):
        with pytest.raises(ValueError, match="expected one with a bounded range"):
            small(loss="binary_cross_entropy", activation=activation).fit(X, y)


def test_fit_does_not_depend_on_the_order_of_rows():
    X, y = blobs()
    order = np.random.default_rng(1).permutation(len(X))
    assert_same(small().fit(X, y), small().fit(X[order], y[order]))


def test_a_weight_is_a_number_of_copies():
    X, y = blobs(n=30)
    copies = np.random.default_rng(1).integers(0, 4, size=30).astype(np.intp)
    weighted = small().fit(X, y, sample_weight=copies)
    assert_same(weighted, small().fit(np.repeat(X, copies, axis=0), np.repeat(y, copies)))


def test_equal_rows_of_different_labels_stay_apart():
    clf = small().fit([[0.0], [0.0], [1.0]], [0, 1, 1], sample_weight=[3, 1, 1])
    assert clf.predict([[0.0], [1.0]]).tolist() == [0, 1]


def test_a_row_of_weight_zero_is_not_learned_from():
    X, y = blobs(n=30)
    weights = np.ones(30)
    weights[::2] = 0
    assert_same(
        small().partial_fit(X, y, [0, 1, 2], weights),
        small().partial_fit(X[1::2], y[1::2], [0, 1, 2], weights[1::2]),
    )


@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
def test_a_seed_repeats_and_another_seed_differs(learn):
    X, y = blobs()
    first, again, other = (getattr(small(random_state=s), learn)(X, y) for s in (1, 1, 2))
    assert_same(first, again)
    assert (first.predict_proba(X) != other.predict_proba(X)).any()


def test_a_generator_is_drawn_from_and_stored_untouched():
    X, y = blobs()
    rng = np.random.default_rng(3)
    clf = small(random_state=rng).fit(X, y)
    assert clf.random_state is rng
    assert_same(clf, small(random_state=np.random.default_rng(3)).fit(X, y))


def test_a_class_may_come_at_any_time():
    X, y = blobs(n=200, n_classes=4)
    old = y < 3
    clf = small().fit(X[old], y[old])
    network = clf.network_
    codes = [c.copy() for c in network._targets.tables]
    for _ in range(5):
        clf.partial_fit(X, y)
    assert clf.network_ is network
    assert clf.classes_.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(network._targets.tables[0][:3], codes[0])
    assert clf.score(X, y) > 0.9


def test_a_new_class_is_appended_so_that_columns_keep_their_meaning():
    clf = small().partial_fit([[0.0], [1.0]], ["m", "z"])
    clf.partial_fit([[2.0]], ["a"]).partial_fit([[3.0]], ["longer name"])
    assert clf.classes_.tolist() == ["m", "z", "a", "longer name"]
    assert clf.predict_proba([[0.0]]).shape == (1, 4)


def test_classes_may_be_announced():
    clf = small().partial_fit([[0.0]], [5], classes=[9, 5, 7])
    assert clf.classes_.tolist() == [5, 7, 9]
    assert clf.partial_fit([[0.0]], [1], classes=[1, 5]).classes_.tolist() == [5, 7, 9, 1]


def test_one_class_alone_is_predicted():
    clf = small().fit([[0.0], [1.0]], [4, 4])
    assert clf.predict([[9.0]]).tolist() == [4]
    assert clf.predict_proba([[9.0]]).tolist() == [[1.0]]


def test_two_classes_have_one_decision_value():
    X, y = blobs(n_classes=2)
    clf = small().fit(X, y)
    np.testing.assert_array_equal(clf.decision_function(X) > 0, clf.predict(X) == 1)
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1.0)


def test_a_prediction_does_not_depend_on_the_rest_of_the_batch():
    X, y = blobs()
    clf = small().fit(X, y)
    alone = np.concatenate([clf.predict_proba(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(alone, clf.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
def test_inputs_are_neither_changed_nor_kept(learn):
    X, y = blobs()
    weights = np.ones(len(X))
    before = X.copy(), y.copy()
    clf = getattr(small(), learn)(X, y, sample_weight=weights)
    probabilities = clf.predict_proba(X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])
    X[:], y[:], weights[:] = 0, 0, 0
    np.testing.assert_array_equal(clf.predict_proba(before[0]), probabilities)


def test_predicting_learns_nothing():
    X, y = blobs()
    clf, twin = small().fit(X, y), small().fit(X, y)
    clf.predict(X * 100)
    assert_same(clf, twin)


def test_memory_does_not_grow_with_samples():
    X, y = blobs()
    clf = small().partial_fit(X, y)
    n_bytes, names = clf.n_bytes_, set(vars(clf))
    for _ in range(10):
        clf.partial_fit(X, y)
    assert clf.n_bytes_ == n_bytes
    assert set(vars(clf)) == names


def test_hostile_but_finite_features_give_finite_answers():
    X, y = blobs()
    clf = small(activation="linear").fit(X, y)
    huge = np.full((1, 5), 3e38)
    clf.partial_fit(huge, [0])
    assert np.isfinite(clf.predict_proba(np.vstack([huge, -huge]))).all()
    assert clf.score(X, y) >= 0  # predicts, whatever


@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[np.nan] * 5], [0]),
        ([[np.inf] * 5], [0]),
        ([[1.0] * 5], [0, 1]),
        ([[1.0] * 5], None),
        ([[1.0] * 5] * 2, [1, "a"]),
        ([[1.0] * 5], [0.5]),
        (np.zeros((0, 5)), []),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(learn, X, y):
    good = blobs()
    clf, twin = small().fit(*good), small().fit(*good)
    with pytest.raises(ValueError, match=r"."):
        getattr(clf, learn)(X, y)
    assert_same(clf, twin)
    fresh = small()
    with pytest.raises(ValueError, match=r"."):
        getattr(fresh, learn)(X, y)
    assert not hasattr(fresh, "n_features_in_")


def test_labels_of_another_kind_are_refused_and_change_nothing():
    X, y = blobs()
    clf, twin = small().fit(X, y), small().fit(X, y)
    with pytest.raises(ValueError, match="integers or strings, never both"):
        clf.partial_fit(X[:1], ["one"])
    assert_same(clf, twin)
    fresh = small()
    with pytest.raises(ValueError, match="integers or strings, never both"):
        fresh.partial_fit(X[:1], [1], classes=["one", "two"])
    assert not hasattr(fresh, "classes_")


@pytest.mark.parametrize(
    "params",
    [
        {"hidden": 256},
        {"hidden": (0,)},
        {"loss": "hinge"},
        {"activation": "gelu"},
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"hidden_learning_rate": float("inf")},
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch_size": 0},
        {"batch_size": True},
        {"codes": "binary"},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"noise": float("nan")},
        {"learning_rate": 1e9},
    ],
    ids=str,
)
def test_a_bad_parameter_is_refused_when_learning(params):
    X, y = blobs()
    for learn in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=r"expected"):
            getattr(small(**params), learn)(X, y)


def test_a_rate_that_diverges_is_reported():
    X, y = blobs()
    with pytest.warns(RuntimeWarning, match="its rate halved"):
        clf = small(loss="l2", activation="linear", hidden_learning_rate=50.0).fit(X, y)
    assert np.isfinite(clf.predict_proba(X)).all()


@pytest.mark.parametrize("method", ["n_bytes_", "to_state"])
def test_what_needs_data_says_so(method):
    with pytest.raises(ValueError, match="not fitted yet"):
        getattr(TargetProjectionClassifier(), method)()

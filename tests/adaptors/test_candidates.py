"""Candidates: what they cost is what is built, and every one of them learns and is saved."""

import json

import numpy as np
import pytest

from adaptors.candidates import FIXED_KINDS, Candidate, Tap, candidate_space, drawn
from adaptors.search_classifier import AdaptorClassifier
from adaptors.search_network import AdaptorNetwork, LocalLayer

TAPS = (Tap("map", (4, 4, 3)), Tap("embedding", (8,)))
KINDS = [
    Candidate("identity", TAPS, 3),
    Candidate("scale_shift", TAPS, 3),
    Candidate("bottleneck", TAPS, 3, (16,)),
    Candidate("bottleneck", TAPS, 3, (16, 8), "relu"),
    Candidate("residual", TAPS, 3, (4,)),
    Candidate("pointwise", TAPS, 3, (5,), "relu"),
    Candidate("depthwise", TAPS, 3),
]
every_kind = pytest.mark.parametrize("candidate", KINDS, ids=str)


def samples(n_per_class=30, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(3), n_per_class))
    centres = 2.0 * np.eye(3, 8)
    X = {
        "map": rng.normal(size=(len(y), 4, 4, 3)) + np.eye(3)[y][:, None, None],
        "embedding": centres[y] + rng.normal(size=(len(y), 8)),
        "unused": np.zeros((len(y), 1)),
    }
    return X, y


@every_kind
def test_a_candidate_costs_what_is_built_and_learns(candidate):
    X, y = samples()
    clf = AdaptorClassifier(candidate, random_state=0).fit(X, y)
    assert clf.n_bytes_ == candidate.n_bytes
    assert sum(a.size for a in clf.network_.arrays().values()) == candidate.n_params
    assert clf.score(*samples(seed=1)) > 0.8
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1.0, rtol=1e-6)


@every_kind
def test_a_saved_classifier_predicts_and_learns_on_as_if_never_saved(candidate):
    X, y = samples()
    clf = AdaptorClassifier(candidate, epochs=2, random_state=0).fit(X, y)
    header, arrays = clf.to_state()
    again = AdaptorClassifier.from_state(json.loads(json.dumps(header)), arrays)
    for learner in (clf, again):
        learner.partial_fit(*samples(seed=1))
    np.testing.assert_array_equal(again.decision_function(X), clf.decision_function(X))
    assert again.n_bytes_ == clf.n_bytes_


@every_kind
def test_an_untrained_candidate_is_the_same_for_the_same_seed(candidate):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(5, 4, 4, 3)) if candidate.kind in ("pointwise", "depthwise") else None
    averages = rng.normal(size=(5, 3)) if maps is None else maps
    inputs = {"map": averages.astype(np.float32), "embedding": np.ones((5, 8), np.float32)}
    one, same, other = (
        AdaptorNetwork(candidate, np.random.default_rng(s)).outputs(inputs) for s in (1, 1, 2)
    )
    assert one[0].shape == (5, candidate.n_inputs)
    assert one[-1].shape == (5, candidate.n_features)
    np.testing.assert_array_equal(one[-1], same[-1])
    if candidate.kind != "identity":
        assert not np.array_equal(one[-1], other[-1])


@every_kind
def test_a_class_can_be_added_and_the_others_stay_as_they_are(candidate):
    X, y = samples()
    clf = AdaptorClassifier(candidate, random_state=0).fit(X, np.array(["a", "b", "c"])[y])
    before = clf.decision_function(X)
    clf.network_.add_classes(1)
    np.testing.assert_allclose(clf.decision_function(X)[:, :3], before, atol=1e-5)
    new = {name: values[:8] + 6 for name, values in X.items()}
    clf = AdaptorClassifier(candidate, random_state=0).fit(X, np.array(["a", "b", "c"])[y])
    for _ in range(20):
        clf.partial_fit(new, ["d"] * 8)
    assert clf.classes_.tolist() == ["a", "b", "c", "d"]
    assert (clf.predict(new) == "d").mean() > 0.8


@every_kind
def test_only_bottlenecks_learn_and_units_of_few_inputs_stay_as_they_were_drawn(candidate):
    X, y = samples()
    clf = AdaptorClassifier(candidate, random_state=0).fit(X, y)
    drawn_again = AdaptorNetwork(candidate, np.random.default_rng(0))
    for layer, before in zip(clf.network_.layers, drawn_again.layers, strict=True):
        same = np.array_equal(layer.weights, before.weights)
        assert same == (candidate.kind in FIXED_KINDS)


def test_a_step_of_rate_one_lands_one_sample_on_its_target():
    x, target = np.array([[0.5, -2.0]], np.float32), np.array([[0.9, -0.9, 0.9]], np.float32)
    layer = LocalLayer(np.zeros((3, 2), np.float32), np.zeros(3, np.float32), "linear")
    layer.learn(x, target, 1.0)
    np.testing.assert_allclose(layer.forward(x), target, rtol=1e-5)


def test_units_of_their_own_inputs_see_those_alone():
    rng = np.random.default_rng(0)
    X, W, b = (rng.normal(size=s).astype(np.float32) for s in ((5, 3, 2), (3, 2), (3,)))
    expected = [[X[n, u] @ W[u] + b[u] for u in range(3)] for n in range(5)]
    np.testing.assert_allclose(LocalLayer(W, b, "linear").forward(X), expected, rtol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_scale_and_shift_of_many_classes_does_not_spoil_its_input(activation):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(12), 30)
    X = 3.0 * rng.normal(size=(12, 40))[y] + rng.normal(size=(len(y), 40))
    candidate = Candidate("scale_shift", (Tap("x", (40,)),), 12, (), activation)
    clf = AdaptorClassifier(candidate, random_state=0).fit(X[::2], y[::2])
    assert clf.score(X[1::2], y[1::2]) > 0.9


def test_partial_fit_starts_from_nothing_and_learns():
    X, y = samples()
    clf = AdaptorClassifier(KINDS[2], random_state=0)
    for _ in range(10):
        clf.partial_fit(X, y, classes=[0, 1, 2])
    assert clf.score(X, y) > 0.8


def test_the_input_is_left_alone():
    X, y = samples()
    kept = {name: values.copy() for name, values in X.items()}
    AdaptorClassifier(KINDS[-1], random_state=0).fit(X, y).predict(X)
    for name, values in X.items():
        np.testing.assert_array_equal(values, kept[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "magic"}, "kind is 'magic'"),
        ({"taps": ()}, "expected distinct names"),
        ({"taps": (TAPS[0], TAPS[0])}, "expected distinct names"),
        ({"kind": "pointwise", "taps": TAPS[1:]}, "needs a feature map"),
        ({"widths": (0,)}, "expected ints >= 1"),
        ({"widths": ()}, "expected one or more"),
        ({"kind": "identity"}, "expected 0 of them"),
        ({"kind": "pointwise", "widths": (3, 3)}, "expected 1 of them"),
        ({"n_classes": True}, "expected ints >= 1"),
        ({"taps": (Tap("flat", (3, 4)),)}, "expected shapes"),
        ({"activation": "swish"}, "activation is 'swish'"),
    ],
)
def test_an_impossible_candidate_is_refused(change, message):
    valid = {"kind": "bottleneck", "taps": TAPS, "n_classes": 3, "widths": (4,)}
    with pytest.raises(ValueError, match=message):
        Candidate(**{**valid, **change})


def test_a_description_is_read_back_and_a_damaged_one_refused():
    described = json.loads(json.dumps(KINDS[3].to_dict()))
    assert Candidate.from_dict(described) == KINDS[3]
    for damaged in ({}, {**described, "taps": 3}, {**described, "widths": None}, None):
        with pytest.raises(ValueError, match="describes no candidate"):
            Candidate.from_dict(damaged)


def test_the_space_has_every_subset_of_taps_and_no_candidate_twice():
    taps = [Tap(name, (6,)) for name in "abc"]
    space = candidate_space(taps, 2)
    assert len({c.taps for c in space}) == 7
    assert len(set(space)) == len(space)
    assert not any(c.kind in ("pointwise", "depthwise") for c in space)
    assert {c.kind for c in candidate_space(TAPS, 2)} == {c.kind for c in KINDS}
    assert len(candidate_space([Tap(str(i), (6,)) for i in range(12)], 2)) < 2000


def test_a_draw_repeats_nothing_and_keeps_the_order():
    space = candidate_space([Tap("a", (64,))], 2)
    few = drawn(space, 5, np.random.default_rng(0))
    assert len(set(few)) == 5
    assert few == [c for c in space if c in few]
    assert drawn(space, 10_000, np.random.default_rng(0)) == space


BAD_TAPS = [
    ({"map": np.ones((6, 4, 4, 3))}, "no 'embedding'"),
    ({"embedding": np.full((6, 8), np.nan)}, "NaN"),
    ({"embedding": np.full((6, 8), 1e300)}, "too large"),
    ({"embedding": np.ones((6, 9))}, "another encoder"),
    ({"embedding": np.ones((5, 8))}, "different numbers of samples"),
    ({"embedding": np.ones((0, 8))}, "none of them 0"),
    ({"embedding": np.full((6, 8), "x")}, "expected numbers"),
    (np.ones((6, 8)), "expected a dict"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_TAPS)
def test_bad_taps_are_refused(bad, message):
    whole = {"map": np.ones((6, 4, 4, 3)), "embedding": np.ones((6, 8))}
    given = bad if not isinstance(bad, dict) or "map" in bad else {**whole, **bad}
    with pytest.raises(ValueError, match=message):
        AdaptorClassifier(KINDS[0]).fit(given, [0, 1] * 3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_rate": np.nan}, "learning_rate"),
        ({"hidden_learning_rate": 3.0}, "hidden_learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": True}, "batch_size"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        AdaptorClassifier(KINDS[0], **params).fit(*samples())


def test_what_is_no_candidate_is_refused_and_so_is_mixing_kinds_of_labels():
    with pytest.raises(TypeError, match="expected a Candidate"):
        AdaptorClassifier("identity").fit(*samples())
    X, y = samples()
    clf = AdaptorClassifier(KINDS[0], random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="known classes"):
        clf.partial_fit(X, y.astype(str))
    with pytest.raises(ValueError, match="not fitted"):
        AdaptorClassifier(KINDS[0]).predict(X)


def damaged_states():
    X, y = samples()
    header, arrays = AdaptorClassifier(KINDS[-1], epochs=1, random_state=0).fit(X, y).to_state()
    weights = arrays["network.output.weights"]
    yield {**header, "version": 9}, arrays
    yield {**header, "classes": [0, 0, 1]}, arrays
    yield {**header, "classes": list(range(10**6))}, arrays
    yield {**header, "counts": [1.0]}, arrays
    yield {**header, "counts": [-1.0] * 3}, arrays
    yield {**header, "seed": "1"}, arrays
    yield {**header, "params": {"epochs": -1}}, arrays
    yield {**header, "params": {"unknown": 1}}, arrays
    yield {**header, "candidate": KINDS[0].to_dict()}, arrays
    yield {k: v for k, v in header.items() if k != "candidate"}, arrays
    yield header, {**arrays, "network.output.weights": weights[:, :-1]}
    yield header, {**arrays, "network.output.weights": np.full_like(weights, np.nan)}
    yield header, {**arrays, "more.mean": np.zeros(1)}
    yield header, {k: v for k, v in arrays.items() if not k.startswith("network")}


@pytest.mark.parametrize("number", range(14))
def test_a_damaged_state_is_refused(number):
    header, arrays = list(damaged_states())[number]
    with pytest.raises(ValueError):
        AdaptorClassifier.from_state(header, arrays)

"""What broke in the field, played again on data that everybody has."""

from __future__ import annotations

import copy
import enum

import numpy as np
import pytest

from edge_runtime import EdgeRuntime
from tests.runtime.teaching import SMALL, kinds, learn_all

sklearn_data = pytest.importorskip("sklearn.datasets")


def accuracy(runtime, X, y):
    return np.mean([p.label == k for p, k in zip(runtime.peek_many(X), y, strict=True)])


def one_by_one(X, y, **options):
    runtime = EdgeRuntime(**{**SMALL, **options})
    learn_all(runtime, X, y)
    return runtime


def digits():
    X, y = sklearn_data.load_digits(return_X_y=True)
    return X / 16, y


# -- units -----------------------------------------------------------------------------------


UNITS = {
    "gas in ohm": (20e3, 5_654_450),
    "seconds since 1970": (60, 1.7e9),
    "standardised": (1, 0),
    "pressure in Pa": (5, 100_347),
    "24-bit counts": (3e3, 8e6),
}
QUICK_UNITS = ("gas in ohm", "seconds since 1970")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK_UNITS else pytest.mark.slow) for n in UNITS],
)
def test_measures_in_the_units_of_sensors_are_learned_one_by_one(name):
    scale, offset = UNITS[name]
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 350)
    X = offset + scale * (rng.normal(size=(350, 6)) + 3 * np.eye(6)[y])
    runtime = one_by_one(X[:60], y[:60].tolist())
    assert accuracy(runtime, X[100:], y[100:]) > 0.9


def test_gas_that_a_sensor_gives_in_ohm_tells_the_smells_apart_after_one_is_forgotten():
    rng = np.random.default_rng(0)
    k = rng.integers(0, 3, 500)
    gas = np.array([120e3, 90e3, 70e3])[k] * np.exp(0.04 * rng.normal(size=500))
    X = np.stack(
        [
            20.7 + 0.2 * rng.normal(size=500),
            60 + rng.normal(size=500),
            1003.5 + 0.05 * rng.normal(size=500),
            gas,
        ],
        axis=1,
    )
    y = np.array(["clean", "coffee", "alcohol"])[k]
    runtime = EdgeRuntime(**SMALL)
    runtime.learn_many(X[:120], y[:120].tolist())
    assert accuracy(runtime, X[250:], y[250:]) > 0.9
    more = copy.deepcopy(runtime)
    runtime.forget_class("alcohol")
    rest = y[250:] != "alcohol"
    assert accuracy(runtime, X[250:][rest], y[250:][rest]) > 0.9
    learn_all(more, X[120:250], y[120:250].tolist())
    assert accuracy(more, X[250:], y[250:]) > 0.9


def test_measures_of_different_units_in_one_table_weigh_alike():
    X, y = sklearn_data.load_wine(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    train, test = order[:70], order[100:]
    spread = X[train].std(axis=0)
    odd = 10 ** rng.uniform(-3, 3, X.shape[1]) / spread
    found = {}
    for name, units in (("standard", 1 / spread), ("raw", np.ones(len(spread))), ("odd", odd)):
        singly = one_by_one(X[train] * units, y[train].tolist())
        at_once = EdgeRuntime(**SMALL)
        at_once.learn_many(X[train] * units, y[train].tolist())
        found[name] = [accuracy(each, X[test] * units, y[test]) for each in (singly, at_once)]
    best = min(found["standard"])
    assert best > 0.9
    assert min(found["raw"]) > best - 0.05
    assert min(found["odd"]) > best - 0.05


# -- labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_rare_class_is_known_one_by_one_as_it_is_from_a_batch(seed):
    X, y = digits()
    rng = np.random.default_rng(seed)
    rare, major = (rng.permutation(np.flatnonzero(each)) for each in (y == 8, y < 5))
    train, test = rng.permutation(np.r_[rare[:5], major[:200]]), rare[5:105]
    labels = ["rare" if y[i] == 8 else "major" for i in train]
    singly = one_by_one(X[train], labels)
    at_once = EdgeRuntime(**SMALL)
    at_once.learn_many(X[train], labels)
    one, many = (accuracy(each, X[test], ["rare"] * 100) for each in (singly, at_once))
    assert one >= many - 0.15
    assert sum(slot.n_labels for slot in singly.slots) == 205


def test_a_slip_of_the_finger_is_mended_by_the_right_label_and_by_undo(tmp_path):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 60)
    X = rng.normal(size=(60, 6)) + 3 * np.eye(6)[y]
    runtime = EdgeRuntime(**SMALL)
    runtime.learn_many(X, ["cat" if k else "dog" for k in y])
    ids = [runtime.step(x + 0.1).sample_id for x in X[:6]]
    runtime.learn(ids[0], "cat")
    runtime.learn(ids[0], "dog")
    runtime.save(tmp_path)
    runtime.learn(ids[5], "cat")
    runtime.undo()
    runtime.learn(ids[5], "dog")
    runtime.learn(ids[1], "dog")
    assert sum(slot.n_labels for slot in runtime.slots) == 63


# -- types -----------------------------------------------------------------------------------


class Word(str, enum.Enum):
    CAT = "cat"
    DOG = "dog"


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


def two_classes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    return rng.normal(size=(60, 6)) + 3 * np.eye(6)[y], y


@pytest.mark.parametrize("members", [list(Word), list(Number)], ids=["words", "numbers"])
def test_members_of_an_enum_are_the_same_labels_after_a_restart(members, tmp_path):
    X, y = two_classes()
    runtime = EdgeRuntime(**SMALL)
    runtime.learn_many(X, [members[k] for k in y])
    runtime.save(tmp_path)
    runtime = EdgeRuntime.load(tmp_path)
    runtime.learn(runtime.step(X[0] + 0.1).sample_id, members[0])
    assert len(runtime.classes) == 2
    runtime.forget_class(members[1])
    assert runtime.classes == [members[0].value]


@pytest.mark.parametrize(
    "labels",
    [lambda y: y, lambda y: y > 0, lambda y: (y > 0).tolist()],
    ids=["int64", "bool_", "bool"],
)
def test_numbers_and_truth_values_of_all_kinds_are_labels(labels):
    X, y = two_classes()
    runtime = EdgeRuntime(**SMALL)
    runtime.learn_many(X, labels(y))
    assert sorted(runtime.classes) == [0, 1]
    runtime.forget_class(np.int64(1))
    assert runtime.classes == [0]


def test_rows_of_a_table_are_samples():
    pandas = pytest.importorskip("pandas")
    X, y = two_classes()
    runtime = EdgeRuntime(**SMALL)
    runtime.learn_many(pandas.DataFrame(X).to_numpy(), y.tolist())
    assert runtime.step(pandas.DataFrame(X).iloc[0]).label == y[0]
    named = EdgeRuntime(**SMALL)
    named.learn_many(pandas.DataFrame(X, columns=list("abcdef")).to_dict("records"), y.tolist())
    assert dict(named.taps) == dict.fromkeys("abcdef", 1)


# -- new domains -----------------------------------------------------------------------------


def in_a_new_world(runtime, samples, n):
    """Stream samples (x, k), answer every request; returns how many, and kinds of events."""
    given, events = 0, []
    for _ in range(n):
        x, k = next(samples)
        prediction = runtime.step(x)
        events += prediction.events
        if prediction.wants_label:
            given += 1
            events += runtime.learn(prediction.sample_id, k)
    return given, kinds(events)


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_a_domain_without_one_class_that_then_moves_slowly_is_lived_through(seed):
    d, rng = 32, np.random.default_rng(seed)
    means, there, drift = (
        rng.normal(size=(5, d)) * 1.2,
        rng.normal(size=d) * 2.5,
        rng.normal(size=d),
    )
    y = np.arange(200) % 5
    runtime = EdgeRuntime(random_state=seed, **SMALL)
    runtime.learn_many(means[y] + rng.normal(size=(200, d)), y.tolist())

    def samples():
        for t in range(10**6):
            k = int(rng.integers(4))  # the fifth class does not occur
            moved = there + max(0, t - 150) / 200 * drift
            yield means[(k + 1) % 4] + moved + rng.normal(size=d), k

    in_a_new_world(runtime, samples(), 400)
    assert all(np.isfinite(p.probabilities).all() for p in runtime.peek_many(means))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("present", "seeds", "least"),
    [
        ((0, 1), (0,), 0.8),
        ((2, 5, 7), (0,), 0.8),
        # Turned threes and nines hang on which ones are shown: 0.66 to 0.89, 0.81 on average, where
        # logistic regression has 0.76 on the same labels.
        ((3, 9), (0, 1, 2, 3), 0.75),
    ],
)
def test_a_domain_that_shows_two_of_ten_classes_is_learned(present, seeds, least):
    found = [learned_of_a_turned_camera(present, seed) for seed in seeds]
    assert np.mean(found) > least


def learned_of_a_turned_camera(present, seed):
    """Accuracy on a turned camera's digits, after one that showed them upright."""
    X, y = digits()
    turned = np.rot90(X.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    runtime = EdgeRuntime(n_dims=4096, random_state=seed)
    runtime.learn_many(X[order[:900]], y[order[:900]].tolist())
    pool = np.array([i for i in order[900:] if y[i] in present])
    test, seen = pool[: len(pool) // 3], pool[len(pool) // 3 :]

    def samples():
        while True:
            i = rng.choice(seen)
            yield turned[i] + 0.02 * rng.normal(size=64), int(y[i])

    given, told = in_a_new_world(runtime, samples(), 300)
    assert given <= 10 * len(present) * told.count("drift") + 20
    return accuracy(runtime, turned[test], y[test])


def test_labels_that_a_person_gave_count_whatever_the_trial_says():
    d, known, present = 32, 10, 2
    rng = np.random.default_rng(0)
    means, there, own = (
        rng.normal(size=s) * f for s, f in (((known, d), 2), (d, 2.5), ((known, d), 1.5))
    )
    y = np.arange(20 * known) % known
    runtime = EdgeRuntime(**SMALL)
    runtime.learn_many(means[y] + rng.normal(size=(len(y), d)), y.tolist())

    def samples():
        while True:
            k = int(rng.integers(present))
            yield means[k] + own[k] + there + rng.normal(size=d), k

    given, told = in_a_new_world(runtime, samples(), 500)
    assert given > 0
    assert {"grown", "adapted", "trial_rejected"} & set(told)
    assert sum(slot.n_labels for slot in runtime.slots) == len(y) + given

"""The regressor: scikit-learn's contract, learning, streams, several targets, saved state."""

import json

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator

from adaptors import TargetProjectionRegressor
from adaptors.network import TargetProjectionNetwork
from tests.adaptors.learning import assert_same


def line(n=120, n_targets=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    y = X @ rng.normal(size=(4, n_targets)) + 0.05 * rng.normal(size=(n, n_targets))
    return X, (y[:, 0] if n_targets == 1 else y)


def small(**params):
    return TargetProjectionRegressor(**{"hidden": (32,), "random_state": 0, **params})


@pytest.mark.filterwarnings("ignore:Estimator .* does not inherit from `sklearn.base:UserWarning")
@pytest.mark.parametrize(
    "regressor",
    [
        TargetProjectionRegressor(),
        TargetProjectionRegressor(hidden=(16, 8), loss="l2", momentum=0.5),
        TargetProjectionRegressor(hidden=(), batch_size=1),
    ],
    ids=repr,
)
def test_every_check_of_scikit_learn_passes(regressor):
    results = check_estimator(regressor, on_skip=None)
    missed = {r["check_name"] for r in results if r["status"] != "passed"}
    assert missed <= {"check_array_api_input"}


@pytest.mark.parametrize("loss", ["l2", "l1", "huber", "cosine", "binary_cross_entropy"])
def test_a_line_is_learned_under_every_loss_of_a_distance(loss):
    X, y = line(240)
    assert small(loss=loss).fit(X[:160], y[:160]).score(X[160:], y[160:]) > 0.9


def test_a_bend_is_learned_that_random_layers_miss():
    X = np.linspace(-1, 1, 300)[:, None]
    y = X[:, 0] ** 2
    trained, frozen = (small(hidden_learning_rate=r).fit(X, y).score(X, y) for r in (None, 0.0))
    assert trained > 0.5 > frozen


@pytest.mark.parametrize("n_targets", [2, 3])
def test_several_targets_at_once(n_targets):
    X, y = line(240, n_targets)
    y *= 10.0 ** np.arange(n_targets)
    model = small().fit(X, y)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.9


def test_the_shape_of_predictions_is_that_of_the_targets():
    X, y = line()
    assert small().fit(X, y).predict(X).shape == (120,)
    assert small().fit(X, y[:, None]).predict(X).shape == (120, 1)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_scale_and_offset_of_targets_do_not_matter(scale):
    X, y = line()
    y = (y + 5) * scale
    assert small().fit(X, y).score(X, y) > 0.9


def test_one_sample_at_a_time_learns_too():
    X, y = line(400)
    model = small()
    for i in range(400):
        model.partial_fit(X[i : i + 1], y[i : i + 1])
    assert model.score(X, y) > 0.9


def test_new_statistics_of_targets_leave_predictions_as_they_were():
    X, y = line()
    model = small().fit(X, y)
    before = model.predict(X)
    model._rescale(y[:, None] * 30 + 100, None)
    np.testing.assert_allclose(model.predict(X), before, rtol=1e-3, atol=1e-3)


def test_fit_does_not_depend_on_the_order_of_rows():
    X, y = line()
    order = np.random.default_rng(1).permutation(len(X))
    assert_same(small().fit(X, y), small().fit(X[order], y[order]))


def test_a_weight_is_a_number_of_copies():
    X, y = line(30)
    copies = np.random.default_rng(1).integers(0, 4, size=30).astype(np.intp)
    weighted = small().fit(X, y, sample_weight=copies)
    assert_same(weighted, small().fit(np.repeat(X, copies, axis=0), np.repeat(y, copies)))


def test_a_row_of_weight_zero_is_not_learned_from():
    X, y = line(30)
    weights = np.arange(30) % 2
    assert_same(
        small().partial_fit(X, y, weights),
        small().partial_fit(X[1::2], y[1::2], weights[1::2]),
    )


def test_a_seed_repeats_and_another_seed_differs():
    X, y = line()
    first, again, other = (small(random_state=s).fit(X, y) for s in (1, 1, 2))
    assert_same(first, again)
    assert (first.predict(X) != other.predict(X)).any()


def test_a_target_that_never_varies_is_predicted():
    X, _ = line()
    model = small().fit(X, np.full(120, 7.0))
    np.testing.assert_allclose(model.predict(X), 7.0)
    assert model.score(X, np.full(120, 7.0)) == 1.0
    assert model.score(X, np.full(120, 8.0)) == 0.0


def test_one_broken_reading_does_not_undo_what_was_learned():
    X, y = line(400)
    model = small().fit(X, y)
    model.partial_fit(X[:1], [1e6])
    assert np.isfinite(model.predict(X)).all()
    for _ in range(5):
        model.partial_fit(X, y)
    assert np.isfinite(model.score(X, y))


def test_a_rate_that_diverges_is_reported_and_leaves_finite_weights():
    X, y = line()
    with pytest.warns(RuntimeWarning, match="its rate halved"):
        model = small(activation="linear", loss="l2", hidden_learning_rate=50.0).fit(X, y)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[np.nan] * 4], [0.0]),
        ([[1.0] * 4], [np.nan]),
        ([[1.0] * 4], [np.inf]),
        ([[1.0] * 4], [[np.nan]]),
        ([[1.0] * 4], [1e200]),
        ([[1.0] * 4], [[1e200]]),
        ([[1.0] * 4], [0.0, 1.0]),
        ([[1.0] * 4], [[0.0], [1.0]]),
        ([[1.0] * 4], np.zeros((1, 0))),
        ([[1.0] * 4], [[1j]]),
        ([[1.0] * 4], [["a"]]),
        ([[1.0] * 4], ["a"]),
        ([[1.0] * 4], None),
        (np.zeros((0, 4)), []),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(learn, X, y):
    good = line()
    model, twin = small().fit(*good), small().fit(*good)
    with pytest.raises(ValueError, match=r"."):
        getattr(model, learn)(X, y)
    assert_same(model, twin)
    fresh = small()
    with pytest.raises(ValueError, match=r"."):
        getattr(fresh, learn)(X, y)
    assert not hasattr(fresh, "n_features_in_")


def test_another_number_of_targets_is_refused_and_changes_nothing():
    X, y = line(n_targets=2)
    model, twin = small().fit(X, y), small().fit(X, y)
    with pytest.raises(ValueError, match="y has 1 targets, expected 2"):
        model.partial_fit(X, y[:, 0])
    assert_same(model, twin)


def test_a_loss_that_compares_classes_is_refused():
    with pytest.raises(ValueError, match="compares classes"):
        small(loss="cross_entropy").fit(*line())


@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
def test_learning_continues_from_a_saved_state_as_if_nothing_had_happened(learn, n_targets):
    X, y = line(n_targets=n_targets)
    model = getattr(small(momentum=0.5, noise=0.1), learn)(X, y)
    header, arrays = model.to_state()
    other = TargetProjectionRegressor.from_state(json.loads(json.dumps(header)), arrays)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    for one in (model, other):
        one.partial_fit(X[:1], y[:1]).partial_fit(X, y)
    assert_same(model, other)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"format": "adaptors.classifier"},
        {"params": {"hidden": [33]}},
        {"params": None},
        {"flat": 1},
        {"flat": ...},
        {"count": -1.0},
        {"target_count": -1.0},
        {"target_count": ...},
        {"network": {}},
    ],
    ids=str,
)
def test_a_damaged_state_is_refused(change):
    header, arrays = small().fit(*line()).to_state()
    header = {k: v for k, v in {**header, **change}.items() if v is not ...}
    with pytest.raises(ValueError, match=r"."):
        TargetProjectionRegressor.from_state(header, arrays)


def test_a_flat_state_of_two_targets_is_refused():
    header, arrays = small().fit(*line(n_targets=2)).to_state()
    with pytest.raises(ValueError, match="flat"):
        TargetProjectionRegressor.from_state({**header, "flat": True}, arrays)


@pytest.mark.parametrize("name", ["mean", "target.mean", "network.output.bias"])
def test_a_state_without_one_of_its_arrays_is_refused(name):
    header, arrays = small().fit(*line()).to_state()
    del arrays[name]
    with pytest.raises(ValueError, match="state"):
        TargetProjectionRegressor.from_state(header, arrays)


def test_a_network_of_classes_is_no_regressor():
    header, arrays = small().fit(*line()).to_state()
    network, inner = TargetProjectionNetwork([], 4, 1).to_state()
    others = {k: v for k, v in arrays.items() if not k.startswith("network.")}
    with pytest.raises(ValueError, match="state"):
        TargetProjectionRegressor.from_state(
            {**header, "network": network},
            {**others, **{f"network.{k}": v for k, v in inner.items()}},
        )


def test_memory_is_counted_with_the_targets():
    X, y = line(n_targets=2)
    model = small().fit(X, y)
    assert model.n_bytes_ == model.network_.n_bytes + 24 * 4 + 24 * 2
    with pytest.raises(ValueError, match="not fitted yet"):
        _ = small().n_bytes_

"""Views add what narrow taps say alone, weighed by known samples only, and survive a round trip."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hdc import OODDetector, PooledCovariance
from hdc._views import Views


def draw(rng, n: int, shift: float = 0.0):
    """A wide tap and two narrow ones: one that knows the classes, and noise that does not."""
    y = rng.integers(3, size=n)
    wide = rng.standard_normal((n, 60)) + 4 * np.eye(60)[y]
    narrow = rng.standard_normal((n, 4)) + 4 * np.eye(4)[y] + shift * np.eye(4)[3]
    return {"narrow": narrow, "noise": rng.standard_normal((n, 3)), "wide": wide}, y


def fitted(**parameters) -> OODDetector:
    made = OODDetector(**{"n_dims": 1024, "random_state": 0} | parameters)
    return made.fit(*draw(np.random.default_rng(0), 400))


def auroc(model: OODDetector, known, strange) -> float:
    scores = np.concatenate([model.score_samples(known), model.score_samples(strange)])
    n = len(scores) // 2
    return float(roc_auc_score(np.repeat([1, 0], n), scores))


def test_a_change_in_a_narrow_tap_does_not_drown_among_the_features_of_a_wide_one():
    rng = np.random.default_rng(1)
    train, y = draw(rng, 400)
    known, strange = draw(rng, 300)[0], draw(rng, 300, shift=3.0)[0]
    joined = OODDetector(n_dims=1024, random_state=0).fit(np.hstack(list(train.values())), y)
    together = auroc(joined, np.hstack(list(known.values())), np.hstack(list(strange.values())))
    apart = auroc(OODDetector(n_dims=1024, random_state=0).fit(train, y), known, strange)
    assert apart > together + 0.02


def test_a_tap_counts_as_much_as_it_tells_known_classes_apart():
    joint, narrow, noise = fitted().views_.weights
    assert joint == 1
    assert 0.4 < narrow <= 0.5
    assert noise < 0.1


def test_taps_of_one_class_share_one_weight():
    train, _ = draw(np.random.default_rng(0), 60)
    views = OODDetector(n_dims=1024, random_state=0).fit(train).views_
    assert views.weights.tolist() == [1.0, 0.5, 0.5]


def test_a_tap_of_half_the_features_has_no_view_of_its_own():
    assert [(c.start, c.stop) for c in fitted().views_.columns] == [(0, 67), (0, 4), (4, 7)]


def test_views_of_constant_taps_and_of_few_samples_are_finite():
    rng = np.random.default_rng(0)
    X = {"dead": np.zeros((20, 2)), "alive": rng.standard_normal((20, 5))}
    with pytest.warns(UserWarning, match="too few"):
        model = OODDetector(n_dims=256, false_alarm_rate=0.01, random_state=0).fit(X)
    assert np.isfinite(model.score_samples(X)).all()


def test_views_survive_a_round_trip_through_json():
    model = fitted()
    header, arrays = model.views_.to_state()
    again = Views.from_state(json.loads(json.dumps(header)), arrays)
    X = np.hstack(list(draw(np.random.default_rng(2), 50)[0].values())).astype(np.float32)
    np.testing.assert_array_equal(again.score(X).scores, model.views_.score(X).scores)
    assert again.n_bytes == model.views_.n_bytes


@pytest.mark.parametrize(
    "columns", [[], "all", [[0, 67], [60, 68]], [[0, 67], [3, 3]], [[0, 67], [0, 4.0]], [[0]]]
)
def test_hostile_columns_are_refused(columns):
    header, arrays = fitted().views_.to_state()
    with pytest.raises(ValueError, match=r"columns|features|header"):
        Views.from_state(header | {"columns": columns}, arrays)


def test_negative_weights_are_refused():
    header, arrays = fitted().views_.to_state()
    arrays["weights"][1] = -1
    with pytest.raises(ValueError, match="negative"):
        Views.from_state(header, arrays)


def test_statistics_of_some_features_are_those_of_the_samples_cut():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 6)), rng.integers(3, size=40)
    part = PooledCovariance(6).update(X, y).part(slice(1, 4))
    cut = PooledCovariance(3).update(X[:, 1:4], y)
    np.testing.assert_allclose(part.scatter_, cut.scatter_)
    np.testing.assert_allclose(part.class_means_, cut.class_means_)
    assert (part.degrees_, part.n_features) == (cut.degrees_, 3)

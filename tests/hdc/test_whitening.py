"""Whitening whitens, in every form, and survives what data may be like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdc.covariance import PooledCovariance
from hdc.whitening import Whitening

FORMS = ["full", "low_rank", "diagonal", "discriminant"]


def sample(n: int = 800, d: int = 12, n_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    units = np.logspace(-2, 2, d)
    noise = rng.standard_normal((n, d)) @ (np.eye(d) + 0.2 * rng.standard_normal((d, d)))
    return ((noise + 5 * rng.standard_normal((n_classes, d))[y]) * units).astype(np.float32), y


def fitted(form: str = "full", shrinkage: float | str = 0.0, **options: int) -> Whitening:
    X, y = sample()
    statistics = PooledCovariance(12).update(X, y)
    return Whitening.of(statistics, shrinkage=shrinkage, form=form, **options)


def within_covariance(Z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return PooledCovariance(Z.shape[1]).update(Z, y).scatter_ / (len(Z) - len(np.unique(y)))


def test_full_whitening_makes_the_within_class_covariance_the_identity():
    X, y = sample()
    covariance = within_covariance(fitted().transform(X), y)
    assert np.allclose(covariance, np.eye(12), atol=2e-3)


def test_full_whitening_gives_mahalanobis_products():
    X, y = sample()
    statistics = PooledCovariance(12).update(X, y)
    Z = Whitening.of(statistics, shrinkage=0.0).transform(X[:9]).astype(np.float64)
    centred = X[:9] - statistics.mean_
    inverse = np.linalg.inv(statistics.scatter_ / statistics.degrees_)
    assert np.allclose(Z @ Z.T, centred @ inverse @ centred.T, rtol=5e-3, atol=0.05)


def test_low_rank_of_all_directions_equals_full_up_to_rotation():
    X, _ = sample()
    full, low = fitted("full", 0.1).transform(X), fitted("low_rank", 0.1, rank=12).transform(X)
    assert np.allclose(full @ full.T, low @ low.T, rtol=1e-3, atol=0.05)


def test_low_rank_whitens_the_strongest_directions_and_the_total():
    X, y = sample()
    covariance = within_covariance(fitted("low_rank", rank=4).transform(X), y)
    assert np.trace(covariance) == pytest.approx(12, rel=1e-3)
    assert (
        np.linalg.eigvalsh(covariance).max()
        < np.linalg.eigvalsh(within_covariance(fitted("diagonal").transform(X), y)).max()
    )


def test_diagonal_gives_every_feature_unit_variance():
    X, y = sample()
    assert np.allclose(np.diag(within_covariance(fitted("diagonal").transform(X), y)), 1, atol=1e-3)


def test_discriminant_keeps_every_product_with_a_class_mean():
    X, y = sample()
    statistics = PooledCovariance(12).update(X, y)
    full = Whitening.of(statistics, shrinkage=0.1)
    few = Whitening.of(statistics, shrinkage=0.1, form="discriminant")
    assert few.n_outputs == 3
    products = [w.transform(X) @ w.transform(statistics.class_means_).T for w in (full, few)]
    assert np.allclose(*products, rtol=1e-3, atol=0.05)


def test_bytes_are_those_stated():
    assert fitted("full").n_bytes == 4 * (12 * 12 + 2 * 12)
    assert fitted("low_rank", rank=5).n_bytes == 4 * (5 * 12 + 5 + 1 + 2 * 12)
    assert fitted("diagonal").n_bytes == 4 * 2 * 12
    assert fitted("discriminant").n_bytes == 4 * (3 * 12 + 2 * 12)


@pytest.mark.parametrize("shrinkage", ["oas", "ledoit_wolf"])
def test_automatic_shrinkage_falls_with_more_samples(shrinkage):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 20)) @ rng.standard_normal((20, 20))
    amounts = [
        Whitening.of(PooledCovariance(20).update(X[:n]), shrinkage=shrinkage).shrinkage_
        for n in (5, 50, 500, 5000)
    ]
    assert amounts == sorted(amounts, reverse=True)
    assert amounts[0] > 0.3
    assert amounts[-1] < 0.01


def test_oas_equals_the_published_formula():
    X = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)
    n, p = 29.0, 6
    S = np.corrcoef(X.astype(np.float64).T)
    square, trace = np.trace(S @ S), np.trace(S)
    above = (1 - 2 / p) * square + trace**2
    expected = min(1.0, above / ((n + 1 - 2 / p) * (square - trace**2 / p)))
    found = Whitening.of(PooledCovariance(6).update(X), shrinkage="oas").shrinkage_
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_features_without_variance_come_out_as_zero(form):
    X, y = sample()
    X[:, 3] = 0.1
    X[:, 7] = 0.0
    whitening = Whitening.of(PooledCovariance(12).update(X, y), form=form, rank=3)
    changed = X.copy()
    changed[:, [3, 7]] = 1e6
    assert np.isfinite(whitening.transform(X)).all()
    assert (whitening.transform(X) == whitening.transform(changed)).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [1, 2, 3, 8])
@pytest.mark.parametrize("shrinkage", [0.0, "oas", "ledoit_wolf", 1.0])
def test_fewer_samples_than_features_and_tiny_classes_are_safe(form, n, shrinkage):
    X = np.random.default_rng(n).standard_normal((n, 30)).astype(np.float32)
    for y in (np.zeros(n, int), np.arange(n), np.arange(n) % 2):
        statistics = PooledCovariance(30).update(X, y)
        whitening = Whitening.of(statistics, shrinkage=shrinkage, form=form, rank=5)
        assert np.isfinite(whitening.transform(X)).all()
        assert 0 < whitening.shrinkage_ <= 1


def test_single_samples_of_each_class_are_centred_only():
    X = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    Z = Whitening.of(PooledCovariance(5).update(X, [0, 1, 2])).transform(X)
    assert np.allclose(Z, X - X.mean(axis=0), atol=1e-6)


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
@settings(max_examples=20)
def test_units_and_offsets_of_features_do_not_matter(scale, offset):
    X, y = sample()
    moved = (X * np.float64(scale) + offset * scale).astype(np.float32)
    Z = Whitening.of(PooledCovariance(12).update(X, y), form="diagonal").transform(X)
    Z_moved = Whitening.of(PooledCovariance(12).update(moved, y), form="diagonal").transform(moved)
    # The smallest feature varies by 0.01: beside an offset of 1,000 float32 holds two digits of it.
    assert np.allclose(Z[:, 4:], Z_moved[:, 4:], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("form", FORMS)
def test_state_goes_round(form):
    X, _ = sample()
    original = fitted(form, "oas", rank=3)
    copy = Whitening.from_state(*original.to_state())
    assert (copy.transform(X) == original.transform(X)).all()
    assert (copy.n_bytes, copy.n_outputs) == (original.n_bytes, original.n_outputs)


@pytest.mark.parametrize(
    ("header", "arrays", "message"),
    [
        ({"version": 0}, {}, "version"),
        ({"form": "other"}, {}, "form"),
        ({"shrinkage": None}, {}, "finite"),
        ({}, {"matrix": np.zeros((2, 12), np.float32)}, "shape"),
        ({}, {"mean": np.zeros((12, 1), np.float32)}, "shape"),
        ({}, {"gains": np.zeros(3, np.float32)}, "shape"),
    ],
)
def test_hostile_state_is_refused(header, arrays, message):
    own_header, own_arrays = fitted().to_state()
    with pytest.raises(ValueError, match=message):
        Whitening.from_state(own_header | header, own_arrays | arrays)


def test_bad_parameters_and_samples_are_refused():
    statistics = PooledCovariance(2).update(np.eye(2))
    with pytest.raises(ValueError, match="form"):
        Whitening.of(statistics, form="zca")
    with pytest.raises(ValueError, match="shrinkage"):
        Whitening.of(statistics, shrinkage=1.5)
    with pytest.raises(ValueError, match="shrinkage is 'lw'"):
        Whitening.of(statistics, shrinkage="lw")
    with pytest.raises(ValueError, match="rank"):
        Whitening.of(statistics, form="low_rank", rank=3)
    with pytest.raises(ValueError, match="no samples"):
        Whitening.of(PooledCovariance(2))
    with pytest.raises(ValueError, match="3 features"):
        Whitening.of(statistics).transform(np.ones((1, 3)))
    with pytest.raises(ValueError, match="NaN"):
        Whitening.of(statistics).transform([[np.nan, 1.0]])

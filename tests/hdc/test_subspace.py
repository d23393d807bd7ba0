"""The domain model: what it learns, how it merges, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdc.subspace import DomainModel


def batch(seed: int, n: int = 80, d: int = 12, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    means = np.random.default_rng(5).normal(size=(classes, d)) * 3
    return (means[y] + rng.normal(size=(n, d))).astype(np.float32), y


def test_whitened_within_class_noise_is_white() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(3000) % 3
    noise = rng.normal(size=(3000, 6)) @ np.diag([9, 5, 3, 1, 1, 1]) @ rng.normal(size=(6, 6))
    X = (noise + 5 * y[:, None]).astype(np.float32)
    model = DomainModel([6], rank=6, shrinkage=1e-6, variance_floor=0.0).fit(X, y)
    residuals = model.whiten(X) - model.whitened_means()[y]
    np.testing.assert_allclose(residuals.T @ residuals / model.dof, np.eye(6), atol=0.02)


def test_log_likelihood_matches_a_gaussian_written_out() -> None:
    X, y = batch(0)
    model = DomainModel([12], rank=12, shrinkage=0.2).fit(X, y)
    Z = (X - model.mean) / model.scale
    residuals = Z - model.class_means[y]
    scatter = residuals.T @ residuals / model.dof
    covariance = 0.8 * scatter + 0.2 * np.trace(scatter) / 12 * np.eye(12)
    gaps = Z - model.class_means[1]
    _, log_det = np.linalg.slogdet(covariance)
    squares = np.einsum("ij,jk,ik->i", gaps, np.linalg.inv(covariance), gaps)
    expected = -0.5 * (squares + log_det) - np.log(model.scale).sum()
    np.testing.assert_allclose(model.log_likelihood(X, 1), expected, rtol=1e-3)


@given(st.integers(0, 100))
def test_one_by_one_learns_what_a_batch_would(seed: int) -> None:
    X, y = batch(seed, n=200)
    model = DomainModel([12], rank=12).fit(X[:60], y[:60])
    for x, k in zip(X[60:], y[60:], strict=True):
        model.update(x, int(k))
    Z = model.standardise(X)
    for k in range(3):
        np.testing.assert_allclose(model.class_means[k], Z[y == k].mean(axis=0), atol=1e-4)
    residuals = Z - np.stack([Z[y == k].mean(axis=0) for k in range(3)])[y]
    assert model.total_energy == pytest.approx(float(np.sum(residuals**2)), rel=1e-3)
    assert model.dof == 197


def test_merging_two_halves_equals_learning_the_whole_in_one_frame() -> None:
    X, y = batch(1, n=200)
    whole = DomainModel([12], rank=12).fit(X[:100], y[:100])
    half = DomainModel([12], rank=12).fit(X[100:], y[100:])
    merged = DomainModel.from_state(whole.to_state())
    merged.merge(half)
    for x, k in zip(X[100:], y[100:], strict=True):
        whole.update(x, int(k))
    np.testing.assert_allclose(merged.class_means, whole.class_means, atol=1e-3)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    assert merged.total_energy == pytest.approx(whole.total_energy, rel=1e-3)
    assert merged.dof == whole.dof


def test_a_related_domain_helps_few_labels_and_is_outvoted_by_many() -> None:
    X, y = batch(2, n=600)
    moved = X + np.float32(7.0)
    prior = DomainModel([12], rank=4).fit(X, y)
    few = DomainModel([12], rank=4).fit(moved[:3], y[:3], prior)
    assert np.count_nonzero(few.counts) == 3
    assert few.dof >= 49
    many = DomainModel([12], rank=4).fit(moved, y, prior)
    alone = DomainModel([12], rank=4).fit(moved, y)
    np.testing.assert_allclose(many.class_means, alone.class_means, atol=0.05)


def test_a_removed_class_is_gone_and_those_behind_it_move_up() -> None:
    X, y = batch(3)
    model = DomainModel([12]).fit(X, y)
    counts, means = model.counts.tolist(), model.class_means.copy()
    model.remove_class(1)
    assert model.counts.tolist() == [counts[0], *counts[2:]]
    np.testing.assert_array_equal(model.class_means, np.delete(means, 1, axis=0))
    model.remove_class(99)  # never met: nothing to forget
    assert len(model.counts) == len(counts) - 1


def test_a_compressed_model_answers_alike_in_fewer_bytes_and_goes_on_learning() -> None:
    X, y = batch(6, n=200)
    model, small = (DomainModel([12], rank=8).fit(X[:80], y[:80]) for _ in range(2))
    small.compress()
    for x, k in zip(X[80:], y[80:], strict=True):
        model.update(x, int(k))
        small.update(x, int(k))
    assert small.is_compressed
    assert small.n_bytes < model.n_bytes
    np.testing.assert_allclose(small.whiten(X), model.whiten(X), atol=0.05)
    again = DomainModel.from_state(small.to_state())
    assert again.is_compressed
    np.testing.assert_array_equal(again.whiten(X), small.whiten(X))


def test_state_goes_on_exactly_where_it_was() -> None:
    X, y = batch(4, n=120)
    model = DomainModel([4, 8], rank=5).fit(X[:40], y[:40])
    for x, k in zip(X[40:50], y[40:50], strict=True):
        model.update(x, int(k))
    copy = DomainModel.from_state(model.to_state())
    for each in (model, copy):
        for x, k in zip(X[50:], y[50:], strict=True):
            each.update(x, int(k))
    for name, array in model.to_state().items():
        np.testing.assert_array_equal(array, copy.to_state()[name], err_msg=name)


@pytest.mark.parametrize("missing", ["mean", "basis", "pending", "scalars"])
def test_a_state_with_a_part_missing_is_refused(missing: str) -> None:
    state = DomainModel([12]).fit(*batch(0)).to_state()
    del state[missing]
    with pytest.raises(ValueError, match="lacks"):
        DomainModel.from_state(state)


def test_a_state_of_another_shape_is_refused() -> None:
    state = DomainModel([12]).fit(*batch(0)).to_state()
    state["mean"] = np.zeros(11, np.float32)
    with pytest.raises(ValueError, match="mean has shape"):
        DomainModel.from_state(state)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused_and_nothing_changes(bad: float) -> None:
    X, y = batch(0)
    model = DomainModel([12]).fit(X, y)
    before = {name: array.copy() for name, array in model.to_state().items()}
    X[0, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.update(X[0], 0)
    for name, array in model.to_state().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_wrong_width_is_refused() -> None:
    model = DomainModel([12]).fit(*batch(0))
    with pytest.raises(ValueError, match=r"expected \(n, 12\)"):
        model.update(np.zeros(11, np.float32), 0)


def test_constant_features_and_single_samples_stay_finite() -> None:
    X = np.zeros((3, 5), np.float32)
    X[:, 0] = [1, 2, 3]
    model = DomainModel([5]).fit(X, np.array([0, 1, 2]))
    assert np.isfinite(model.whiten(X)).all()
    assert np.isfinite(model.log_likelihood(X, np.array([0, 1, 2]))).all()
    one = DomainModel([5]).fit(X[:1], np.array([0]))
    assert np.isfinite(one.whiten(X)).all()


def test_memory_does_not_grow_with_samples() -> None:
    X, y = batch(0, n=500)
    model = DomainModel([12], rank=4).fit(X[:50], y[:50])
    for x, k in zip(X[50:200], y[50:200], strict=True):
        model.update(x, int(k))
    before = model.n_bytes
    for x, k in zip(X[200:], y[200:], strict=True):
        model.update(x, int(k))
    assert model.n_bytes == before


@pytest.mark.parametrize(
    "arguments", [{"rank": 0}, {"shrinkage": 0.0}, {"shrinkage": 1.5}, {"variance_floor": -1.0}]
)
def test_senseless_parameters_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        DomainModel([12], **arguments)


def test_what_is_cached_of_the_means_follows_every_way_of_learning() -> None:
    X, y = batch(3, n=200)
    model = DomainModel([12], rank=4).fit(X[:60], y[:60])
    for x, k in zip(X[60:], y[60:], strict=True):
        model.update(x, int(k))
    again = DomainModel.from_state(model.to_state())
    np.testing.assert_array_equal(
        model.log_likelihoods(model.frame(X)), again.log_likelihoods(again.frame(X))
    )
    np.testing.assert_array_equal(model.whitened_means(), again.whitened_means())
    model.remove_class(1)
    left = np.delete(again.log_likelihoods(again.frame(X)), 1, axis=1)
    np.testing.assert_allclose(model.log_likelihoods(model.frame(X)), left, rtol=1e-4)


def test_whitened_lengths_and_likelihoods_need_no_whitened_vector() -> None:
    X, y = batch(4, n=200)
    model = DomainModel([12], rank=4).fit(X, y)
    framed = model.frame(X)
    white = model.whiten_framed(framed)
    np.testing.assert_allclose(model.whitened_squares(framed), (white**2).sum(axis=1), rtol=1e-4)
    gaps = ((white - model.whitened_means()[2]) ** 2).sum(axis=1)
    away = model.log_likelihoods(framed)[:, 2] - model.log_likelihoods(framed)[0, 2]
    np.testing.assert_allclose(away, -0.5 * (gaps - gaps[0]), rtol=1e-3, atol=1e-3)

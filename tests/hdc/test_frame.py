"""The frame: exact on small data, whatever the units, and the same directions by any way."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.errors import StateError
from edge_runtime.model.restoring import frame_from
from hdc.domain.frame import fit_frame, gains, leading


def gaussian(n, d, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(d, d)) * np.geomspace(3, 0.1, d)
    return (rng.normal(size=(n, d)) @ mixed).astype(np.float32)


def labelled(n=300, d=6, n_cells=3, seed=0):
    cells = np.arange(n) % n_cells
    means = np.random.default_rng(seed + 1).normal(size=(n_cells, d)) * 5
    return (gaussian(n, d, seed) + means[cells]).astype(np.float32), cells


def within(Z, cells):
    return Z - np.stack([Z[cells == k].mean(axis=0) for k in range(cells.max() + 1)])[cells]


@pytest.mark.parametrize(("n", "d", "k"), [(50, 8, 8), (8, 50, 8), (400, 120, 4), (90, 300, 5)])
def test_leading_directions_are_the_eigenvectors(n, d, k):
    A = gaussian(n, d)
    values, vectors = leading(A, k)
    exact = np.linalg.eigvalsh(A.T.astype(float) @ A / n)[::-1][: len(values)]
    np.testing.assert_allclose(values, exact, rtol=2e-2, atol=1e-4 * exact[0])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-3)
    captured = np.linalg.norm(A @ vectors) ** 2 / n
    assert captured == pytest.approx(exact.sum(), rel=2e-2)


def test_directions_that_nothing_varies_in_are_left_out():
    A = gaussian(40, 6)
    A[:, 3] = A[:, 1]
    assert len(leading(A, 6)[0]) == 5
    assert len(leading(np.zeros((5, 4), np.float32), 3)[0]) == 0


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 0.5])
def test_whitening_is_the_inverse_root_of_the_shrunk_covariance(shrinkage):
    Z, cells = labelled()
    frame = fit_frame(Z, cells, np.ones(6, np.float32), shrinkage)
    freedom = len(Z) - cells.max() - 1
    R = within(Z, cells).astype(float)
    S = R.T @ R / freedom
    S = (1 - shrinkage) * S + shrinkage * np.trace(S) / 6 * np.eye(6)
    values, vectors = np.linalg.eigh(S)
    root = vectors / np.sqrt(values) @ vectors.T
    centre = np.stack([Z[cells == k].mean(axis=0) for k in range(3)]).mean(axis=0)
    np.testing.assert_allclose(frame.whitened(Z), (Z - centre) @ root, atol=2e-3)


def test_without_whitening_features_are_only_centred_and_scaled():
    Z, cells = labelled()
    W = fit_frame(Z, cells, np.ones(6, np.float32), 1.0).whitened(Z)
    ratio = (W[1:] - W[0]) / (Z[1:] - Z[0])
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


def test_projections_keep_the_distances_of_whitened_features():
    Z, cells = labelled()
    frame = fit_frame(Z, cells, np.ones(6, np.float32), 0.1)
    U, W = frame.project(frame.centred(Z)), frame.whitened(Z)
    true = np.linalg.norm(W[:50] - W[50:100], axis=1)
    found = np.linalg.norm(U[:50] - U[50:100], axis=1) * frame.level[1]
    np.testing.assert_allclose(found, true, rtol=5e-3)
    assert np.mean(np.sum(U * U, axis=1)) == pytest.approx(1, rel=0.3)


def test_nothing_of_a_sample_is_outside_where_all_directions_are_kept():
    Z, cells = labelled()
    frame = fit_frame(Z, cells, np.ones(6, np.float32), 0.1)
    centred = frame.centred(Z)
    outside = frame.outside(centred, frame.project(centred))
    assert (outside <= 1e-3 * np.sum(centred**2, axis=1)).all()


def test_what_no_label_varied_in_is_outside():
    Z, cells = labelled()
    Z = np.concatenate([Z, np.zeros((300, 1), np.float32)], axis=1)
    frame = fit_frame(Z, cells, np.ones(7, np.float32), 0.3)
    other = Z[:1].copy()
    other[0, 6] = 5.0
    centred = frame.centred(other)
    assert frame.outside(centred, frame.project(centred))[0] == pytest.approx(25, rel=0.05)


def test_weights_for_whitened_features_serve_centred_ones():
    Z, cells = labelled()
    frame = fit_frame(Z, cells, np.ones(6, np.float32), 0.2)
    weights = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    straight = frame.whitened(Z) @ weights
    np.testing.assert_allclose(
        frame.centred(Z) @ frame.unwhitened_weights(weights), straight, atol=1e-3
    )


@pytest.mark.parametrize(
    "Z",
    [
        np.zeros((4, 3), np.float32),
        np.ones((1, 3), np.float32),
        np.repeat(np.eye(3, dtype=np.float32), 4, axis=0),
        gaussian(5, 256),
    ],
    ids=["constant", "one row", "duplicates", "few rows of many features"],
)
@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_little_data_gives_a_frame_of_finite_numbers(Z, shrinkage):
    for cells in (np.zeros(len(Z), int), np.arange(len(Z))):
        frame = fit_frame(Z, cells, np.ones(Z.shape[1], np.float32), shrinkage)
        centred = frame.centred(Z)
        U = frame.project(centred)
        for found in (U, frame.whitened(Z), frame.outside(centred, U)):
            assert np.isfinite(found).all()


def test_raw_measures_weigh_alike_and_dull_features_of_a_wide_tap_little():
    scale = np.concatenate([[1e9, 1e-3], np.ones(31), [1e-4]])
    gain = gains(scale, (2, 32))
    assert gain[:2].tolist() == [1.0, 1.0]
    assert gain[-1] < 0.01 * gain[2]
    assert gains(scale, (34,))[1] < 1e-6


def test_a_frame_comes_back_from_its_state():
    Z, cells = labelled()
    frame = fit_frame(Z, cells, np.ones(6, np.float32), 0.1)
    again = frame_from(frame.to_state(), 6)
    np.testing.assert_array_equal(again.project(again.centred(Z)), frame.project(frame.centred(Z)))
    with pytest.raises(StateError):
        frame_from(frame.to_state(), 7)

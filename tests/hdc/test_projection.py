"""Projections keep angles, and the Hadamard one gives the same bits everywhere."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdc.vectors.hypervector import hamming, similarity, unpack_bits
from hdc.vectors.projection import SignedHadamard

# SHA-256 of the bits of `raw_samples`. A change here is a change of format: every prototype that
# was ever saved becomes useless.
GOLDEN = {
    (3, 64, 0): "712ae0a3",
    (64, 8192, 1): "c6295b6a",
    (100, 2048, 2): "aa18d244",
    (1280, 8192, 3): "b4277aa4",
    (1456, 512, 4): "f099844d",
    (5000, 4096, 5): "ddfe9f4a",
}


def raw_samples(n: int, d: int, seed: int) -> np.ndarray:
    """Numbers from raw generator bits: the distributions of NumPy may change, these do not."""
    raw = np.random.PCG64(seed).random_raw(n * d) >> np.uint64(40)
    return (raw.astype(np.float32).reshape(n, d) - 2**23) / 2**16


@pytest.mark.parametrize(("case", "digest"), GOLDEN.items())
def test_the_same_seed_gives_the_same_bits_on_every_platform(case, digest):
    d, n_dims, seed = case
    bits = SignedHadamard(d, n_dims, seed).bits(raw_samples(9, d, seed))
    assert hashlib.sha256(bits.astype("<u8").tobytes()).hexdigest()[:8] == digest


@given(st.integers(1, 3000), st.integers(1, 40), st.integers(0, 2**64))
@settings(max_examples=25, deadline=None)
def test_every_partial_sum_is_an_exact_integer(d, n_words, seed):
    projection = SignedHadamard(d, 64 * n_words, seed)
    X = np.random.default_rng(seed % 1000).standard_normal((3, d)).astype(np.float32)
    ((_, exact, _),) = projection._project_chunks(X)
    assert (exact == np.rint(exact)).all()
    assert np.abs(exact).max() <= 2**24
    # In any order: float64 and reversed features cannot differ.
    assert (projection.bits(X) == projection.bits(X.astype(np.float64))).all()


@pytest.mark.parametrize("n_features", [2, 5, 64, 300, 1280])
@pytest.mark.parametrize("n_dims", [256, 8192])
def test_angles_are_kept_within_the_stated_error(n_features, n_dims):
    rng = np.random.default_rng(n_features)
    A = rng.standard_normal((200, n_features))
    B = A + rng.standard_normal((200, n_features)) * np.linspace(0.05, 3, 200)[:, None]
    cosines = (A * B).sum(1) / np.linalg.norm(A, axis=1) / np.linalg.norm(B, axis=1)
    projection = SignedHadamard(n_features, n_dims, seed=1)
    differing = [hamming(a, b) for a, b in zip(projection.bits(A), projection.bits(B), strict=True)]
    error = np.pi / n_dims * np.array(differing) - np.arccos(cosines)
    bound = np.pi / (2 * np.sqrt(n_dims))
    assert np.sqrt(np.mean(error**2)) < (2 if n_features < 5 else 1.1) * bound


def test_real_hypervectors_keep_inner_products():
    X = np.random.default_rng(0).standard_normal((20, 100)).astype(np.float32)
    R = SignedHadamard(100, 8192, 3).real(X)
    assert R.dtype == np.float32
    assert np.abs(R @ R.T - X @ X.T).max() < 12  # of about 100 on the diagonal
    assert np.allclose(np.linalg.norm(R, axis=1), np.linalg.norm(X, axis=1), rtol=0.07)


def test_bits_are_the_signs_of_the_real_form():
    X = np.random.default_rng(0).standard_normal((7, 33)).astype(np.float32)
    projection = SignedHadamard(33, 192, 0)
    assert (unpack_bits(projection.bits(X)) == np.where(projection.real(X) < 0, -1, 1)).all()


@pytest.mark.parametrize("d", [1, 3, 1000, 1280])
def test_one_sample_and_a_batch_agree(d):
    X = np.random.default_rng(0).standard_normal((150, d)).astype(np.float32)
    projection = SignedHadamard(d, 2048, 0)
    batch = projection.bits(X)
    assert all((projection.bits(x) == row).all() for x, row in zip(X, batch, strict=True))
    np.testing.assert_allclose(projection.real(X[0]), projection.real(X)[0], rtol=1e-6)


@pytest.mark.parametrize("n_dims", [64, 320, 2048, 5120])
def test_sparse_inputs_are_spread(n_dims):
    bits = SignedHadamard(1280, n_dims, 0).bits(np.eye(1280, dtype=np.float32)[[0, 1, 64, 1279]])
    off = similarity(bits, bits)[~np.eye(4, dtype=bool)]
    assert np.abs(off).max() < 4 / np.sqrt(n_dims)


def test_two_features_that_mix_alike_are_still_told_apart():
    # Columns 0 and 64 share a column of the right factor: without the shuffle, half would be ties.
    both = np.eye(1280, dtype=np.float32)[[0, 64]]
    bits = SignedHadamard(1280, 8192, 0).bits(np.vstack([both, both.sum(axis=0)]))
    assert np.allclose(similarity(bits[2], bits[:2]), 0.5, atol=0.1)


def test_positive_scale_does_not_matter_even_at_the_ends_of_float32():
    x = np.random.default_rng(0).standard_normal((1, 50)).astype(np.float32)
    projection = SignedHadamard(50, 1024, 0)
    # Powers of two, so that rounding is the same; 2**-60 is far above the stated loss.
    for scale in (2.0**-60, 2.0**60, 2.0**100):
        assert (projection.bits(x * np.float32(scale)) == projection.bits(x)).all()


def test_a_zero_sample_is_all_positive_and_zero():
    projection = SignedHadamard(10, 128, 0)
    assert (projection.bits(np.zeros((1, 10))) == 0).all()
    assert (projection.real(np.zeros((1, 10))) == 0).all()


def test_another_seed_is_another_projection():
    x = np.ones((1, 64), np.float32)
    a, b = SignedHadamard(64, 4096, 0).bits(x)[0], SignedHadamard(64, 4096, 1).bits(x)[0]
    assert abs(similarity(a, b)) < 0.1


def test_state_is_small():
    assert SignedHadamard(1280, 8192).n_bytes < 2**17
    assert SignedHadamard(2**17, 8192).n_bytes < 4 * 2**20


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((2, 4)), "4 features, expected 3"),
        ([[1.0, np.nan, 0.0]], "NaN"),
        ([[1.0, np.inf, 0.0]], "infinity"),
        ([[1e300, 1.0, 0.0]], "beyond float32"),
        (np.empty((0, 3)), "no samples"),
        (np.ones((1, 1, 3)), "expected"),
    ],
)
def test_bad_samples_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        SignedHadamard(3, 64).bits(X)


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="between 1 and 131072"):
        SignedHadamard(2**17 + 1, 64)
    with pytest.raises(ValueError, match="multiple of 64"):
        SignedHadamard(3, 65)
    with pytest.raises(ValueError, match="seed"):
        SignedHadamard(3, 64, -1)
    with pytest.raises(TypeError, match="real numbers"):
        SignedHadamard(3, 64).bits(np.array([["a", "b", "c"]]))


def test_input_is_not_changed():
    X = np.random.default_rng(0).standard_normal((5, 30)).astype(np.float32)
    before = X.copy()
    SignedHadamard(30, 128).real(X)
    assert (before == X).all()

"""The algebra of hypervectors holds for every input, packed or not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdc.vectors import hypervector as hv

SEEDS = st.integers(0, 2**32 - 1)
WORDS = st.integers(1, 20)


def draw(seed: int, n: int, n_words: int) -> np.ndarray:
    return hv.random(n, 64 * n_words, random_state=seed)


@given(SEEDS, WORDS)
def test_packing_and_unpacking_are_inverse(seed, n_words):
    bits = draw(seed, 3, n_words)
    assert (hv.pack_bits(hv.unpack_bits(bits)) == bits).all()


@given(SEEDS, WORDS)
def test_bind_is_its_own_inverse_and_keeps_distances(seed, n_words):
    a, b, c = draw(seed, 3, n_words)
    assert (hv.bind(hv.bind(a, b), b) == a).all()
    assert hv.hamming(hv.bind(a, c), hv.bind(b, c)) == hv.hamming(a, b)


@given(SEEDS, WORDS)
def test_packed_and_bipolar_forms_obey_the_same_algebra(seed, n_words):
    bits = draw(seed, 3, n_words)
    signs = hv.unpack_bits(bits)
    assert (hv.unpack_bits(hv.bind(bits[0], bits[1])) == hv.bind(signs[0], signs[1])).all()
    assert (hv.unpack_bits(hv.bundle(bits)) == np.sign(hv.bundle(signs))).all()  # odd: no ties
    assert np.allclose(hv.similarity(bits, bits), hv.similarity(signs, signs))


@given(SEEDS, WORDS, st.integers(-3000, 3000))
def test_permute_rotates_the_whole_bit_string(seed, n_words, shifts):
    a, b = draw(seed, 2, n_words)
    rolled = np.roll(hv.unpack_bits(a), shifts)
    assert (hv.unpack_bits(hv.permute(a, shifts)) == rolled).all()
    assert hv.hamming(hv.permute(a, shifts), hv.permute(b, shifts)) == hv.hamming(a, b)
    assert (hv.permute(hv.permute(a, shifts), -shifts) == a).all()


def test_permute_of_numbers_is_a_roll():
    assert hv.permute(np.array([1, 2, 3])).tolist() == [3, 1, 2]


@given(SEEDS, st.integers(2, 9))
def test_a_bundle_is_like_its_parts_and_unlike_a_stranger(seed, n):
    *parts, stranger = draw(seed, n + 1, 64)
    together = hv.bundle(np.array(parts))
    assert hv.similarity(together, np.array(parts)).min() > 0.15
    assert abs(hv.similarity(together, stranger)) < 0.1


def test_a_tie_favours_no_input():
    a, b = draw(5, 2, 128)
    near = hv.similarity(hv.bundle(np.array([a, b])), np.array([a, b]))
    assert np.allclose(near, 0.5, atol=0.05)
    assert (hv.bundle(np.array([a, b])) == hv.bundle(np.array([b, a]))).all()


@given(SEEDS, WORDS)
def test_similarity_is_symmetric_bounded_and_one_with_itself(seed, n_words):
    bits = draw(seed, 4, n_words)
    similar = hv.similarity(bits, bits)
    assert (similar == similar.T).all()
    assert (np.diag(similar) == 1).all()
    assert np.abs(similar).max() <= 1
    assert (hv.similarity(bits, ~bits).diagonal() == -1).all()


def test_similarity_of_a_zero_vector_is_zero():
    assert hv.similarity(np.zeros(3), np.ones(3)) == 0


@given(SEEDS)
def test_popcount_by_table_equals_the_builtin(seed):
    words = draw(seed, 5, 7)
    expected = [[int(word).bit_count() for word in row] for row in words]
    assert hv._popcount_by_table(words).tolist() == expected
    assert hv.popcount(words).tolist() == expected


def test_a_single_row_loses_its_axis():
    a, b, c = draw(0, 3, 2)
    many = np.array([b, c])
    assert hv.hamming(a, b).shape == ()
    assert hv.hamming(a, many).shape == hv.hamming(many, a).shape == (2,)
    assert hv.hamming(many, many).shape == (2, 2)
    assert hv.hamming(many[:0], many).shape == (0, 2)


def test_a_negative_sign_is_a_set_bit_and_bit_order_is_fixed():
    signs = np.ones(128)
    signs[[0, 65]] = -1
    assert hv.pack_bits(signs).tolist() == [1, 2]


def test_bipolar_random_is_signs_and_seeds_repeat():
    signs = hv.random(4, 128, kind="bipolar", random_state=1)
    assert set(np.unique(signs)) == {-1, 1}
    assert (signs == hv.random(4, 128, kind="bipolar", random_state=1)).all()
    assert (hv.random(2, 64) != hv.random(2, 64)).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hv.random(1, 100), "multiple of 64"),
        (lambda: hv.random(0, 64), "at least 1"),
        (lambda: hv.random(1, 64, kind="ternary"), "binary"),
        (lambda: hv.bundle(np.empty((0, 1), np.uint64)), "n > 0"),
        (lambda: hv.bind(np.zeros(3), np.zeros(4)), "differ in size"),
    ],
)
def test_bad_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_packed_and_unpacked_are_never_mixed():
    bits = draw(0, 1, 1)
    with pytest.raises(TypeError, match="mix"):
        hv.bind(bits, hv.unpack_bits(bits))
    with pytest.raises(TypeError, match="packed uint64"):
        hv.unpack_bits(np.zeros(64))
    with pytest.raises(TypeError, match="integer"):
        hv.random(1, 64.0)
    with pytest.raises(TypeError, match="random_state"):
        hv.random(1, 64, random_state="seed")


def test_sums_are_wide_on_narrow_boards_too():
    assert hv.bundle(hv.random(3, 64, kind="bipolar", random_state=0)).dtype == np.int64

"""Codebooks have the similarities they promise, and memories give back what they hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdc import hypervector as hv
from hdc.memory import ItemMemory, ScalarMemory, circular_codebook, level_codebook, ngrams


def test_levels_fall_linearly_to_unrelated():
    levels = level_codebook(9, 8192, random_state=0)
    assert np.allclose(hv.similarity(levels[0], levels), np.linspace(1, 0, 9), atol=0.01)
    assert np.allclose(hv.similarity(levels[4], levels[[0, 8]]), 0.5, atol=0.01)


@pytest.mark.parametrize("n", [2, 7, 12])
def test_a_circle_has_no_seam(n):
    around = hv.similarity(*[circular_codebook(n, 8192, random_state=0)] * 2)
    for start in range(n):
        assert np.allclose(np.roll(around[start], -start), around[0], atol=0.01)
    steps = np.minimum(np.arange(n), n - np.arange(n))
    assert np.allclose(around[0], 1 - 2 * steps / n, atol=0.01)


def test_one_level_is_allowed():
    assert level_codebook(1, 64).shape == circular_codebook(1, 64).shape == (1, 1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_clean_up_recovers_a_bound_symbol_from_a_noisy_bundle(seed):
    memory = ItemMemory.random("abcdef", n_dims=2048, random_state=seed)
    roles = hv.random(3, 2048, random_state=seed + 1)
    record = hv.bundle(hv.bind(roles, memory.encode("fad")))
    assert [memory.clean_up(hv.bind(record, role)) for role in roles] == list("fad")


def test_ngrams_know_the_order_inside_a_run_but_not_its_place():
    letters = hv.random(26, 8192, random_state=0)
    word = [0, 1, 2, 3, 4, 5]
    same = hv.similarity(ngrams(letters[word], 2), ngrams(letters[[5, *word]], 2))
    reverse = hv.similarity(ngrams(letters[word], 2), ngrams(letters[word[::-1]], 2))
    assert same > 0.6 > 0.2 > abs(reverse)


def test_an_ngram_is_the_bind_of_permuted_elements():
    a, b, c = hv.random(3, 256, random_state=0)
    expected = hv.bind(hv.bind(hv.permute(a, 2), hv.permute(b, 1)), c)
    assert (ngrams(np.array([a, b, c]), 3) == expected).all()


def test_scalars_are_clipped_or_wrapped_and_read_back():
    level = ScalarMemory(-1, 1, n_levels=21, n_dims=1024, random_state=0)
    assert level.clean_up(level.encode([0.32])[0]) == pytest.approx(0.3)
    assert (level.encode([-9, 9]) == level.hypervectors[[0, -1]]).all()
    hours = ScalarMemory(0, 24, n_levels=24, n_dims=1024, is_circular=True, random_state=0)
    assert hours.clean_up(hours.encode([-1])[0]) == 23
    assert hours.clean_up(hours.encode([23.9])[0]) == 0


def test_seeds_repeat():
    for codebook in (level_codebook, circular_codebook):
        assert (codebook(5, 128, random_state=3) == codebook(5, 128, random_state=3)).all()


def test_a_memory_shares_nothing_with_its_input():
    bits = hv.random(2, 64, random_state=0)
    memory = ItemMemory("ab", bits)
    bits[:] = 0
    assert memory.hypervectors.any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: ItemMemory.random("aa", n_dims=64),
        lambda: ItemMemory.random("", n_dims=64),
        lambda: ItemMemory("ab", np.zeros((3, 1), np.uint64)),
        lambda: ItemMemory("ab", np.zeros((2, 64))),
        lambda: ScalarMemory(1, 1),
        lambda: ScalarMemory(0, np.inf),
        lambda: ScalarMemory(0, 1, n_levels=1),
        lambda: ScalarMemory(0, 1).encode([np.nan]),
        lambda: ngrams(np.zeros((2, 1), np.uint64), 3),
        lambda: level_codebook(0, 64),
    ],
)
def test_bad_values_are_refused(call):
    with pytest.raises(ValueError, match=r"expected|NaN"):
        call()


def test_an_unknown_symbol_is_a_key_error():
    with pytest.raises(KeyError):
        ItemMemory.random("ab", n_dims=64).encode("c")

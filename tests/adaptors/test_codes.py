"""Label codes: fixed by (seed, layer, class), and what each kind promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors.codes import KINDS, gaussian_code, label_codes, orthogonal_code, sign_code

seeds = st.integers(0, 2**63 - 1)
every_kind = pytest.mark.parametrize("kind", KINDS)


def cosines(codes):
    """The largest |cosine| between two rows, about the middle of the range."""
    gram = np.abs(codes @ codes.T) / codes.shape[1]
    return (gram - np.diag(np.diag(gram))).max()


@every_kind
@given(seed=seeds, layer=st.integers(0, 5), n=st.integers(1, 40), n_units=st.integers(1, 200))
@settings(max_examples=30)
def test_the_code_of_a_class_does_not_depend_on_the_number_of_classes(
    kind, seed, layer, n, n_units
):
    all_codes = label_codes(seed, layer, range(n), n_units, -0.9, 0.9, kind=kind)
    assert all_codes.shape == (n, n_units)
    assert all_codes.dtype == np.float32
    assert np.abs(all_codes).max() <= np.float32(0.9)
    last = label_codes(seed, layer, range(n - 1, n), n_units, -0.9, 0.9, kind=kind)
    np.testing.assert_array_equal(all_codes[-1:], last)


@every_kind
def test_codes_differ_between_classes_layers_and_seeds(kind):
    codes = {
        label_codes(seed, layer, range(k, k + 1), 128, -1.0, 1.0, kind=kind).tobytes()
        for seed in (0, 1)
        for layer in (0, 1)
        for k in (0, 1, 128, 300)
    }
    assert len(codes) == 16


@every_kind
@pytest.mark.parametrize(("low", "high"), [(-0.9, 0.9), (0.1, 0.9), (0.0, 1.0)])
def test_codes_use_the_range_evenly(kind, low, high):
    codes = label_codes(3, 0, range(20), 500, low, high, kind=kind)
    assert low - 1e-6 <= codes.min() < codes.max() <= high + 1e-6
    assert codes.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


@given(seed=seeds, exponent=st.integers(0, 8), first=st.integers(0, 5))
@settings(max_examples=30)
def test_orthogonal_codes_of_a_power_of_two_are_orthogonal(seed, exponent, first):
    n = 2**exponent
    codes = label_codes(seed, 1, range(first * n, (first + 1) * n), n, -1, 1, kind="orthogonal")
    np.testing.assert_array_equal(codes @ codes.T, n * np.eye(n))


@given(seed=seeds, n_units=st.integers(1, 300), n_classes=st.integers(2, 40))
@settings(max_examples=50)
def test_orthogonal_codes_of_any_width_keep_their_stated_limit(seed, n_units, n_classes):
    blocks = [1 << e for e in range(n_units.bit_length()) if n_units & (1 << e)]
    limit = sum(size for size in blocks if size < n_classes) / n_units
    codes = label_codes(seed, 0, range(n_classes), n_units, -1, 1, kind="orthogonal")
    assert cosines(codes) <= limit + 1e-6


def test_more_classes_than_units_still_have_codes_of_their_own():
    codes = label_codes(0, 0, range(64), 32, -1, 1, kind="orthogonal")
    assert cosines(codes) < 1
    assert len(np.unique(codes, axis=0)) == 64


def test_gaussian_codes_are_nearly_normal():
    numbers = gaussian_code(5, 0, 0, 100_000)
    assert numbers.mean() == pytest.approx(0.0, abs=0.01)
    assert numbers.var() == pytest.approx(1.0, abs=0.01)
    for deviations, share in ((1.0, 0.683), (2.0, 0.954)):
        assert np.mean(np.abs(numbers) < deviations) == pytest.approx(share, abs=0.02)


def test_codes_never_change_between_versions():
    # Saved states hold seeds, not codes: these very patterns have to come out for ever.
    assert np.packbits(sign_code(12345, 1, 2, 64)).tobytes().hex() == "225a17c7600ff6e8"
    assert np.packbits(orthogonal_code(12345, 1, 2, 72)).tobytes().hex() == "9b78ad7c59657b2ea2"
    numbers = gaussian_code(12345, 1, 2, 3).astype("<f4")
    assert numbers.tobytes().hex() == "1721313e2ceda13f671a553f"


def test_bits_are_the_raw_output_of_pcg64_lowest_byte_first():
    word = np.random.PCG64(np.random.SeedSequence([12345, 1, 2])).random_raw(1)[0]
    assert sign_code(12345, 1, 2, 8).tolist() == [
        bool(int(word) >> i & 1) for i in range(7, -1, -1)
    ]


@every_kind
def test_no_classes_give_no_codes(kind):
    assert label_codes(0, 0, range(3, 3), 5, -1.0, 1.0, kind=kind).shape == (0, 5)


@pytest.mark.parametrize("bad", ["Sign", "", None, 1])
def test_an_unknown_kind_is_refused(bad):
    with pytest.raises(ValueError, match=r"codes is .*, expected one of"):
        label_codes(0, 0, range(1), 1, 0.0, 1.0, kind=bad)

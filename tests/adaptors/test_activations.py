"""Activations: slopes, ranges, and the place of label codes within them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors.activations import ACTIVATIONS, BY_CODE, activation

by_name = pytest.mark.parametrize("kind", ACTIVATIONS.values(), ids=lambda a: a.name)


@by_name
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_slope_is_the_gradient_of_the_activation(kind, seed):
    z = np.random.default_rng(seed).normal(size=8)
    z = z[(np.abs(z) > 1e-3) & (np.abs(np.abs(z) - 1) > 1e-3)]  # not at a kink
    expected = (kind.function(z + 1e-6) - kind.function(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(kind.slope(kind.function(z)), expected, rtol=1e-4, atol=1e-6)


@by_name
def test_codes_lie_inside_the_range_of_the_activation(kind):
    far = kind.function(np.array([-50.0, 50.0], dtype=np.float32))
    assert far[0] <= kind.low < kind.high <= far[1]


@by_name
def test_a_unit_that_is_wrong_about_its_code_can_move(kind):
    # All but a ReLU, which is meant to be silent at its low code.
    codes = np.array([kind.low, kind.high], dtype=np.float32)
    moves = kind.slope(codes) > 0
    assert moves.tolist() == [kind.name != "relu", True]


@by_name
def test_float32_stays_float32_and_large_inputs_finite(kind):
    h = kind.function(np.array([-1e30, 0.0, 1e30], dtype=np.float32))
    assert h.dtype == kind.slope(h).dtype == np.float32
    assert np.isfinite(h).all()
    assert np.isfinite(kind.slope(h)).all()


@by_name
def test_nan_comes_out_as_nan(kind):
    assert np.isnan(kind.function(np.array([np.nan], dtype=np.float32))).all()


def test_the_number_of_an_activation_is_its_place_in_the_table_of_kernels():
    assert [a.code for a in BY_CODE] == list(range(len(ACTIVATIONS)))


@pytest.mark.parametrize("bad", ["gelu", "", "Tanh"])
def test_an_unknown_activation_is_refused(bad):
    with pytest.raises(ValueError, match=r"activation is .*, expected one of"):
        activation(bad)

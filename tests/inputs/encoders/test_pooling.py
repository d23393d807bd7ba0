from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_runtime.errors import SampleError
from edge_runtime.inputs.encoders.base import (
    Quantisation,
    check_batch,
    dequantise,
    pool,
    quantise,
)

INT8 = np.dtype(np.int8)
shapes = hnp.array_shapes(min_dims=2, max_dims=5, max_side=4)
floats = hnp.arrays(np.float32, shapes, elements=st.floats(-100, 100, width=32))


@given(floats)
def test_both_layouts_pool_the_same_map_to_the_same_vector(features):
    moved = np.moveaxis(features, 1, -1)
    first, last = pool(features, "channels_first"), pool(moved, "channels_last")
    assert first.shape == features.shape[:2]
    assert first.dtype == last.dtype == np.float32
    np.testing.assert_allclose(first, last, rtol=1e-5, atol=1e-4)


@given(floats)
def test_pooling_is_the_mean_over_everything_but_batch_and_channels(features):
    flat = features.astype(np.float64).reshape(*features.shape[:2], -1)
    np.testing.assert_allclose(pool(features, "channels_first"), flat.mean(-1), atol=1e-4)


def test_a_vector_passes_the_pool_unchanged():
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert pool(vectors, "channels_first") is vectors
    assert pool(vectors, "channels_last") is vectors


def test_a_scalar_per_sample_cannot_be_pooled():
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(n, channels"):
        pool(np.zeros(3, np.float32), "channels_first")


@given(
    hnp.arrays(np.float32, 20, elements=st.floats(-1, 1, width=32)),
    st.floats(0.01, 0.1),
    st.integers(-20, 20),
)
def test_quantising_and_back_errs_by_at_most_half_a_step(values, scale, zero_point):
    recipe = Quantisation(scale, zero_point)
    limits = ((np.array([-128, 127]) - zero_point) * scale).astype(np.float32)
    inside = np.clip(values, *limits)
    back = dequantise(quantise(inside, INT8, recipe), recipe)
    assert np.abs(back - inside).max() <= scale * 0.501


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_values_beyond_the_integer_range_saturate(dtype):
    values = np.float32([-1e38, 1e38])
    limits = np.iinfo(dtype)
    found = quantise(values, np.dtype(dtype), Quantisation(1e-3, 3))
    assert found.tolist() == [limits.min, limits.max]


def test_raw_integers_pass_and_fractions_are_refused():
    raw = np.dtype(np.uint8)
    assert quantise(np.float32([0, 255]), raw, None).tolist() == [0, 255]
    for bad in ([0.5], [256.0], [-1.0]):
        with pytest.raises(SampleError, match="raw uint8 values from 0 to 255"):
            quantise(np.float32(bad), raw, None)


def test_every_real_dtype_is_accepted_as_a_batch():
    for dtype in (np.float64, np.float16, np.int64, np.uint8):
        assert check_batch(np.ones((2, 3), dtype), (3,)).dtype == np.float32


def test_the_callers_batch_is_not_changed():
    batch = np.ones((2, 3), np.float32)
    batch.flags.writeable = False
    check_batch(batch, (3,))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros(3), r"one sample, pass x\[None\]"),
        (np.zeros((2, 4)), "prepared for another encoder"),
        (np.zeros((2, 3, 1)), "prepared for another encoder"),
        (np.zeros((0, 3)), "the batch is empty"),
        (np.float32([[0, 0, 0], [0, np.nan, 0]]), "sample 1 of the batch holds NaN"),
        (np.float32([[0, 0, np.inf]]), "sample 0 of the batch holds NaN"),
        (np.array([[0, 0, 1e300]]), "NaN or infinity"),
        (np.zeros((1, 3), complex), "dtype complex128, expected real numbers"),
        (np.zeros((1, 3), bool), "dtype bool"),
        ([["a", "b", "c"]], "expected real numbers"),
        (None, "dtype object"),
        ([[1, 2, 3], [1]], "the batch is no array"),
    ],
)
def test_a_bad_batch_is_refused_with_what_was_found(batch, message):
    with pytest.raises(SampleError, match=message):
        check_batch(batch, (3,))


def test_swapped_axes_are_named_as_the_likely_cause():
    with pytest.raises(SampleError, match="transpose"):
        check_batch(np.zeros((1, 8, 8, 3)), (3, 8, 8))

"""Local losses and label codes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors.activations import ACTIVATIONS, activation
from adaptors.codes import label_codes, sign_code
from adaptors.losses import LOSSES, LocalLoss, local_loss, output_delta, softmax

seeds = st.integers(0, 2**32 - 1)


def numeric_gradient(function, h, eps=1e-6):
    gradient = np.empty_like(h)
    for index in np.ndindex(h.shape):
        up, down = h.copy(), h.copy()
        up[index] += eps
        down[index] -= eps
        gradient[index] = (function(up).sum() - function(down).sum()) / (2 * eps)
    return gradient


@pytest.mark.parametrize("name", sorted(LOSSES))
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_delta_is_the_gradient_of_value(name, seed):
    rng = np.random.default_rng(seed)
    codes, y = rng.choice([-0.9, 0.9], (4, 6)), rng.integers(4, size=3)
    h = rng.uniform(-0.8, 0.8, (3, 6))
    loss = LOSSES[name]
    expected = numeric_gradient(lambda h: loss.value(h, codes, y), h)
    np.testing.assert_allclose(loss.delta(h, codes, y), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_slope_is_the_gradient_of_the_activation(name, seed):
    z = np.random.default_rng(seed).normal(size=(1, 8))
    z = z[(np.abs(z) > 1e-3) & (np.abs(np.abs(z) - 1) > 1e-3)]  # not at a kink
    kind = activation(name)
    expected = numeric_gradient(kind.function, z)
    np.testing.assert_allclose(kind.slope(kind.function(z)), expected, rtol=1e-4, atol=1e-6)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_output_delta_is_the_gradient_of_cross_entropy(seed):
    rng = np.random.default_rng(seed)
    logits, y = rng.normal(size=(3, 5)), rng.integers(5, size=3)

    def cross_entropy(z):
        return -np.log(softmax(z)[np.arange(3), y])

    expected = numeric_gradient(cross_entropy, logits)
    np.testing.assert_allclose(output_delta(logits, y), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_a_layer_on_its_code_has_no_loss_and_no_delta(name):
    codes, y = np.array([[0.9, -0.9]], dtype=np.float32), np.array([0])
    assert LOSSES[name].value(codes, codes, y).tolist() == [0.0]
    assert not LOSSES[name].delta(codes, codes, y).any()


def test_softmax_survives_large_logits():
    np.testing.assert_allclose(softmax(np.array([1e30, -1e30, 1e30])), [0.5, 0, 0.5])


def test_an_own_loss_is_taken_as_it_is():
    class Half:
        def value(self, h, codes, y):
            return np.zeros(len(h))

        def delta(self, h, codes, y):
            return 0.5 * (h - codes[y])

    own = Half()
    assert isinstance(own, LocalLoss)
    assert local_loss(own) is own


@pytest.mark.parametrize("bad", ["L2", "", None, 3, object()])
def test_any_other_loss_is_refused(bad):
    with pytest.raises(ValueError, match=r"expected one of \['cross_entropy', 'l1', 'l2'\]"):
        local_loss(bad)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation is 'gelu', expected one of"):
        activation("gelu")


@given(seeds, st.integers(0, 5), st.integers(1, 9), st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_the_code_of_a_class_does_not_depend_on_the_number_of_classes(seed, layer, n, n_units):
    all_codes = label_codes(seed, layer, range(n), n_units, -0.9, 0.9)
    assert all_codes.shape == (n, n_units)
    assert set(np.unique(np.abs(all_codes))) == {np.float32(0.9)}
    last = label_codes(seed, layer, range(n - 1, n), n_units, -0.9, 0.9)
    np.testing.assert_array_equal(all_codes[-1:], last)


def test_codes_differ_between_classes_layers_and_seeds():
    codes = {sign_code(s, la, k, 128).tobytes() for s in (0, 1) for la in (0, 1) for k in (0, 1)}
    assert len(codes) == 8


def test_codes_never_change_between_versions():
    # Saved states hold seeds, not codes: this very pattern has to come out for ever.
    assert np.packbits(sign_code(12345, 1, 2, 64)).tobytes().hex() == "225a17c7600ff6e8"


def test_no_classes_give_no_codes():
    assert label_codes(0, 0, range(3, 3), 5, -1.0, 1.0).shape == (0, 5)


@pytest.mark.parametrize("kind", ACTIVATIONS.values(), ids=lambda a: a.name)
def test_codes_lie_inside_the_range_of_the_activation(kind):
    far = kind.function(np.array([-50.0, 50.0], dtype=np.float32))
    assert far[0] <= kind.low < kind.high <= far[1]

"""Local losses: values, derivatives, scale, and losses of one's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors.activations import activation
from adaptors.losses import LOSSES, LocalLoss, local_loss, output_delta, softmax

seeds = st.integers(0, 2**32 - 1)
every_loss = pytest.mark.parametrize("name", sorted(LOSSES))
COMPARING = {"cross_entropy", "sharp_cross_entropy"}
RANGES = ([-0.9, 0.9], [0.1, 0.9], [0.0, 1.0])


def numeric_gradient(function, h, eps=1e-6):
    gradient = np.empty_like(h)
    for index in np.ndindex(h.shape):
        up, down = h.copy(), h.copy()
        up[index] += eps
        down[index] -= eps
        gradient[index] = (function(up).sum() - function(down).sum()) / (2 * eps)
    return gradient


@every_loss
@given(seed=seeds, reach=st.sampled_from([0.01, 0.8, 3.0]), codes_of=st.sampled_from(RANGES))
@settings(max_examples=30)
def test_delta_is_the_gradient_of_value(name, seed, reach, codes_of):
    rng = np.random.default_rng(seed)
    codes, y = rng.choice(codes_of, (4, 6)), rng.integers(4, size=3)
    h = rng.uniform(-reach, reach, (3, 6))
    loss = LOSSES[name]
    expected = numeric_gradient(lambda h: loss.value(h, codes, y), h)
    np.testing.assert_allclose(loss.delta(h, codes, y), expected, rtol=1e-5, atol=1e-7)


@given(seed=seeds)
@settings(max_examples=20)
def test_output_delta_is_the_gradient_of_cross_entropy(seed):
    rng = np.random.default_rng(seed)
    logits, y = rng.normal(size=(3, 5)), rng.integers(5, size=3)

    def cross_entropy(z):
        return -np.log(softmax(z)[np.arange(3), y])

    expected = numeric_gradient(cross_entropy, logits)
    np.testing.assert_allclose(output_delta(logits, y), expected, rtol=1e-5, atol=1e-7)


@every_loss
def test_float32_stays_float32(name):
    rng = np.random.default_rng(0)
    codes = rng.choice([-0.9, 0.9], (4, 6)).astype(np.float32)
    h, y = rng.uniform(-1, 1, (3, 6)).astype(np.float32), np.array([0, 1, 2])
    before = h.copy(), codes.copy()
    assert LOSSES[name].value(h, codes, y).dtype == np.float32
    assert LOSSES[name].delta(h, codes, y).dtype == np.float32
    np.testing.assert_array_equal(h, before[0])
    np.testing.assert_array_equal(codes, before[1])


@every_loss
@given(seed=seeds)
@settings(max_examples=20)
def test_a_step_against_delta_lowers_the_value(name, seed):
    rng = np.random.default_rng(seed)
    codes, y = rng.choice([-0.9, 0.9], (4, 64)), rng.integers(4, size=8)
    h, loss = rng.uniform(-0.8, 0.8, (8, 64)), LOSSES[name]
    after = loss.value(h - 0.05 * loss.delta(h, codes, y), codes, y)
    assert (after < loss.value(h, codes, y)).all()


@every_loss
@pytest.mark.parametrize("of", ["tanh", "sigmoid"])
def test_derivatives_of_pre_activations_are_of_order_one(name, of):
    # Hence one learning rate serves all losses.
    rng, kind = np.random.default_rng(0), activation(of)
    codes, y = rng.choice([kind.low, kind.high], (10, 256)), rng.integers(10, size=50)
    h = kind.function(rng.normal(0, 0.5, (50, 256)))
    delta = LOSSES[name].delta(h, codes, y) * kind.slope(h)
    assert 0.05 < np.sqrt(np.mean(delta**2)) < 2


@pytest.mark.parametrize("name", sorted(set(LOSSES) - COMPARING))
@pytest.mark.parametrize("codes_of", RANGES)
def test_a_layer_on_its_code_has_a_delta_of_zero_and_no_lower_value_near(name, codes_of):
    rng = np.random.default_rng(0)
    codes, y = rng.choice(codes_of, (1, 6)), np.array([0])
    loss = LOSSES[name]
    np.testing.assert_allclose(loss.delta(codes, codes, y), 0, atol=0.03)
    near = [codes + rng.normal(0, 0.1, codes.shape) for _ in range(20)]
    assert min(loss.value(h, codes, y)[0] for h in near) >= loss.value(codes, codes, y)[0] - 0.03


@pytest.mark.parametrize("name", ["l2", "l1", "huber"])
def test_a_distance_is_zero_on_the_code(name):
    codes, y = np.array([[0.9, -0.9]], dtype=np.float32), np.array([0])
    assert LOSSES[name].value(codes, codes, y).tolist() == [0.0]


def test_huber_is_l2_near_the_code_and_does_not_grow_beyond():
    codes, y = np.zeros((1, 3)), np.array([0])
    h = np.array([[0.1, -0.4, 0.5]])
    np.testing.assert_allclose(
        LOSSES["huber"].value(h, codes, y), LOSSES["l2"].value(h, codes, y), rtol=1e-6
    )
    assert LOSSES["huber"].delta(h * 100, codes, y).tolist() == [[0.5, -0.5, 0.5]]


def test_the_length_of_an_output_is_free_under_the_cosine_loss():
    codes, y = np.array([[0.9, -0.9, 0.9]]), np.array([0])
    short, long = (LOSSES["cosine"].value(codes * k, codes, y)[0] for k in (0.5, 2.0))
    assert short == pytest.approx(long, abs=0.1)
    assert LOSSES["cosine"].value(-codes, codes, y)[0] > 1.9 * 0.9**2 * 3


def test_an_output_of_zero_moves_towards_its_code_under_the_cosine_loss():
    codes, y = np.array([[0.9, -0.9, 0.0]]), np.array([0])
    delta = LOSSES["cosine"].delta(np.zeros((1, 3)), codes, y)
    assert np.isfinite(delta).all()
    assert np.sign(delta).tolist() == [[-1.0, 1.0, 0.0]]
    assert not LOSSES["cosine"].delta(np.zeros((1, 3)), np.zeros((1, 3)), y).any()


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_binary_cross_entropy_cancels_the_slope_of_the_activation(name):
    kind = activation(name)
    h = kind.function(np.linspace(-1.5, 1.5, 7)[None])
    codes, y = np.where(np.arange(7) % 2, kind.low, kind.high)[None], np.array([0])
    delta = LOSSES["binary_cross_entropy"].delta(h, codes, y) * kind.slope(h)
    np.testing.assert_allclose(delta, h - codes, rtol=1e-5)


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
    with pytest.raises(ValueError, match=r"expected one of \['binary_cross_entropy', .* an object"):
        local_loss(bad)


def test_only_cross_entropy_compares_with_the_codes_of_all_classes():
    assert {name for name, loss in LOSSES.items() if loss.needs_all_codes} == COMPARING

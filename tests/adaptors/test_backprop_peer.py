"""The NumPy backpropagation that the benchmarks compare with."""

import numpy as np
import pytest

from benchmarks.peers.backprop import BackpropClassifier


def blobs(seed=0, n=120):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    centres = rng.normal(0, 3, (3, 5))
    return (centres[y] + rng.normal(size=(n, 5))).astype(np.float32), y


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradients_match_finite_differences(activation):
    X, y = blobs(n=12)
    net = BackpropClassifier((6, 5), activation, epochs=1).fit(X, y)
    for attribute in ("weights", "biases"):
        setattr(net, attribute, [p.astype(np.float64) for p in getattr(net, attribute)])

    def loss():
        z = net._forward(X.astype(np.float64))[-1]
        return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y])

    gradients = net._gradients(X.astype(np.float64), y)
    for parameter, gradient in zip(net._parameters(), gradients, strict=True):
        parameter.flat[0] += 1e-6
        up = loss()
        parameter.flat[0] -= 2e-6
        down = loss()
        parameter.flat[0] += 1e-6
        assert gradient.flat[0] == pytest.approx((up - down) / 2e-6, abs=1e-5)


@pytest.mark.parametrize(("optimiser", "rate"), [("sgd", 0.05), ("adam", 0.01)])
def test_both_optimisers_learn(optimiser, rate):
    X, y = blobs()
    net = BackpropClassifier((16,), optimiser=optimiser, learning_rate=rate).fit(X, y)
    assert np.mean(net.predict(X) == y) > 0.9


def test_frozen_hidden_layers_stay_as_drawn():
    X, y = blobs()
    short, long = (
        BackpropClassifier((16,), freeze_hidden=True, epochs=e).fit(X, y) for e in (1, 5)
    )
    np.testing.assert_array_equal(short.weights[0], long.weights[0])
    assert (short.weights[1] != long.weights[1]).any()

"""The peers of tpSGD: signals as their papers define them, and each learns digits."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmarks.peers.backprop import BackpropClassifier
from benchmarks.peers.closed_form import (
    OUTPUT_RIDGE,
    ForwardProjectionClassifier,
    LabelProjectionClassifier,
)
from benchmarks.peers.convolution import ConvolutionalClassifier
from benchmarks.peers.local_rules import (
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    StaticContrast,
)
from benchmarks.peers.recurrent import RecurrentClassifier
from benchmarks.peers.torch_training import TorchAbsentError, import_torch

LOCAL_RULES = [DirectRandomTargetProjection, DirectFeedbackAlignment, StaticContrast]
CLOSED_FORMS = [LabelProjectionClassifier, ForwardProjectionClassifier]
N_TRAIN = 1000


def digits():
    """Digits of 8 x 8, shuffled: in their own order the last ones are by other writers."""
    X, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))
    return X[rows].astype(np.float32), y[rows].astype(np.int64)


def digit_accuracy(model, shape=(64,)):
    X, y = digits()
    X = X.reshape(-1, *shape)
    model.fit(X[:N_TRAIN], y[:N_TRAIN])
    return np.mean(model.predict(X[N_TRAIN:]) == y[N_TRAIN:])


# --- local rules ------------------------------------------------------------------------------


@pytest.mark.parametrize(("optimiser", "rate"), [("adam", 0.01), ("sgd", 0.03)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("rule", LOCAL_RULES)
def test_a_local_rule_learns_digits(rule, activation, optimiser, rate):
    # DRTP's push never ends; a tanh unit saturates, a ReLU unit has nothing to stop it.
    endless = rule is DirectRandomTargetProjection and activation == "relu"
    model = rule((64, 48), activation, optimiser, rate, epochs=10)
    assert digit_accuracy(model) > (0.8 if endless else 0.9)


@pytest.mark.parametrize("rule", LOCAL_RULES)
def test_a_local_rule_is_repeatable_and_its_seed_counts(rule):
    X, y = digits()
    first, again, other = (
        rule((16, 12), epochs=1, random_state=seed).fit(X[:200], y[:200]) for seed in (0, 0, 1)
    )
    for name in ("weights", "projections"):
        for one, two, three in zip(*(getattr(m, name) for m in (first, again, other)), strict=True):
            np.testing.assert_array_equal(one, two)
            assert (one != three).any()


def tiny(rule, activation="tanh", **choices):
    """A network 2-3-2-2 in float64 with weights that were drawn, four samples."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(4, 2)), np.array([0, 1, 1, 0])
    model = rule((3, 2), activation, epochs=1, **choices).fit(X.astype(np.float32), y)
    for name in ("weights", "biases", "projections"):
        setattr(model, name, [a.astype(np.float64) for a in getattr(model, name)])
    return model, X, y


def test_drtp_pushes_along_the_vector_of_the_label_by_hand():
    model, X, y = tiny(DirectRandomTargetProjection)
    W1, W2, _ = model.weights
    h1 = np.tanh(X @ W1.T + model.biases[0])
    h2 = np.tanh(h1 @ W2.T + model.biases[1])
    gradients = model._gradients(X, y)
    for layer, inputs, h in ((0, X, h1), (1, h1, h2)):
        by_weight, by_bias = np.zeros_like(model.weights[layer]), 0
        for sample in range(4):
            delta = model.projections[layer][y[sample]] * (1 - h[sample] ** 2)
            by_weight += np.outer(delta, inputs[sample]) / 4
            by_bias += delta / 4
        np.testing.assert_allclose(gradients[layer], by_weight, atol=1e-9)
        np.testing.assert_allclose(gradients[3 + layer], by_bias, atol=1e-9)


def test_dfa_sends_the_error_straight_to_each_layer_by_hand():
    model, X, y = tiny(DirectFeedbackAlignment, "relu")
    h1 = np.maximum(X @ model.weights[0].T + model.biases[0], 0)
    h2 = np.maximum(h1 @ model.weights[1].T + model.biases[1], 0)
    logits = h2 @ model.weights[2].T + model.biases[2]
    error = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(2)[y]
    gradients = model._gradients(X, y)
    deltas = [error @ model.projections[0] * (h1 > 0), error @ model.projections[1] * (h2 > 0)]
    for layer, (inputs, delta) in enumerate(zip((X, h1, h2), (*deltas, error), strict=True)):
        np.testing.assert_allclose(gradients[layer], delta.T @ inputs / 4, atol=1e-7)
        np.testing.assert_allclose(gradients[3 + layer], delta.mean(axis=0), atol=1e-7)


@pytest.mark.parametrize("layer", [0, 1])
def test_static_contrast_is_the_gradient_of_its_local_loss(layer):
    model, X, y = tiny(StaticContrast, temperature=0.7)
    gradient = model._gradients(X, y)[layer]

    def local_loss():
        h = model._forward(X)[layer + 1]
        logits = h @ model.projections[layer].T / 0.7
        return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(4), y])

    numeric = np.empty_like(gradient)
    for index in np.ndindex(*gradient.shape):
        model.weights[layer][index] += 1e-6
        up = local_loss()
        model.weights[layer][index] -= 2e-6
        numeric[index] = (up - local_loss()) / 2e-6
        model.weights[layer][index] += 1e-6
    np.testing.assert_allclose(gradient, numeric, atol=1e-6)


def test_the_gain_scales_hidden_gradients_alone():
    model, X, y = tiny(DirectFeedbackAlignment)
    plain = model._gradients(X, y)
    model.hidden_gain = 10.0
    for i, (one, ten) in enumerate(zip(plain, model._gradients(X, y), strict=True)):
        np.testing.assert_allclose(ten, one * (1 if i in (2, 5) else 10), rtol=1e-6)


# --- closed form ------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(64,), (64, 64)])
@pytest.mark.parametrize("method", CLOSED_FORMS)
def test_a_closed_form_learns_digits(method, hidden, activation):
    assert digit_accuracy(method(hidden, activation)) > 0.9


def test_label_projection_is_the_ridge_of_its_codes_by_hand():
    X, y = digits()
    X, y = X[:100], y[:100]
    model = LabelProjectionClassifier((5,), ridge=2.0).fit(X, y)
    rng = np.random.default_rng(0)
    codes = np.sign(rng.standard_normal((10, 5), dtype=np.float32))
    Z = np.hstack([(X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-6), np.ones((100, 1))])
    hidden = np.linalg.solve(Z.T @ Z + 2 * np.eye(65), Z.T @ codes[y])
    np.testing.assert_allclose(model.weights[0], hidden, atol=1e-5)
    H = np.hstack([np.maximum(Z @ hidden, 0), np.ones((100, 1))])
    targets = 2 * np.eye(10)[y] - 1
    output = np.linalg.solve(H.T @ H + OUTPUT_RIDGE * np.eye(6), H.T @ targets)
    np.testing.assert_allclose(model.weights[1], output, atol=1e-4)


@pytest.mark.parametrize("method", CLOSED_FORMS)
def test_batches_change_nothing_but_rounding(method):
    X, y = digits()
    whole, parts = (method((20,), batch_size=n).fit(X[:300], y[:300]) for n in (300, 64))
    for one, other in zip(whole.weights, parts.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_forward_projection_keeps_more_than_the_label():
    X, y = digits()
    by_label, both = (method((30,)).fit(X, y) for method in CLOSED_FORMS)

    def spread_within_classes(model):
        hidden = model._inputs(X, model.weights[:1])[:, :-1]
        return np.mean([hidden[y == k].std(axis=0).mean() for k in range(10)])

    assert spread_within_classes(both) > 1.5 * spread_within_classes(by_label)


@pytest.mark.parametrize("peer", [BackpropClassifier, *LOCAL_RULES, *CLOSED_FORMS])
def test_a_feature_that_never_varied_in_training_counts_for_nothing(peer):
    X, y = digits()
    X = np.column_stack([X, np.zeros(len(X), np.float32)])
    model = peer((32,)).fit(X[:N_TRAIN], y[:N_TRAIN])
    expected = model.predict(X[N_TRAIN:])
    X[N_TRAIN:, -1] = 1e-3
    np.testing.assert_array_equal(model.predict(X[N_TRAIN:]), expected)


# --- torch ------------------------------------------------------------------------------------


def test_without_torch_a_peer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    X, y = digits()
    with pytest.raises(TorchAbsentError, match=r"edge-runtime\[bench\]"):
        ConvolutionalClassifier((8, 8, 1)).fit(X, y)


@pytest.fixture
def torch():
    try:
        return import_torch()
    except TorchAbsentError as error:
        pytest.skip(str(error))


def convolutional(**choices):
    return ConvolutionalClassifier((8, 8, 1), (8, 16), learning_rate=5e-3, **choices)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_convolutional_peer_learns_digits(torch, activation):
    assert digit_accuracy(convolutional(activation=activation, epochs=10)) > 0.9


def test_frozen_convolutions_stay_as_drawn_and_the_dense_layer_learns(torch):
    X, y = digits()
    short, long = (convolutional(freeze_convolutions=True, epochs=n).fit(X, y) for n in (1, 10))
    before, after = (list(model.network.parameters()) for model in (short, long))
    assert [torch.equal(one, two) for one, two in zip(before, after, strict=True)] == [
        *[True] * 4,
        *[False] * 2,
    ]
    assert np.mean(long.predict(X) == y) > 0.8 > np.mean(short.predict(X) == y)


def test_images_may_come_flat(torch):
    X, y = digits()
    model = convolutional(epochs=1).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), model.predict(X.reshape(-1, 8, 8)))


def test_odd_sizes_and_colour_fit_the_dense_layer(torch):
    images = np.random.default_rng(0).integers(0, 255, (10, 11, 7, 3), np.uint8)
    model = ConvolutionalClassifier((11, 7, 3), (4, 6), epochs=1).fit(images, np.arange(10) % 3)
    assert model.predict(images).shape == (10,)


@pytest.mark.parametrize("cell", ["elman", "gru"])
def test_the_recurrent_peer_reads_digits_row_by_row(torch, cell):
    model = RecurrentClassifier(cell, n_hidden=48, learning_rate=5e-3, epochs=12)
    assert digit_accuracy(model, (8, 8)) > 0.8


def test_truncation_cuts_the_gradient_and_not_the_memory(torch):
    X, y = digits()
    X = X.reshape(-1, 8, 8)
    model = RecurrentClassifier(n_hidden=16, epochs=1).fit(X, y)
    model.truncation = 3
    inputs = torch.from_numpy(model._sequences(X[:5])).requires_grad_()
    logits = model._forward(inputs)
    logits.sum().backward()
    by_step = inputs.grad.abs().sum(dim=(0, 2)).numpy()
    assert (by_step[:5] == 0).all()
    assert (by_step[5:] > 0).all()
    model.truncation = None
    np.testing.assert_allclose(
        logits.detach(), model._forward(inputs).detach(), rtol=1e-4, atol=1e-5
    )


def test_a_torch_peer_is_repeatable_and_leaves_the_global_seed_alone(torch):
    X, y = digits()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (
        convolutional(epochs=1, random_state=seed).fit(X, y).network[0].weight for seed in (0, 0, 1)
    )
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

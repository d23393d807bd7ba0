"""The bytes and products of an update: formulas by hand, and peaks measured against them."""

import doctest
import os
import tracemalloc

import numpy as np
import pytest

from adaptors.layers import Dense
from adaptors.network import TargetProjectionNetwork
from benchmarks import memory
from benchmarks.memory import DenseStack, peak_bytes
from benchmarks.peers.backprop import BackpropClassifier
from benchmarks.resident import kilobytes, together

STACK = DenseStack((5, 7, 3, 2), batch_size=10)


def test_the_examples_hold():
    assert doctest.testmod(memory).failed == 0


def test_activations_by_hand():
    assert STACK.activation_bytes("backprop") == 4 * 10 * (7 + 3 + 2)
    assert STACK.activation_bytes("local") == 4 * 10 * 7
    wider = DenseStack((5, 3, 7, 2), batch_size=10)
    assert wider.activation_bytes("local") == 4 * 10 * (3 + 7)


def test_gradients_and_targets_by_hand():
    assert STACK.gradient_bytes("backprop") == 4 * (6 * 7 + 8 * 3 + 4 * 2)
    assert STACK.gradient_bytes("local") == 4 * 6 * 7
    assert STACK.target_bytes("backprop") == 0
    assert STACK.target_bytes("local") == 4 * (7 + 3) * 2


def test_products_by_hand():
    forward = 5 * 7 + 7 * 3 + 3 * 2
    assert STACK.macs("local") == 10 * 2 * forward
    assert STACK.macs("backprop") == 10 * (2 * forward + 7 * 3 + 3 * 2)
    assert STACK.macs("local cross-entropy") == 10 * (2 * forward + 2 * 2 * (7 + 3))


def test_a_local_rule_saves_less_than_a_third_of_the_products():
    deep = DenseStack((100,) * 50, batch_size=1)
    assert 0.66 < deep.macs("local") / deep.macs("backprop") < 0.68


def test_what_was_held_before_does_not_count():
    held = np.ones(100_000)
    assert peak_bytes(lambda: held.sum()) < 10_000


def test_a_peak_counts_though_nothing_of_it_is_left():
    assert 800_000 <= peak_bytes(lambda: np.ones(100_000).sum()) < 810_000


def test_measuring_leaves_tracing_as_it_was():
    peak_bytes(list)
    assert not tracemalloc.is_tracing()
    with pytest.raises(ZeroDivisionError):
        peak_bytes(lambda: 1 / 0)
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        peak_bytes(list)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def measured(depth, rule):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 64)).astype(np.float32), rng.integers(10, size=500)
    if rule == "backprop":
        peer = BackpropClassifier((64,) * depth, epochs=1).fit(X, y)
        peer._gradients(X, y)
        return peak_bytes(lambda: peer._gradients(X, y))
    net = TargetProjectionNetwork([Dense(64)] * depth, 64, 10, random_state=0)
    net.step(X, y)
    return peak_bytes(lambda: net.step(X, y))


def test_backpropagation_grows_with_depth_as_the_formula_says():
    shallow, deep = (DenseStack((64,) * (n + 1) + (10,), 500) for n in (3, 6))
    growth = deep.activation_bytes("backprop") - shallow.activation_bytes("backprop")
    growth += deep.gradient_bytes("backprop") - shallow.gradient_bytes("backprop")
    found = measured(6, "backprop") - measured(3, "backprop")
    assert found == pytest.approx(growth, rel=0.05)


def test_target_projection_needs_no_more_for_depth():
    assert measured(6, "local") < 1.05 * measured(3, "local")
    assert measured(6, "local") < 0.75 * measured(6, "backprop")


def test_six_layers_keep_a_quarter_of_the_activations_of_backpropagation():
    rng = np.random.default_rng(0)
    net = TargetProjectionNetwork([Dense(64)] * 5, 64, 10, "cross_entropy", random_state=0)
    peer = BackpropClassifier((64,) * 5, epochs=1)

    def peaks(n):
        X, y = rng.normal(size=(n, 64)).astype(np.float32), rng.integers(10, size=n)
        net.step(X, y)
        peer.fit(X, y)
        local = peak_bytes(lambda: net.step(X, y))
        return local, peak_bytes(lambda: peer._gradients(X, y))

    # Batches so large that what does not grow with them, gradients and chunks, cancels.
    small, large = peaks(8192), peaks(16384)
    local, backprop = (b - a for a, b in zip(small, large, strict=True))
    assert local <= backprop / 4


def test_pages_that_processes_share_are_counted_once():
    own = os.getpid()
    alone = together([own])
    if not alone:
        pytest.skip("THE KERNEL DOES NOT SAY which pages a process has")
    assert abs(together([own, own]) - alone) < alone / 20  # the measuring takes memory too
    assert 0.5 < alone / (kilobytes(own, "VmRSS") * 1024) <= 1.1

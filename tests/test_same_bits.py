"""The same bits on x86-64, aarch64 and 32-bit ARM, with numba and without: recorded once.

Integers are compared exactly: hypervectors, quantised weights, labels, slots, events.
Floating point within a tolerance, because another BLAS, compiler or NumPy sums in another order.
``python -m tests.test_same_bits`` records anew: right only where what is computed was changed on
purpose.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adaptors.quantised import QuantisedLayer
from edge_runtime import EdgeRuntime, Settings
from hdc.vectors import hypervector as hv
from hdc.vectors.projection import SignedHadamard
from tests.domains import N_CLASSES, domain

GOLDEN = Path(__file__).parent / "golden" / "same-bits.json"
# Of score, p-value and probabilities: several times the largest difference seen between kernels of
# a BLAS, where one bit of a hypervector in a thousand may differ.
TOLERANCES = 0.2, 0.1, 1e-3


def digest(*arrays):
    """Of the values as little-endian bytes, with their types and shapes."""
    total = hashlib.sha256()
    for array in map(np.asarray, arrays):
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
        total.update(f"{little.dtype.str}{little.shape}".encode() + little.tobytes())
    return total.hexdigest()[:32]


def hypervectors():
    """The algebra, and the projection of features, in 8,192 dimensions."""
    bits = hv.random(9, 8192, random_state=0)
    signs = hv.random(9, 8192, kind="bipolar", random_state=1)
    X, _ = domain(0, 50, 7)
    project = SignedHadamard(X.shape[1], 8192, seed=3).bits
    return {
        "random": digest(bits, signs),
        "bind": digest(hv.bind(bits[:4], bits[4:8]), hv.bind(signs[:4], signs[4:8])),
        "bundle": digest(hv.bundle(bits), hv.bundle(bits[:8]), hv.bundle(signs)),
        "permute": digest(hv.permute(bits, 77), hv.permute(signs, -3)),
        "hamming": digest(hv.hamming(bits, bits[0])),
        "projection": digest(project(X)),
        "projection of one": digest(*[project(x[None]) for x in X[:9]]),
    }


def quantised():
    """Weights of exact numbers, rounded to int8: what a slot in fewer bits holds."""
    rows = np.random.default_rng(5).integers(-2000, 2000, (6, 40)).astype(np.float32) / 64
    layer = QuantisedLayer.of(rows, rows[:, 0], "tanh", "int8")
    half = QuantisedLayer.of(rows, rows[:, 0], "tanh", "float16")
    return {"int8": digest(layer.weights, layer.scales), "float16": digest(half.weights)}


def named(event):
    return f"{event.sample_id} {event.kind}" + ("" if event.slot is None else f" {event.slot}")


def replay():
    """A stream through three domains, with every label that is requested: decisions and scores.

    A flag is o for out of distribution, r for a label request, b for both. Seeds are such that no
    p-value is near the rate of false alarms: there, one bit would decide.
    """
    runtime = EdgeRuntime(n_dims=2048, adaptor=16)
    X, y = domain(0, 400, 0)
    runtime.learn_many(X, y.tolist())
    labels = slots = flags = ""
    events, scores = [], []
    for number, n, seed in ((0, 100, 2), (1, 60, 3), (0, 60, 4)):
        for x, truth in zip(*domain(number, n, seed), strict=True):
            prediction = runtime.step(x)
            labels += str(prediction.label)
            slots += str(prediction.slot)
            flags += ".orb"[prediction.is_ood + 2 * prediction.wants_label]
            events += map(named, prediction.events)
            scores.append([prediction.ood_score, prediction.p_value, *prediction.probabilities])
            if prediction.wants_label:
                events += map(named, runtime.learn(prediction.sample_id, int(truth)))
    return {"labels": labels, "slots": slots, "flags": flags, "events": events}, np.array(scores)


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


def test_hypervectors_have_the_same_bits_everywhere(golden):
    assert hypervectors() == golden["hypervectors"]


def test_quantised_weights_have_the_same_bits_everywhere(golden):
    assert quantised() == golden["quantised"]


def check(golden, decisions, scores):
    assert decisions == golden["decisions"]
    expected = np.array(golden["scores"])
    assert np.abs(expected[:, 1] - Settings().false_alarm_rate).min() > 0.01
    of_score, of_p, of_probability = TOLERANCES
    most = np.array([of_score, of_p, *[of_probability] * N_CLASSES])
    assert (np.abs(np.array(scores) - expected) <= most).all()


def test_a_replayed_stream_takes_the_same_decisions_everywhere(golden):
    check(golden, *replay())


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["Prescott", "Haswell"])
def test_other_kernels_of_the_blas_take_the_same_decisions(golden, kernels):
    """OpenBLAS can be told to sum as another processor would; other libraries do not listen."""
    environment = os.environ | {"OPENBLAS_CORETYPE": kernels}
    code = (
        "import json, tests.test_same_bits as t; "
        "decisions, scores = t.replay(); print(json.dumps([decisions, scores.tolist()]))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout
    check(golden, *json.loads(printed))


def record():
    """Write the golden file anew."""
    decisions, scores = replay()
    rows = {
        "hypervectors": hypervectors(),
        "quantised": quantised(),
        "decisions": decisions,
        "scores": scores.round(5).tolist(),
    }
    GOLDEN.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    record()

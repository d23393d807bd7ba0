"""What a runtime has learned, as this release saves it: a state of version 3 stays readable.

A change that fails here changes the format: raise `snapshot.VERSION` and record a file beside the
old one, whose refusal then is a sentence.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import EdgeRuntime
from edge_runtime.state import generations

GOLDEN = Path(__file__).parents[1] / "golden" / "learned-v3.edge"
CLASSES = ("left", "right")


def samples(n, seed):
    """Two classes of three measures."""
    y = np.arange(n) % 2
    return np.random.default_rng(seed).normal(size=(n, 3)) + 4 * np.eye(3)[y], y


def record():
    """Write the golden file anew."""
    X, y = samples(60, 0)
    runtime = EdgeRuntime(n_dims=64, adaptor=4, pending_samples=4)
    runtime.learn_many(X, [CLASSES[k] for k in y])
    for x, k in zip(*samples(3, 1), strict=True):
        runtime.learn(runtime.step(x).sample_id, CLASSES[k])
    directory = GOLDEN.parent / "learned"
    runtime.save(directory)
    shutil.move(generations.path_of(directory, 1), GOLDEN)
    shutil.rmtree(directory)


@pytest.fixture
def restored(tmp_path):
    shutil.copy(GOLDEN, generations.path_of(tmp_path, 1))
    return EdgeRuntime.load(tmp_path)


def test_a_state_of_version_three_answers_and_goes_on_learning(restored, tmp_path):
    X, y = samples(40, 2)
    right = [p.label == CLASSES[k] for p, k in zip(restored.peek_many(list(X)), y, strict=True)]
    assert np.mean(right) == 1.0
    assert restored.peek([40.0, -40.0, 0.0]).is_ood
    assert restored.slots[0].n_labels == 63
    restored.learn(restored.step(X[0]).sample_id, CLASSES[y[0]])
    assert restored.slots[0].n_labels == 64
    assert restored.save(tmp_path) == 2


def test_its_fields_are_those_that_this_release_saves(restored, tmp_path):
    restored.save(tmp_path)
    old, new = (
        generations.from_bytes(generations.path_of(tmp_path, number).read_bytes())
        for number in (1, 2)
    )
    assert set(old[0]) == set(new[0])
    described = ({k: (v.dtype, v.ndim) for k, v in arrays.items()} for _, arrays in (old, new))
    assert next(described) == next(described)

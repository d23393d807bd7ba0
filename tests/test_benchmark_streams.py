"""Streams of the continual benchmark: learners behind one protocol, and who gets which label."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.continual_peers import PEERS
from benchmarks.peers.rehearsal import FineTuning, Frozen, Replay
from benchmarks.streams.learners import Baseline, flat, samples_of
from edge_runtime.errors import LabelError
from edge_runtime.prequential import Probe, evaluate
from tests.test_benchmarks import toy

QUICK_PEERS = [peer for peer in PEERS if not peer.name.startswith("RanPAC")]


@pytest.mark.parametrize("peer", QUICK_PEERS, ids=lambda peer: peer.name)
def test_every_peer_answers_and_learns_as_the_runtime_does(peer):
    data = toy(30)
    here = np.random.default_rng(0).permutation(np.flatnonzero(data.domain == 0))
    settings = dict(peer.settings[0])
    if "learning_rate" in settings:  # 90 samples are few steps
        settings["learning_rate"] = 1e-2
    learner = Baseline(peer, data, candidate=(peer.views[0], settings), learn_every=30)
    X, y = samples_of(data, here), data.y[here].tolist()
    run = evaluate(learner, X, y, answer="all", probes={"here": Probe(X, y)})
    assert run.labels_used().total == len(here)
    assert run.checkpoints[-1].accuracy["here"] > 0.6
    assert run.checkpoints[-1].n_bytes > 0


def test_a_baseline_forgets_samples_and_learns_what_still_waits():
    data = toy(30)
    learner = Baseline(QUICK_PEERS[3], data, learn_every=100)
    predictions = list(learner.run(samples_of(data, np.arange(180))))
    assert predictions[0].label is None
    for _ in learner.run(samples_of(data, np.arange(100))):
        pass
    with pytest.raises(LabelError, match="sample 0 is forgotten"):
        learner.learn(0, 1)
    learner.learn(279, 1)
    assert learner.n_bytes == 0
    learner.learn_many(samples_of(data, np.arange(50)), data.y[:50].tolist())
    assert learner.n_bytes > 0
    assert learner.peek_many(samples_of(data, [0]))[0].label is not None


def test_features_of_a_sample_are_one_vector_however_they_come():
    assert flat({"a": [1.0], "b": [2.0, 3.0]}).tolist() == flat([1.0, 2.0, 3.0]).tolist()


def network(kind, **settings):
    return kind(3, hidden=(16,), epochs=20, random_state=0, learning_rate=3e-3, **settings)


def test_fine_tuning_forgets_replay_does_not_and_the_frozen_one_never_learns_more():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    centres = 3 * rng.normal(size=(3, 8))
    X = (centres[y] + rng.normal(size=(300, 8))).astype(np.float32)
    turned = X[:, ::-1] * -1.5
    found = {}
    for model in (network(FineTuning), network(Replay), Frozen(network(FineTuning))):
        model.partial_fit(X, y)
        before = float(np.mean(model.predict(X) == y))
        model.partial_fit(turned, (y + 1) % 3)
        after = [float(np.mean(model.predict(Z) == t)) for Z, t in ((X, y), (turned, (y + 1) % 3))]
        found[type(model).__name__] = before, *after
    assert all(before > 0.9 for before, *_ in found.values())
    assert found["Replay"][1] > found["FineTuning"][1]
    assert found["Replay"][1] > 0.9
    assert found["Frozen"][1] == found["Frozen"][0]
    assert found["Frozen"][2] < 0.9


def test_replay_keeps_as_many_rows_of_each_class_and_counts_them():
    model = network(Replay, per_class=4)
    X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    y = np.arange(60) % 3
    model.partial_fit(X, y)
    model.partial_fit(X, y)
    kept = 2 * 3 * 4
    alone = FineTuning.n_bytes.fget(model)
    assert model.n_bytes == alone + kept * (2 * 8 + 1)

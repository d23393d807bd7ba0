"""Streams of the continual benchmark: learners behind one protocol, and who gets which label."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest

from benchmarks import continual, prequential
from benchmarks.continual_peers import PEERS
from benchmarks.features import FeatureSet
from benchmarks.options import Options
from benchmarks.peers.rehearsal import FineTuning, Frozen, Replay
from benchmarks.streams import (
    domains,
    drifts,
    hardship,
    kept,
    learners,
    pictures,
    signals,
    sounds,
    steady,
)
from benchmarks.streams.learners import Baseline, flat, samples_of
from edge_runtime.errors import LabelError
from edge_runtime.evaluation.prequential import Probe, evaluate
from examples.datasets.pacs import DataAbsentError
from tests.test_benchmarks import toy

QUICK_PEERS = [peer for peer in PEERS if "000" not in peer.name]


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


# -- streams ------------------------------------------------------------------------------------


def windows(n=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 128, 6)).astype(np.float32), rng.integers(0, 6, n)


@pytest.mark.parametrize("name", sorted(signals.RAMPS))
def test_a_drift_begins_with_nothing_and_ends_with_all_of_it(name):
    X, _ = windows(3)
    drifted = signals.RAMPS[name](X, np.array([0.0, 0.5, 1.0], np.float32))
    np.testing.assert_allclose(drifted[0], X[0], atol=1e-6)
    moved = np.abs(drifted - X).mean(axis=(1, 2))
    assert 0 < moved[1] < moved[2]
    assert drifted.dtype == np.float32


def test_a_rotation_keeps_lengths_and_the_third_axis():
    X, _ = windows(2)
    turned = signals.rotation(X, np.array([1.0, 0.3], np.float32))
    np.testing.assert_array_equal(turned[..., 2::3], X[..., 2::3])
    for part in (slice(0, 3), slice(3, 6)):
        lengths = (np.linalg.norm(each[..., part], axis=-1) for each in (turned, X))
        np.testing.assert_allclose(*lengths, rtol=1e-5)


def test_classes_come_in_steps():
    data = toy(30)
    steps = signals.in_steps(data, 3, per_class=8)
    assert (steps.domain == steps.y).all()
    assert np.bincount(steps.y).tolist() == [8, 8, 8]
    assert steps.domains == ("a to a", "b to b", "c to c")
    assert np.bincount(signals.in_steps(data, 2).domain[:]).tolist() == [120, 60]


@pytest.fixture
def table(monkeypatch):
    rng = np.random.default_rng(0)
    found = rng.normal(size=(80, 19)).astype(np.float32) + 5, np.arange(80) % 2, ("no", "yes")
    monkeypatch.setattr(drifts, "_table", lambda name, n_features: found)
    return found


def test_measures_turn_by_thirty_degrees_more_at_each_stage(table):
    data = drifts.segment()
    X = table[0]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    np.testing.assert_allclose(data.X[data.domain == 0], Z[data.domain == 0], atol=1e-4)
    lengths = [np.linalg.norm(each, axis=1) for each in (data.X, Z)]
    np.testing.assert_allclose(*lengths, rtol=1e-4)
    cosine = (data.X * Z).sum(axis=1) / lengths[1] ** 2
    assert np.diff([cosine[data.domain == i].mean() for i in range(4)]).max() < -0.1
    assert np.bincount(data.domain).tolist() == [20] * 4


def test_quarters_follow_the_first_harmonic_and_gains_grow(table):
    data = drifts.phoneme()
    first = [data.X[data.domain == i, 0] for i in range(4)]
    assert all(a.max() < b.min() for a, b in itertools.pairwise(first))
    scaled, X = drifts.magic(), table[0]
    gain = np.log(scaled.X / X)
    np.testing.assert_allclose(gain[scaled.domain == 0], 0, atol=1e-5)
    one, three = (gain[scaled.domain == i][0] for i in (1, 3))
    np.testing.assert_allclose(three, 3 * one, atol=1e-4)


def test_streams_of_a_folder_come_in_scenes_or_say_what_is_missing(tmp_path):
    for load in (drifts.bearings, drifts.outdoor):
        with pytest.raises(DataAbsentError, match="--data-dir"):
            load(tmp_path)
    rng = np.random.default_rng(0)
    recordings = {
        f"{fault}_load{i}": rng.integers(-900, 900, 60_000).astype(np.int16)
        for fault in ("B007", "IR014")
        for i in range(2)
    }
    np.savez(tmp_path / "bearings.npz", **recordings)
    data = drifts.bearings(tmp_path)
    assert (data.classes, data.domains) == (("B007", "IR014"), ("load0", "load1"))
    assert data.X.shape == (2 * 2 * 78, sum(data.taps.values()))
    assert np.isfinite(data.X).all()
    assert (np.diff(data.scene) >= 0).all()
    assert all(len(set(data.y[data.scene == i])) == 1 for i in range(data.scene.max() + 1))
    y = np.repeat(np.arange(20), 20).astype(np.int16)
    np.savez(tmp_path / "streams.npz", outdoor_X=rng.normal(size=(400, 21)), outdoor_y=y)
    data = drifts.outdoor(tmp_path)
    assert np.bincount(data.domain).tolist() == [100] * 4
    assert np.bincount(data.scene).tolist() == [10] * 40


def test_features_of_a_vibration_are_its_strength_and_where_it_is():
    t = np.arange(drifts.WINDOW)
    slow, fast = (np.sin(2 * np.pi * t * f)[None].astype(np.float32) for f in (0.02, 0.45))
    one, other, loud = (drifts.window_features(x)[0] for x in (slow, fast, 2 * slow))
    bands = slice(drifts.STATISTICS, None)
    assert one[bands].argmax() == 0
    assert other[bands].argmax() == drifts.BANDS - 1
    assert loud[0] - one[0] == pytest.approx(np.log(2), abs=1e-4)
    np.testing.assert_allclose(loud[2:9], one[2:9], atol=1e-3)


def test_photos_go_to_one_camera_each(monkeypatch, tmp_path):
    seen = {}

    def features(name, images):
        seen[name] = images
        return images.reshape(len(images), -1)[:, :8].astype(np.float32)

    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 256, (60, 16, 16, 3)).astype(np.uint8), np.arange(60) % 7
    monkeypatch.setattr(pictures, "image_features", features)
    monkeypatch.setattr(pictures.joined, "__defaults__", ({"embedding": 8},))
    monkeypatch.setattr(pictures.pacs, "load", lambda *_, **__: (images, y, np.zeros(60, int)))
    data = pictures.corrupted_photos.__wrapped__(tmp_path)
    assert data.domains == ("clear", "noise", "motion", "contrast", "fog", "pixelate")
    assert np.bincount(data.domain).tolist() == [10] * 6
    assert all(part.shape == (10, 16, 16, 3) for part in seen.values())
    assert sorted(data.y.tolist()) == sorted(y.tolist())


def test_a_budget_gives_a_few_labels_of_each_class_and_only_where_one_is_requested():
    labels = [i % 2 for i in range(2500)]
    budget = hardship.Budget(labels)
    asked = learners._prediction(0, 1)
    given = [i for i in range(2500) if budget(i, asked)]
    assert len(given) == 3 * 2 * hardship.LABELS_PER_CLASS
    silent = dataclasses.replace(asked, wants_label=False)
    assert not hardship.Budget(labels)(0, silent)


def test_what_a_peer_reached_is_kept_until_anything_it_was_made_of_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path))
    calls = []

    def compute():
        calls.append(1)
        return {"accuracy": 0.5, "none": float("nan")}

    first = kept.kept(("a", 1), compute)
    again = kept.kept(("a", 1), compute)
    assert len(calls) == 1
    assert str(first) == str(again)
    kept.kept(("a", 2), compute)
    monkeypatch.setattr(kept, "sources", lambda: "other code")
    kept.kept(("a", 1), compute)
    assert len(calls) == 3
    next((tmp_path / "peers").iterdir()).write_text('{"acc')
    for what in (("a", 1), ("a", 2)):
        kept.kept(what, compute)
    monkeypatch.setenv(kept.FRESH, "1")
    kept.kept(("a", 1), compute)
    assert len(calls) >= 5


def test_the_digest_of_data_is_of_all_of_it():
    data = toy(10)
    assert kept.digest(data) == kept.digest(toy(10))
    for name in ("X", "y", "domain"):
        values = getattr(data, name).copy()
        values.flat[-1] += 1
        assert kept.digest(dataclasses.replace(data, **{name: values})) != kept.digest(data)


@pytest.fixture
def small_world(monkeypatch, tmp_path):
    """Every data set that tasks load, small and made up; peers that are fast."""
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path / "cache"))
    fast = [p for p in PEERS if p.name in ("fine-tuning", "nearest class mean", "SLDA")]
    for module in (domains, steady, hardship):
        monkeypatch.setattr(module, "PEERS", fast)
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 10
    X = (3 * rng.normal(size=(10, 16))[y] + rng.normal(size=(2000, 16))).astype(np.float32)
    monkeypatch.setattr(pictures, "clear_fashion", lambda: (X, y))
    monkeypatch.setattr(pictures, "LITE0_TAPS", {"embedding": 16})
    monkeypatch.setattr(pictures.joined, "__defaults__", ({"embedding": 16},))
    letters = FeatureSet(
        X, y, np.zeros(2000, int), {"embedding": 16}, tuple("abcdefghij"), ("all",)
    )
    monkeypatch.setattr(signals, "letters", lambda: letters)
    for name in ("digit_domains", "corrupted_fashion"):
        monkeypatch.setattr(pictures, name, lambda: toy(40))
    monkeypatch.setattr(signals, "imu_users", lambda: toy(40))
    sounds_data = FeatureSet(
        X[:600], y[:600] % 4, y[:600] // 5, {"embedding": 16}, tuple("abcd"), ("here", "there")
    )
    monkeypatch.setattr(sounds, "sound_fonts", lambda: sounds_data)
    table = (X[:400], y[:400] % 2, ("no", "yes"))
    monkeypatch.setattr(drifts, "_table", lambda name, n_features: table)
    taps = {"embedding": 6}
    for module in (signals, hardship):
        monkeypatch.setattr(module, "imu_windows", lambda: (*windows(1200), np.zeros(1200, int)))
        monkeypatch.setattr(module, "encode_windows", lambda X: X.mean(axis=1))
        monkeypatch.setattr(module, "imu_taps", lambda: taps)
    monkeypatch.setattr(hardship, "POISON_TEST", 300)
    for name in ("digits", "fashion", "imu-users", "sound-fonts"):
        task = continual._domains(name, name, lambda: toy(40))
        monkeypatch.setitem(continual.TASKS, name, task)
    monkeypatch.setattr(continual, "STILL_FIRST", {"Fashion-MNIST, Lite0": 800, "letter": 400})


IN_A_FOLDER = ("pacs", "pacs-10", "bearings", "outdoor", "photos")
QUICK_TASKS = (*IN_A_FOLDER, "letter", "imu-drift")
TASKS = [
    pytest.param(task, marks=[] if task in QUICK_TASKS else pytest.mark.slow)
    for task in continual.TASKS
]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_a_table_or_says_what_is_missing(task, small_world, tmp_path, capsys):
    reports = continual.run(Options(data_dir=tmp_path, quick=True, out=tmp_path), [task])
    if task in IN_A_FOLDER:
        assert reports == []
        assert f"SKIPPED continual {task}" in capsys.readouterr().err
        return
    (report,) = reports
    assert all(len(row) == len(report.columns) for row in report.rows)
    assert any("edge-runtime" in row[0] or task == "no-drift" for row in report.rows)
    assert (tmp_path / f"{report.name}.csv").exists()
    assert len(report.records) >= len(report.rows)


def test_the_command_takes_names_of_tasks(monkeypatch):
    called = []
    monkeypatch.setattr(continual, "run", lambda options, names: called.append((options, names)))
    assert continual.main(["--tasks", "letter", "routing", "--quick"]) == 0
    assert called == [(Options(quick=True), ["letter", "routing"])]
    with pytest.raises(SystemExit):
        continual.main(["--tasks", "no-such"])


def test_few_labels_go_to_peers_at_random_and_as_the_runtime_requested(small_world):
    found = domains.outcomes(toy(30), [0], 5, is_tuned=False)
    names = [outcome.method for _, outcome in found]
    assert names[0] == domains.ONE_BY_ONE
    requested = [outcome for _, outcome in found if outcome.method.endswith(domains.AS_REQUESTED)]
    assert {outcome.n_labels for outcome in requested} == {found[0][1].n_labels}
    assert len(requested) == 3


def test_learners_side_by_side_give_table_csv_runs_and_page(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(prequential, "digit_domains", lambda: toy(40))
    monkeypatch.setattr(prequential, "FIRST", 40)
    monkeypatch.setattr(prequential, "NAMES", ("nearest class mean", "fine-tuning"))
    assert prequential.main(["--quick", "--out", str(tmp_path), "--delay", "2"]) == 0
    assert "false alarms/h" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"prequential.csv", "prequential.json", "prequential.html"}
    recorded = json.loads((tmp_path / "prequential.json").read_text())
    assert list(recorded) == ["edge-runtime", "fine-tuning", "nearest class mean"]
    assert "Compared" in (tmp_path / "prequential.html").read_text()
    asked, given = (sum(recorded[name][0]["is_learned"]) for name in list(recorded)[:2])
    assert abs(asked - given) <= 3

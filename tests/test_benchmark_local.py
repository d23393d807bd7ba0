"""Local learning and classes in steps, on toy data: splits, tuning, tables, and their parts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from adaptors import Conv2d, Dense
from benchmarks import incremental, local_learning, local_tasks
from benchmarks.features import FeatureSet
from benchmarks.local_methods import METHODS, Method, climb, update_peak
from benchmarks.local_networks import NetworkClassifier
from benchmarks.local_tasks import MANY_ROWS, SMALL_TASK_SPLITS, features_task, image_task
from benchmarks.options import Options
from benchmarks.peers.backprop import BackpropClassifier
from benchmarks.peers.torch_training import TorchAbsentError
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.pacs import DataAbsentError


def feature_set(n_per_group=30):
    """Three classes in two domains."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(6), n_per_group)
    y, domain = group % 3, group // 3
    X = 3 * rng.normal(size=(3, 8))[y] + rng.normal(size=(len(y), 8)) + domain[:, None]
    names = ("a", "b", "c"), ("here", "there")
    return FeatureSet(X.astype(np.float32), y, domain, {"all": 8}, *names)


def toy_task(**changes):
    task = features_task(feature_set(), "toy", "toy", hidden=(8,))
    return replace(task, **{"epochs": 2, **changes})


def images(n, seed):
    """A bright half, left or right, in noise: (n, 28, 28) uint8 and where it is."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    pictures = rng.integers(0, 100, (n, 28, 28))
    pictures[y == 0, :, :14] += 100
    pictures[y == 1, :, 14:] += 100
    return pictures.astype(np.uint8), y


# --- networks of any layers ---------------------------------------------------------------------


def test_a_network_learns_images_and_a_hidden_rate_of_0_leaves_it_as_drawn():
    pictures, y = images(60, 0)
    layers = [Conv2d(4, 5, stride=3, activation="relu", pool="max")]
    moving, frozen = (
        NetworkClassifier(layers, hidden_learning_rate=rate, epochs=4, standardise="whole").fit(
            pictures[..., None], y
        )
        for rate in (1.0, 0.0)
    )
    test, test_y = images(40, 1)
    assert np.mean(moving.predict(test[..., None]) == test_y) > 0.9
    start = NetworkClassifier(layers, epochs=1, hidden_learning_rate=0.0).fit(
        pictures[..., None], y
    )
    drawn, still, moved = (m.network.layers[0].weights for m in (start, frozen, moving))
    np.testing.assert_array_equal(still, drawn)
    assert (moved != drawn).any()


@pytest.mark.parametrize(("how", "expected"), [("channel", [1, 1, 0]), ("whole", [0.01, 1.41, 0])])
def test_what_a_network_sees_is_standardised_and_within_ten(how, expected):
    X = np.random.default_rng(0).normal(size=(500, 6, 3)) * [1, 100, 0]
    model = NetworkClassifier([Dense(2)], epochs=1, standardise=how).fit(X, np.arange(500) % 2)
    seen = model._standardised(X)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen.std(axis=(0, 1)), expected, rtol=0.3, atol=0.02)
    assert model._standardised(1e6 * X).max() == 10


def test_a_network_is_repeatable_and_its_seed_counts():
    data = feature_set()
    first, again, other = (
        NetworkClassifier([Dense(5)], epochs=1, random_state=seed).fit(data.X, data.y).network
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.layers[0].weights, again.layers[0].weights)
    assert (first.layers[0].weights != other.layers[0].weights).any()


# --- tasks --------------------------------------------------------------------------------------


def test_tuning_looks_at_training_rows_alone():
    task = toy_task(tuning_rows=50)
    splits = task.tuning_splits()
    assert len(splits) == SMALL_TASK_SPLITS
    for learn, choose in splits:
        assert not set(learn) & set(choose)
        assert not (set(learn) | set(choose)) & set(task.test)
        assert len(learn) == 50
        assert set(task.group[choose]) == {0, 1}
    assert len({tuple(choose) for _, choose in splits}) == SMALL_TASK_SPLITS


def test_a_large_task_is_split_once():
    task = toy_task()
    assert len(replace(task, train=np.resize(task.train, MANY_ROWS)).tuning_splits()) == 1


def test_the_score_is_the_mean_over_groups_however_large_they_are():
    class Constant:
        def fit(self, X, y):
            return self

        def predict(self, X):
            return np.zeros(len(X), np.int64)

    task = toy_task(y=np.repeat([0, 1], [100, 80]), group=np.repeat([0, 1, 0], [90, 10, 80]))
    assert task.score(Constant(), np.arange(180)) == pytest.approx((90 / 170 + 1) / 2)


@pytest.mark.parametrize(("kind", "shape"), [("dense", (784,)), ("convolutional", (28, 28, 1))])
def test_an_image_task_keeps_the_published_split(kind, shape):
    task = image_task("toy", "toy", (images(30, 0), images(20, 1)), (4,), 25, kind=kind)
    assert task.X.shape == (45, *shape)
    assert task.X.max() <= 1
    assert (len(task.train), len(task.test)) == (25, 20)
    np.testing.assert_array_equal(task.y[task.test], images(20, 1)[1])


def test_one_domain_keeps_the_rows_it_has_in_the_joint_task(monkeypatch):
    data = feature_set()
    monkeypatch.setattr(local_tasks, "_pacs_features", lambda folder: data)
    joint, alone = local_tasks._pacs(None), local_tasks._pacs_domain(None, "there")
    for part in ("train", "test"):
        rows = getattr(joint, part)
        np.testing.assert_array_equal(getattr(alone, part), rows[data.domain[rows] == 1])


def test_conditions_share_no_picture_and_keep_the_published_split(monkeypatch):
    seen = {}

    def features(name, pictures):
        seen[name] = pictures
        return pictures.reshape(len(pictures), -1)[:, :3].astype(np.float32)

    monkeypatch.setattr(local_tasks, "image_features", features)
    monkeypatch.setattr(local_tasks, "CORRUPTED_TRAIN", 20)
    monkeypatch.setattr(local_tasks, "CORRUPTED_TEST", 10)
    train, test = images(60, 0), images(30, 1)
    monkeypatch.setattr(local_tasks.fashion, "load", lambda: (train, test))
    task = local_tasks._fashion_corruptions()
    assert len(seen) == 3
    clear = seen["fashion-clear-local"]
    np.testing.assert_array_equal(clear, np.concatenate([train[0][:20], test[0][:10]]))
    np.testing.assert_array_equal(task.y[:90].reshape(3, 30)[:, 20:].ravel(), test[1])
    assert set(task.test) == {row for start in (20, 50, 80) for row in range(start, start + 10)}
    assert not set(task.train) & set(task.test)


def test_every_kind_of_task_has_methods_of_different_names():
    assert set(METHODS) == {"dense", "convolutional"}
    for methods in METHODS.values():
        assert len({method.name for method in methods}) == len(methods)


# --- tuning -------------------------------------------------------------------------------------


def test_climbing_finds_the_top_and_tries_nothing_twice():
    tried = []

    def score(settings):
        tried.append(tuple(settings.values()))
        return -abs(settings["x"] - 6) - abs(settings["y"] - settings["x"]) / 2

    best = climb({"x": range(9), "y": range(9)}, {"x": 3, "y": 4}, score)
    assert best == {"x": 6, "y": 6}
    assert len(tried) == len(set(tried)) < 30


def test_climbing_ends_where_all_is_equal():
    assert climb({"x": [1, 2, 3]}, {"x": 2}, lambda settings: 0.5) == {"x": 2}


def test_a_method_takes_what_validation_prefers_and_a_star_says_that_it_was_the_last():
    class Constant:
        def __init__(self, task, answer, **schedule):
            self.answer = answer

        def fit(self, X, y):
            return self

        def predict(self, X):
            return np.full(len(X), self.answer)

    task = toy_task()
    two = task.y == 2
    mostly = replace(task, train=task.train[two[task.train]], y=np.where(two, 2, 0))
    method = Method("constant", Constant, {"answer": [0, 1, 2], "fixed": [5]})
    assert method.start == {"answer": 1, "fixed": 5}
    assert method.tune(mostly) == {"answer": 2, "fixed": 5}
    assert method.describe({"answer": 2, "fixed": 5}) == "answer=2*"
    assert method.describe({"answer": 1, "fixed": 5}) == "answer=1"


# --- the benchmark ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dense_records():
    task = toy_task(relative_seeds=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_learning, "SMALL_BATCH", 64)
        patch.setattr(local_learning, "LARGE_BATCH", 128)
        return local_learning.compare(task, Options(seeds=2), METHODS["dense"])


def test_every_dense_method_runs_and_relatives_take_fewer_seeds(dense_records):
    for method in METHODS["dense"]:
        runs = [r for r in dense_records if r["method"] == method.name]
        assert len(runs) == (1 if method.is_relative else 2)
        assert all(0 <= r["accuracy"] <= 1 for r in runs)
    table = local_learning.report(dense_records)
    assert len(table.rows) == len(METHODS["dense"])
    cells = {row[1]: row for row in table.rows}
    assert cells["DFA"][2].endswith("(1)")
    best = max(float(cells[name][3]) for name in cells if name.startswith("backprop"))
    assert best == 0


def test_costs_are_measured_and_counted_for_ours_and_for_backpropagation(dense_records):
    cost = {r["method"]: r for r in dense_records}
    ours, peer = cost["tpSGD, cross entropy"], cost["backprop, Adam"]
    for record in (ours, peer):
        assert record["peak_bytes"] > 0
        assert record["macs"] > 0
    assert "macs" not in cost["DRTP"]
    assert cost["label projection"]["peak_bytes"] is None


def test_measuring_an_update_changes_nothing():
    task = toy_task()
    method = next(m for m in METHODS["dense"] if m.name.startswith("tpSGD"))
    model = method.fit(task, task.train, 0, method.start)
    before = model.decision_function(task.X)
    assert update_peak(model, task, 32) > 0
    np.testing.assert_array_equal(model.decision_function(task.X), before)
    assert update_peak(object(), task, 32) is None


def test_a_frozen_peer_computes_the_output_alone():
    task = toy_task()
    model = BackpropClassifier((8,), freeze_hidden=True, epochs=1).fit(task.X, task.y)
    assert [g.shape for g in model._gradients(task.X, task.y)] == [(3, 8), (3,)]


def test_convolutional_methods_run_or_say_what_is_missing(capsys):
    task = image_task("toy", "toy", (images(80, 0), images(40, 1)), (2, 3), 80)
    task = replace(task, X=task.X.reshape(-1, 28, 28, 1), kind="convolutional", epochs=1)
    records = local_learning.compare(task, Options(quick=True), METHODS["convolutional"])
    ours = [r for r in records if "tpSGD" in r["method"]]
    assert len(ours) == 2
    assert all(r["peak_bytes"] > 0 for r in ours)
    assert len(records) + capsys.readouterr().err.count("SKIPPED") == len(METHODS["convolutional"])


def test_without_torch_its_methods_are_skipped_with_a_message(capsys):
    def absent(task, **settings):
        raise TorchAbsentError("no torch")

    method = Method("torch", absent, {"x": [1]})
    assert local_learning.compare(toy_task(), Options(quick=True), [method]) == []
    assert "SKIPPED toy, torch: no torch" in capsys.readouterr().err


def test_without_its_data_a_task_is_skipped_with_a_message(capsys, monkeypatch):
    def absent(error):
        def load(folder):
            raise error

        return load

    tasks = {
        "one": absent(ArchiveUnavailableError("no client")),
        "two": absent(DataAbsentError("no archive")),
    }
    monkeypatch.setattr(local_learning, "TASKS", tasks)
    assert local_learning.run(Options(quick=True)) is None
    said = capsys.readouterr().err
    assert "SKIPPED one: no client" in said
    assert "SKIPPED two: no archive" in said


def test_parts_make_one_table_in_which_the_last_folder_counts(tmp_path, monkeypatch, capsys):
    tasks = {key: lambda folder, key=key: toy_task(key=key, name=key) for key in ("b", "a")}
    monkeypatch.setattr(local_learning, "TASKS", tasks)
    old, new = tmp_path / "old", tmp_path / "new"
    ours, peer = "tpSGD, l2", "backprop, Adam"
    local_learning.run(Options(quick=True, out=old), ["a"], [ours, peer])
    local_learning.run(Options(quick=True, out=old), ["b"], [ours])
    local_learning.run(Options(quick=True, out=new), ["a"], [ours])
    assert (old / "local_learning-a.csv").read_text().startswith("key,task,method")
    page = json.loads((new / "local_learning-a.json").read_text())
    page["runs"][0]["accuracy"] = 0.123
    page["machine"] = "another"
    (new / "local_learning-a.json").write_text(json.dumps(page))
    found = local_learning.gathered([old, new])
    assert [(r["key"], r["method"]) for r in found] == [("b", ours), ("a", ours), ("a", peer)]
    assert found[1]["accuracy"] == 0.123
    assert "another machine: another" in capsys.readouterr().err
    local_learning.main(["--from", str(old), str(new)])
    assert "12.30" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="--out"):
        local_learning.gathered([tmp_path])


# --- classes in steps ---------------------------------------------------------------------------


def steps_task():
    rng = np.random.default_rng(0)
    y = np.arange(600) % 6
    X = 4 * rng.normal(size=(6, 10))[y] + rng.normal(size=(600, 10))
    rows = rng.permutation(600)
    steps = ((0, 1), (2, 3), (4, 5))
    return incremental.Task(
        "toy", X.astype(np.float32), y, rows[:400], rows[400:], steps, (60,), (32,), epochs=5
    )


def test_steps_bring_their_classes_and_no_others():
    task = steps_task()
    rows = [set(task.rows_of(step)) for step in range(3)]
    assert set.union(*rows) == set(task.train)
    assert sum(map(len, rows)) == len(task.train)
    assert set(task.y[list(rows[1])]) == {2, 3}


def test_a_buffer_is_balanced_bounded_and_recalls_every_earlier_class():
    task = steps_task()
    model = incremental.Buffered(task, 0, 60)
    for step in range(3):
        rows = task.rows_of(step)
        before = model._recalled(task.y[rows])
        assert set(model._y[before]) == set(range(2 * step))
        model.learn(task.X[rows], task.y[rows])
        counts = np.bincount(model._y)
        assert counts.sum() == 60
        assert counts.min() == counts.max()
    assert model.n_bytes_kept == 60 * (10 * 2 + 8)


def test_steps_alone_forget_and_a_buffer_does_not():
    task = steps_task()
    report = incremental.compare([task], Options(seeds=2))
    assert len(report.rows) == len(incremental.methods(task))
    mean = {
        name: np.mean([r["final"] for r in report.records if r["method"] == name])
        for name in incremental.methods(task)
    }
    assert mean["tpSGD, all at once"] > 0.95
    assert mean["tpSGD, steps and a buffer of 60"] > 0.9
    assert mean["tpSGD, fit on a buffer of 60"] > 0.9
    assert mean["tpSGD, steps alone"] < 0.8
    first = {r["method"]: r["first"] for r in report.records}
    assert first["tpSGD, steps alone"] < 0.6 < first["tpSGD, steps and a buffer of 60"]


def test_classes_in_steps_without_data_are_skipped(monkeypatch, capsys):
    def absent():
        raise ArchiveUnavailableError("no client")

    monkeypatch.setattr(incremental.mnist, "load", absent)
    monkeypatch.setattr(incremental.letter, "load", absent)
    assert incremental.run(Options(quick=True)) is None
    assert capsys.readouterr().err.count("SKIPPED") == 2

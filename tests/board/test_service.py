"""What the worker does with samples and commands: a real runtime, a clock that is told the time."""

from __future__ import annotations

import errno
import hashlib
import io
import json

import numpy as np
import pytest

from edge_runtime.board.capture import MAX_CAPTURED
from edge_runtime.board.files import Files
from edge_runtime.board.service import MAX_NEWS, RuntimeService, ServiceSettings
from edge_runtime.inputs.sources import BadSample
from edge_runtime.records import Event
from edge_runtime.runtime import EdgeRuntime
from edge_runtime.state import generations
from tests.scripted import ScriptedRuntime


def clusters(n, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    X[1::2] += 5.0
    return X


LABELS = ["low", "high"]


class Bench:
    """A service with learned state in a directory."""

    def __init__(self, root, runtime=None, capture_bytes=0):
        (root / "shared").mkdir(exist_ok=True)
        self.learned, self.shared = root / "learned", root / "shared"
        self.runtime = runtime or EdgeRuntime(n_dims=256, pending_samples=16)
        settings = ServiceSettings(save_s=30.0, capture_bytes=capture_bytes)
        self.service = RuntimeService(self.runtime, self.learned, Files(self.shared), settings)
        self.now_s = 0.0

    def step(self, x):
        self.service.take(x, self.now_s, lambda: self.now_s + 0.001)

    def do(self, command, **fields):
        return self.service.do({"do": command, **fields}, self.now_s)

    def learn(self, n=20):
        for i, x in enumerate(clusters(n)):
            self.step(x)
            sample = self.service._seen
            assert self.do("labels", labels=[[sample, LABELS[i % 2]]])["accepted"] == 1

    def tend(self, seconds):
        self.now_s += seconds
        self.service.tend(self.now_s)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_labels_are_learned_counted_and_saved_in_time(bench):
    bench.learn()
    status = bench.service.status()
    assert (status["judged"], status["unsaved"], status["generations"]) == (20, True, [])
    assert status["right"] >= 15
    bench.tend(29.0)
    assert bench.service.status()["generations"] == []
    bench.tend(2.0)
    assert bench.service.status()["generations"] == [1]
    bench.tend(1000.0)
    assert bench.service.status()["generations"] == [1]  # nothing new
    json.dumps(bench.service.status())
    json.dumps(bench.service.news())


def test_labels_that_come_too_late_are_refused_one_by_one(bench):
    bench.learn()
    for x in clusters(20):  # more than wait for a label
        bench.step(x)
    answer = bench.do("labels", labels=[[20, "low"], [10**9, "low"], [39, "high"]])
    assert answer["accepted"] == 1
    assert [each["sample"] for each in answer["refused"]] == [20, 10**9]
    assert 20 in bench.service.news()["settled"]


def test_a_second_label_of_the_same_sample_corrects_the_first(bench):
    bench.learn()
    assert bench.do("labels", labels=[[19, "low"]])["accepted"] == 1
    assert bench.service.status()["counters"]["labels"] == bench.service.status()["judged"] == 20


def test_a_bad_sample_is_an_event(bench):
    bench.learn()
    bench.service.news()
    for bad in (np.full(4, np.nan), np.ones(9), BadSample("line 3 is no number"), "text"):
        bench.step(bad)
    events = bench.service.news()["events"]
    assert [each["kind"] for each in events] == ["sample_rejected"] * 4
    assert bench.service.status()["counters"]["rejected"] == 4


def test_what_was_learned_is_undone_by_generation(bench):
    bench.learn()
    bench.tend(31.0)
    before = bench.service.status()
    bench.learn(6)
    assert bench.do("undo", generation=99)["error"].startswith("generation 99 is not kept")
    # What is undone is saved first, as 2: an undo can be undone.
    assert bench.do("undo", generation=1) == {"generation": 3}
    assert bench.service.status()["counters"]["labels"] == before["counters"]["labels"]
    assert bench.do("undo", generation=2) == {"generation": 4}
    assert bench.service.status()["counters"]["labels"] == 26
    assert bench.do("undo", generation=4) == {"generation": 4}  # it is there already
    assert bench.do("undo", to="factory") == {"generation": 5}
    assert bench.service.status()["counters"]["labels"] == 20
    assert "expected growth or factory" in bench.do("undo", to="nowhere")["error"]
    assert bench.service.news()["events"][-1]["kind"] == "undone"


def test_learned_state_is_pulled_whole(bench):
    bench.learn()
    answer = bench.do("pull", what="state")
    data = (bench.shared / answer["name"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == answer["sha"]
    assert len(data) == answer["len"]
    header, _ = generations.from_bytes(data)
    assert header["counters"]["labels"] == 20
    for what in ("", "../secret", "sample-", "sample-x", "sample-99999999999999999999"):
        assert "error" in bench.do("pull", what=what)


def test_nothing_is_captured_unless_it_is_allowed_and_asked_for(tmp_path):
    bench = Bench(tmp_path)
    assert "capture is off" in bench.do("capture", samples=3)["error"]
    runtime = ScriptedRuntime(ood={1, 3}, asks={2})
    runtime.options = {"pending_samples": 10}
    bench = Bench(tmp_path, runtime, capture_bytes=1000)
    bench.step(0)
    assert "was not captured" in bench.do("pull", what="sample-0")["error"]
    assert bench.do("capture", samples=3) == {"name": "capture.npz"}
    assert "error" in bench.do("capture", samples=MAX_CAPTURED + 1)
    for x in range(1, 6):
        bench.step(x)
    # Strange ones and those asked about, whole once the third has come.
    with np.load(bench.shared / "capture.npz") as captured:
        assert {name: int(captured[name]) for name in captured} == {"1": 1, "2": 2, "3": 3}
    answer = bench.do("pull", what="sample-2")
    assert np.load(bench.shared / answer["name"]) == 2
    assert bench.service._captured.status()["wanted"] == 0


def test_what_is_captured_is_bounded(tmp_path):
    runtime = ScriptedRuntime(ood=set(range(1000)))
    runtime.options = {"pending_samples": 10}
    bench = Bench(tmp_path, runtime, capture_bytes=80)
    bench.do("capture", samples=200)
    for x in range(100):
        bench.step(np.int64(x))
    held = bench.service._captured
    assert held._n_bytes <= 80
    assert len(held._samples) == 10
    with np.load(io.BytesIO(held.all())) as captured:
        assert sorted(map(int, captured)) == list(range(90, 100))


def test_a_disk_that_is_full_is_reported_and_tried_again(bench, monkeypatch):
    bench.learn()
    real = generations.os.replace

    def full(old, new):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(generations.os, "replace", full)
    bench.tend(31.0)
    event = bench.service.news()["events"][-1]
    assert event["kind"] == "unsaved"
    assert "No space left" in event["message"]
    assert "No space left" in bench.do("pull", what="state")["error"]
    assert bench.service.status()["unsaved"]
    assert bench.service.status()["counters"]["labels"] == 20  # nothing is lost
    monkeypatch.setattr(generations.os, "replace", real)
    bench.tend(11.0)
    assert bench.service.status()["generations"] == [1]


def test_news_that_nobody_fetches_are_bounded(tmp_path):
    every = {sample: ["drift"] for sample in range(3000)}
    runtime = ScriptedRuntime(step_events=every)
    runtime.options = {"pending_samples": 10}
    bench = Bench(tmp_path, runtime)
    for x in range(2000):
        bench.step(x)
    news = bench.service.news()
    assert (len(news["events"]), len(news["rows"])) == (MAX_NEWS, MAX_NEWS)
    assert news["oldest"] == 1990
    assert bench.service.news()["events"] == []
    assert isinstance(next(runtime.run(["bad"])), Event)


def test_commands_that_do_not_exist_are_refused(bench):
    assert bench.do("explode") == {"error": "no command 'explode'"}
    assert "error" in bench.service.do({}, 0.0)

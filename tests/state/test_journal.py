"""The journal of labels: golden bytes, torn records, a full disk, and processes killed anywhere."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import EdgeRuntime
from edge_runtime.state import journal
from edge_runtime.state.journal import Journal, LostLabels, lost_in
from tests.domains import domain
from tests.runtime.teaching import live, taught

GOLDEN = Path(__file__).parents[1] / "golden" / "labels-v1.journal"
ROOT = Path(__file__).parents[2]


def noted(directory: Path, generation: int = 3) -> Path:
    labels = Journal(directory, generation)
    labels.note(7)
    labels.note(None, 40)
    labels.note(9)
    return labels.path


def test_the_bytes_are_those_of_version_one(tmp_path: Path) -> None:
    assert noted(tmp_path).read_bytes() == GOLDEN.read_bytes()


def test_what_was_noted_is_what_is_lost(tmp_path: Path) -> None:
    noted(tmp_path)
    lost = journal.read(tmp_path, 3)
    assert lost == LostLabels(3, 42, (7, 9))
    assert lost.message == "42 labels since generation 3 are lost: of samples 7, 9 and others"
    assert journal.read(tmp_path, 4) is None  # they are in generation 4
    assert journal.read(tmp_path, 2) == LostLabels(2, 42, (7, 9))  # generation 3 was damaged
    assert journal.read(tmp_path / "nowhere", 0) is None


@given(st.integers(0, 200))
def test_a_torn_record_is_not_counted(length: int) -> None:
    data = GOLDEN.read_bytes()[:length]
    lost = lost_in(data, 3)
    whole = max(min(length, 88) - 16, 0) // 24
    assert (0 if lost is None else lost.count) == (0, 1, 41, 42)[whole]


@given(st.integers(0, 87), st.integers(1, 255))
def test_a_flipped_byte_never_adds_a_label(position: int, flip: int) -> None:
    data = bytearray(GOLDEN.read_bytes())
    data[position] ^= flip
    lost = lost_in(bytes(data), 3)
    assert lost is None or lost.count <= 42


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_harmless(noise: bytes, has_magic: bool) -> None:
    lost = lost_in(journal.MAGIC * has_magic + noise, 0)
    assert lost is None or lost.count <= journal.MOST_COUNTED


def test_it_is_bounded_and_counts_what_it_has_overwritten(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(journal, "MAX_RECORDS", 10)
    monkeypatch.setattr("edge_runtime.state.journal.os.fsync", lambda handle: None)
    labels = Journal(tmp_path, 1)
    for i in range(35):
        labels.note(100 + i)
    assert labels.path.stat().st_size == 16 + 10 * 24
    lost = journal.read(tmp_path, 1)
    assert lost is not None
    assert lost.count == 35
    assert lost.sample_ids == tuple(range(125, 135))
    assert lost.message.endswith("133, 134 and others")


# -- in the runtime --------------------------------------------------------------------------


def learn_some(runtime: EdgeRuntime, n: int, seed: int) -> list[int]:
    ids = []
    for x, truth in zip(*domain(0, n, seed), strict=True):
        ids.append(runtime.step(x).sample_id)
        runtime.learn(ids[-1], int(truth))
    return ids


def test_labels_that_were_never_saved_are_named_after_a_restart(tmp_path: Path) -> None:
    runtime = taught()
    runtime.save(tmp_path)
    learn_some(runtime, 5, 1)
    runtime.save(tmp_path)
    ids = learn_some(runtime, 4, 2)
    with pytest.warns(UserWarning, match=f"4 labels since generation 2 are lost: .*{ids[-1]}"):
        again = EdgeRuntime.load(tmp_path)
    assert again.lost_labels is not None
    assert again.lost_labels.sample_ids == tuple(ids)
    assert again.status()["lost_labels"] == 4
    first, second = again.step_many(domain(0, 2, 3)[0])
    assert first.sample_id > ids[-1]  # no id is given twice
    (event,) = [event for event in first.events if event.kind == "labels_lost"]
    assert event.evidence["labels"] == 4
    assert "labels_lost" not in [event.kind for event in second.events]
    again.save(tmp_path)
    assert EdgeRuntime.load(tmp_path).lost_labels is None


def test_a_batch_is_counted_and_an_undo_starts_anew(tmp_path: Path) -> None:
    runtime = taught()
    runtime.save(tmp_path)
    X, y = domain(0, 30, 1)
    runtime.learn_many(X, y.tolist())
    with pytest.warns(UserWarning, match="30 labels since generation 1 are lost: of batches"):
        EdgeRuntime.load(tmp_path)
    runtime.undo()
    assert EdgeRuntime.load(tmp_path).lost_labels is None


def test_a_full_disk_is_said_once_and_learning_goes_on(tmp_path: Path, monkeypatch) -> None:
    runtime = taught()
    runtime.save(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_runtime.state.journal.os.pwrite", full)
    with pytest.warns(UserWarning, match="labels are no longer noted") as caught:
        learn_some(runtime, 5, 1)
    assert len(caught) == 1
    assert runtime.status()["counters"]["labels"] == 205
    monkeypatch.undo()
    runtime.save(tmp_path)
    ids = learn_some(runtime, 1, 2)
    with pytest.warns(UserWarning, match=f"samples {ids[0]}"):
        EdgeRuntime.load(tmp_path)


def test_a_recorded_stream_gives_the_same_bytes_and_events_again(tmp_path: Path) -> None:
    files, told = [], []
    for name in ("first", "second"):
        runtime, events = taught(), []
        runtime.save(tmp_path / name)
        for number, seed in ((1, 3), (0, 4), (2, 5)):
            events += live(runtime, number, 120, seed)[1]
        events += runtime.forget_class(3)
        learn_some(runtime, 30, 6)
        runtime.undo()
        learn_some(runtime, 30, 7)
        runtime.save(tmp_path / name)
        told.append(repr(events))
        paths = sorted((tmp_path / name).iterdir())
        files.append({path.name: path.read_bytes() for path in paths})
    assert told[0] == told[1]
    assert files[0].keys() == files[1].keys()
    for name, data in files[0].items():
        assert data == files[1][name], name


CHILD = """
import sys
import numpy as np
from edge_runtime import EdgeRuntime
from tests.domains import domain
runtime = EdgeRuntime(n_dims=256, adaptor=None)
X, y = domain(0, 100, 0)
runtime.learn_many(X, y.tolist())
runtime.save(sys.argv[1])
print("ready", flush=True)
X, y = domain(0, 400, 1)
for i, (x, k) in enumerate(zip(X, y.tolist())):
    runtime.learn(runtime.step(x).sample_id, k)
    print(i, flush=True)
    if i % 7 == 6:
        runtime.save(sys.argv[1])
"""


def killed_after(directory: Path, n_labels: int, pause: float) -> int:
    """Run a learner, kill it once it has said that it learned so many; return what it said."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(n_labels):
            child.stdout.readline()
        try:
            child.wait(pause)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        return n_labels + sum(1 for _ in child.stdout)


def check_nothing_but_the_named_is_lost(directory: Path, n_said: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = EdgeRuntime.load(directory)
    kept = again.status()["counters"]["labels"] - 100
    lost = 0 if again.lost_labels is None else again.lost_labels.count
    assert not again.damaged
    # Whatever was said to be learned is kept or named; one more may have been on its way.
    assert n_said <= kept + lost <= n_said + 1
    assert lost <= 8
    if again.lost_labels is not None:
        assert again.lost_labels.sample_ids == tuple(range(100 + kept, 100 + kept + lost))
    assert again.step(np.zeros(24, np.float32)).sample_id >= n_said


def test_a_killed_process_loses_no_label_that_is_not_named(tmp_path: Path) -> None:
    rng = random.Random(0)
    n_said = killed_after(tmp_path, rng.randrange(5, 60), rng.random() * 0.02)
    check_nothing_but_the_named_is_lost(tmp_path, n_said)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 13))
def test_wherever_it_is_killed(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    n_said = killed_after(tmp_path, rng.randrange(120), rng.random() * 0.03)
    check_nothing_but_the_named_is_lost(tmp_path, n_said)

"""The power goes at every moment of saving learned state: the last promised generation is there.

As for packs, `tests.protocol.packs.test_power_loss`: what was not synced may be lost, torn or
zeroed, names may be kept or lost each by itself; and without any one sync the same test fails.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import StateError
from edge_runtime.state import generations
from tests.protocol.packs.disk import disks_after

N_SAVES = 8  # more than are kept, so that old ones are removed


class Recorder:
    """Stands in place of `os` in `generations`, and writes down what happens to one directory."""

    def __init__(self, directory, skip=None):
        self.directory, self.skip = directory, skip
        self.operations, self.n_syncs = [], 0
        self._known = {}

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        inside = path == self.directory or path.parent == self.directory
        if inside and path != self.directory:
            self._written(path)
        if inside:
            self.n_syncs += 1
        if not inside or self.n_syncs - 1 == self.skip:
            return
        if path == self.directory:
            self.operations.append(("sync_directory", ""))
        else:
            self.operations.append(("sync", path.name))

    def replace(self, old, new):
        self._written(Path(old))
        self.operations.append(("rename", Path(old).name, Path(new).name))
        os.replace(old, new)

    def unlink(self, path, missing_ok=False):
        if path.exists():
            self.operations.append(("remove", path.name))
            os.unlink(path)

    def _written(self, path):
        data = path.read_bytes()
        if self._known.get(path) != data:
            self._known[path] = data
            self.operations.append(("write", path.name, data))

    def note(self, value):
        self.operations.append(("note", value))


def record(directory, monkeypatch, skip=None):
    """Everything that happens to the disk while generations come and go."""
    recorder = Recorder(directory, skip)
    with monkeypatch.context() as patch:
        patch.setattr(generations, "os", recorder)
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: recorder.unlink(path))
        for n in range(1, N_SAVES + 1):
            recorder.note(("begun", n))
            generations.save(directory, {"n": n}, {"x": np.full(50, n)})
            recorder.note(("done", n))
    recorder.operations.append(("write", "other", b""))  # life goes on
    return recorder


def faults(operations, directory):
    """What is wrong with the disks that a cut may leave."""
    found, seen = [], set()
    for notes, content in disks_after(operations):
        done = max((n for kind, n in notes if kind == "done"), default=0)
        begun = max((n for kind, n in notes if kind == "begun"), default=0)
        key = (done, begun, tuple(sorted(content.items())))
        if key in seen:
            continue
        seen.add(key)
        for path in directory.iterdir():
            path.unlink()
        for name, data in content.items():
            (directory / name).write_bytes(data)
        found += _fault(directory, done, begun)
    return found, len(seen)


def _fault(directory, done, begun):
    try:
        saved = generations.load(directory)
    except StateError as error:
        return [] if done == 0 else [f"after {done}: {error}"]
    if saved.number not in (done, begun) or saved.header["n"] != saved.number:
        return [f"after {done}: {saved.number} is loaded"]
    try:
        if done:
            generations.load(directory, at_most=generations.FACTORY)
    except StateError as error:
        return [f"the state as delivered is gone: {error}"]
    return []


@pytest.fixture
def directories(tmp_path):
    for name in ("real", "cut"):
        (tmp_path / name).mkdir()
    return tmp_path / "real", tmp_path / "cut"


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="NO /proc: syncs not recorded")
def test_after_a_power_cut_the_last_saved_generation_is_there(directories, monkeypatch):
    real, cut = directories
    recorder = record(real, monkeypatch)
    assert recorder.n_syncs == 2 * N_SAVES  # the file, and its directory
    found, n_disks = faults(recorder.operations, cut)
    assert found == []
    assert n_disks > 50  # all different


@pytest.mark.parametrize("skip", range(2 * N_SAVES))
def test_without_any_one_sync_it_would_not_be(directories, monkeypatch, skip):
    real, cut = directories
    assert faults(record(real, monkeypatch, skip).operations, cut)[0]


def test_the_name_of_a_new_directory_is_synced(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def spy(handle):
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        real(handle)

    monkeypatch.setattr(generations.os, "fsync", spy)
    generations.save(tmp_path / "a" / "b", {}, {})
    assert synced[:2] == [tmp_path, tmp_path / "a"]
    assert synced[-1] == tmp_path / "a" / "b"
    assert generations.load(tmp_path / "a" / "b").number == 1

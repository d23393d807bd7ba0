"""What a process loads and keeps in each profile."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from edge_runtime.board.__main__ import build_parser
from edge_runtime.board.profiles import ENVIRONMENT, PROFILES, release_memory

LEARN = """
import sys, warnings
import numpy as np
from edge_runtime.board.profiles import PROFILES
PROFILES[{name!r}].apply()
loaded_before = "numba" in sys.modules
compiled = []
if loaded_before:
    from numba.core import event
    listener = event.RecordingListener()
    event.register("numba:compile", listener)
    compiled = listener.buffer
from edge_runtime import EdgeRuntime
rng = np.random.default_rng(0)
X = rng.normal(size=(90, 16)) + 3 * np.eye(16)[np.arange(90) % 3]
X[:, :4] *= X[:, 4:8]  # what prototypes alone do not tell apart
y = [int(a > b) for a, b in X[:, :2]]
runtime = EdgeRuntime(n_dims=512)
runtime.learn_many(list(X), y)
assert runtime.bytes_by_part["adaptor"] > 0
for x, k in zip(X, y):
    runtime.learn(runtime.step(x).sample_id, k)
print(loaded_before, "numba" in sys.modules, len(compiled))
"""


HAS_NUMBA = importlib.util.find_spec("numba") is not None


def loads(name):
    child = subprocess.run(
        [sys.executable, "-c", LEARN.format(name=name)], capture_output=True, text=True, check=True
    )
    return child.stdout.split()


@pytest.mark.parametrize("name", ["small", "standard"])
def test_numba_is_never_loaded_though_adaptors_answer_and_train(name):
    assert loads(name) == ["False", "False", "0"]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_NUMBA, reason="NO NUMBA: nothing is compiled")
def test_fast_compiles_nothing_after_the_first_sample_even_with_an_empty_cache(
    monkeypatch, tmp_path
):
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert loads("fast") == ["True", "True", "0"]


def test_fast_without_numba_says_so(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    code = "from edge_runtime.board.profiles import PROFILES; print(PROFILES['fast'].apply())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "NumPy serves" in child.stdout


@pytest.mark.parametrize("words", [["serve", "--port", "/dev/x"], ["run", "a.pack"]])
def test_profiles_are_chosen_by_name_and_standard_is_the_default(words):
    parse = build_parser().parse_args
    assert parse(words).profile == "standard"
    for name in PROFILES:
        assert parse([*words, "--profile", name]).profile == name
    with pytest.raises(SystemExit):
        parse([*words, "--profile", "huge"])


def test_glibc_is_told_by_names_that_it_knows():
    names = set(ENVIRONMENT)
    assert names == {"MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}
    release_memory()  # wherever this runs, glibc or not

"""Forged files whose digest is right: refused with a StateError, or what is loaded lives on."""

from __future__ import annotations

import copy
import json
import math
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime import EdgeRuntime
from edge_runtime.errors import EdgeRuntimeError, StateError
from edge_runtime.state import generations
from tests.domains import domain
from tests.runtime.teaching import learn_all, taught
from tests.state.test_forged_parts import DAMAGE

VALUES = (
    None, True, -1, 0, 3, 2**70, 0.5, 1e300, math.nan, -math.inf, "x", "", [], [1], ["a", "a"],
    [[1, 2]], {}, {"a": 1},
)  # fmt: skip


@cache
def saved(directory):
    """Header and arrays of a runtime with pending requests, a sensor's past and a drift's."""
    runtime = taught(30)
    X, y = domain(0, 12, 1)
    learn_all(runtime, X, y.tolist())
    runtime.save(directory)
    return generations.from_bytes(generations.path_of(directory, 1).read_bytes())


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("saved"))


def places(value, path=()):
    """Paths of all values in a header."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def changed(header, path, value):
    """A copy of a header with another value at a path; KeyError as a value takes it out."""
    header = copy.deepcopy(header)
    where = header
    for key in path[:-1]:
        where = where[key]
    if value is KeyError:
        del where[path[-1]]
    else:
        where[path[-1]] = value
    return header


def check(directory, header, arrays):
    """The file is refused with a StateError, or what comes of it lives on."""
    path = generations.path_of(directory, 1)
    path.write_bytes(generations.to_bytes(header, arrays))
    X, _ = domain(0, 5, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            runtime = EdgeRuntime.load(directory)
        except StateError:
            return
        try:
            ids = [runtime.step(x, 1.0).sample_id for x in X]
            runtime.peek_many(X)
            label = runtime.classes[0] if runtime.classes else 0
            runtime.learn(ids[0], label)
            runtime.forget(ids[0])
            runtime.explain(X[0])
            json.dumps(runtime.status())
            runtime.save(directory)
        except EdgeRuntimeError:
            return  # said in the runtime's own words: another width, no room, ...
        finally:
            for number in generations.numbers(directory):
                generations.path_of(directory, number).unlink()


def test_the_file_as_it_was_saved_is_taken(state, tmp_path):
    header, arrays = state
    path = generations.path_of(tmp_path, 1)
    path.write_bytes(generations.to_bytes(header, arrays))
    assert EdgeRuntime.load(tmp_path).status()["exemplars"] == 42


def test_a_value_of_the_header_may_be_missing(state, tmp_path):
    header, arrays = state
    for path in places(header)[::2]:
        check(tmp_path, changed(header, path, KeyError), arrays)


def test_a_value_of_the_header_may_be_of_another_kind(state, tmp_path):
    header, arrays = state
    for i, path in enumerate(places(header)):
        for value in VALUES[i % 9 :: 9]:
            check(tmp_path, changed(header, path, value), arrays)


@pytest.mark.slow
def test_every_value_of_the_header_may_be_of_any_other_kind(state, tmp_path):
    header, arrays = state
    for path in places(header):
        for value in (KeyError, *VALUES):
            check(tmp_path, changed(header, path, value), arrays)


def test_every_array_may_be_missing_or_empty(state, tmp_path):
    header, arrays = state
    for name in arrays:
        check(tmp_path, header, {key: value for key, value in arrays.items() if key != name})
        check(tmp_path, header, {**arrays, name: arrays[name][:0]})


def test_every_part_may_be_missing_as_a_whole(state, tmp_path):
    header, arrays = state
    for part in {name.split("/")[0] for name in arrays}:
        check(tmp_path, header, {k: v for k, v in arrays.items() if not k.startswith(part)})


def forged_at_random(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("forged")
    header, arrays = saved(tmp_path_factory.getbasetemp() / "kept")
    arrays = dict(arrays)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(arrays)))
        damage, args = data.draw(DAMAGE)
        with np.errstate(all="ignore"):
            found = damage(arrays[name], *args)
        arrays[name] = found if found.dtype.kind in "fiu" else arrays[name]
    check(directory, header, arrays)


@pytest.mark.filterwarnings("ignore:.*complex.*")
@settings(max_examples=40)
@given(data=st.data())
def test_any_changes_of_arrays_are_refused_or_harmless(tmp_path_factory, data):
    forged_at_random(tmp_path_factory, data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*complex.*")
@settings(max_examples=1000)
@given(data=st.data())
def test_any_of_many_changes_of_arrays_are_refused_or_harmless(tmp_path_factory, data):
    forged_at_random(tmp_path_factory, data)


def test_a_forged_generation_costs_what_came_since_the_one_before_and_no_more(state, tmp_path):
    header, arrays = state
    for number in (1, 2, 3):
        changes = {} if number == 1 else {"policy": -1} if number == 2 else {"classes": 7}
        content = generations.to_bytes({**header, **changes}, arrays)
        generations.path_of(tmp_path, number).write_bytes(content)
    with pytest.warns(UserWarning, match="state-0000000[23].edge: generation"):
        runtime = EdgeRuntime.load(tmp_path)
    assert runtime.generation == 1
    assert len(runtime.damaged) == 2
    assert runtime.undo(to="factory") == 4


def test_where_none_fits_together_every_one_is_named(state, tmp_path):
    header, arrays = state
    for number in (1, 2):
        content = generations.to_bytes({**header, "policy": number}, arrays)
        generations.path_of(tmp_path, number).write_bytes(content)
    with pytest.raises(StateError, match=r"state-00000002\.edge: .*; state-00000001\.edge: "):
        EdgeRuntime.load(tmp_path)

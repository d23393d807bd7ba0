from __future__ import annotations

import contextlib
import copy
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import StreamError
from edge_runtime.evaluation.prequential import Probe, evaluate
from edge_runtime.evaluation.recording import Run
from tests.scripted import ScriptedRuntime, drifting_run, ticking_clock


def assert_same(run: Run, other: Run) -> None:
    for field in dataclasses.fields(Run):
        found, expected = getattr(run, field.name), getattr(other, field.name)
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        else:
            assert found == expected, field.name


def taken(**changed):
    whole = {"index": 3, "domain": "a", "accuracy": {"a": 0.5}, "slots": {"a": {"0": 2}}}
    return {**whole, "n_bytes": 7, **changed}


def test_a_run_with_checkpoints_survives_json():
    run = drifting_run(probes={"day": Probe([1, 2], [1, 1]), "night": Probe([3], [3])})
    assert len(run.checkpoints) == 3
    assert_same(Run.from_dict(json.loads(json.dumps(run.to_dict(), allow_nan=False))), run)


@pytest.mark.parametrize("clock", [None, ticking_clock()])
def test_a_run_survives_json(clock):
    run = drifting_run(clock=clock)
    assert_same(Run.from_dict(json.loads(json.dumps(run.to_dict(), allow_nan=False))), run)


def test_a_run_without_an_answer_survives_json():
    run = evaluate(ScriptedRuntime(), ["bad"], ["label"])
    assert_same(Run.from_dict(json.loads(json.dumps(run.to_dict()))), run)


def test_numpy_values_and_nan_in_evidence_become_plain():
    run = drifting_run()
    run.events[0].event.evidence.update(bad=float("nan"), shape=(1, np.int8(2)), what=Run)
    evidence = run.to_dict()["events"][0]["evidence"]
    assert evidence == {"rate": 0.5, "bad": None, "shape": [1, 2], "what": str(Run)}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "edge-runtime state"}, "'edge-runtime state' version 3, expected"),
        ({"version": 2}, "version 2, expected"),
        ({"index": [0, 1]}, "columns of lengths"),
        ({"index": list(range(120, 0, -1))}, "does not ascend"),
        ({"index": list(range(-1, 119))}, "does not ascend"),
        ({"domain": [9] * 120}, "beyond its 2 names"),
        ({"true_class": [-1] * 120}, "beyond its 5 names"),
        ({"is_ood": [0.5] * 120}, "dtype float64, expected bool"),
        ({"slot": [0.5] * 120}, "dtype float64, expected int64"),
        ({"slot": [[0]] * 120}, "expected int64"),
        ({"p_value": [float("nan")] * 120}, "not finite"),
        ({"p_value": ["0.5"] * 120}, "expected float64"),
        ({"p_value": 0.5}, "not a recorded run"),
        ({"seconds": [0.1]}, "columns of lengths"),
        ({"threshold": 7}, "no rate"),
        ({"threshold": None}, "not a recorded run"),
        ({"n_rejected": "many"}, "not a recorded run"),
        ({"events": [{"kind": "drift"}]}, "without 'slot'"),
        ({"events": [{"kind": "<b>"}]}, "event '<b>', expected one of ood"),
        ({"events": 5}, "not a recorded run"),
        ({"checkpoints": 5}, "not a recorded run"),
        ({"checkpoints": [{}]}, "without 'accuracy'"),
        ({"checkpoints": [{"accuracy": [], "slots": {}}]}, "not a recorded run"),
        ({"checkpoints": [taken(accuracy={"a": 1.5})]}, "no share"),
        ({"checkpoints": [taken(accuracy={"a": float("nan")})]}, "no share"),
        ({"checkpoints": [taken(slots={"a": {"0": 0}})]}, "empty slot"),
        ({"checkpoints": [taken(slots={"a": {"x": 1}})]}, "not a recorded run"),
        ({"checkpoints": [taken(), taken(accuracy={"b": 1.0})]}, "different probes"),
        ({"checkpoints": [taken()] * 1001}, "at most 1000"),
    ],
)
def test_what_to_dict_cannot_have_written_is_refused(change, match):
    recorded = drifting_run().to_dict() | change
    with pytest.raises(StreamError, match=match):
        Run.from_dict(recorded)


@pytest.mark.parametrize("name", sorted(drifting_run().to_dict()))
def test_a_run_without_one_of_its_parts_is_refused(name):
    recorded = drifting_run().to_dict()
    del recorded[name]
    with pytest.raises(StreamError, match=f"without '{name}'"):
        Run.from_dict(recorded)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
RECORDED = drifting_run().to_dict()


@settings(max_examples=200)
@given(name=st.sampled_from(sorted(RECORDED)), value=JSON)
def test_any_json_in_any_place_is_taken_or_refused_with_a_stream_error(name, value):
    recorded = copy.copy(RECORDED) | {name: value}
    with contextlib.suppress(StreamError):
        Run.from_dict(recorded).detection_delays()


@pytest.mark.parametrize("value", [None, [], "run", 3])
def test_something_that_is_no_mapping_is_refused(value):
    with pytest.raises(StreamError, match="not a recorded run"):
        Run.from_dict(value)

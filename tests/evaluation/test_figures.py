from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import StreamError
from edge_runtime.evaluation.checkpoints import Checkpoint, forgetting, matrix
from edge_runtime.evaluation.figures import accuracy_band, figures, student, summary
from edge_runtime.evaluation.prequential import Probe, evaluate
from tests.scripted import ScriptedRuntime, drifting_run, ticking_clock


def checkpoint(domain, **accuracy):
    return Checkpoint(0, domain, accuracy, {}, 0)


def test_forgetting_is_what_was_lost_since_a_domain_was_first_learned():
    taken = [
        checkpoint("a", a=0.9, b=0.1),
        checkpoint("b", a=0.8, b=0.7),
        checkpoint("a", a=0.85, b=0.5),
    ]
    assert forgetting(taken) == pytest.approx(0.2)  # b alone: a is the one learned last
    assert forgetting(taken[:2]) == pytest.approx(0.1)
    assert math.isnan(forgetting(taken[:1]))
    assert math.isnan(forgetting([]))
    assert matrix(taken).tolist() == [[0.9, 0.1], [0.8, 0.7], [0.85, 0.5]]
    assert matrix([]).shape == (0, 0)


def test_routing_is_apart_from_accuracy_and_unknown_where_no_slot_answers():
    wrong = Checkpoint(0, "a", {"a": 0.0}, {"a": {0: 4}, "b": {0: 1, 1: 3}}, 0)
    assert wrong.routing({0: "a", 1: "b"}) == pytest.approx(0.875)
    assert wrong.routing({}) == 0.0
    assert math.isnan(Checkpoint(0, "a", {"a": 1.0}, {"a": {-1: 4}}, 0).routing({}))


def test_the_figures_of_a_run():
    probes = {"day": Probe([1], [1]), "night": Probe([3], [4])}
    found = figures(drifting_run(clock=ticking_clock(), probes=probes), sample_seconds=60)
    assert found.accuracy == pytest.approx(110 / 120)
    assert found.final == 0.5
    assert (found.noticed, found.delay, found.false_alarms) == (1.0, 6.5, 0.0)
    assert (found.labels, found.n_bytes, found.microseconds) == (10, 12_000, 1e6)
    assert found.routing == 0.5  # the scripted learner answers from slot 0, at home by day


def test_false_alarms_are_told_by_the_hour():
    runtime = ScriptedRuntime(step_events={3: ["drift"]})
    run = evaluate(runtime, [0] * 10, [0] * 10)
    assert figures(run, sample_seconds=360).false_alarms == 1.0
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="sample_seconds"):
            figures(run, wrong)


def test_a_summary_has_a_column_for_what_is_known_only():
    rows = summary({"one": [drifting_run()], "two": [drifting_run(), drifting_run()]})
    assert [row["learner"] for row in rows] == ["one", "two"]
    assert rows[0]["while learning %"] == "91.7"
    assert rows[1]["while learning %"] == "91.7 ± 0.0"
    assert "routing %" not in rows[0]
    assert "us/step" not in rows[0]
    assert summary({}) == []


def test_a_band_is_the_mean_and_what_student_allows():
    right = evaluate(ScriptedRuntime(), [1] * 8, [1] * 8)
    half = evaluate(ScriptedRuntime(), [1] * 8, [1, 2] * 4)
    band = accuracy_band([right, half], window=2)
    assert band.place.tolist() == list(range(8))
    assert band.mean[1:].tolist() == [0.75] * 7
    assert band.low[-1] == 0.0  # with two seeds next to nothing is known
    assert band.high[-1] == 1.0
    alone = accuracy_band([half], window=2)
    np.testing.assert_array_equal(alone.low, alone.high)


def test_runs_of_different_streams_have_no_band():
    one, other = (evaluate(ScriptedRuntime(), [1] * n, [1] * n) for n in (3, 4))
    empty = evaluate(ScriptedRuntime(), ["bad"], [1])
    for runs in ([one, other], [], [empty]):
        with pytest.raises(StreamError, match="expected runs"):
            accuracy_band(runs)


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
def test_a_band_holds_its_mean(flags):
    runs = [evaluate(ScriptedRuntime(), [1] * 5, [1 if f else 2 for f in each]) for each in flags]
    band = accuracy_band(runs, window=3)
    assert (band.low <= band.mean).all()
    assert (band.mean <= band.high).all()


def test_students_quantiles_fall_towards_the_normal_one():
    values = [student(degrees) for degrees in range(1, 40)]
    assert values == sorted(values, reverse=True)

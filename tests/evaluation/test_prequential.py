from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import StreamError
from edge_runtime.evaluation.prequential import Change, LabelUse, Probe, evaluate
from tests.scripted import ScriptedRuntime, drifting_run, ticking_clock

PROBES = {"0": Probe([1], [1])}


def test_each_sample_is_answered_before_its_label_is_learned():
    runtime = ScriptedRuntime()
    run = evaluate(runtime, [5, 6], [5, 9], answer="all")
    assert runtime.calls == [("step", 0), ("learn", 0, 5), ("step", 1), ("learn", 1, 9)]
    assert run.is_correct.tolist() == [True, False]
    assert run.slot.tolist() == [-1, 0]


def test_a_label_comes_after_as_many_further_samples_as_the_delay_says():
    runtime = ScriptedRuntime()
    run = evaluate(runtime, [1, 2, 3], [1, 2, 3], answer="all", label_delay=2)
    assert runtime.calls == [("step", 0), ("step", 1), ("step", 2), ("learn", 0, 1)]
    assert run.is_learned.tolist() == [True, False, False]


def test_only_labels_that_were_asked_for_are_given():
    runtime = ScriptedRuntime(asks=[1])
    run = evaluate(runtime, [1, 2, 3], [1, 2, 3])
    assert [call for call in runtime.calls if call[0] == "learn"] == [("learn", 1, 2)]
    assert run.is_requested.tolist() == run.is_learned.tolist() == [False, True, False]


def test_a_function_can_choose_the_labels():
    run = evaluate(ScriptedRuntime(), [4] * 6, [4] * 6, answer=lambda index, _: index % 3 == 0)
    assert run.is_learned.tolist() == [True, False, False, True, False, False]


@pytest.mark.parametrize(("share", "learned"), [(1.0, 6), (0.5, 3), (0.3, 1), (0.1, 0)])
def test_a_share_of_the_labels_is_evenly_spread(share, learned):
    run = evaluate(ScriptedRuntime(), [4] * 6, [4] * 6, answer=share)
    assert run.is_learned.sum() == learned


def test_probes_are_answered_wherever_a_domain_ends_and_change_nothing():
    probes = {"a": Probe([1, 2], [1, 9]), "b": Probe([3], [3])}
    runtime = ScriptedRuntime()
    run = evaluate(runtime, [0] * 5, [0] * 5, domains=list("aabba"), probes=probes)
    assert runtime.calls == [("step", i) for i in range(5)]
    assert [(each.index, each.domain) for each in run.checkpoints] == [(1, "a"), (3, "b"), (4, "a")]
    assert run.checkpoints[0].accuracy == {"a": 0.5, "b": 1.0}
    assert run.checkpoints[0].slots == {"a": {0: 2}, "b": {0: 1}}
    assert [each.n_bytes for each in run.checkpoints] == [200, 400, 500]


def test_a_stream_that_never_stays_is_not_probed_without_end():
    domains = [str(i % 2) for i in range(1100)]
    with pytest.raises(StreamError, match="too many to probe"):
        evaluate(
            ScriptedRuntime(),
            [0] * 1100,
            [0] * 1100,
            domains=domains,
            probes={"0": Probe([1], [1])},
        )


def test_drift_without_a_change_is_a_false_alarm_and_so_is_a_second_one_after_it():
    drifts = {2: ["drift"], 6: ["drift"], 8: ["drift"]}
    runtime = ScriptedRuntime(step_events=drifts)
    run = evaluate(runtime, [0] * 15, [0] * 15, domains=list("aaaaabbbbbccccc"))
    assert run.false_alarms() == 2
    assert drifting_run().false_alarms() == 0


def test_a_slot_is_at_home_where_it_was_grown():
    assert drifting_run().home_of_slots() == {0: "day", 1: "night"}
    runtime = ScriptedRuntime(step_events={5: ["grown"]})
    run = evaluate(runtime, [0] * 9, [0] * 9, domains=list("aaaabbbbb"))
    assert run.home_of_slots() == {0: "b"}


def test_a_bad_sample_is_counted_and_skipped_with_its_event():
    seen = []
    run = evaluate(
        ScriptedRuntime(),
        [1, "x", 3],
        [1, 2, 3],
        answer="all",
        on_step=lambda index, prediction, events, _: seen.append((index, prediction, events)),
    )
    assert run.n_rejected == 1
    assert run.index.tolist() == [0, 2]
    assert run.true_class.tolist() == [0, 1]
    assert run.class_names == (1, 3)
    assert [(each.index, each.event.kind) for each in run.events] == [(1, "sample_rejected")]
    index, prediction, events = seen[1]
    assert (index, prediction, events) == (1, None, [run.events[0]])


def test_a_label_that_comes_too_late_is_counted_and_said():
    run = evaluate(ScriptedRuntime(memory=1), [1, 2, 3], [1, 2, 3], answer="all", label_delay=1)
    assert run.n_refused_labels == 2
    assert not run.is_learned.any()
    assert run.events[0].event.message == "Label refused: sample 0 is forgotten"


def test_each_event_has_the_index_and_the_seconds_of_the_call_that_brought_it():
    run = drifting_run(label_delay=3, clock=ticking_clock())
    found = [(each.index, each.event.kind, each.seconds) for each in run.events]
    assert found == [
        (44, "ood", 1.0),
        (44, "drift", 1.0),
        (45, "label_request", 1.0),
        (57, "grown", 1.0),
        (87, "returned", 1.0),
    ]
    assert run.seconds is not None
    assert run.seconds.tolist() == [1.0] * 120


def test_without_a_clock_no_times_are_recorded():
    run = drifting_run()
    assert run.seconds is None
    assert {each.seconds for each in run.events} == {None}


def test_rates_labels_and_delays_are_told_by_domain():
    run = drifting_run()
    assert run.domain_names == ("day", "night")
    assert run.accuracy() == pytest.approx(110 / 120)
    assert run.accuracy("night") == 0.75
    assert (run.alarm_rate("day"), run.alarm_rate("night")) == (0.0, 0.25)
    assert run.labels_used("night") == LabelUse(10, 2)
    assert run.labels_used("day") == LabelUse(0, 0)
    assert run.detection_delays() == [Change(40, "day", "night", 5), Change(80, "night", "day", 8)]
    assert run.threshold == 0.05


def test_a_change_that_nothing_answers_has_no_delay():
    runtime = ScriptedRuntime(step_events={0: ["drift"], 2: ["grown"], 5: ["drift"]})
    run = evaluate(runtime, [0] * 6, [0] * 6, domains=list("aabbcc"))
    assert [change.delay for change in run.detection_delays()] == [None, 2]


def test_an_unknown_domain_is_refused():
    with pytest.raises(ValueError, match="no domain 'dusk' in this run, expected one of 'day', 'n"):
        drifting_run().accuracy("dusk")


@pytest.mark.parametrize(
    ("samples", "labels", "match"),
    [
        ([1, 2], [1], "2 samples, 1 labels"),
        ([], [], "ended after 0 samples"),
        (iter([1, 2]), [1], "more than 1 samples, but 1 labels"),
        (iter([1]), [1, 2], "ended after 1 samples, but there are 2 labels"),
        (iter([]), [], "ended after 0 samples"),
    ],
)
def test_samples_and_labels_that_do_not_match_are_refused(samples, labels, match):
    with pytest.raises(StreamError, match=match):
        evaluate(ScriptedRuntime(), samples, labels)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="label_delay is -1"):
        evaluate(ScriptedRuntime(), [1], [1], label_delay=-1)
    with pytest.raises(ValueError, match="answer is 'none'"):
        evaluate(ScriptedRuntime(), [1], [1], answer="none")
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="expected a share"):
            evaluate(ScriptedRuntime(), [1], [1], answer=share)


def test_a_run_of_bad_samples_alone_still_ends_well():
    run = evaluate(ScriptedRuntime(), ["x", None], [1, 2])
    assert (run.n_rejected, len(run.index), run.detection_delays()) == (2, 0, [])
    assert np.isnan(run.accuracy())


@given(
    samples=st.lists(st.one_of(st.integers(0, 3), st.just("bad")), min_size=1, max_size=30),
    delay=st.integers(0, 40),
    memory=st.integers(0, 40),
)
def test_every_sample_and_every_label_is_accounted_for(samples, delay, memory):
    runtime = ScriptedRuntime(memory=memory)
    n = len(samples)
    run = evaluate(runtime, samples, [0] * n, answer="all", label_delay=delay)
    n_arrived = int(np.sum(run.index + delay < n))
    assert len(run.index) + run.n_rejected == n
    assert int(run.is_learned.sum()) + run.n_refused_labels == n_arrived
    steps = {call[1]: when for when, call in enumerate(runtime.calls) if call[0] == "step"}
    learned = {call[1]: when for when, call in enumerate(runtime.calls) if call[0] == "learn"}
    assert all(steps[sample_id] < when for sample_id, when in learned.items())


def test_evaluation_and_report_load_no_learner():
    program = (
        "import sys, edge_runtime.evaluation.prequential, edge_runtime.inputs.sources;"
        "import firmware_tools.report;"
        "print({'adaptors', 'hdc', 'numba', 'serial', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")

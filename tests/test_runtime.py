"""The loop: learn, notice, ask, grow, route, forget nothing, and refuse what is bad."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from edge_runtime import EdgeRuntime, PolicySettings, router
from edge_runtime.errors import BudgetError, LabelError, SampleError, StateError
from edge_runtime.inputs.encoders import IdentityEncoder
from edge_runtime.records import Event
from tests.domains import domain


def taught(seed: int = 0, **options: object) -> EdgeRuntime:
    """A runtime that has learned 200 samples of domain 0."""
    runtime = EdgeRuntime(n_dims=2048, **options)
    X, y = domain(0, 200, seed)
    runtime.learn_many(X, y.tolist())
    return runtime


def live(runtime: EdgeRuntime, number: int, n_samples: int, seed: int) -> tuple[list, list]:
    """Stream a domain, answer every request; return predictions right or wrong, and events."""
    right, events = [], []
    for x, truth in zip(*domain(number, n_samples, seed), strict=True):
        prediction = runtime.step(x)
        right.append(prediction.label == truth)
        events += prediction.events
        if prediction.wants_label:
            events += runtime.learn(prediction.sample_id, int(truth))
    return right, events


def accuracy(runtime: EdgeRuntime, number: int, seed: int = 99) -> float:
    X, y = domain(number, 200, seed)
    return float(np.mean([p.label == k for p, k in zip(runtime.peek_many(X), y, strict=True)]))


def kinds(events: list[Event]) -> set[str]:
    return {event.kind for event in events}


def test_it_learns_from_nothing_by_single_labels() -> None:
    runtime = EdgeRuntime(n_dims=2048)
    X, y = domain(0, 60, 1)
    first = runtime.step(X[0])
    assert first.label is None
    assert first.wants_label
    assert first.p_value == 1.0
    for x, truth in zip(X, y, strict=True):
        runtime.learn(runtime.step(x).sample_id, int(truth))
    assert accuracy(runtime, 0) > 0.9
    assert runtime.status()["state"] == "stable"


def test_the_whole_story_a_new_domain_is_noticed_learned_and_the_old_one_kept() -> None:
    runtime = taught()
    before = accuracy(runtime, 0)
    assert accuracy(runtime, 1) < 0.6
    _, quiet = live(runtime, 0, 200, 2)
    assert "drift" not in kinds(quiet)
    _, events = live(runtime, 1, 250, 3)
    assert {"strange", "drift", "label_wanted", "grown"} <= kinds(events)
    assert accuracy(runtime, 1) > 0.9
    assert accuracy(runtime, 0) >= before - 0.01
    _, back = live(runtime, 0, 60, 4)
    assert "known" in kinds(back)
    assert len(runtime.slots) == 2


def test_known_samples_are_called_strange_at_about_the_stated_rate() -> None:
    runtime = taught(policy=PolicySettings(false_alarm_rate=0.1))
    X, _ = domain(0, 2000, 5)
    rate = np.mean([p.is_ood for p in runtime.peek_many(X)])
    assert 0.05 < rate < 0.15


def test_a_class_never_seen_before_joins_by_its_first_label() -> None:
    runtime = EdgeRuntime(n_dims=2048)
    X, y = domain(0, 300, 6, classes=(0, 1, 2))
    runtime.learn_many(X, y.tolist())
    fresh, _ = domain(0, 30, 7, classes=(3,))
    for x in fresh:
        runtime.learn(runtime.step(x).sample_id, 3)
    assert runtime.classes == [*dict.fromkeys(y.tolist()), 3]
    assert accuracy(runtime, 0) > 0.9


def test_two_classes_suffice_to_grow_although_one_has_all_its_labels_before_twenty_came() -> None:
    runtime = EdgeRuntime(n_dims=2048)
    X, y = domain(0, 200, 16, classes=(0, 1))
    runtime.learn_many(X, y.tolist())
    asked: Counter[int] = Counter()
    events = []
    for x, k in zip(*domain(1, 200, 17, classes=(0, 1)), strict=True):
        prediction = runtime.step(x)
        events += prediction.events
        if prediction.wants_label:
            asked[int(k)] += 1
            events += runtime.learn(prediction.sample_id, int(k))
    assert "grown" in [event.kind for event in events]
    assert asked.total() < 20
    assert max(asked.values()) <= 10


def test_a_batch_too_small_for_a_trial_is_learned_where_it_belongs() -> None:
    runtime = taught()
    n_labels = runtime.slots[0].n_labels
    X, y = domain(0, 8, 18)
    assert runtime.learn_many(X, y.tolist()) == []
    assert runtime.slots[0].n_labels == n_labels + 8


def test_an_unlabelled_stranger_never_teaches_anything() -> None:
    runtime = taught()
    before = [slot.to_state() for slot in runtime.slots]
    for x in domain(1, 100, 8)[0]:
        runtime.step(x)
    for old, slot in zip(before, runtime.slots, strict=True):
        for name, array in slot.to_state().items():
            if name not in ("rest/recent", "rest/last"):  # where the stream is: nothing learned
                np.testing.assert_array_equal(array, old[name], err_msg=name)


def test_the_same_seed_and_stream_give_the_same_answers_and_events() -> None:
    stories = []
    for _ in range(2):
        runtime = taught()
        stories.append((live(runtime, 1, 120, 9), runtime.status()))
    assert repr(stories[0]) == repr(stories[1])


def test_step_many_answers_like_step_in_order() -> None:
    one, many = taught(), taught()
    X, _ = domain(0, 50, 10)
    singles = [one.step(x) for x in X]
    for single, batched in zip(singles, many.step_many(X), strict=True):
        assert (single.label, single.slot, single.sample_id) == (
            batched.label,
            batched.slot,
            batched.sample_id,
        )
        np.testing.assert_allclose(single.probabilities, batched.probabilities, atol=1e-3)


def test_peeking_changes_nothing() -> None:
    runtime = taught()
    before = repr(runtime.status())
    assert runtime.peek(domain(1, 1, 11)[0][0]).sample_id == -1
    assert repr(runtime.status()) == before


def test_the_sample_is_not_aliased() -> None:
    runtime = taught()
    x = domain(0, 1, 12)[0][0].copy()
    prediction = runtime.step(x)
    x[:] = np.nan
    runtime.learn(prediction.sample_id, 0)
    assert np.isfinite(runtime.slots[0].domain.class_means).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full(24, np.nan), "NaN or infinity"),
        (np.full(24, np.inf), "NaN or infinity"),
        (np.full(24, 1e300), "NaN or infinity"),
        (np.zeros(23), "expected"),
        (np.zeros((24, 2)), "expected a vector"),
        (np.zeros(0), "expected a vector"),
        ("text", "expected a vector"),
        ({"other": np.zeros(24)}, "expected"),
        (None, "expected a vector"),
        (np.zeros(24, complex), "expected a vector"),
    ],
)
def test_a_bad_sample_is_refused_and_leaves_no_trace(bad: object, message: str) -> None:
    runtime = taught()
    before = repr(runtime.status())
    with pytest.raises(SampleError, match=message):
        runtime.step(bad)
    assert repr(runtime.status()) == before


def test_a_bad_sample_in_a_stream_is_counted_and_skipped() -> None:
    runtime = taught()
    X, _ = domain(0, 3, 13)
    answers = list(runtime.run([X[0], np.full(24, np.nan), "x", X[1]]))
    assert [type(each).__name__ for each in answers] == [
        "Prediction",
        "Event",
        "Event",
        "Prediction",
    ]
    assert runtime.status()["counters"]["rejected"] == 2


def test_labels_for_samples_unknown_forgotten_or_done_are_refused() -> None:
    runtime = taught(pending_samples=5)
    X, _ = domain(0, 10, 14)
    ids = [runtime.step(x).sample_id for x in X]
    with pytest.raises(LabelError, match="never seen"):
        runtime.learn(10_000, 0)
    with pytest.raises(LabelError, match="forgotten"):
        runtime.learn(ids[0], 0)
    runtime.learn(ids[-1], 0)
    with pytest.raises(LabelError, match="has its label"):
        runtime.learn(ids[-1], 0)


@pytest.mark.parametrize("label", ["text", 1.5, None, True, (1,)])
def test_a_label_of_another_type_is_refused_and_the_sample_stays(label: object) -> None:
    runtime = taught()
    sample_id = runtime.step(domain(0, 1, 15)[0][0]).sample_id
    with pytest.raises(LabelError):
        runtime.learn(sample_id, label)  # type: ignore[arg-type]
    runtime.learn(sample_id, 0)


def test_batches_of_different_lengths_or_none_are_refused() -> None:
    runtime = EdgeRuntime()
    with pytest.raises(LabelError, match="expected as many"):
        runtime.learn_many(np.zeros((3, 4)), [0, 1])
    with pytest.raises(LabelError, match="expected as many"):
        runtime.learn_many([], [])
    with pytest.raises(SampleError, match="empty"):
        runtime.step_many([])


def test_a_budget_too_small_for_one_slot_is_refused_with_the_bytes_needed() -> None:
    with pytest.raises(BudgetError, match="one slot of 24 features needs"):
        EdgeRuntime(IdentityEncoder(24), budget_bytes=1000)


def test_the_budget_is_kept_however_many_domains_come() -> None:
    roomy = taught()
    budget = int(roomy.n_bytes * 1.8)
    runtime = taught(budget_bytes=budget, when_full=("merge",))
    rejected = []
    for number in range(1, 6):
        rejected += live(runtime, number, 150, 20 + number)[1]
        assert runtime.n_bytes <= budget
    assert any("no room" in e.message for e in rejected if e.kind == "rejected")
    assert accuracy(runtime, 0) > 0.8


def test_two_slots_that_became_the_same_are_merged_when_room_is_short() -> None:
    runtime = taught(max_slots=2)
    twin = runtime.bank.new_slot()
    X, y = domain(0, 200, 30)
    twin.start(X, np.array([runtime.classes.index(k) for k in y]))
    runtime.bank.add(twin)
    _, events = live(runtime, 1, 200, 31)
    assert {"merged", "grown"} <= kinds(events)
    assert accuracy(runtime, 0) > 0.9
    assert accuracy(runtime, 1) > 0.9


def test_memory_stays_flat_over_many_samples() -> None:
    runtime = taught()
    X, _ = domain(0, 300, 32)
    runtime.step_many(X)
    before = runtime.n_bytes
    for _ in range(5):
        runtime.step_many(X)
    assert runtime.n_bytes == before


def test_taps_come_as_a_mapping_and_keep_their_order() -> None:
    runtime = EdgeRuntime(n_dims=2048)
    X, y = domain(0, 100, 33)
    samples = [{"low": x[:8], "embedding": x[8:]} for x in X]
    runtime.learn_many(samples, y.tolist())
    assert dict(runtime.taps) == {"low": 8, "embedding": 16}
    with pytest.raises(SampleError, match="in this order"):
        runtime.step({"embedding": X[0][8:], "low": X[0][:8]})


def test_a_saved_runtime_goes_on_exactly_where_it_was(tmp_path) -> None:
    runtime = taught()
    live(runtime, 1, 200, 40)
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    X, y = domain(0, 40, 41)
    for x, truth in zip(X, y, strict=True):
        first, second = runtime.step(x), again.step(x)
        assert first.sample_id == second.sample_id
        np.testing.assert_array_equal(first.probabilities, second.probabilities)
        assert first.p_value == second.p_value
        runtime.learn(first.sample_id, int(truth))
        again.learn(second.sample_id, int(truth))
    for one, other in zip(runtime.slots, again.slots, strict=True):
        for name, array in one.to_state().items():
            np.testing.assert_array_equal(array, other.to_state()[name], err_msg=name)


def test_the_first_answer_after_a_start_computes_no_frame(tmp_path, monkeypatch) -> None:
    runtime = taught()
    runtime.learn_many(*domain(1, 200, 43))
    assert len(runtime.slots) == 2
    runtime.save(tmp_path)  # before any answer, as one that packs a model does
    again = EdgeRuntime.load(tmp_path)
    monkeypatch.setattr(router, "_metric_of", lambda *_: pytest.fail("computed anew"))
    assert again.step(domain(1, 1, 44)[0][0]).slot == 1


def test_undo_takes_back_what_was_learned_and_survives_a_restart(tmp_path) -> None:
    runtime = taught()
    runtime.save(tmp_path)
    before = accuracy(runtime, 0)
    X, y = domain(0, 300, 42)
    runtime.learn_many(X, (3 - y).tolist())  # a joker
    assert accuracy(runtime, 0) < before
    assert runtime.undo(2) == 3  # growth has saved one more
    assert accuracy(runtime, 0) == before
    assert accuracy(EdgeRuntime.load(tmp_path), 0) == before


def test_undo_of_what_was_never_saved_is_refused(tmp_path) -> None:
    runtime = taught()
    with pytest.raises(StateError, match="save"):
        runtime.undo()
    runtime.save(tmp_path)
    with pytest.raises(StateError, match="1 generations"):
        runtime.undo(5)


def test_state_of_another_encoder_is_refused(tmp_path) -> None:
    runtime = taught()
    runtime.save(tmp_path)
    with pytest.raises(StateError, match="learned on encoder none"):
        EdgeRuntime.load(tmp_path, IdentityEncoder(24))


def test_a_damaged_generation_is_named_and_the_one_before_is_loaded(tmp_path) -> None:
    runtime = taught()
    runtime.save(tmp_path)
    newest = tmp_path / f"state-{runtime.save(tmp_path):08d}.edge"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged state skipped"):
        again = EdgeRuntime.load(tmp_path)
    assert again.generation == 1
    assert newest.name in again.status()["damaged_generations"][0]


def test_importing_the_package_loads_neither_numba_nor_a_backend() -> None:
    code = (
        "import sys, edge_runtime; "
        "print([m for m in ('numba', 'onnxruntime', 'ai_edge_litert', 'tflite_runtime', 'numpy') "
        "if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_labels_of_a_suspect_stream_are_held_back_and_survive_a_restart(tmp_path) -> None:
    runtime = taught()
    X, y = domain(1, 150, 50)
    suspect = 0
    for x, truth in zip(X, y, strict=True):
        prediction = runtime.step(x)
        labels = [slot.n_labels for slot in runtime.slots]
        runtime.learn(prediction.sample_id, int(truth))
        if runtime.status()["state"] == "suspect":
            suspect += 1
            assert [slot.n_labels for slot in runtime.slots] == labels
            runtime.save(tmp_path)
            again = EdgeRuntime.load(tmp_path)
            assert again.status()["state"] == "suspect"
            held = runtime.loop_state()["labels/held/X"]
            np.testing.assert_array_equal(again.loop_state()["labels/held/X"], held)
    assert suspect
    assert runtime.slots[0].n_labels < 200 + 15  # strangers went to a slot of their own
    assert len(runtime.slots) == 2


def test_a_stuck_sensor_is_said_to_be_broken_once_and_never_learned_from() -> None:
    runtime = taught()
    X, y = domain(0, 80, 51)
    for x, truth in zip(X[:60], y[:60], strict=True):
        runtime.learn(runtime.step(x).sample_id, int(truth))
    before = [slot.n_labels for slot in runtime.slots]
    events = []
    for _ in range(100):
        prediction = runtime.step(X[60])
        events += prediction.events
        if runtime.status()["sensor"] is not None:
            refused = runtime.learn(prediction.sample_id, 0)
            assert "broken sensor" in refused[0].message
    events += [e for x in X[61:70] for e in runtime.step(x).events]
    assert [e.kind for e in events if e.kind in ("broken", "repaired", "drift", "grown")] == [
        "broken",
        "repaired",
    ]
    assert [slot.n_labels for slot in runtime.slots] == before


def test_labels_in_an_hour_stay_within_their_budget() -> None:
    runtime = taught(policy=PolicySettings(labels_per_hour=5))
    X, y = domain(1, 200, 52)
    asked = []
    for i, (x, truth) in enumerate(zip(X, y, strict=True)):
        now_s = 60.0 * i
        prediction = runtime.step(x, now_s)
        if prediction.wants_label:
            asked.append(now_s)
            runtime.learn(prediction.sample_id, int(truth))
    assert asked
    for now_s in asked:
        assert sum(now_s - 3600 < other <= now_s for other in asked) <= 5


def test_where_there_is_no_room_the_state_says_full() -> None:
    runtime = taught(max_slots=1)
    live(runtime, 1, 200, 53)
    assert runtime.status()["state"] == "full"
    runtime.bank.max_slots = 3
    live(runtime, 0, 100, 54)
    assert runtime.status()["state"] in ("stable", "suspect")


def test_labels_that_an_old_slot_answers_anyway_are_learned_by_it_after_a_false_alarm() -> None:
    runtime = taught(policy=PolicySettings(calm_window=100))
    (slot,) = runtime.slots
    n_labels = slot.n_labels
    runtime._policy._go("alarm")
    X, y = domain(0, 60, 30)
    events = []
    for x, truth in zip(X, y, strict=True):
        events += runtime.learn(runtime.step(x).sample_id, int(truth))
        if runtime.status()["state"] != "asking":
            break
    assert events[-1].kind == "adapted"
    assert runtime.status()["state"] == "stable"
    assert [slot.n_labels for slot in runtime.slots] == [n_labels + 40]

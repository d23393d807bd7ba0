"""The loop: learn, notice, ask, grow, route, forget nothing."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from edge_runtime import EdgeRuntime, Settings
from tests.domains import domain
from tests.runtime.teaching import SMALL, accuracy, kinds, learn_all, live, of_two_domains, taught


def test_it_learns_from_nothing_by_single_labels():
    runtime = EdgeRuntime(**SMALL)
    X, y = domain(0, 60, 1)
    first = runtime.step(X[0])
    assert (first.label, first.slot, first.p_value) == (None, None, 1.0)
    assert first.wants_label
    assert kinds(first.events) == ["label_request"]
    learn_all(runtime, X, y.tolist())
    assert accuracy(runtime, 0) > 0.9
    assert runtime.status()["state"] in ("filling", "stable")


def test_one_label_is_an_answer():
    runtime = EdgeRuntime(**SMALL)
    X, _ = domain(0, 2, 1)
    runtime.learn(runtime.step(X[0]).sample_id, "only")
    assert runtime.step(X[1]).label == "only"


def test_the_whole_story_a_new_domain_is_noticed_learned_and_the_old_one_kept():
    runtime = taught(300)
    before = accuracy(runtime, 0)
    assert accuracy(runtime, 1) < 0.6
    _, quiet = live(runtime, 0, 150, 2)
    assert not {"drift", "grown"} & set(kinds(quiet))
    _, events = live(runtime, 1, 250, 3)
    assert {"ood", "drift", "label_request", "grown"} <= set(kinds(events))
    assert accuracy(runtime, 1) > 0.9
    assert accuracy(runtime, 0) >= before - 0.02
    _, back = live(runtime, 0, 60, 4)
    assert "returned" in kinds(back)
    assert len(runtime.slots) == 2
    assert runtime.status()["current_slot"] == 0


def test_events_say_what_happened_in_sentences_with_numbers():
    runtime = taught(300)
    events = [*live(runtime, 0, 60, 2)[1], *live(runtime, 1, 200, 3)[1]]
    for event in events:
        assert event.message.endswith(".")
        assert event.message[0].isupper()
        for name, value in event.evidence.items():
            assert isinstance(value, int | float | str), f"{event.kind} {name}"
    (grown,) = [event for event in events if event.kind == "grown"]
    assert grown.slot == 1
    assert grown.evidence["labels"] == runtime.slots[1].n_labels or grown.evidence["labels"] > 0


def test_known_samples_are_called_strange_at_about_the_stated_rate():
    runtime = taught(400, settings=Settings(false_alarm_rate=0.1))
    X, _ = domain(0, 2000, 5)
    found = runtime.peek_many(X)
    assert 0.05 < np.mean([p.is_ood for p in found]) < 0.15
    assert all(p.is_ood == (p.p_value <= p.threshold == 0.1) for p in found)


def test_samples_of_nowhere_are_strange():
    runtime = taught()
    assert all(p.is_ood for p in runtime.peek_many(domain(0, 20, 5)[0] * 20))


def test_a_class_never_seen_before_joins_by_its_first_label():
    runtime = EdgeRuntime(**SMALL)
    X, y = domain(0, 200, 6, classes=(0, 1, 2))
    runtime.learn_many(X, y.tolist())
    learn_all(runtime, domain(0, 30, 7, classes=(3,))[0], [3] * 30)
    assert runtime.classes == [*dict.fromkeys(y.tolist()), 3]
    assert accuracy(runtime, 0) > 0.9


def test_classes_known_beforehand_are_there_before_any_label():
    runtime = EdgeRuntime(None, ["cat", "dog", "cat"], **SMALL)
    assert runtime.classes == ["cat", "dog"]
    prediction = runtime.step(np.zeros(3))
    np.testing.assert_array_equal(prediction.probabilities, [0.5, 0.5])
    assert prediction.label is None


@pytest.mark.parametrize(
    "order", [(2, 0, 3, 1), pytest.param((0, 1, 2, 3), marks=pytest.mark.slow)]
)
def test_new_classes_and_new_domains_in_one_stream_in_any_order(order):
    stages = [(0, (0, 1)), (1, (0, 1)), (0, (2,)), (1, (3,))]  # 2 in domain 0 only, 3 in 1 only
    runtime = EdgeRuntime(**SMALL)
    for i, at in enumerate(order):
        number, classes = stages[at]
        X, y = domain(number, 60, i, classes)
        learn_all(runtime, X, y.tolist())
    assert accuracy(runtime, 0, classes=(0, 1, 2)) > 0.9
    assert accuracy(runtime, 1, classes=(0, 1, 3)) > 0.9
    assert sorted(runtime.classes) == [0, 1, 2, 3]


def test_a_drift_costs_no_class_more_labels_than_promised():
    runtime, asked = taught(300, settings=Settings(labels_per_class=6)), Counter()
    _, events = live(runtime, 0, 40, 2)
    for x, k in zip(*domain(1, 300, 17, classes=(0, 1)), strict=True):
        prediction = runtime.step(x)
        events += prediction.events
        if prediction.wants_label:
            asked[int(k)] += 1
            events += runtime.learn(prediction.sample_id, int(k))
    assert {"grown", "adapted"} & set(kinds(events))
    assert max(asked.values()) <= 6 * kinds(events).count("drift")


def test_an_unlabelled_stranger_never_teaches_anything():
    runtime = taught()
    before = runtime.peek_many(domain(0, 20, 9)[0])
    for x in domain(1, 150, 8)[0]:
        runtime.step(x)
    after = runtime.peek_many(domain(0, 20, 9)[0])
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old.probabilities, new.probabilities)
        assert old.p_value == new.p_value
    assert runtime.status()["exemplars"] == 200


def test_the_same_seed_and_stream_give_the_same_answers_and_events():
    stories = []
    for _ in range(2):
        runtime = taught()
        stories.append((live(runtime, 1, 150, 9), runtime.status()))
    assert repr(stories[0]) == repr(stories[1])


def test_step_many_answers_like_step_in_order():
    one, many = taught(), taught()
    X, _ = domain(0, 50, 10)
    for single, batched in zip([one.step(x) for x in X], many.step_many(X), strict=True):
        assert (single.label, single.slot, single.sample_id, single.wants_label) == (
            batched.label, batched.slot, batched.sample_id, batched.wants_label,
        )  # fmt: skip
        np.testing.assert_allclose(single.probabilities, batched.probabilities, atol=1e-3)


def test_peeking_changes_nothing():
    runtime = taught()
    before = repr(runtime.status())
    assert runtime.peek(domain(1, 1, 11)[0][0]).sample_id == -1
    assert repr(runtime.status()) == before


def test_labels_in_an_hour_stay_within_their_budget():
    runtime = taught(300, settings=Settings(labels_per_hour=5))
    asked = []
    for i, (x, truth) in enumerate(zip(*domain(1, 200, 52), strict=True)):
        now_s = 60.0 * i
        prediction = runtime.step(x, now_s)
        if prediction.wants_label:
            asked.append(now_s)
            runtime.learn(prediction.sample_id, int(truth))
    assert asked
    for now_s in asked:
        assert sum(now_s - 3600 < other <= now_s for other in asked) <= 5


def test_of_one_scene_one_label_is_requested():
    runtime = taught(300)
    wanted = Counter()
    for i, x in enumerate(domain(1, 300, 53)[0]):
        prediction = runtime.step(x, group=i // 10)
        if runtime.status()["state"] == "asking":
            wanted[i // 10] += prediction.wants_label
    assert sum(wanted.values()) > 3
    assert max(wanted.values()) == 1


def test_where_there_is_no_room_for_a_slot_it_says_so_and_learns_all_the_same():
    runtime = taught(300, settings=Settings(max_slots=1))
    _, events = live(runtime, 1, 250, 53)
    assert "no_room" in kinds(events)
    assert len(runtime.slots) == 1
    assert accuracy(runtime, 1) > 0.8


def test_a_stuck_sensor_is_told_once_and_never_learned_from():
    runtime = taught()
    X, y = domain(0, 80, 51)
    learn_all(runtime, X[:60], y[:60].tolist())
    n_before, events = runtime.status()["exemplars"], []
    for _ in range(100):
        prediction = runtime.step(X[60])
        events += prediction.events
        if runtime.status()["sensor"] is not None:
            (refused,) = runtime.learn(prediction.sample_id, 0)
            assert refused.kind == "sensor_fault"
    events += [e for x in X[61:70] for e in runtime.step(x).events]
    told = [kind for kind in kinds(events) if kind not in ("ood", "label_request")]
    assert told == ["sensor_fault", "sensor_ok"]
    assert runtime.status()["exemplars"] == n_before


def test_slots_say_what_they_have_learned():
    first, second = of_two_domains().slots
    assert (first.number, first.n_classes) == (0, 4)
    assert (second.number, second.n_classes) == (1, 4)
    assert first.n_labels >= 280
    assert second.n_labels >= 8
    assert first.accuracy > 0.9


def test_importing_the_package_loads_neither_numba_nor_a_backend():
    code = (
        "import sys, edge_runtime; "
        "print([m for m in ('numba', 'onnxruntime', 'ai_edge_litert', 'tflite_runtime', 'numpy') "
        "if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

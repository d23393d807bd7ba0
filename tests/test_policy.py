"""The policy as a table: states, what leads out of them, and what is never done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.asking import LabelRequests
from edge_runtime.bank import Answer
from edge_runtime.policy import TABLE, Policy, PolicySettings
from edge_runtime.verdict import Case, judge


def answer(p_value: float, slot: int | None = 0, best: int = 0) -> Answer:
    return Answer(np.ones(3) / 3, best=best, slot=slot, p_value=p_value, n_scores=500)


def stable_policy(**settings: float) -> Policy:
    policy = Policy(PolicySettings(**settings))
    policy.on_calibrated(500, 0)
    return policy


def asking_policy(**settings: float) -> Policy:
    policy = stable_policy(**settings)
    for sample_id in range(100):
        policy.observe(sample_id, answer(0.002), 0)
        if policy.state == "asking":
            return policy
    raise AssertionError("a hundred strangers raised no alarm")


def kinds(events: list) -> list[str]:
    return [event.kind for event in events]


def test_everything_is_wanted_until_the_rate_can_be_promised() -> None:
    policy = Policy(PolicySettings(false_alarm_rate=0.05))
    assert policy.observe(0, answer(1.0, slot=None), 0)[1]
    policy.on_calibrated(19, 0)
    assert policy.state == "learning"
    policy.on_calibrated(20, 0)
    assert policy.state == "stable"


def test_a_single_stranger_is_named_and_nothing_else_happens() -> None:
    policy = stable_policy()
    events, wants_label = policy.observe(0, answer(0.002), 0)
    assert kinds(events) == ["strange"]
    assert not wants_label
    assert policy.state == "stable"


def test_strangers_that_go_on_are_a_drift_within_twenty_samples() -> None:
    policy = stable_policy()
    seen = [kinds(policy.observe(i, answer(0.002), 0)[0]) for i in range(20)]
    assert any("drift" in each for each in seen)


def test_uniform_p_values_raise_no_alarm_in_ten_thousand_samples() -> None:
    policy = stable_policy()
    p_values = np.random.default_rng(0).uniform(size=10_000)
    events = [e for i, p in enumerate(p_values) for e in policy.observe(i, answer(p), 0)[0]]
    assert "drift" not in kinds(events)


def test_a_drift_that_ends_by_itself_is_said_to_be_known_again() -> None:
    policy = asking_policy()
    seen = [kinds(policy.observe(200 + i, answer(0.5), 0)[0]) for i in range(60)]
    assert any("known" in each for each in seen)
    assert policy.state == "stable"


@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(2, 12))
def test_no_class_ever_costs_more_labels_than_promised(seed: int, delay: int, limit: int) -> None:
    policy = asking_policy(labels_per_class=limit)
    rng = np.random.default_rng(seed)
    counts, on_the_way = np.zeros(3, int), []
    for sample_id in range(1000, 1400):
        if policy.state != "asking":
            break
        _, wants = policy.observe(sample_id, answer(0.002), int(rng.integers(3)))
        if wants:
            on_the_way.append((sample_id + delay, sample_id, int(rng.integers(3))))
        while on_the_way and on_the_way[0][0] <= sample_id:
            _, asked_id, k = on_the_way.pop(0)
            counts[k] += 1
            if policy.on_label(asked_id, k) == "decide":
                policy.on_verdict(policy.judge(Case(int(counts.sum()), 0.5, 0.5, 0.5)), None)
    assert counts.max() <= limit


def test_answers_that_never_come_do_not_keep_it_asking_for_ever() -> None:
    policy = asking_policy(patience_samples=100)
    for sample_id in range(1000, 1101):
        policy.observe(sample_id, answer(0.002), 0)
    assert policy.is_decision_due()


@pytest.mark.parametrize(
    ("existing", "adapted", "grown", "verdict"),
    [
        (0.3, 0.4, 0.9, "grow"),
        (0.3, 0.9, 0.4, "adapt"),
        (0.9, 0.9, 0.9, "adapt"),
        (0.9, 0.5, 0.91, "reject"),
        (0.8, 0.85, 0.84, "grow"),
    ],
)
def test_the_last_trial_decides(
    existing: float, adapted: float, grown: float, verdict: str
) -> None:
    policy = stable_policy()
    assert policy.judge(Case(100, existing, adapted, grown)) == verdict


def test_an_early_trial_waits_unless_the_gain_is_beyond_chance() -> None:
    policy = asking_policy()
    assert policy.judge(Case(20, 0.7, 0.7, 0.8)) == "wait"
    assert policy.judge(Case(20, 0.3, 0.3, 0.9)) == "grow"


def test_a_rejected_growth_is_not_asked_about_again_at_once() -> None:
    policy = asking_policy(rest_samples=50)
    policy.on_verdict("reject", None)
    quiet = [policy.observe(500 + i, answer(0.002), 0)[0] for i in range(49)]
    assert all(kinds(events) == ["strange"] for events in quiet)


def test_a_stream_that_moved_to_another_slot_is_said_to_be_known() -> None:
    policy = stable_policy()
    policy.observe(0, answer(0.5, slot=0), 0)
    seen = [e for i in range(8) for e in policy.observe(i, answer(0.5, slot=3), 0)[0]]
    assert kinds(seen) == ["known"]
    assert policy.slot == 3


@pytest.mark.parametrize("rate", [0.0, -0.1, 0.5, 2.0, float("nan")])
def test_a_rate_that_cannot_be_promised_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="false_alarm_rate"):
        PolicySettings(false_alarm_rate=rate)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {"learning"}
    while len(reached) < len({*reached, *(to for (at, _), to in TABLE.items() if at in reached)}):
        reached |= {to for (at, _), to in TABLE.items() if at in reached}
    assert reached == {state for state, _ in TABLE} == {*TABLE.values(), "learning"}


def test_labels_are_held_while_the_stream_is_suspect_and_learned_when_it_is_not() -> None:
    policy = stable_policy()
    for sample_id in range(3):
        policy.observe(sample_id, answer(0.01), 0)
    assert policy.state == "suspect"
    assert policy.on_label(2, 0) == "hold"
    for p_value in np.tile([0.9, 0.5, 0.7, 0.3, 0.95], 20):
        policy.observe(3, answer(p_value), 0)
    assert policy.state == "stable"
    assert policy.on_label(3, 0) == "learn"


def test_wrong_answers_to_samples_that_look_known_raise_no_alarm() -> None:
    policy = stable_policy()
    rng = np.random.default_rng(0)
    for sample_id, p_value in enumerate(rng.uniform(size=200)):
        policy.observe(sample_id, answer(p_value), 0)
        assert policy.check_answer(sample_id, 0, bool(rng.random() < 0.3), 0.02, 500) == []


def test_wrong_answers_to_suspect_samples_are_a_drift() -> None:
    policy = stable_policy()
    events = []
    for sample_id in range(60):
        policy.observe(sample_id, answer(0.2 + 0.25 * (sample_id % 2)), 0)
        events += policy.check_answer(sample_id, 0, sample_id % 2 == 0, 0.1, 500)
        if events:
            break
    assert kinds(events) == ["drift"]
    assert policy.state == "asking"


def test_a_domain_that_moved_is_adapted_and_one_that_jumped_is_left_alone() -> None:
    policy = asking_policy()
    for sample_id in range(1000, 1060):
        wants = policy.observe(sample_id, answer(0.002), sample_id % 3)[1]
        if wants:
            policy.on_label(sample_id, sample_id % 3)
    assert not policy.may_have_moved
    assert policy.judge(Case(60, 0.7, 0.9, 0.9, stated=0.9)) == "grow"
    policy.is_gradual = True
    assert policy.may_have_moved
    assert policy.judge(Case(60, 0.7, 0.9, 0.9, stated=0.9, has_moved=True)) == "adapt"


def test_an_old_slot_that_is_ahead_early_does_not_take_a_new_domain() -> None:
    policy = asking_policy()
    assert policy.judge(Case(30, 0.2, 0.6, 0.4, stated=0.9)) == "wait"


def test_where_all_is_answered_few_labels_are_enough_to_say_so() -> None:
    policy = asking_policy()
    assert policy.judge(Case(30, 1.0, 1.0, 1.0)) == "wait"
    assert policy.judge(Case(40, 1.0, 1.0, 1.0)) == "keep"
    policy.on_verdict("keep", 0)
    assert policy.state == "stable"


def test_labels_that_come_anyway_are_waited_for() -> None:
    policy = asking_policy(labels_per_class=2)
    for sample_id in range(1000, 1010):
        policy.on_label(sample_id, 0)  # none of them was asked for
    assert policy.requests.is_full
    assert policy.judge(Case(60, 0.7, 0.7, 0.72)) == "wait"
    for sample_id in range(2000, 2120):
        policy.on_label(sample_id, 0)
    assert policy.judge(Case(128, 0.7, 0.7, 0.72, stated=0.9)) == "adapt"


def test_a_shift_of_samples_that_are_not_strange_raises_the_alarm_and_tells_its_pace() -> None:
    for ramp, is_gradual in ((20, False), (400, True)):
        policy, drifts = stable_policy(), []
        rng = np.random.default_rng(ramp)
        for sample_id in range(1000):
            moved = min(max(sample_id - 100, 0) / ramp, 1.0) ** 2 * 0.1
            shift = float(rng.normal(moved, 0.01))
            p_value = float(rng.uniform(0.05, 1))
            events, _ = policy.observe(sample_id, answer(p_value), 0, shift=shift)
            drifts = [event for event in events if event.kind == "drift"]
            if drifts:
                break
        assert policy.state == "asking"
        assert policy.is_gradual == is_gradual
        assert "differ from slot 0 together" in drifts[0].message
        assert drifts[0].evidence["pace"] == ("gradual" if is_gradual else "sudden")
        assert sample_id < (140 if ramp == 20 else 500)


def test_labels_of_new_classes_are_learned_in_place() -> None:
    policy = asking_policy()
    assert policy.judge(Case(60, 0.0, 0.8, 1.0, new_share=0.9)) == "adapt"


def test_where_some_classes_come_alone_a_new_slot_must_be_better_beyond_chance() -> None:
    settings = PolicySettings()
    steps = Case(82, 0.756, 0.829, 0.841, stated=0.95, is_partial=True)
    assert judge(steps, settings, is_last=True) == "adapt"
    assert judge(steps._replace(is_partial=False), settings, is_last=True) == "grow"
    assert judge(steps._replace(grown=0.95), settings, is_last=True) == "grow"


def test_telling_samples_are_asked_for_first() -> None:
    requests = LabelRequests(PolicySettings())
    tells = np.random.default_rng(0).random(200)
    told = tells[[requests.is_telling(float(each)) for each in tells]]
    assert 60 < len(told) < 140
    assert told.mean() > 0.65


def test_the_policy_goes_on_from_its_state_and_refuses_another() -> None:
    policy, again = asking_policy(), Policy(PolicySettings())
    again.restore(policy.to_state())
    assert again.to_state() == policy.to_state()
    with pytest.raises(ValueError, match="expected one of"):
        again.restore({**policy.to_state(), "state": "asleep"})
    cut = policy.to_state()
    cut["noticing"]["sums"][0].pop()
    with pytest.raises(ValueError, match="6 sums, not 7"):
        again.restore(cut)


def test_that_a_class_is_missing_needs_no_proof_beyond_chance() -> None:
    policy = asking_policy()
    assert policy.judge(Case(20, 0.55, 0.65, 0.5, new_share=0.3)) == "wait"  # six labels of it
    assert policy.judge(Case(20, 0.55, 0.65, 0.5, new_share=0.45)) == "adapt"
    assert policy.judge(Case(20, 0.55, 0.57, 0.5, new_share=0.45)) == "wait"  # it helps too little


def test_another_drift_while_one_is_being_asked_about_begins_anew() -> None:
    policy = stable_policy()
    for sample_id in range(500):  # a mild one: one in five is strange, the others are low
        policy.observe(sample_id, answer(0.01 if sample_id % 5 == 0 else 0.3), 0)
        if policy.state == "asking":
            break
    assert policy.state == "asking"
    policy.on_label(sample_id, 0)
    for later in range(1000, 1100):
        policy.observe(later, answer(0.01 if later % 5 == 0 else 0.3), 0)
    assert policy.requests.n_labels == 1
    for later in range(2000, 2060):
        events, _ = policy.observe(later, answer(0.002), 0)
        if any(event.kind == "drift" for event in events):
            break
    assert policy.state == "asking"
    assert policy.requests.n_labels == 0  # those of the first one are no evidence of the second
    assert later < 2040


def test_a_drift_that_shows_by_and_by_is_one_drift() -> None:
    policy = asking_policy(drift_run_length=50.0)  # an early alarm, before the window is full
    for sample_id in range(1000, 1300):
        events, _ = policy.observe(sample_id, answer(0.002), 0)
        assert not any(event.kind == "drift" for event in events)

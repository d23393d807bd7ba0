"""The state machine: its table, what each state requests, and what a drift may cost."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import Settings
from edge_runtime.policy.policy import PATIENCE, SWITCH, TABLE, WINDOW, Cause, Policy, State
from edge_runtime.records import Answer, Cell

NO_CHANCES = np.zeros(0)


def answer(best=0, p_value=0.5, slot=0, n_classes=4):
    probabilities = np.full(n_classes, 0.1)
    probabilities[best] = 1 - 0.1 * (n_classes - 1)
    return Answer(probabilities, best, slot, 1.0, p_value, 100, float(probabilities[best]))


def policy(state="stable", **settings):
    made = Policy(Settings(**settings))
    made.slot = 0
    if state != "learning":
        made.on_fitted(1000, NO_CHANCES)
    if state in ("stable", "asking"):
        made.go("filled")
    if state == "asking":
        made.go("drift")
    assert made.state == state
    return made


def observed(made, n, first=0, **values):
    """Events of n samples, and which of them are wanted."""
    events, wanted = [], []
    for i in range(first, first + n):
        found, is_wanted = made.observe(i, answer(**values), float(i))
        events += found
        wanted += [i] * is_wanted
    return events, wanted


def kinds(events):
    return [event.kind for event in events]


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("cause", get_args(Cause))
def test_the_table_alone_says_what_steps_there_are(state, cause):
    made = policy(state)
    if (state, cause) in TABLE:
        made.go(cause)
        assert made.state == TABLE[state, cause]
    else:
        with pytest.raises(ValueError, match=f"no step from '{state}' by '{cause}'"):
            made.go(cause)
        assert made.state == state


def test_every_state_can_be_reached_and_left():
    reached = {"learning"}
    for _ in TABLE:
        reached |= {to for (state, _), to in TABLE.items() if state in reached}
    assert reached == {state for state, _ in TABLE} == set(get_args(State))


def test_every_label_is_requested_until_the_rate_can_be_promised():
    made = policy("learning")
    assert observed(made, 30)[1] == list(range(30))
    made.on_fitted(18, NO_CHANCES)
    assert made.state == "learning"
    made.on_fitted(19, NO_CHANCES)
    assert made.state == "filling"


def test_a_model_that_is_gone_asks_for_every_label_again():
    made = policy()
    assert observed(made, 5, slot=None)[1] == list(range(5))


def test_a_stable_state_asks_for_nothing():
    made = policy()
    assert observed(made, 200) == ([], [])


def test_a_single_strange_sample_is_named_and_nothing_else_happens():
    made = policy()
    (event,), wanted = observed(made, 1, p_value=0.001)
    assert (event.kind, event.slot, event.evidence["p_value"]) == ("ood", 0, 0.001)
    assert wanted == []
    assert made.state == "stable"


def test_filling_ends_when_a_class_has_all_that_it_may_cost():
    made = policy("filling", labels_per_class=3)
    for i in range(3):
        assert made.state == "filling"
        made.on_label(i, 1, True)
        observed(made, 1, first=i)
    assert made.state == "stable"


def test_filling_ends_when_patience_does():
    made = policy("filling")
    observed(made, PATIENCE)
    assert made.state == "stable"


def test_samples_of_another_slot_are_not_wanted_while_one_fills():
    made = policy("filling")
    assert observed(made, SWITCH - 2, slot=1)[1] == []
    assert observed(made, 1, first=50)[1] == [50]


def test_the_stream_is_followed_to_another_slot():
    made = policy()
    events, _ = observed(made, SWITCH, slot=2)
    (event,) = events
    assert (event.kind, event.slot, event.evidence["previous"]) == ("returned", 2, 0)
    assert made.slot == 2


@pytest.mark.parametrize(("slot", "rings"), [(0, True), (1, False)])
def test_samples_that_another_slot_claims_are_not_off_together(slot, rings):
    made, rng = policy(), np.random.default_rng(0)
    made.drift.start_anew(np.sort(rng.normal(size=256)))
    off = rng.choice([-1.0, 1.0], 1024).astype(np.float32)
    events = []
    for i in range(7 * 40):
        where = slot if i % 7 else 0  # too few in a row for the stream to be there
        cell = Cell((0, where), 0.5, 64, off, 1024.0, 100) if where == slot else None
        events += made.observe(i, replace(answer(slot=where), cell=cell), float(i))[0]
    assert ("drift" in kinds(events)) is rings


def test_a_drift_that_nobody_answers_ends_when_samples_are_calm_again():
    made = policy("asking")
    events, _ = observed(made, 3 * WINDOW)
    assert "returned" in kinds(events)
    assert made.state == "stable"


def test_a_drift_that_goes_on_without_an_answer_is_told_again_when_patience_ends():
    made = policy("asking")
    assert set(kinds(observed(made, PATIENCE - 1, p_value=0.001)[0])) <= {"ood", "label_request"}
    events, _ = observed(made, 2 * WINDOW, first=PATIENCE, p_value=0.001)
    assert "drift" in kinds(events)
    assert "returned" not in kinds(events)
    assert made.state == "asking"


@given(
    st.integers(2, 10),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=120),
)
def test_a_drift_never_costs_more_labels_of_a_class_than_promised(limit, samples):
    made, cost = policy("asking", labels_per_class=limit), Counter()
    for i, (seems, truth, is_ood) in enumerate(samples):
        _, wanted = made.observe(i, answer(seems, 0.01 if is_ood else 0.5), float(i))
        if made.state != "asking":
            return
        if wanted:
            cost[truth] += 1
            made.on_label(i, truth, seems == truth)
    assert max(cost.values(), default=0) <= limit


def test_a_trial_is_due_after_some_labels_and_again_after_more():
    made, due = policy("asking", labels_per_class=100), []
    for i in range(60):
        made.on_label(i, i % 4, True)
        if made.is_trial_due:
            due.append(i)
            made.on_trial()
    assert len(due) >= 3
    assert due[0] >= 10
    assert min(np.diff(due)) >= 5


def test_the_last_trial_is_held_when_no_more_labels_are_to_be_had():
    made = policy("asking", labels_per_class=2)
    made.on_label(0, 1, True)
    assert not made.is_last_trial
    made.on_label(1, 1, False)
    assert made.is_last_trial
    assert made.is_trial_due
    assert made.is_answered_right == [True, False]


def test_labels_that_grew_a_slot_count_in_what_it_may_still_cost():
    made = policy("asking", labels_per_class=10)
    for i in range(8):
        made.on_label(i, i % 2, True)
    made.on_verdict("grown", 1)
    assert (made.state, made.slot) == ("filling", 1)
    assert made.requests.labelled == {0: 4, 1: 4}


@pytest.mark.parametrize("cause", ["refuted", "rejected"])
def test_a_verdict_that_changes_nothing_starts_the_count_anew(cause):
    made = policy("asking")
    made.on_label(0, 0, True)
    made.on_verdict(cause, 0)
    assert made.state == "stable"
    assert made.requests.n_labels == 0


def test_a_refuted_drift_makes_scenes_longer():
    made = policy("asking")
    before = made.drift.scene_length
    made.on_verdict("refuted", 0)
    assert made.drift.scene_length >= 2 * before


def test_the_budget_of_an_hour_holds_in_every_state():
    made = policy("learning", labels_per_hour=3)
    assert len(observed(made, 100)[1]) == 3


def test_the_policy_goes_on_from_its_state_and_asks_about_no_drift_of_before():
    made = policy("asking")
    saved = json.loads(json.dumps(made.to_state()))
    again = Policy(Settings())
    again.restore(saved)
    assert (again.state, again.slot) == ("stable", 0)
    assert again.drift.scene_length == made.drift.scene_length
    for state in ("learning", "filling"):
        again.restore(json.loads(json.dumps(policy(state).to_state())))
        assert again.state == state


@pytest.mark.parametrize(
    "damage",
    [{"state": "gone"}, {"state": None}, {"slot": "x"}, {"drift": None}, {"drift": {}}],
)
def test_a_damaged_state_is_refused(damage):
    saved = {**policy().to_state(), **damage}
    with pytest.raises((ValueError, KeyError, TypeError)):
        Policy(Settings()).restore(saved)

"""Which labels are requested: no more of a class, in an hour, or of a scene than was promised."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.policy.requests import HOUR_S, PATIENCE, LabelRequests

# What a sample seems to be, its true class, whether it is out of distribution, when it is answered.
SAMPLE = st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans(), st.integers(0, 8))


@given(st.lists(SAMPLE, max_size=150), st.integers(2, 12))
def test_no_class_costs_more_than_promised_whatever_answers_come(samples, limit):
    requests, cost = LabelRequests(limit, 0), Counter()
    due = []
    for i, (seems, truth, is_ood, delay) in enumerate(samples):
        if requests.would_help(seems, is_ood):
            requests.request(i, seems, float(i))
            cost[truth] += 1
            due.append((i + delay, i, truth))
        for when, at, label in [each for each in due if each[0] <= i]:
            due.remove((when, at, label))
            requests.answered(at, label)
    assert max(cost.values(), default=0) <= limit


@given(st.lists(st.floats(0, 2000), max_size=80), st.integers(1, 6))
def test_in_no_hour_are_there_more_requests_than_allowed(gaps, limit):
    requests, now, spent = LabelRequests(1000, limit), 0.0, []
    for i, gap in enumerate(gaps):
        now += gap
        if requests.has_budget(now):
            requests.request(i, 0, now)
            spent.append(now)
    for each in spent:
        assert sum(each - HOUR_S < other <= each for other in spent) <= limit


def test_another_drift_does_not_renew_the_budget_of_the_hour():
    requests = LabelRequests(1000, 1)
    requests.request(0, 0, 0.0)
    requests.start_anew()
    assert not requests.has_budget(10.0)
    assert requests.has_budget(HOUR_S)


def test_rare_classes_come_first():
    requests = LabelRequests(20, 0)
    for i in range(6):
        requests.answered(i, 0)
    requests.answered(6, 1)
    assert not requests.would_help(0, False)
    assert requests.would_help(1, False)
    assert requests.would_help(2, False)


def test_where_all_seem_to_be_of_one_class_any_is_requested_in_the_end():
    requests = LabelRequests(20, 0)
    for i in range(6):
        requests.answered(i, 0)
    requests.answered(6, 1)
    waited = next(i for i in range(1000) if requests.would_help(0, False))
    assert waited == PATIENCE - 1


def test_of_one_scene_one_label_is_requested():
    requests = LabelRequests(20, 0)
    requests.request(0, 0, 0.0, group=7)
    assert not requests.would_help(1, True, group=7)
    assert requests.would_help(1, True, group=8)
    assert requests.would_help(1, True)


def test_labels_that_come_unasked_count_as_well():
    requests = LabelRequests(3, 0)
    for i in range(3):
        requests.answered(i, 0)
    assert requests.is_full
    assert requests.n_labels == 3
    assert not requests.would_help(1, True)


def test_a_sample_that_left_the_buffer_makes_room_for_another():
    requests = LabelRequests(2, 0)
    requests.request(0, 0, 0.0)
    requests.request(1, 1, 0.0)
    assert not requests.would_help(2, True)
    requests.forget(0)
    assert requests.would_help(2, True)


def test_a_removed_class_leaves_requests_and_counts():
    requests = LabelRequests(10, 0)
    requests.request(0, 1, 0.0)
    requests.request(1, 2, 0.0)
    for k in (0, 1, 1, 2):
        requests.answered(10 + k, k)
    requests.remove_class(1)
    assert requests.open == {1: 1}
    assert requests.labelled == {0: 1, 1: 1}

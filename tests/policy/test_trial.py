"""The verdict on a trial, from numbers alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.policy.policy import TABLE
from edge_runtime.policy.trial import judge
from edge_runtime.records import Trial


def trial(**values):
    usual = {
        "n_labels": 30, "existing": 0.5, "one_model": 0.5, "new_slot": 0.5,
        "n_shared": 30, "nearer": 0.5, "stated": 0.95,
    }  # fmt: skip
    return Trial(**{**usual, **values})


SHARE = st.floats(0, 1)
TRIALS = st.builds(
    trial, n_labels=st.integers(0, 200), existing=SHARE, one_model=SHARE, new_slot=SHARE,
    n_shared=st.integers(0, 200), nearer=SHARE, stated=st.one_of(SHARE, st.just(math.nan)),
)  # fmt: skip


@pytest.mark.parametrize("is_last", [False, True])
def test_a_domain_of_its_own_gets_a_slot(is_last):
    case = trial(existing=0.3, one_model=0.6, new_slot=0.9, nearer=0.99)
    assert judge(case, is_last=is_last) == "grown"


@pytest.mark.parametrize("nearer", [0.76, 0.8])
def test_a_domain_that_is_hardly_apart_gets_one_in_the_end_only(nearer):
    case = trial(n_shared=12, n_labels=12, existing=0.3, one_model=0.6, nearer=nearer)
    assert judge(case, is_last=False) == "wait"
    assert judge(case, is_last=True) == "grown"


def test_labels_of_new_classes_alone_are_no_new_domain():
    case = trial(existing=0.0, one_model=0.9, new_slot=0.95, n_shared=0, nearer=0.0)
    assert judge(case, is_last=False) == judge(case, is_last=True) == "adapted"


def test_a_few_shared_labels_prove_nothing():
    assert judge(trial(n_shared=2, nearer=1.0, existing=0.2), is_last=False) == "wait"


def test_labels_that_were_answered_as_rightly_as_ever_refute_the_drift():
    case = trial(existing=0.94, one_model=0.97)
    assert judge(case, is_last=True) == "refuted"
    assert judge(case, is_last=False) == "wait"


def test_without_a_stated_accuracy_only_right_answers_refute():
    assert judge(trial(existing=1.0, stated=math.nan), is_last=True) == "refuted"
    assert judge(trial(existing=0.7, one_model=0.8, stated=math.nan), is_last=True) == "adapted"


def test_where_one_model_has_learned_the_slot_adapts():
    assert judge(trial(existing=0.3, one_model=0.8), is_last=True) == "adapted"


def test_where_nothing_helps_the_trial_is_rejected():
    assert judge(trial(existing=0.5, one_model=0.45, new_slot=0.4), is_last=True) == "rejected"


@given(TRIALS)
def test_the_last_trial_always_decides_and_the_table_knows_the_step(case):
    verdict = judge(case, is_last=True)
    assert verdict != "wait"
    assert ("asking", verdict) in TABLE


@given(TRIALS)
def test_an_early_verdict_is_never_the_contrary_of_the_last(case):
    early = judge(case, is_last=False)
    assert early in ("wait", "grown", "adapted")
    if early == "grown":
        assert judge(case, is_last=True) == "grown"

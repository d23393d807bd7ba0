"""Runtimes that have learned something, for tests: made once, and copied."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np

from edge_runtime import EdgeRuntime
from tests.domains import domain

SMALL = {"n_dims": 1024, "adaptor": None}


@cache
def _learned(n, seed, options):
    runtime = EdgeRuntime(**{**SMALL, **dict(options)})
    X, y = domain(0, n, seed)
    runtime.learn_many(X, y.tolist())
    return runtime


def taught(n=200, seed=0, **options):
    """A runtime that has learned so many samples of domain 0."""
    return copy.deepcopy(_learned(n, seed, tuple(sorted(options.items()))))


def live(runtime, number, n, seed, classes=(0, 1, 2, 3), now=None):
    """Stream a domain and answer every request; returns answers right or wrong, and events."""
    right, events = [], []
    for i, (x, truth) in enumerate(zip(*domain(number, n, seed, classes), strict=True)):
        prediction = runtime.step(x, None if now is None else now(i))
        right.append(prediction.label == truth)
        events += prediction.events
        if prediction.wants_label:
            events += runtime.learn(prediction.sample_id, int(truth))
    return right, events


def learn_all(runtime, X, labels):
    """Learn every label one by one; returns the ids of the samples, and the events."""
    ids, events = [], []
    for x, label in zip(X, labels, strict=True):
        prediction = runtime.step(x)
        ids.append(prediction.sample_id)
        events += [*prediction.events, *runtime.learn(prediction.sample_id, label)]
    return ids, events


def accuracy(runtime, number, seed=99, classes=(0, 1, 2, 3)):
    X, y = domain(number, 200, seed, classes)
    return float(np.mean([p.label == k for p, k in zip(runtime.peek_many(X), y, strict=True)]))


def kinds(events):
    return [event.kind for event in events]


@cache
def _of_two_domains():
    runtime = taught(300)
    live(runtime, 1, 250, 3)
    assert len(runtime.slots) == 2
    return runtime


def of_two_domains():
    """A runtime that has grown a slot for domain 1."""
    return copy.deepcopy(_of_two_domains())


def assert_same_answers(one, other, X=None, atol=0.0):
    """Both say the same of samples, bit for bit unless a tolerance is given."""
    X = np.concatenate([domain(0, 20, 55)[0], domain(1, 10, 56)[0]]) if X is None else X
    assert one.classes == other.classes
    for mine, theirs in zip(one.peek_many(X), other.peek_many(X), strict=True):
        np.testing.assert_allclose(mine.probabilities, theirs.probabilities, rtol=0, atol=atol)
        assert abs(mine.p_value - theirs.p_value) <= 20 * atol
        assert mine.slot == theirs.slot
        if atol == 0:
            assert mine.label == theirs.label
            assert mine.ood_score == theirs.ood_score

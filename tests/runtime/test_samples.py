"""Samples: those of the types that users have are taken, bad ones are refused without a trace."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime
from edge_runtime.errors import SampleError
from edge_runtime.records import Event, Prediction
from tests.domains import domain
from tests.runtime.teaching import SMALL, accuracy, taught


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
        ({}, "expected names and values"),
        (None, "expected a vector"),
        (np.zeros(24, complex), "expected a vector"),
    ],
)
def test_a_bad_sample_is_refused_and_leaves_no_trace(bad, message):
    runtime = taught()
    before = repr(runtime.status())
    for method in (runtime.step, runtime.peek):
        with pytest.raises(SampleError, match=message):
            method(bad)
    with pytest.raises(SampleError):
        runtime.learn_many([domain(0, 1, 0)[0][0], bad], [0, 1])
    assert repr(runtime.status()) == before


def test_a_bad_sample_in_a_batch_refuses_them_all():
    runtime = taught()
    before = repr(runtime.status())
    with pytest.raises(SampleError):
        runtime.step_many([*domain(0, 3, 1)[0], np.full(24, np.nan)])
    assert repr(runtime.status()) == before


def test_a_bad_first_sample_does_not_decide_what_samples_are_like():
    runtime = EdgeRuntime(**SMALL)
    with pytest.raises(SampleError):
        runtime.step(np.full(7, np.nan))
    assert runtime.step(np.zeros(3)).sample_id == 0


def test_empty_batches_are_refused_or_empty():
    with pytest.raises(SampleError, match="empty"):
        taught().step_many([])
    assert taught().peek_many([]) == []


def test_a_bad_sample_in_a_stream_is_counted_and_skipped():
    runtime = taught()
    X, _ = domain(0, 3, 13)
    answers = list(runtime.run([X[0], np.full(24, np.nan), "x", X[1]]))
    assert [type(each) for each in answers] == [Prediction, Event, Event, Prediction]
    assert [each.kind for each in answers[1:3]] == ["sample_rejected"] * 2
    assert runtime.status()["counters"]["rejected"] == 2


def test_a_sample_is_not_aliased():
    runtime = taught()
    x = domain(0, 1, 12)[0][0].astype(np.float64)
    prediction = runtime.step(x)
    x[:] = 1e30
    runtime.learn(prediction.sample_id, 0)
    assert runtime.explain(domain(0, 1, 12)[0][0], 1)[0][0] == prediction.sample_id


def test_taps_come_as_a_mapping_and_keep_their_order():
    runtime = EdgeRuntime(**SMALL)
    X, y = domain(0, 100, 33)
    runtime.learn_many([{"low": x[:8], "embedding": x[8:]} for x in X], y.tolist())
    assert dict(runtime.taps) == {"low": 8, "embedding": 16}
    with pytest.raises(SampleError, match="in this order"):
        runtime.step({"embedding": X[0][8:], "low": X[0][:8]})


def test_measures_by_name_are_a_sample():
    runtime = EdgeRuntime(**SMALL)
    assert runtime.step({"pressure": 101_325.0, "humidity": 40}).sample_id == 0
    assert dict(runtime.taps) == {"pressure": 1, "humidity": 1}


def test_lists_and_all_types_of_numbers_are_taken():
    runtime = taught()
    x = np.round(domain(0, 1, 0)[0][0] * 3)
    expected = runtime.peek(x.astype(np.float64))
    for same in (x.astype(np.float16), x.astype(np.int64), x.tolist(), x.astype(int).tolist()):
        np.testing.assert_array_equal(runtime.peek(same).probabilities, expected.probabilities)


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0.0), (1.0, 1e9)])
def test_units_and_offsets_make_no_difference(scale, offset):
    X, y = domain(0, 60, 3)
    fresh, truth = domain(0, 200, 4)
    runtime = EdgeRuntime(**SMALL)
    for x, k in zip(X.astype(float) * scale + offset, y.tolist(), strict=True):
        runtime.learn(runtime.step(x).sample_id, k)
    found = runtime.peek_many(fresh.astype(float) * scale + offset)
    assert np.mean([p.label == k for p, k in zip(found, truth, strict=True)]) > 0.95


def test_constant_channels_are_no_trouble():
    X, y = domain(0, 200, 3)
    X[:, 5], X[:, 6] = 0.0, 1e7
    runtime = EdgeRuntime(**SMALL)
    runtime.learn_many(X, y.tolist())
    fresh, truth = domain(0, 100, 4)
    fresh[:, 5], fresh[:, 6] = 0.0, 1e7
    found = runtime.peek_many(fresh)
    assert np.mean([p.label == k for p, k in zip(found, truth, strict=True)]) > 0.95
    before = np.mean([p.is_ood for p in found])
    fresh[:, 5] = 3.0  # it begins to move
    moved = runtime.peek_many(fresh)
    assert all(np.isfinite(p.ood_score) for p in moved)
    assert before < 0.2
    assert np.mean([p.is_ood for p in moved]) > 0.9


@pytest.mark.parametrize(
    "options",
    [{"pending_samples": 0}, {"n_dims": 0}, {"n_dims": 100}, {"adaptor": 0}, {"random_state": -1}],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        EdgeRuntime(**{**SMALL, **options})


def test_hypervectors_may_be_short():
    runtime = EdgeRuntime(n_dims=64, adaptor=None)
    X, y = domain(0, 100, 0)
    runtime.learn_many(X, y.tolist())
    assert accuracy(runtime, 0) > 0.9

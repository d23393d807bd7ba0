"""Several threads, fits beside the answers, and copies."""

from __future__ import annotations

import copy
import pickle
import sys
import threading

import numpy as np
import pytest

from edge_runtime import EdgeRuntime
from edge_runtime.inputs.encoders import IdentityEncoder
from edge_runtime.model import upkeep
from tests.domains import domain
from tests.runtime.teaching import SMALL, accuracy, assert_same_answers, learn_all, live, taught


@pytest.fixture
def _busy_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_busy_switching")
def test_cameras_that_share_a_runtime_get_ids_of_their_own_and_labels_reach_their_samples():
    runtime, found, errors = taught(100, pending_samples=2000), {}, []

    def camera(number):
        for x, k in zip(*domain(0, 100, number), strict=True):
            try:
                sample_id = runtime.step(x).sample_id
                found.setdefault(sample_id, []).append(x)
                if sample_id % 10 == 0:
                    runtime.learn(sample_id, int(k))
                runtime.status()
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=camera, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(found) == list(range(100, 400))
    assert all(len(each) == 1 for each in found.values())
    for sample_id in range(100, 400, 10):
        assert runtime.explain(found[sample_id][0], 1)[0][0] == sample_id


def in_background(n=100):
    runtime = EdgeRuntime(background=True, **SMALL)
    X, y = domain(0, n, 0)
    runtime.learn_many(X, y.tolist())
    return runtime


@pytest.fixture
def slow_fits(monkeypatch):
    """Fits in threads wait until they are told to go on."""
    may_go, has_begun, fit = threading.Event(), threading.Event(), upkeep.fit

    def slow(*args):
        if threading.current_thread() is not threading.main_thread():
            has_begun.set()
            assert may_go.wait(60)
        return fit(*args)

    monkeypatch.setattr(upkeep, "fit", slow)
    yield may_go, has_begun
    may_go.set()


def test_answers_come_while_a_fit_is_running_and_it_is_swapped_in_when_done(slow_fits):
    may_go, has_begun = slow_fits
    runtime = in_background()
    X, y = domain(0, 60, 1)
    learn_all(runtime, X, y.tolist())
    assert has_begun.wait(60)
    for x in domain(0, 20, 2)[0]:
        assert runtime.step(x).label is not None
    may_go.set()
    before = runtime.slots[0].n_held_out
    for i in range(2000):
        runtime.step(domain(0, 1, i)[0][0])
        if runtime.slots[0].n_held_out > before:
            return
        threading.Event().wait(0.005)
    pytest.fail("the fit was never swapped in")


def test_labels_that_come_while_a_fit_is_running_are_not_lost(slow_fits):
    may_go, has_begun = slow_fits
    runtime = in_background()
    X, y = domain(0, 40, 1)
    learn_all(runtime, X, y.tolist())
    assert has_begun.wait(60)
    learn_all(runtime, domain(0, 30, 2, (3,))[0] + 30, [99] * 30)
    may_go.set()
    runtime.step(X[0])
    found = runtime.peek_many(domain(0, 50, 3, (3,))[0] + 30)
    assert np.mean([p.label == 99 for p in found]) > 0.9
    assert runtime.status()["exemplars"] == 170


def test_a_fit_can_be_waited_for():
    runtime = in_background()
    X, y = domain(0, 60, 1)
    learn_all(runtime, X, y.tolist())
    runtime.finish_fit()
    assert runtime.slots[0].n_held_out > 100
    assert EdgeRuntime(**SMALL).finish_fit() == []


def test_edits_while_a_fit_is_running_hold(slow_fits):
    may_go, has_begun = slow_fits
    runtime = in_background()
    X, y = domain(0, 40, 1)
    ids, _ = learn_all(runtime, X, y.tolist())
    assert has_begun.wait(60)
    runtime.forget(ids[-1])
    may_go.set()
    runtime.forget_class(2)
    assert runtime.classes == [k for k in taught(100).classes if k != 2]
    assert accuracy(runtime, 0, classes=(0, 1, 3)) > 0.95
    assert all(p.probabilities.shape == (3,) for p in runtime.peek_many(X))


def test_what_was_learned_beside_the_answers_is_the_same_in_the_end(tmp_path):
    beside, at_once = in_background(), taught(100)
    X, y = domain(0, 80, 1)
    for runtime in (beside, at_once):
        learn_all(runtime, X, y.tolist())
        runtime.save(tmp_path)
        sample_id = runtime.step(X[0] + 1).sample_id
        runtime.learn(sample_id, 0)
        runtime.forget(sample_id)  # a fit of all labels
        runtime.finish_fit()
        runtime.save(tmp_path)
    assert_same_answers(beside, at_once)


def test_a_whole_story_beside_the_answers():
    runtime = in_background(300)
    live(runtime, 0, 60, 2)
    for seed in range(3, 9):  # with time for fits, as streams of sensors leave it
        live(runtime, 1, 50, seed)
        runtime.finish_fit()
    assert accuracy(runtime, 1) > 0.9
    assert accuracy(runtime, 0) > 0.9


def test_all_labels_may_be_forgotten_beside_the_answers():
    runtime = in_background(10)
    for sample_id in range(10):
        runtime.forget(sample_id)
    assert runtime.step(domain(0, 1, 1)[0][0]).label is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_a_copy_answers_alike_and_goes_its_own_way(copied):
    runtime = taught(100)
    waiting = runtime.step(domain(0, 1, 1)[0][0]).sample_id
    twin = copied(runtime)
    assert_same_answers(runtime, twin)
    twin.learn(waiting, 0)
    assert twin.status()["exemplars"] == 101
    assert runtime.status()["exemplars"] == 100
    stories = [live(each, 1, 80, 3)[0] for each in (copied(runtime), runtime)]
    assert stories[0] == stories[1]


def test_a_copy_may_be_made_while_a_fit_is_running():
    runtime = in_background()
    X, y = domain(0, 40, 1)
    learn_all(runtime, X, y.tolist())
    twin = copy.deepcopy(runtime)
    assert pickle.loads(pickle.dumps(runtime)).status()["exemplars"] == 140
    learn_all(twin, X + 1, y.tolist())
    assert accuracy(twin, 0) > 0.9


def test_with_an_encoder_there_is_no_copy_but_a_way_to_have_two():
    runtime = EdgeRuntime(IdentityEncoder(24), **SMALL)
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"save\(directory\), and load\(directory, encoder\)"):
            copied(runtime)

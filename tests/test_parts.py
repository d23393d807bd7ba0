"""Small parts of the loop: labelled sets, pending samples, calibration, cross-fitting, routing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bank import SlotBank
from edge_runtime.calibration import SlotCalibration
from edge_runtime.classes import indices_of
from edge_runtime.crossfit import folds_of
from edge_runtime.errors import LabelError
from edge_runtime.guard import Guard
from edge_runtime.labelled import LabelledSet
from edge_runtime.mixing import MIXES
from edge_runtime.pending import PendingSample, PendingSamples
from edge_runtime.policy import PolicySettings
from edge_runtime.reference import References
from edge_runtime.router import StreamPrior, weigh
from edge_runtime.slots import SlotSettings
from tests.domains import domain


def test_a_labelled_set_keeps_what_it_was_given_and_no_more() -> None:
    kept = LabelledSet(3, capacity=5)
    for i in range(5):
        kept.add(np.full(3, i, np.float32), i)
    assert kept.is_full
    assert kept.y.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(kept.X[:, 0], np.arange(5))
    with pytest.raises(ValueError, match="places"):
        kept.add(np.zeros(3, np.float32), 0)
    assert len(kept) == 5


def test_values_beyond_half_precision_are_clipped_not_made_infinite() -> None:
    kept = LabelledSet(1, capacity=1)
    kept.add(np.array([1e30], np.float32), 0)
    assert np.isfinite(kept.X).all()


def test_a_labelled_set_survives_its_state() -> None:
    kept = LabelledSet(2, capacity=4)
    kept.add(np.array([1, 2], np.float32), 3)
    again = LabelledSet.from_state(kept.to_state(), 2, 4)
    np.testing.assert_array_equal(again.X, kept.X)
    again.add(np.array([3, 4], np.float32), 1)
    assert again.y.tolist() == [3, 1]
    with pytest.raises(ValueError, match="shapes"):
        LabelledSet.from_state(kept.to_state(), 3, 4)


@given(st.integers(1, 20), st.integers(0, 60))
def test_pending_samples_are_bounded_and_the_oldest_goes_first(capacity: int, n: int) -> None:
    pending = PendingSamples(capacity)
    for i in range(n):
        forgotten = pending.add(PendingSample(np.zeros(2, np.float32), None, 0))
        assert forgotten == (i - capacity if i >= capacity else None)
    assert len(pending) == min(n, capacity)
    with pytest.raises(LabelError):
        pending.get(n)
    with pytest.raises(LabelError):
        pending.get(-1)


def losses(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every mix for n samples of two classes; the eighth mix is the best."""
    return np.where(np.arange(len(MIXES)) == 7, 0.1, np.ones((n, 1))), np.arange(n) % 2


def test_a_calibration_ranks_among_known_samples() -> None:
    rng = np.random.default_rng(0)
    calibration = SlotCalibration(capacity=200)
    calibration.fit(rng.normal(size=1000), rng.normal(size=1000), *losses(1000))
    assert len(calibration) == 200
    fresh = calibration.nonconformity(rng.normal(size=4000), rng.normal(size=4000))
    assert np.mean(calibration.p_values(fresh) <= 0.1) == pytest.approx(0.1, abs=0.05)
    assert calibration.p_values(np.array([1e9]))[0] == pytest.approx(1 / 201)
    assert calibration.p_values(np.array([-1e9]))[0] == 1.0


def test_a_calibration_survives_its_state_and_refuses_another_shape() -> None:
    calibration = SlotCalibration(capacity=50)
    calibration.fit(np.linspace(0, 1, 40), np.linspace(1, 2, 40), *losses(40))
    again = SlotCalibration.from_state(calibration.to_state(), 50)
    values = np.linspace(-3, 3, 9)
    np.testing.assert_array_equal(again.p_values(values), calibration.p_values(values))
    assert again.mixing.best == calibration.mixing.best == MIXES[7]
    broken = {**calibration.to_state(), "frame": np.full(5, np.nan)}
    with pytest.raises(ValueError, match="finite"):
        SlotCalibration.from_state(broken, 50)


def test_without_known_samples_nothing_is_strange() -> None:
    assert SlotCalibration(10).p_values(np.array([5.0, 1e9])).tolist() == [1.0, 1.0]


@given(st.lists(st.integers(0, 4), min_size=5, max_size=80), st.integers(2, 5))
def test_folds_spread_every_class_evenly(labels: list[int], n_folds: int) -> None:
    y = np.array(labels)
    fold = folds_of(y, n_folds, np.random.default_rng(0))
    for k in np.unique(y):
        counts = np.bincount(fold[y == k].astype(np.intp), minlength=n_folds)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("labels", [[0, "a"], [1.5], [True], [None], ["a", 1]])
def test_labels_of_the_wrong_kind_are_refused(labels: list[object]) -> None:
    with pytest.raises(LabelError):
        indices_of(labels, [])


def test_there_is_an_end_to_classes() -> None:
    with pytest.raises(LabelError, match="257 of 256"):
        indices_of(range(300), [])


def test_a_bad_label_in_a_batch_leaves_the_classes_as_they_were() -> None:
    classes: list[int | str] = ["a"]
    with pytest.raises(LabelError):
        indices_of(["b", 3], classes)
    assert classes == ["a"]


def empty_bank() -> SlotBank:
    settings, guard = SlotSettings((24,), n_dims=1024), Guard(PolicySettings(), 24, 0)
    return SlotBank(settings, budget_bytes=2**24, max_slots=8, seed=0, guard=guard)


def two_slots() -> SlotBank:
    bank = empty_bank()
    for number in (0, 1):
        bank.add(bank.new_slot().start(*domain(number, 200, 0)))
    return bank


def test_samples_go_to_the_slot_of_their_own_domain() -> None:
    bank = two_slots()
    for number in (0, 1):
        scores = bank.router.scores(domain(number, 200, 1)[0], bank.slots)
        assert np.mean(np.argmax(scores, axis=1) == number) > 0.99


def test_the_router_follows_single_labels_as_if_it_were_built_anew() -> None:
    bank = two_slots()
    X, y = domain(1, 40, 2)
    bank.slots[1].young = None
    bank.router.follow(bank.slots)
    for x, k in zip(X, y, strict=True):
        bank.slots[1].learn(x, int(k))
    followed = bank.router.scores(X, bank.slots)
    again = empty_bank()
    again.slots = bank.slots
    again.router.restore(bank.router.to_state(), again.slots)
    np.testing.assert_array_equal(followed, again.router.scores(X, again.slots))


def test_a_fork_of_the_router_leaves_the_router_as_it_was() -> None:
    bank, (X, _) = two_slots(), domain(0, 30, 3)
    before = bank.router.scores(X, bank.slots)
    twin = [bank.slots[0], bank.new_slot().start(*domain(2, 100, 0))]
    twin[1].number = 1
    assert not np.array_equal(bank.router.fork(twin, 1).scores(X, twin), before)
    np.testing.assert_array_equal(bank.router.scores(X, bank.slots), before)


def test_a_router_cut_short_is_refused() -> None:
    bank = two_slots()
    bank.router.follow(bank.slots)
    state = bank.router.to_state()
    with pytest.raises(ValueError, match="router has shapes"):
        bank.router.restore({**state, "mean": state["mean"][:-1]}, bank.slots)


def test_a_stream_that_stays_lends_its_past_and_one_that_jumps_does_not() -> None:
    prior, doubtful = StreamPrior(), np.array([[0.4, 0.6]])
    for _ in range(200):
        prior.take([0, 1], np.array([0.9, 0.1]), np.array([0.9, 0.1]))
    assert np.argmax(weigh(np.log(doubtful), 1.0, prior.before([0, 1]))) == 0
    for i in range(400):
        one = np.array([1.0, 0.0]) if i % 2 else np.array([0.0, 1.0])
        prior.take([0, 1], one, one)
    assert np.argmax(weigh(np.log(doubtful), 1.0, prior.before([0, 1]))) == 1
    again = StreamPrior()
    again.restore(prior.to_state())
    np.testing.assert_array_equal(again.before([0, 1]), prior.before([0, 1]))


@pytest.mark.parametrize("seed", range(3))
def test_ranks_among_a_slots_own_p_values_are_uniform_whatever_they_are(seed: int) -> None:
    rng, references = np.random.default_rng(seed), References()
    ranked = [references.rank(0, 100, float(p)) for p in rng.beta(4, 1, size=3000)]
    ranks = np.array([each[0] for each in ranked[400:] if each is not None])
    assert abs(np.mean(ranks <= 0.5) - 0.5) < 0.15
    lower = [references.rank(0, 100, float(p)) for p in rng.beta(2, 2, size=100)]
    assert np.mean([each[0] for each in lower if each is not None]) < 0.3


def test_references_start_anew_when_a_slot_has_learned_and_survive_their_state() -> None:
    references = References()
    for i in range(100):
        references.rank(0, 100, i / 100)
    again = References()
    again.restore(references.to_state())
    assert again.rank(0, 100, 0.5) == references.rank(0, 100, 0.5)
    assert references.rank(0, 120, 0.5) is None

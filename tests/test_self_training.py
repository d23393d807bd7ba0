"""A slot with few labels teaches itself where its classes lie; nothing else follows from that."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime import EdgeRuntime, PolicySettings
from edge_runtime.self_training import ENOUGH_LABELS, MOST_SAMPLES, SelfTraining
from edge_runtime.slots import Slot
from tests.domains import N_CLASSES, domain

SIZES = {"n_dims": 1024, "rank": 8, "hidden": (16,), "random_state": 0}


def few(number: int = 0, per_class: int = 4) -> tuple[np.ndarray, np.ndarray]:
    X, y = domain(number, 200, 5)
    rows = np.concatenate([np.flatnonzero(y == k)[:per_class] for k in range(N_CLASSES)])
    return X[rows], y[rows]


def small(**settings: object) -> EdgeRuntime:
    runtime = EdgeRuntime(policy=PolicySettings(**settings), **SIZES)
    X, y = few(per_class=10)
    runtime.learn_many(X, y.tolist())
    return runtime


def the_slot(runtime: EdgeRuntime) -> Slot:
    return runtime.slots[0]


def test_unlabelled_samples_bring_means_closer_to_where_the_classes_are() -> None:
    runtime = small()
    X, y = domain(0, 500, 6)
    runtime.step_many(X)
    slot = the_slot(runtime)
    assert slot.taught is not None
    told = slot.domain.class_means
    taught = slot.taught.means(told, slot.domain.counts)
    true = np.stack([slot.domain.standardise(X[y == k]).mean(axis=0) for k in range(N_CLASSES)])
    assert np.linalg.norm(taught - true) < 0.8 * np.linalg.norm(told - true)


def test_what_labels_have_taught_stays_as_it_was() -> None:
    runtime = small()
    before = the_slot(runtime).to_state()
    runtime.step_many(domain(0, 300, 7)[0])
    after = the_slot(runtime).to_state()
    same = [name for name in before if not name.startswith(("rest/", "taught/"))]
    for name in same:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert after["taught/counts"].sum() > 100


def test_it_is_bounded_and_can_be_switched_off() -> None:
    runtime = small()
    runtime.step_many(domain(0, 1200, 8)[0])
    slot = the_slot(runtime)
    assert slot.taught is not None
    assert slot.taught.counts.sum() == MOST_SAMPLES
    assert not slot.may_teach_itself
    silent = small(self_training=False)
    silent.step_many(domain(0, 100, 8)[0])
    assert the_slot(silent).taught is None


def test_a_slot_with_enough_labels_does_not() -> None:
    runtime = EdgeRuntime(**SIZES)
    X, y = domain(0, ENOUGH_LABELS, 9)
    runtime.learn_many(X, y.tolist())
    runtime.step_many(domain(0, 100, 10)[0])
    assert the_slot(runtime).taught is None


def test_strangers_are_not_learned_as_anything() -> None:
    runtime = small()
    runtime.step_many(domain(1, 60, 11)[0])
    taught = the_slot(runtime).taught
    assert taught is None or taught.counts.sum() <= 3


def test_many_at_once_are_answered_as_one_by_one() -> None:
    X, _ = domain(0, 80, 12)
    together = small().step_many(X)
    one, single = small(), []
    for x in X:
        single.append(one.step(x))
    for a, b in zip(together, single, strict=True):
        np.testing.assert_array_equal(a.probabilities, b.probabilities)


def test_it_survives_a_restart_and_the_loss_of_a_class(tmp_path) -> None:
    runtime = small()
    runtime.step_many(domain(0, 200, 13)[0])
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    X, _ = domain(0, 50, 14)
    for a, b in zip(runtime.step_many(X), again.step_many(X), strict=True):
        np.testing.assert_array_equal(a.probabilities, b.probabilities)
    before = the_slot(again).n_bytes
    again.forget_class(again.classes[1])
    slot = the_slot(again)
    assert slot.n_bytes < before
    assert slot.taught is None or len(slot.taught.counts) == N_CLASSES - 1


def test_new_labels_that_make_it_another_model_start_it_anew() -> None:
    runtime = small()
    runtime.step_many(domain(0, 100, 15)[0])
    slot = the_slot(runtime)
    assert slot.taught is not None
    X, y = few(per_class=10)
    slot.fit(X, y)
    assert slot.taught is None


def test_the_limit_follows_how_sure_answers_are() -> None:
    taught, rng = SelfTraining(1), np.random.default_rng(0)
    sure = [taught.is_sure(certainty) for certainty in rng.random(3000)]
    assert 0.85 < np.mean(sure[1000:]) < 0.95


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("inferred", np.zeros((2, 3), np.float32)),
        ("inferred", np.full((1, 2), np.inf, np.float32)),
        ("counts", np.array([-1])),
        ("level", np.zeros(2)),
        ("level", np.array([np.nan])),
    ],
)
def test_a_damaged_state_is_refused(name: str, wrong: npt.NDArray[np.generic]) -> None:
    taught = SelfTraining(2)
    taught.learn(np.ones(2, np.float32), 0)
    with pytest.raises(ValueError, match="self-training"):
        SelfTraining.from_state({**taught.to_state(), name: wrong}, 2)

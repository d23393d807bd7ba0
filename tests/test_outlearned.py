"""An adaptor that learns no more goes where labels say that it does harm, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime, PolicySettings
from edge_runtime.budget import make_room
from edge_runtime.errors import StateError
from edge_runtime.mixing import Mix
from edge_runtime.slots import Slot
from tests.domains import domain
from tests.test_runtime import accuracy, live, taught

OLD, NEW = (0, 1), (2, 3)
# Prototypes that hardly tell two classes apart, and an adaptor that is believed.
TRUSTING = Mix(2.5, 0.0, 1.0)


def frozen(confused: tuple[int, int] | None = None) -> tuple[EdgeRuntime, Slot]:
    """A runtime whose slot has an adaptor that learns no more; it may take two classes for others.

    As one does that was frozen when it had met few of them.
    """
    runtime = EdgeRuntime(n_dims=2048)
    X, y = domain(0, 300, 0)
    runtime.learn_many(X, y.tolist())
    (slot,) = runtime.slots
    known = np.array([runtime.classes.index(k) for k in y.tolist()])
    if confused is not None:
        one, other = (runtime.classes.index(k) for k in confused)
        known = np.where(known == one, other, np.where(known == other, one, known))
    slot.adaptor = slot.fit_adaptor(X, known)
    slot.calibration.mixing.best = slot.calibration.mixing.alone = TRUSTING
    slot.quantise()
    return runtime, slot


def right(runtime: EdgeRuntime, classes: tuple[int, ...]) -> float:
    X, y = domain(0, 200, 99, classes)
    return float(np.mean([p.label == k for p, k in zip(runtime.peek_many(X), y, strict=True)]))


def learn(slot: Slot, runtime: EdgeRuntime, n: int) -> None:
    for x, k in zip(*domain(0, n, 1), strict=True):
        slot.learn(x, runtime.classes.index(int(k)))


def test_it_goes_where_labels_say_that_it_does_harm() -> None:
    runtime, slot = frozen(confused=NEW)
    assert right(runtime, NEW) < 0.1
    learn(slot, runtime, 40)
    assert slot.adaptor is None
    assert right(runtime, NEW) > 0.9
    assert right(runtime, OLD) > 0.9


def test_it_stays_where_it_does_no_harm() -> None:
    runtime, slot = frozen()
    learn(slot, runtime, 300)
    assert slot.adaptor is not None


def test_without_it_the_slot_answers_by_the_mix_that_was_best_without() -> None:
    _, slot = frozen()
    mixing = slot.calibration.mixing
    slot.drop_adaptor()
    assert mixing.best == mixing.alone
    slot.drop_adaptor()  # there is none: nothing happens
    assert slot.adaptor is None


def test_what_speaks_against_it_is_saved(tmp_path) -> None:
    runtime, slot = frozen(confused=NEW)
    learn(slot, runtime, 8)
    assert slot.adaptor is not None
    assert slot.outlearned.sums.any()
    runtime.save(tmp_path)
    (again,) = EdgeRuntime.load(tmp_path).slots
    assert again.outlearned.sums.tolist() == slot.outlearned.sums.tolist()


@pytest.mark.parametrize(
    "sums",
    [
        [-1.0, 0.0, 0.0], [np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0], [1e300, 0.0, 0.0], [1.0],
        [[1.0, 1.0, 1.0]], [1, 1, 1],
    ],
)  # fmt: skip
def test_forged_evidence_is_refused(tmp_path, sums) -> None:
    runtime, slot = frozen()
    state = {**slot.to_state(), "outlearned": np.array(sums)}
    with pytest.raises(ValueError, match="evidence against an adaptor is"):
        Slot.from_state(state, slot.settings, slot.projection, slot.lift, {})
    slot.outlearned.sums = np.array(sums)
    runtime.save(tmp_path)
    if slot.outlearned.sums.any():
        with pytest.raises(StateError, match="does not fit together"):
            EdgeRuntime.load(tmp_path)


def test_what_it_once_won_does_not_protect_it() -> None:
    _, slot = frozen()
    for _ in range(500):
        slot.outlearned.update(is_win=True)
    assert sum(not slot.outlearned.update(is_win=False) for _ in range(30)) < 20


def test_it_is_let_go_of_by_one_way_alone() -> None:
    """So that no mix that was best with it, and no evidence against it, stays behind."""
    runtime, slot = frozen(confused=NEW)
    mixing = slot.calibration.mixing
    mixing.best = Mix(20.0, 0.0, 0.3)
    learn(slot, runtime, 8)
    runtime.forget_class(0)
    assert slot.adaptor is None
    assert mixing.best == mixing.alone
    assert not slot.outlearned.sums.any()


def test_one_label_does_not_choose_how_all_are_answered() -> None:
    runtime = taught()
    (slot,) = runtime.slots
    slot.adaptor = slot.fit_adaptor(slot.young.X, slot.young.y)
    slot.mature()
    slot.drop_adaptor()
    best = slot.calibration.mixing.best
    x, k = domain(0, 1, 5)
    slot.learn(x[0], (int(k[0]) + 1) % 4)  # a wrong one
    assert slot.calibration.mixing.best == best


@pytest.mark.parametrize(("width", "stays"), [(8, True), (128, False)])
def test_an_adaptor_of_the_last_fit_stays_where_there_is_room(monkeypatch, width, stays) -> None:
    runtime = taught(hidden=(width,))
    bank, (slot,) = runtime.bank, runtime.slots
    made = slot.fit_adaptor(slot.young.X, slot.young.y)
    slot.adaptor, slot._n_fitted = None, 0
    monkeypatch.setattr(slot, "fit", lambda X, y: setattr(slot, "adaptor", made))
    bank.guard.drop_copies()
    bank.budget_bytes = bank.n_bytes - 1
    assert stays == (made.n_bytes_ < slot.young.n_bytes)
    make_room(bank)
    assert slot.young is None
    assert bank.has_room()
    assert (slot.adaptor is made) == stays


def test_labels_for_a_trial_are_bounded_as_the_user_sets(tmp_path) -> None:
    policy = PolicySettings(collected_labels=24, held_labels=16)
    small = EdgeRuntime(n_dims=2048, policy=policy)
    X, y = domain(0, 200, 0)
    small.learn_many(X, y.tolist())
    assert small._reserved_bytes < taught()._reserved_bytes
    live(small, 1, 200, 1)
    assert accuracy(small, 1) > 0.9
    for given, said in (
        ({"held_labels": 8, "collected_labels": 19}, "is 19, expected 20"),
        ({"collected_labels": 64}, "is 64, expected 65"),
    ):
        with pytest.raises(ValueError, match=said):
            PolicySettings(**given)  # type: ignore[arg-type]


def test_numbers_of_labels_are_whole_ones() -> None:
    assert type(PolicySettings(canaries=64.0).canaries) is int  # type: ignore[arg-type]
    for bad in (64.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"canaries is {bad}, expected a whole number"):
            PolicySettings(canaries=bad)  # type: ignore[arg-type]

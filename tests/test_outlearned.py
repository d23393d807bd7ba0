"""An adaptor that learns no more goes where labels say that it does harm, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime, PolicySettings
from edge_runtime.budget import make_room
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
    assert slot.outlearned.losses > 0
    runtime.save(tmp_path)
    (again,) = EdgeRuntime.load(tmp_path).slots
    assert (again.outlearned.wins, again.outlearned.losses) == (
        slot.outlearned.wins,
        slot.outlearned.losses,
    )


@pytest.mark.parametrize("counts", [[-1, 0], [0, -3]])
def test_a_forged_count_is_refused(counts) -> None:
    _, slot = frozen()
    state = {**slot.to_state(), "outlearned": np.array(counts)}
    with pytest.raises(ValueError, match="an adaptor that won"):
        Slot.from_state(state, slot.settings, slot.projection, slot.lift, {})


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
    policy = PolicySettings(collected_labels=24)
    small = EdgeRuntime(n_dims=2048, policy=policy)
    X, y = domain(0, 200, 0)
    small.learn_many(X, y.tolist())
    assert small._reserved_bytes < taught()._reserved_bytes
    live(small, 1, 200, 1)
    assert accuracy(small, 1) > 0.9
    with pytest.raises(ValueError, match="collected_labels is 19, expected at least the 20"):
        PolicySettings(collected_labels=19)

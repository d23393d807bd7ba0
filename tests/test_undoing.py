"""What labels made worse is undone by itself; what they made better is not."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime
from edge_runtime.errors import StateError
from edge_runtime.records import Event
from edge_runtime.undoing import _learn_again
from edge_runtime.watch import copy_of
from tests.domains import domain
from tests.test_runtime import accuracy, live, taught


def learn_all(
    runtime: EdgeRuntime, n: int, seed: int, wrong: float = 0.0, number: int = 0
) -> list[Event]:
    """Every label of a stream, a share of them wrong; return the events."""
    X, y = domain(number, n, seed)
    rng = np.random.default_rng(seed)
    is_wrong = rng.random(n) < wrong
    labels = np.where(is_wrong, (y + rng.integers(1, 4, n)) % 4, y)
    events = []
    for x, label in zip(X, labels.tolist(), strict=True):
        prediction = runtime.step(x)
        events += [*prediction.events, *runtime.learn(prediction.sample_id, label)]
    return events


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


@pytest.mark.parametrize(("wrong", "n"), [(0.1, 400), (0.3, 150)])
def test_poisoned_labels_are_undone_and_held_back(wrong: float, n: int) -> None:
    runtime = taught()
    events = learn_all(runtime, n, 1, wrong)
    undone = of_kind(events, "undone")
    assert undone
    assert undone[0].evidence["reason"] == "contradictions"
    assert {"before", "after", "samples", "labels"} <= set(undone[0].evidence)
    assert undone[0].evidence["before"] >= undone[0].evidence["after"]
    # Of the labels since, those that are right are learned again.
    assert undone[0].evidence["kept"] > (1 - 2 * wrong) * undone[0].evidence["labels"]
    assert f"but for {undone[0].evidence['kept']} labels" in undone[0].message
    assert of_kind(events, "doubtful")
    assert accuracy(runtime, 0) > 0.97


def test_labels_of_a_class_that_the_copy_does_not_know_are_learned_again() -> None:
    runtime = taught()
    (slot,), guard = runtime.bank.slots, runtime.bank.guard
    before = copy_of(slot)
    guard.watch(0).wrong_share = 1.0  # any answer is believed rather than a label
    for x in domain(0, 12, 19, classes=(3,))[0]:
        slot.learn(x, 4)
    assert _learn_again(guard, before, slot) == 12
    assert before.domain.counts[4] == 12


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_right_labels_are_never_doubted_nor_undone(seed: int) -> None:
    events = learn_all(taught(seed), 300, seed)
    assert not of_kind(events, "undone")
    assert not of_kind(events, "doubtful")


def test_right_labels_of_a_new_domain_are_neither() -> None:
    runtime = taught()
    _, events = live(runtime, 1, 250, 3)
    events += learn_all(runtime, 100, 4, number=1) + learn_all(runtime, 100, 5)
    assert not of_kind(events, "undone")
    assert accuracy(runtime, 1) > 0.9


def test_a_class_that_is_redefined_is_confirmed_by_its_majority() -> None:
    runtime = taught()
    swapped = {0: 1, 1: 0, 2: 2, 3: 3}
    X, y = domain(0, 400, 6)
    for x, truth in zip(X, y.tolist(), strict=True):
        runtime.learn(runtime.step(x).sample_id, swapped[truth])
    assert sum(slot.n_labels for slot in runtime.slots) > 300  # what was held back came in
    X, y = domain(0, 100, 7)
    answers = [runtime.peek(x).label for x in X[y == 2]]
    assert np.mean(np.array(answers) == 2) > 0.9


def test_a_grown_slot_that_answers_worse_than_the_others_is_taken_out() -> None:
    runtime = taught()
    bank = runtime.bank
    X, y = domain(0, 120, 8)
    thief = bank.new_slot().start(X, np.array([runtime.classes.index(3 - k) for k in y.tolist()]))
    bank.add(thief)
    bank.guard.on_grown(thief.number, X[:0], y[:0])
    events = learn_all(runtime, 150, 9)
    (undone,) = of_kind(events, "undone")
    assert undone.slot == thief.number
    assert undone.evidence["before"] > undone.evidence["after"]
    assert thief.number not in [slot.number for slot in runtime.slots]
    assert accuracy(runtime, 0) > 0.95


def test_a_change_for_the_worse_is_undone_by_later_labels() -> None:
    runtime = taught()
    (slot,) = runtime.slots
    before = slot.domain.class_means.copy()
    runtime.bank.guard.before_change(slot, 10**9)
    slot.young = slot.parent = slot.adaptor = None
    slot.domain.class_means[:] = slot.domain.class_means[::-1].copy()  # whatever did that
    slot.derive_prototypes()
    undone = of_kind(learn_all(runtime, 80, 10), "undone")
    assert undone
    assert undone[0].evidence["reason"] in ("labels", "contradictions")
    np.testing.assert_allclose(runtime.slots[0].domain.class_means, before, atol=1.0)
    assert accuracy(runtime, 0) > 0.95


def test_doubts_and_canaries_survive_a_restart(tmp_path) -> None:
    runtime = taught()
    learn_all(runtime, 80, 11, wrong=0.5)
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    header, arrays = runtime.bank.guard.to_state()
    header_again, arrays_again = again.bank.guard.to_state()
    assert header == header_again
    assert header["0"]["is_closed"]
    assert 0.1 < header["0"]["wrong_share"] < 0.9
    with pytest.raises(ValueError, match="expected a share"):
        again.bank.guard.watch(0).restore({**header["0"], "wrong_share": 7.0}, {}, 24)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, arrays_again[name], err_msg=name)


# -- by hand ---------------------------------------------------------------------------------


def test_undo_to_before_the_last_growth_however_many_saves_ago(tmp_path) -> None:
    runtime = taught()
    runtime.save(tmp_path)
    live(runtime, 1, 250, 3)
    assert len(runtime.slots) == 2
    for _ in range(8):
        runtime.save(tmp_path)
    runtime.undo(to="growth")
    assert len(runtime.slots) == 1
    assert len(EdgeRuntime.load(tmp_path).slots) == 1
    X, _ = domain(1, 3, 13)
    runtime.step_many(list(X))  # without new labels it does not grow once more
    assert len(runtime.slots) == 1
    _, events = live(runtime, 1, 250, 12)  # life goes on, and saves before it grows again
    assert of_kind(events, "grown")
    assert runtime.undo(to="growth") > 0
    assert len(runtime.slots) == 1


def test_undo_to_the_state_as_delivered(tmp_path) -> None:
    runtime = taught()
    runtime.save(tmp_path)
    delivered = accuracy(runtime, 0)
    for seed in range(8):
        learn_all(runtime, 10, seed, wrong=1.0)
        runtime.save(tmp_path)
    assert runtime.undo(to="factory") == 10
    assert accuracy(runtime, 0) == delivered
    assert runtime.status()["slots"][0]["labels"] == 200


def test_an_undo_that_cannot_be_is_refused_and_changes_nothing(tmp_path) -> None:
    runtime = taught()
    with pytest.raises(StateError, match="save"):
        runtime.undo(to="factory")
    runtime.save(tmp_path)
    with pytest.raises(StateError, match="to growth"):
        runtime.undo(to="growth")
    with pytest.raises(ValueError, match="growth, factory"):
        runtime.undo(to="yesterday")  # type: ignore[arg-type]
    (tmp_path / "state-00000001.edge").write_bytes(b"")
    with pytest.raises(StateError, match="no state"):
        runtime.undo(to="factory")
    assert accuracy(runtime, 0) > 0.9


def test_a_full_disk_does_not_keep_a_slot_from_growing(tmp_path, monkeypatch) -> None:
    runtime = taught()
    runtime.save(tmp_path)

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_runtime.state.generations.save", full)
    with pytest.warns(UserWarning, match="could not be saved"):
        _, events = live(runtime, 1, 250, 3)
    assert of_kind(events, "grown")

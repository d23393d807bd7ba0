"""Slots are merged only if each answers what was confirmed of the other as that one does."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime import EdgeRuntime, merging
from tests.domains import domain


def taught(*numbers: int) -> EdgeRuntime:
    runtime = EdgeRuntime(n_dims=512, rank=4, hidden=(4,), random_state=0)
    for seed, number in enumerate(numbers):
        X, y = domain(number, 120, seed)
        runtime.learn_many(X, y.tolist())
    return runtime


def test_near_means_do_not_make_one_domain_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = taught(0, 1).bank
    first, second = bank.slots
    monkeypatch.setattr(merging, "are_same", lambda one, other: True)
    assert not merging.do_canaries_agree(first, second, bank.guard.canaries)
    assert merging.find_twins(bank.slots, bank.guard.canaries) is None


def test_slots_of_one_domain_agree_and_those_of_which_nothing_is_confirmed_do_not_object() -> None:
    runtime = taught(0)
    bank = runtime.bank
    (slot,) = bank.slots

    def indexed(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        X, y = domain(0, n, seed)
        return X, np.array([runtime.classes.index(k) for k in y.tolist()])

    twin = bank.new_slot().start(*indexed(120, 7))
    twin.number = 9
    canaries = bank.guard.canaries
    assert merging.do_canaries_agree(slot, twin, canaries)
    for x, k in zip(*indexed(60, 8), strict=True):
        canaries.add(x, int(k), 9)
    assert merging.do_canaries_agree(slot, twin, canaries)
    assert np.isin([0, 9], canaries.slots).all()
    assert merging.find_twins([slot, twin], canaries) == (slot, twin)

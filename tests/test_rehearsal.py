"""Classes one after the other: what is missing is rehearsed, and nothing is forgotten for it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import EdgeRuntime
from edge_runtime.growth import covers, new_to
from edge_runtime.mixing import combined, log_softmax
from edge_runtime.rehearsal import MOST, ClassMix
from hdc.subspace import DomainModel


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 2**32 - 1))
def test_only_classes_that_were_met_are_rehearsed_and_never_many(
    labels: list[int], seed: int
) -> None:
    mix, rng, counts = ClassMix(), np.random.default_rng(seed), np.zeros(5, np.int64)
    for k in labels:
        counts[k] += 1
        drawn = mix.missing(k, counts, rng)
        assert len(drawn) <= MOST
        assert (counts[drawn] > 1).all()
        assert k not in drawn


def test_labels_as_mixed_as_ever_need_next_to_no_rehearsal() -> None:
    mix, rng, counts, drawn = ClassMix(), np.random.default_rng(0), np.full(4, 100), 0
    for k in rng.integers(4, size=400).tolist():
        counts[k] += 1
        drawn += len(mix.missing(k, counts, rng))
    assert drawn < 400 * 2


def test_imagined_samples_have_the_means_and_spread_of_their_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 2
    X = (rng.normal(size=(2000, 6)) * [3, 1, 1, 1, 1, 1] + 5 * y[:, None]).astype(np.float32)
    model = DomainModel([6], rank=2).fit(X, y)
    Z = model.draw(y, np.random.default_rng(1))
    for k in (0, 1):
        np.testing.assert_allclose(Z[y == k].mean(axis=0), model.class_means[k], atol=0.1)
    within = model.standardise(X) - model.class_means[y]
    np.testing.assert_allclose(
        np.mean((Z - model.class_means[y]) ** 2), np.mean(within**2), rtol=0.1
    )


def test_what_an_adaptor_has_never_met_it_cannot_take_away() -> None:
    prototypes = log_softmax(np.array([[1.0, 2.0, 3.0], [3.0, 0.0, 0.0]]))
    adaptor = np.log(np.array([[0.9, 0.1], [0.5, 0.5]]))
    both = combined(prototypes, np.array([0, 1]), adaptor)
    np.testing.assert_allclose(both[:, 2], prototypes[:, 2])
    np.testing.assert_allclose(np.exp(both).sum(axis=1), 1.0)
    assert both[0, 0] > both[0, 1]


def test_a_class_is_new_while_others_have_many_labels_more() -> None:
    counts = np.array([200, 200, 40])
    assert new_to(counts, np.array([0, 2, 5])).tolist() == [False, True, True]
    assert new_to(counts, np.array([0, 1, 0, 2, 5])).tolist() == [False] * 4 + [True]
    assert not new_to(np.array([10, 9, 8]), np.array([0, 1, 2])).any()


def test_a_slot_with_classes_that_labels_do_not_cover_is_not_replaced_by_what_they_say() -> None:
    assert covers(np.array([50, 60, 2]), np.array([0, 1, 1]))
    assert not covers(np.array([50, 60, 20]), np.array([0, 1, 1]))


def test_classes_that_come_in_steps_are_not_forgotten() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 32)) * 1.5
    runtime = EdgeRuntime(n_dims=2048, rank=16)
    for step in range(3):
        for k in rng.integers(2, size=240) + 2 * step:
            sample_id = runtime.step(centres[k] + rng.normal(size=32)).sample_id
            runtime.learn(sample_id, int(k))
    y = np.repeat(np.arange(6), 40)
    found = runtime.peek_many(list(centres[y] + rng.normal(size=(240, 32))))
    right = np.array([each.label == k for each, k in zip(found, y.tolist(), strict=True)])
    assert right[y < 2].mean() > 0.85
    assert right.mean() > 0.85

"""What prototypes, densities and an adaptor count for: chosen on labels that were not learned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import EdgeRuntime
from edge_runtime.mixing import (
    ADAPTOR_WEIGHTS,
    LARGEST_LOSS,
    MIX_BYTES,
    MIXES,
    N_ALIKE,
    Mix,
    MixLosses,
    combined,
    losses_of,
    prototype_logs,
)
from tests.domains import N_CLASSES, domain

Scores = npt.NDArray[np.float64]
KNOWN = np.arange(3)


def answers(seed: int, n: int = 1) -> tuple[Scores, Scores, Scores]:
    """Cosines, log-densities and an adaptor's log-probabilities of three classes."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, 3)), rng.normal(0, 50, (n, 3)), np.log(rng.dirichlet([1] * 3, n))


@given(st.integers(0, 1000), st.sampled_from(MIXES))
def test_every_mix_gives_probabilities(seed: int, mix: Mix) -> None:
    cosines, densities, adaptor = answers(seed, 4)
    logs = prototype_logs(cosines, densities, mix)
    both = combined(logs, KNOWN, adaptor, mix.adaptor_weight)
    np.testing.assert_allclose(np.exp(both).sum(axis=1), 1.0)


def test_without_weight_densities_are_not_looked_at() -> None:
    cosines, densities, _ = answers(0)
    mix = Mix(20.0, 0.0, 1.0)
    np.testing.assert_array_equal(
        prototype_logs(cosines, None, mix), prototype_logs(cosines, densities, mix)
    )


def test_a_class_of_no_density_gets_next_to_nothing() -> None:
    cosines, densities, _ = answers(1)
    densities[:, 2] = -np.inf
    logs = prototype_logs(cosines, densities, Mix(2.5, 0.1, 1.0))
    assert np.exp(logs[0, 2]) == 0.0
    assert np.isfinite(logs[0, :2]).all()


@given(st.integers(0, 200), st.integers(0, 2))
def test_losses_of_all_mixes_at_once_are_those_of_each(seed: int, k: int) -> None:
    """The kernel of `take` beside its plain twin."""
    cosines, densities, adaptor = answers(seed)
    mixing = MixLosses()
    mixing.take(k, cosines, densities, KNOWN, (KNOWN, adaptor))
    each = [
        losses_of(
            combined(prototype_logs(cosines, densities, mix), KNOWN, adaptor, mix.adaptor_weight),
            np.array([k]),
        )[0]
        for mix in MIXES
    ]
    np.testing.assert_allclose(mixing.losses[k], each, rtol=1e-5)


@given(st.integers(0, 200), st.sampled_from(MIXES))
def test_a_class_that_the_adaptor_has_never_met_is_heard_as_without_it(seed: int, mix: Mix) -> None:
    cosines, densities, adaptor = answers(seed)
    met = KNOWN[:2]
    logs = prototype_logs(cosines, densities, mix)
    alone = prototype_logs(cosines, densities, Mix(20.0, 0.0, 1.0))
    both = combined(logs, met, adaptor[:, :2], mix.adaptor_weight, alone)
    np.testing.assert_allclose(both[:, 2], alone[:, 2])
    np.testing.assert_allclose(np.exp(both).sum(axis=1), 1.0)
    mixing = MixLosses()
    mixing.take(2, cosines, densities, KNOWN, (met, adaptor[:, :2]))
    np.testing.assert_allclose(
        mixing.losses[2, MIXES.index(mix)], losses_of(both, np.array([2]))[0], rtol=1e-5
    )


def test_what_is_right_for_certain_is_preferred_until_it_errs() -> None:
    cosines, densities = np.array([[0.1, 0.1, 0.1]]), np.array([[0.0, -300.0, -300.0]])
    mixing = MixLosses()
    for _ in range(50):
        mixing.take(0, cosines, densities, KNOWN)
    assert mixing.best.density_weight > 0
    assert mixing.best.density_weight < 1  # being right fifty times is no proof beyond all doubt
    for _ in range(50):
        mixing.take(1, cosines, densities, KNOWN)
    assert mixing.best.density_weight == 0


def test_a_class_that_comes_alone_does_not_decide_for_the_others() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(KNOWN, 30)
    losses = np.full((len(y), len(MIXES)), 1.0)
    losses[:, 7] = 0.2
    mixing = MixLosses()
    mixing.start(losses, y)
    assert mixing.best == MIXES[7]
    for _ in range(400):  # of this class alone the adaptor, say, is very sure
        mixing.take(2, np.array([[0.1, 0.1, 0.12]]), rng.normal(0, 0.01, (1, 3)), KNOWN)
    assert mixing.counts.tolist() == [30, 30, 50]
    assert mixing.n_bytes == 3 * MIX_BYTES
    assert mixing.best == MIXES[7]


def test_a_removed_class_has_no_say() -> None:
    mixing = MixLosses()
    mixing.start(np.full((3, len(MIXES)), 1.0), KNOWN)
    mixing.remove_class(1)
    mixing.remove_class(9)
    assert mixing.losses.shape == (2, len(MIXES))


def test_losses_are_bounded_whatever_a_label_says() -> None:
    cosines, densities, _ = answers(3)
    mixing = MixLosses()
    mixing.take(0, cosines, 1e6 * densities, KNOWN)
    assert np.isfinite(mixing.losses).all()
    assert losses_of(np.log([[1e-300, 1.0]]), np.array([0]))[0] <= LARGEST_LOSS


def test_state_survives_and_what_was_cut_is_refused() -> None:
    mixing = MixLosses()
    for seed in range(9):
        cosines, densities, _ = answers(seed)
        mixing.take(seed % 3, cosines, densities, KNOWN)
    state = mixing.to_state()
    again = MixLosses.from_state(state)
    assert again.best == mixing.best
    np.testing.assert_array_equal(again.losses, mixing.losses)
    with pytest.raises(ValueError, match="cut"):
        MixLosses.from_state({**state, "losses": state["losses"][:1]})
    with pytest.raises(ValueError, match="damaged"):
        MixLosses.from_state({**state, "mix": np.array([0, len(MIXES)])})
    with pytest.raises(ValueError, match="damaged"):
        MixLosses.from_state({**state, "losses": np.full_like(state["losses"], np.nan)})


def test_a_slot_with_many_labels_may_weigh_densities_and_one_with_few_does_not() -> None:
    X, y = domain(0, 400, 0)
    for n, may_weigh in ((60, False), (400, True)):
        runtime = EdgeRuntime(n_dims=256, rank=4, hidden=(4,), random_state=0)
        runtime.learn_many(X[:n], y[:n].tolist())
        mixing = runtime.slots[0].calibration.mixing
        assert mixing.losses.shape == (N_CLASSES, len(MIXES))
        weighed = [m for m in range(len(MIXES)) if MIXES[m].density_weight]
        assert bool((mixing.losses[:, weighed] < LARGEST_LOSS).all()) == may_weigh


def test_mixes_without_an_adaptor_come_in_groups_that_are_alike() -> None:
    assert len(ADAPTOR_WEIGHTS) == N_ALIKE
    for m in range(0, len(MIXES), N_ALIKE):
        assert len({mix[:2] for mix in MIXES[m : m + N_ALIKE]}) == 1

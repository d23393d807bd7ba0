"""Mean shift: seen inside a domain, but not where classes alternate or a scene stays the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdc.shift import BITS, KEPT, LEAST, MOST_OF_A_CLASS, MeanShift

Words = npt.NDArray[np.uint64]
N_CLASSES = 4
PROTOTYPES = np.random.default_rng(0).random((N_CLASSES, BITS))


def words(y: npt.NDArray[np.int64], seed: int, moved: int = 0) -> Words:
    """Hypervectors of classes, of which the first `moved` bits are the same in every sample."""
    rng = np.random.default_rng(seed)
    bits = rng.random((len(y), BITS)) < PROTOTYPES[y]
    bits[:, :moved] = True
    return np.packbits(bits, axis=1).view(np.uint64)


def mixed(n: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, N_CLASSES, n)


def at_rest() -> MeanShift:
    shift, y = MeanShift(), mixed(KEPT, 1)
    for bits, k in zip(words(y, 2), y.tolist(), strict=True):
        shift.take(bits, k)
    return shift


def shares(shift: MeanShift, y: npt.NDArray[np.int64], seed: int, moved: int = 0) -> list[float]:
    found = [shift.take(b, int(k)) for b, k in zip(words(y, seed, moved), y, strict=True)]
    return [share for share in found if share is not None]


def test_samples_of_the_same_domain_are_not_off_together() -> None:
    assert np.mean(np.array(shares(at_rest(), mixed(400, 3), 4)) > 0.04) < 0.02


def test_nor_are_classes_that_come_one_after_the_other() -> None:
    assert np.mean(np.array(shares(at_rest(), np.sort(mixed(400, 5)), 6)) > 0.04) < 0.1


def test_a_shift_that_leaves_every_sample_typical_is_seen_within_twenty() -> None:
    found = np.array(shares(at_rest(), mixed(100, 7), 8, moved=BITS // 4))
    assert np.mean(found[10:20] > 0.04) > 0.9
    assert np.mean(found[20:] > 0.04) == 1.0


def test_a_scene_that_stays_the_same_says_nothing() -> None:
    shift = at_rest()
    scene = words(np.zeros(1, np.int64), 9, moved=BITS // 2)[0]
    flicker = scene.copy()
    flicker[0] ^= np.uint64(0b111)
    found = [shift.take(each, 0) for each in [scene, flicker] * 50]
    assert found[0] is not None
    assert found[1:] == [None] * 99


def test_it_says_nothing_before_it_has_a_reference() -> None:
    shift, y = MeanShift(), mixed(LEAST + 1, 10)
    found = [shift.take(b, int(k)) for b, k in zip(words(y, 11), y, strict=True)]
    assert found[:-1] == [None] * LEAST
    assert found[-1] is not None


def test_what_is_not_kept_joins_no_reference() -> None:
    shift = MeanShift()
    for bits in words(mixed(100, 12), 13):
        assert shift.take(bits, 0, is_kept=False) is None
    assert shift.to_state()["counts"].sum() == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=40), st.integers(0, 2**32))
def test_memory_is_what_it_says_and_the_state_goes_on_alike(
    samples: list[tuple[int, bool]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shift = MeanShift(128)
    rows = rng.integers(0, 2**63, (len(samples) + 1, 2)).astype(np.uint64)
    for bits, (k, is_kept) in zip(rows, samples, strict=False):
        shift.take(bits, k, is_kept)
    state = shift.to_state()
    again = MeanShift.from_state(state, 128)
    assert sum(array.nbytes for array in state.values()) <= shift.n_bytes(len(state["counts"]))
    assert again.take(rows[-1], 3) == shift.take(rows[-1], 3)
    for name, array in shift.to_state().items():
        np.testing.assert_array_equal(array, again.to_state()[name], err_msg=name)


def test_one_class_fills_no_more_than_its_part() -> None:
    shift = MeanShift()
    for bits in words(np.zeros(300, np.int64), 14):
        shift.take(bits, 0)
    assert shift.to_state()["counts"].tolist() == [MOST_OF_A_CLASS]
    shift.take(words(np.ones(1, np.int64), 15)[0], 1)
    assert shift.to_state()["counts"].tolist() == [MOST_OF_A_CLASS, 1]


def test_a_class_that_is_forgotten_leaves_no_trace() -> None:
    shift = at_rest()
    before = shift.to_state()
    shift.remove_class(1)
    shift.remove_class(9)
    after = shift.to_state()
    np.testing.assert_array_equal(after["sums"], before["sums"][[0, 2, 3]])
    np.testing.assert_array_equal(after["counts"], before["counts"][[0, 2, 3]])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("sums", np.zeros((1, 64), np.int8)),
        ("sums", np.zeros((4, BITS), np.int16)),
        ("sums", np.full((4, BITS), 127, np.int8)),
        ("counts", np.array([0, 0, 0, 128])),
        ("counts", np.array([-1, 1, 1, 1])),
        ("counts", np.full(4, 10_000)),
        ("recent", np.full(BITS, np.nan, np.float32)),
        ("recent", np.zeros(3, np.float32)),
        ("last", np.zeros(3, np.uint64)),
    ],
)
def test_a_damaged_state_is_refused(name: str, wrong: npt.NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="reference"):
        MeanShift.from_state({**at_rest().to_state(), name: wrong}, BITS)

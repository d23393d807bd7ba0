"""Which exemplars go when memory is full: means stay where they were, and nobody is left out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.memory.eviction import MOST_RANKED, herded, rows_to_keep

COUNTS = st.dictionaries(st.integers(0, 5), st.integers(1, 60), min_size=1, max_size=6)


def gaussian(n, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def kept(cells, Z, n_most):
    return rows_to_keep(np.asarray(cells), lambda rows: Z[rows], n_most)


def test_herding_keeps_the_mean_better_than_the_first_rows_do():
    Z = gaussian(200)
    mean = Z.mean(axis=0)
    chosen = np.linalg.norm(Z[herded(Z, 20)].mean(axis=0) - mean)
    assert chosen < 0.2 * np.linalg.norm(Z[:20].mean(axis=0) - mean)


def test_herding_picks_every_row_once():
    assert sorted(herded(gaussian(30), 30).tolist()) == list(range(30))


def test_herding_goes_on_from_what_it_chose():
    Z = gaussian(50)
    assert herded(Z, 10).tolist() == herded(Z, 30)[:10].tolist()


def test_equal_rows_are_as_good_as_any():
    assert len(set(herded(np.ones((8, 2), np.float32), 5).tolist())) == 5


@given(COUNTS, st.integers(1, 200))
def test_so_many_stay_and_each_cell_keeps_one(counts, n_most):
    cells = np.repeat(list(counts), list(counts.values()))
    mask = kept(cells, gaussian(len(cells)), n_most)
    assert mask.sum() <= max(n_most, len(counts))
    assert set(cells[mask].tolist()) == set(counts)


@given(COUNTS, st.integers(6, 200))
def test_the_largest_cells_give_way_first(counts, n_most):
    cells = np.repeat(list(counts), list(counts.values()))
    mask = kept(cells, gaussian(len(cells)), n_most)
    left = {cell: int(mask[cells == cell].sum()) for cell in counts}
    level = max(left.values())
    for cell, n in left.items():
        assert n == min(counts[cell], level)


def test_nothing_goes_while_there_is_room():
    assert kept([0, 0, 1], gaussian(3), 3).all()


def test_cells_larger_than_what_is_ranked_are_cut_to_size_as_well():
    n = 2 * MOST_RANKED
    for n_most in (1, 100, MOST_RANKED, n - 10):
        assert kept(np.zeros(n, int), gaussian(n), n_most).sum() == n_most

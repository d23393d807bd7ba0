"""Folds in order of arrival: what came together stays together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hdc.domain.cells import counts_of
from hdc.domain.folds import folds_of, spread

CELLS = st.lists(st.integers(0, 3), min_size=1, max_size=80).map(np.array)
NO_SCENES = -1


@given(CELLS, st.integers(2, 5))
def test_within_a_cell_each_fold_is_one_run_of_rows(cells, n_folds):
    folds = folds_of(cells, np.full(len(cells), NO_SCENES), n_folds)
    for cell in np.unique(cells):
        own = folds[cells == cell]
        assert np.count_nonzero(np.diff(own)) == len(np.unique(own)) - 1


@given(CELLS, st.integers(2, 5))
def test_every_cell_is_spread_evenly(cells, n_folds):
    folds = folds_of(cells, np.full(len(cells), NO_SCENES), n_folds)
    for cell in np.unique(cells):
        counts = counts_of(folds[cells == cell], n_folds)
        assert counts.max() - counts.min() <= 1


@given(st.integers(1, 400), st.integers(2, 5), st.integers(1, 60))
def test_no_run_of_a_large_cell_is_longer_than_stated_and_small_cells_stay_as_they_were(
    n, n_folds, run
):
    cells, scenes = np.zeros(n, np.int64), np.full(n, NO_SCENES)
    folds = folds_of(cells, scenes, n_folds, run)
    edges = np.flatnonzero(np.diff(folds)) + 1
    longest = max(len(part) for part in np.split(folds, edges))
    assert longest <= max(run, -(-n // n_folds))
    counts = counts_of(folds, n_folds)
    assert counts.max() - counts.min() <= max(run, 1) + 1
    if n <= run * n_folds:
        assert (folds == folds_of(cells, scenes, n_folds)).all()


@given(CELLS, st.integers(2, 5), st.none() | st.integers(1, 9), st.data())
def test_scenes_are_never_parted(cells, n_folds, run, data):
    scenes = np.array([data.draw(st.integers(-1, 4)) for _ in cells])
    folds = folds_of(cells, scenes, n_folds, run)
    assert ((folds >= 0) & (folds < n_folds)).all()
    for scene in np.unique(scenes[scenes >= 0]):
        assert len(np.unique(folds[scenes == scene])) == 1


@given(CELLS, st.integers(1, 100))
def test_a_choice_of_rows_is_in_order_and_of_every_cell(cells, n_most):
    picked = spread(cells, n_most)
    assert len(picked) <= max(n_most, len(np.unique(cells)))
    assert (np.diff(picked) > 0).all()
    assert set(cells[picked].tolist()) == set(cells.tolist())
    if len(cells) <= n_most:
        assert len(picked) == len(cells)


@given(CELLS, st.integers(8, 100))
def test_a_choice_leaves_no_room_unused_while_rows_are_left(cells, n_most):
    assert len(spread(cells, n_most)) >= min(len(cells), n_most - len(np.unique(cells)))


def test_small_cells_are_taken_whole_and_large_ones_evenly():
    cells = np.array([0] * 100 + [1] * 5)
    picked = spread(cells, 25)
    assert np.count_nonzero(cells[picked] == 1) == 5
    assert np.diff(picked[cells[picked] == 0]).max() <= 7

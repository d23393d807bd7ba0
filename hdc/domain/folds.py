"""Folds for cross-validation, in order of arrival: rows that came together stay together.

Frames of one burst, windows of one recording or photos of one approach are nearly equal; split at
random they stand on both sides, and what is measured is memory. Within each cell a fold is
therefore one contiguous run of rows, or several where `run` says how long each is: one run alone
may be a whole domain, of which the rest knows nothing. Rows of one scene are never parted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def folds_of(cells: Indices, scenes: Indices, n_folds: int, run: int | None = None) -> Indices:
    """Fold (n,) of each row, 0 to `n_folds` - 1.

    Parameters
    ----------
    cells : (n,) rows in order of arrival.
    scenes : (n,) rows of one scene, given by the user, share a number; -1 is a scene of its own.
    run : rows of a cell in one run at the most, unless a scene is longer; without it a fold is one
        run.

    Examples
    --------
    >>> folds_of(np.zeros(8, np.int64), np.full(8, -1), 2, run=2).tolist()
    [0, 0, 1, 1, 0, 0, 1, 1]
    >>> folds_of(np.zeros(8, np.int64), np.full(8, -1), 2, run=9).tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]
    >>> folds_of(np.zeros(6, np.int64), np.array([1, 1, 1, 2, -1, -1]), 2).tolist()
    [0, 0, 0, 0, 1, 1]
    """
    folds = np.zeros(len(cells), np.int64)
    own = np.where(scenes < 0, -2 - np.arange(len(scenes)), scenes)
    for shift, cell in enumerate(np.unique(cells).tolist()):
        rows = np.flatnonzero(cells == cell)
        _, first, which = np.unique(own[rows], return_index=True, return_inverse=True)
        place = np.argsort(np.argsort(first))[which]
        n_runs = n_folds if run is None else max(n_folds, min(-(-len(rows) // run), len(first)))
        # Cells of few rows do not all begin with the same fold.
        folds[rows] = (place * n_runs // len(first) + shift) % n_folds
    if (scenes >= 0).any():  # a scene that several classes share goes where it began
        for scene in np.unique(scenes[scenes >= 0]).tolist():
            rows = np.flatnonzero(scenes == scene)
            folds[rows] = folds[rows[0]]
    return folds


def spread(cells: Indices, n_most: int) -> Indices:
    """Indices of at most about `n_most` rows: as many of each cell, evenly over its arrival."""
    if len(cells) <= n_most:
        return np.arange(len(cells))
    names, counts = np.unique(cells, return_counts=True)
    share, left = n_most // len(names), n_most
    for n_cells, count in zip(range(len(names), 0, -1), np.sort(counts), strict=True):
        share = max(left // n_cells, 1)
        left -= min(int(count), share)
    picked = []
    for cell in names.tolist():
        rows = np.flatnonzero(cells == cell)
        n = min(len(rows), share)
        picked.append(rows[np.linspace(0, len(rows) - 1, n).astype(np.int64)])
    return np.sort(np.concatenate(picked))

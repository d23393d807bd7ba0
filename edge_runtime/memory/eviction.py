"""Which exemplars have to go when memory is full: those that the others of their cell stand for.

The largest cell of class and slot gives way first. Within a cell, rows are kept in the order of
herding: each next one brings the mean of those kept closest to the mean of all.

Source: M. Welling, "Herding dynamical weights to learn", 2009; S.-A. Rebuffi et al., "iCaRL", 2017.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Of a larger cell, so many rows are ranked: the work grows with their square.
MOST_RANKED = 512


def herded(Z: Matrix, n: int) -> Indices:
    """Indices of `n` rows of Z (m, d) whose mean follows that of all, in the order chosen.

    Examples
    --------
    >>> herded(np.array([[0.0], [1.0], [2.0], [9.0]], np.float32), 2).tolist()
    [2, 1]
    """
    goal, total = Z.mean(axis=0), np.zeros(Z.shape[1], np.float32)
    squares = np.einsum("ij,ij->i", Z, Z)
    left = np.ones(len(Z), np.bool_)
    chosen = []
    for i in range(1, n + 1):
        # |goal - (total + z) / i|^2, without what all rows share
        wanted = total - i * goal
        cost = np.where(left, squares + 2 * (Z @ wanted), np.inf)
        best = int(np.argmin(cost))
        chosen.append(best)
        left[best] = False
        total += Z[best]
    return np.array(chosen, np.int64)


def rows_to_keep(cells: Indices, units_of: Callable[[Indices], Matrix], n_most: int) -> Mask:
    """Mask (n,) of at most `n_most` rows that stay.

    Parameters
    ----------
    cells : (n,) cell of each row.
    units_of : a function from indices to rows in units of the store.
    """
    keep = np.ones(len(cells), np.bool_)
    names, counts = np.unique(cells, return_counts=True)
    allowed = _levelled(counts, n_most)
    for cell, count, most in zip(names.tolist(), counts.tolist(), allowed.tolist(), strict=True):
        if count <= most:
            continue
        rows = np.flatnonzero(cells == cell)
        sure = rows[: max(len(rows) - MOST_RANKED, 0)]
        ranked = rows[len(sure) :]
        if most <= len(sure):  # far too many: thin out what cannot be ranked, evenly
            sure = sure[np.linspace(0, len(sure) - 1, max(most // 2, 1)).astype(np.int64)]
        chosen = ranked[herded(units_of(ranked), min(most - len(sure), len(ranked)))]
        keep[rows] = False
        keep[sure] = keep[chosen] = True
    return keep


def _levelled(counts: Indices, n_most: int) -> Indices:
    """Counts cut to a common level, so that their sum is at most `n_most`, but one at the least."""
    low, high = 1, int(counts.max(initial=1))
    while low < high:
        level = (low + high + 1) // 2
        if np.minimum(counts, level).sum() <= n_most:
            low = level
        else:
            high = level - 1
    return np.minimum(counts, low)

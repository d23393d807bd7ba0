"""Leading directions of a scatter matrix that is never made: the low-rank part of a covariance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]

# Subspace iteration: extra directions carried along, and passes over the rows.
OVERSAMPLING = 16
POWER_STEPS = 2


def energy_of(rows: Matrix) -> float:
    """Trace of the scatter ``rows.T @ rows``."""
    return float(np.sum(rows * rows, dtype=np.float64))


def leading_directions(rows: Matrix, rank: int) -> tuple[Vector, Matrix]:
    """Energies and unit directions, largest first, of the scatter ``rows.T @ rows``.

    Subspace iteration from a fixed random start (Halko, Martinsson and Tropp, SIAM Review 53,
    2011): a few products with a thin matrix, where an SVD would cost ten times as much. In double
    precision: squaring the rows costs weak directions half their digits, and with float32 another
    BLAS would give hypervectors of other bits.
    """
    n, d = rows.shape
    width = min(n, d, rank + OVERSAMPLING)
    start = np.random.default_rng(0).standard_normal((n, width), dtype=np.float32)
    rows = rows.astype(np.float64)
    directions, _ = np.linalg.qr(rows.T @ start)
    for _ in range(POWER_STEPS if width < min(n, d) else 0):
        directions, _ = np.linalg.qr(rows.T @ (rows @ directions))
    projected = rows @ directions
    energy, turn = np.linalg.eigh(projected.T @ projected)
    order = np.argsort(energy)[::-1][:rank]
    order = order[energy[order] > 1e-6 * max(float(energy[-1]), 1e-30)]
    basis = (directions @ turn[:, order]).T
    return energy[order].astype(np.float32), np.ascontiguousarray(basis, np.float32)

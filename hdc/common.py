"""What several domains have in common: the frame in which their slots compete for a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hdc.density import Matrix, Vector
from hdc.scatter import energy_of, leading_directions
from hdc.subspace import DomainModel


def common_scatter(
    models: Sequence[DomainModel], rank: int
) -> tuple[Vector, Vector, Vector, Matrix, float]:
    """What several domains have in common, each weighed by its degrees of freedom.

    Returns
    -------
    mean, scale : (d,) of the common frame: those of the domains, averaged
    energy, basis : variances along the `rank` leading directions, and the directions (rank, d)
    rest : variance along every other direction
    """
    mean: Vector = np.stack([model.mean for model in models]).mean(axis=0)
    scale: Vector = np.stack([model.scale for model in models]).mean(axis=0)
    dof = sum(max(model.dof, 1) for model in models)
    rows, total = [], 0.0
    for model in models:
        stretch = model.scale / scale
        kept = model.basis * np.sqrt(model.energy / dof)[:, None] * stretch
        waiting = model.waiting * (stretch / np.float32(np.sqrt(dof)))
        beyond = model.total_energy - float(model.energy.sum()) - energy_of(model.waiting)
        total += max(beyond, 0.0) / dof * float(np.mean(stretch**2))
        rows += [kept, waiting]
    together = np.vstack(rows)
    total += energy_of(together)
    if total <= 0:  # one sample per class everywhere: nothing is known about the spread
        total = float(len(mean))
    energy, basis = leading_directions(together, rank)
    n_rest = max(len(mean) - len(energy), 1)
    rest = max((total - float(energy.sum())) / n_rest, 1e-12)
    return mean, scale, energy, basis, rest

"""What the estimators share: taps side by side, and everything that is derived of one slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdc.detection.score import views
from hdc.domain.cells import Cells
from hdc.domain.frame import Frame, fit_frame, gains, in_units
from hdc.domain.prototypes import Prototypes

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# What a fit on a board falls back on where labels are too few to choose.
USUAL_SHRINKAGE = 0.3


def check_shrinkage(value: Any) -> None:
    """Refuse a shrinkage that is not above 0 and up to 1: without any, few rows span no space."""
    if not isinstance(value, int | float | np.number) or not 0 < value <= 1:
        raise ValueError(f"shrinkage is {value!r}, expected a number above 0, up to 1")


def joined(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """One matrix of all taps side by side, and the width of each; None where X is a matrix.

    Examples
    --------
    >>> matrix, widths = joined({"early": [[1.0], [2.0]], "late": [[3.0, 4.0], [5.0, 6.0]]})
    >>> matrix.tolist(), widths
    ([[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]], (1, 2))
    """
    if not isinstance(X, Mapping) or hasattr(X, "toarray"):
        return X, None
    taps = [np.asarray(part, np.float32) for part in X.values()]
    lengths = {len(tap) for tap in taps if tap.ndim == 2}
    if not taps or any(tap.ndim != 2 for tap in taps) or len(lengths) != 1:
        shapes = {name: np.shape(part) for name, part in X.items()}
        raise ValueError(f"taps have shapes {shapes}, expected (n, width) with one n")
    return np.concatenate(taps, axis=1), tuple(tap.shape[1] for tap in taps)


@dataclass
class Learned:
    """Frame, class means and prototypes of one slot: what a board derives of its labels."""

    centre: Scores
    scale: Scores
    frame: Frame
    cells: Cells
    prototypes: Prototypes

    @classmethod
    def of(
        cls,
        X: Matrix,
        y: Indices,
        widths: Sequence[int],
        shrinkage: float,
        n_dims: int,
        seed: int,
    ) -> Learned:
        """Learn rows (n, d) of classes (n,), 0 to their number."""
        centre, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1.0)
        Z, (_, cells) = in_units(X, centre, scale), np.unique(y, return_inverse=True)
        frame = fit_frame(Z, cells, gains(scale, widths), shrinkage, seed)
        frame.end_of_training()
        means, prototypes = Cells(frame.n_dims, pull=0.0), Prototypes(frame.n_dims, n_dims, seed)
        made = cls(centre, scale, frame, means, prototypes)
        made.add(X, y)
        return made

    def project(self, X: Matrix) -> Matrix:
        """Projections (n, p) of features (n, d)."""
        return self.frame.project(self.frame.centred(in_units(X, self.centre, self.scale)))

    def add(self, X: Matrix, y: Indices) -> None:
        """Take more rows into class means and prototypes; the frame stays."""
        changed = self.cells.add(self.project(X), y, np.zeros(len(y), np.int64))
        self.prototypes.derive(self.cells.means, changed)

    def similarities(self, X: Matrix) -> Scores:
        """Cosines (n, n_cells) to the prototypes."""
        return self.prototypes.similarities(self.prototypes.encode(self.project(X)))

    def views(self, X: Matrix) -> tuple[Scores, Indices]:
        """The views of `hdc.detection.score` (n, 3), and the class (n,) whose mean is nearest."""
        centred = self.frame.centred(in_units(X, self.centre, self.scale))
        U = self.frame.project(centred)
        D = self.cells.distances(U)
        similarities = self.prototypes.similarities(self.prototypes.encode(U))
        found = views(similarities, D, self.frame.outside(centred, U))
        return found, self.cells.classes[D.argmin(axis=1)]

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        units = self.centre.nbytes + self.scale.nbytes
        return units + self.frame.n_bytes + self.cells.n_bytes + self.prototypes.n_bytes

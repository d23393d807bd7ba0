"""What the estimators share: taps side by side, and everything that is derived of one slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdc.cells import Cells
from hdc.frame import Frame, fit_frame, gains
from hdc.prototypes import Prototypes
from hdc.score import views

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# What a fit on a board falls back on where labels are too few to choose.
USUAL_SHRINKAGE = 0.3
FAR = 60_000.0


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
        centre = X.mean(axis=0, dtype=np.float64)
        scale = X.std(axis=0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1.0)
        made = cls.__new__(cls)
        made.centre, made.scale = centre, scale
        Z = made.units(X)
        _, cells = np.unique(y, return_inverse=True)
        made.frame = fit_frame(Z, cells, gains(scale, widths), shrinkage, seed)
        made.frame.end_of_training()
        made.cells = Cells(made.frame.n_dims, pull=0.0)
        made.prototypes = Prototypes(made.frame.n_dims, n_dims, seed)
        made.add(X, y)
        return made

    def units(self, X: Matrix) -> Matrix:
        """Features less their mean, by their spread."""
        return np.clip((X - self.centre) / self.scale, -FAR, FAR).astype(np.float32)

    def project(self, X: Matrix) -> Matrix:
        """Projections (n, p) of features (n, d)."""
        return self.frame.project(self.frame.centred(self.units(X)))

    def add(self, X: Matrix, y: Indices) -> None:
        """Take more rows into class means and prototypes; the frame stays."""
        changed = self.cells.add(self.project(X), y, np.zeros(len(y), np.int64))
        self.prototypes.derive(self.cells.means, changed)

    def similarities(self, X: Matrix) -> Scores:
        """Cosines (n, n_cells) to the prototypes."""
        return self.prototypes.similarities(self.prototypes.encode(self.project(X)))

    def log_likelihoods(self, X: Matrix, n_classes: int) -> Scores:
        """Of each class (n, n_classes), up to a constant."""
        distances = self.cells.distances(self.project(X))
        return self.cells.scores(distances, self.frame.level[1] ** 2, n_classes)

    def views(self, X: Matrix) -> tuple[Scores, Indices]:
        """The views of `hdc.score` (n, 3), and the class (n,) whose mean is nearest."""
        centred = self.frame.centred(self.units(X))
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


def folds_of(y: Indices, n_folds: int) -> Indices:
    """Fold (n,) of each row: contiguous within a class, so that scenes stay whole.

    Examples
    --------
    >>> folds_of(np.array([0, 0, 1, 0, 0, 1]), 2).tolist()
    [0, 0, 1, 1, 1, 0]
    """
    folds = np.zeros(len(y), np.int64)
    for shift, k in enumerate(np.unique(y).tolist()):
        rows = np.flatnonzero(y == k)
        folds[rows] = (np.arange(len(rows)) * n_folds // len(rows) + shift) % n_folds
    return folds

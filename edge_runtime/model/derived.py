"""The derived model: one frame, and the experts whose answers are mixed in it.

    frame        store units -> centred features and projections
    cells        class means in each slot: a Gaussian; the nearest cell's slot claims the sample
    prototypes   class hypervectors
    kernel head  exemplars themselves
    adaptor      a shallow network, trained forward only
    score        how far out of distribution a sample is

It is made by `fitting` and replaced whole. Between two fits a label is appended: exactly to the
cells, by its residual to the kernel head. Not here: what to do with an answer (`policy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StateError
from edge_runtime.model.experts.adaptor import Adaptor
from edge_runtime.model.experts.kernel import KernelHead
from edge_runtime.model.experts.mixing import log_softmax
from edge_runtime.model.reference import N_BITS, DriftProjection, DriftReference
from edge_runtime.model.restoring import frame_from, score_from
from edge_runtime.records import MOST_SLOTS, Answer, Cell
from edge_runtime.state.fields import Field, put_under, restored, under
from hdc.detection.conformal import p_value
from hdc.detection.score import OODScore, views
from hdc.domain.cells import Cells
from hdc.domain.frame import Frame, in_units
from hdc.domain.prototypes import Prototypes, by_class

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Projections are about 1; those of labels far away are larger, and none is ever so large.
MOST_OF_A_MEAN: Final = 1e30
EXPERTS: Final = ("gaussian", "prototypes", "kernel", "adaptor")


FIELDS = (
    Field("weights", "float64", (len(EXPERTS),)),
    Field("scale", "float64", (3,)),
    Field("cell_classes", "int64", ("cells",)),
    Field("cell_slots", "int64", ("cells",)),
    Field("cell_counts", "float64", ("cells",)),
    Field("cell_sums", "float64", ("cells", "dims")),
    Field("accuracies", "float64", ("stated", 2)),
    Field("off_cells", "int64", ("off", 2)),
    Field("off_means", "float16", ("off", N_BITS)),
    Field("off_spreads", "float64", ("off", 2)),
    Field("togetherness", "float64", ("chances",)),
)


class DerivedModel:
    """Answers samples; made of labels, and replaced whole.

    Parameters
    ----------
    units : centre and scale of features, (2, d): those of the store when it was fitted. The store
        may have made others since.
    weights : what each of `EXPERTS` counts for.
    stated : slot -> held-out accuracy and the number of held-out labels it was measured on.
    n_fitted : labels that it was fitted on.
    """

    def __init__(
        self,
        units: npt.NDArray[np.float64],
        frame: Frame,
        cells: Cells,
        prototypes: Prototypes,
        kernel: KernelHead,
        adaptor: Adaptor | None,
        weights: npt.NDArray[np.float64],
        score: OODScore,
        drift: DriftProjection,
        reference: DriftReference,
        stated: Mapping[int, tuple[float, int]],
        n_fitted: int,
    ) -> None:
        self.units = units
        self.frame, self.cells, self.prototypes = frame, cells, prototypes
        self.kernel, self.adaptor, self.weights = kernel, adaptor, weights
        self.score, self.drift, self.reference = score, drift, reference
        self.stated, self.n_fitted = dict(stated), n_fitted

    # -- answers ----------------------------------------------------------------------------

    def _to_units(self, X: npt.NDArray[Any]) -> Matrix:
        """Raw features (n, d) in the units of the model."""
        return in_units(X, *self.units)

    def project(self, X: npt.NDArray[Any]) -> Matrix:
        """Projections (n, p) of raw features (n, d)."""
        return self.frame.project(self.frame.centred(self._to_units(X)))

    def answer(self, X: npt.NDArray[Any], n_classes: int) -> list[Answer]:
        """Answers to samples, raw features (n, d)."""
        Z = self._to_units(X)
        centred = self.frame.centred(Z)
        U = self.frame.project(centred)
        D = self.cells.distances(U)
        bits = self.prototypes.encode(U)
        similarities = self.prototypes.similarities(bits)
        scores = self._mixed(centred, U, D, similarities, n_classes)
        P = np.exp(log_softmax(scores))
        nearest = np.argmin(D, axis=1)
        ood_scores = self.score.of(views(similarities, D, self.frame.outside(centred, U)))
        signs = self.drift.signs(Z)
        return [
            self._answer(P[i], cell, float(ood_scores[i]), signs[i])
            for i, cell in enumerate(nearest.tolist())
        ]

    def _answer(self, probabilities: Scores, cell: int, ood_score: float, signs: Matrix) -> Answer:
        best = int(np.argmax(probabilities))
        k, slot = int(self.cells.classes[cell]), int(self.cells.slots[cell])
        everyone, alike = self.score.reference(slot), self.score.of_cell(k, slot)
        there = self.reference.index.get((k, slot))
        spread, n_labels = (0.0, 0) if there is None else self.reference.spreads[there].tolist()
        return Answer(
            probabilities=probabilities,
            best=best,
            slot=slot,
            ood_score=ood_score,
            p_value=p_value(everyone, ood_score),
            n_scores=len(everyone),
            certainty=float(probabilities[best]),
            cell=None if there is None else Cell(
                (k, slot), p_value(alike, ood_score), len(alike),
                signs - self.reference.means[there], spread, int(n_labels),
            ),
        )  # fmt: skip

    def _mixed(
        self, centred: Matrix, U: Matrix, D: Matrix, similarities: Scores, n_classes: int
    ) -> Scores:
        """Scores (n, n_classes) of all experts, each by its weight."""
        w = self.weights
        gaussian = w[0] * self.cells.scores(D, self.frame.level[1] ** 2, n_classes)
        total = gaussian + w[1] * by_class(similarities, self.cells.members, n_classes)
        if w[2] > 0:
            found = self.kernel.scores(U)
            total[:, : found.shape[1]] += w[2] * found[:, :n_classes]
        if self.adaptor is not None and w[3] > 0:
            total += w[3] * self.adaptor.log_probabilities(centred, log_softmax(gaussian))
        return np.asarray(total)

    def is_nearer(
        self,
        rows: tuple[npt.NDArray[Any], Indices],
        others: tuple[npt.NDArray[Any], Indices],
        slot: int,
    ) -> npt.NDArray[np.bool_]:
        """Whether rows (features, classes) are nearer to others of their class than to a slot's."""
        U, V = self.project(rows[0]), self.project(others[0])
        found = np.zeros(len(U), np.bool_)
        where = self.cells.index
        for i, k in enumerate(rows[1].tolist()):
            alike = V[others[1] == k]
            if len(alike) and (k, slot) in where:
                there, here = alike.mean(axis=0), self.cells.means[where[k, slot]]
                found[i] = ((U[i] - there) ** 2).sum() < ((U[i] - here) ** 2).sum()
        return found

    # -- one label --------------------------------------------------------------------------

    def append(self, x: npt.NDArray[Any], k: int, slot: int) -> None:
        """Take one label more: raw features (d,)."""
        U = self.project(x[None])
        changed = self.cells.add(U, [k], [slot])
        self.prototypes.derive(self.cells.means, changed)
        self.kernel.append(U[0], k)

    @property
    def n_appended(self) -> int:
        """Labels taken since it was fitted."""
        return self.kernel.n_recent

    # -- sizes and state --------------------------------------------------------------------

    @property
    def bytes_by_part(self) -> dict[str, int]:
        """Bytes held, by part."""
        return {
            "frame": self.frame.n_bytes,
            "kernel": self.kernel.n_bytes,
            "adaptor": 0 if self.adaptor is None else self.adaptor.n_bytes,
            "prototypes": self.cells.n_bytes + self.prototypes.n_bytes,
            "calibration": self.score.n_bytes + self.reference.n_bytes + self.drift.n_bytes,
        }

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that answers, as a flat dict of arrays."""
        stated = [[slot, *values] for slot, values in sorted(self.stated.items())]
        rows = np.array(stated, np.float64).reshape(len(stated), 3)
        arrays: dict[str, npt.NDArray[Any]] = {
            "units": self.units,
            "weights": self.weights,
            "scale": np.array([self.cells.pull, self.prototypes.n_dims, self.n_fitted], np.float64),
            "cell_classes": self.cells.classes,
            "cell_slots": self.cells.slots,
            "cell_counts": self.cells.counts,
            "cell_sums": self.cells.sums,
            "accuracies": rows[:, 1:],
            "stated_slots": rows[:, 0],
            "off_cells": self.reference.cells,
            "off_means": self.reference.means,
            "off_spreads": self.reference.spreads,
            "togetherness": self.reference.chances,
        }
        arrays |= put_under("frame", self.frame.to_state())
        arrays |= put_under("kernel", self.kernel.to_state())
        arrays |= put_under("score", self.score.to_state())
        if self.adaptor is not None:
            arrays |= put_under("adaptor", self.adaptor.to_state())
        return arrays

    def check_classes(self, n_classes: int) -> None:
        """Refuse a model that knows more classes than there are; `StateError` says so."""
        known = int(self.cells.classes.max(initial=-1)) + 1
        if self.adaptor is not None and len(self.adaptor.classes):
            if self.adaptor.classes.min() < 0:
                raise StateError("the adaptor knows a class below zero: is it damaged?")
            known = max(known, int(self.adaptor.classes.max()) + 1)
        if max(known, self.kernel.n_classes) > n_classes:
            raise StateError(f"the model knows {known} classes, but there are {n_classes}")

    @classmethod
    def from_state(
        cls, arrays: Mapping[str, npt.NDArray[Any]], n_features: int, seed: int
    ) -> DerivedModel:
        """What `to_state` was called on.

        Raises
        ------
        StateError
            A field is missing, or has another shape, type or range than it can have.
        """
        frame = frame_from(under("frame", arrays), n_features)
        fields = (
            *FIELDS,
            Field("stated_slots", "float64", ("stated",)),
            Field("units", "float64", (2, n_features)),
        )
        found = restored(arrays, fields, {"dims": frame.n_dims})
        pull, n_dims, n_fitted = found["scale"].tolist()
        if not (pull >= 0 and 64 <= n_dims <= 2**20 and n_dims % 64 == 0 and n_fitted >= 0):
            raise StateError(f"pull {pull}, {n_dims} dimensions, {n_fitted} labels: is it damaged?")
        if (found["units"][1] <= 0).any():
            raise StateError("a scale of zero or below: is it damaged?")
        is_empty = len(found["cell_counts"]) == 0
        is_odd = ((found["cell_slots"] < 0) | (found["cell_slots"] >= MOST_SLOTS)).any()
        is_odd |= is_empty or (found["cell_classes"] < 0).any()
        if is_odd or (found["cell_counts"] <= 0).any():
            raise StateError("cells of no class or slot, or without labels: is it damaged?")
        cells = Cells(frame.n_dims, pull)
        cells.add(
            found["cell_sums"], found["cell_classes"], found["cell_slots"], found["cell_counts"]
        )
        if not np.abs(cells.means).max(initial=0.0) <= MOST_OF_A_MEAN:  # nor NaN
            raise StateError("means of cells are out of all bounds: is it damaged?")
        prototypes = Prototypes(frame.n_dims, int(n_dims), seed)
        prototypes.derive(cells.means)
        kernel = KernelHead.from_state(under("kernel", arrays), frame.n_dims)
        part = under("adaptor", arrays)
        stated = {
            int(slot): (float(accuracy), int(n))
            for slot, (accuracy, n) in zip(found["stated_slots"], found["accuracies"], strict=True)
        }
        return cls(
            found["units"], frame, cells, prototypes, kernel,
            Adaptor.from_state(part, n_features) if part else None,
            found["weights"], score_from(under("score", arrays)),
            DriftProjection(frame.gain, seed),
            DriftReference(
                found["off_cells"], found["off_means"], found["off_spreads"], found["togetherness"]
            ),
            stated, int(n_fitted),
        )  # fmt: skip

"""From exemplars and statistics to a model: settings chosen, experts weighed, scores calibrated.

Everything that a setting, a weight or a threshold rests on is measured on rows that took no part
in fitting, in folds of contiguous arrival (`folds`). The result is a function of the store and the
seed: whatever order operations came in, equal stores give equal models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_runtime.memory.exemplars import Exemplars
from edge_runtime.memory.statistics import Statistics
from edge_runtime.model import noise
from edge_runtime.model.derived import EXPERTS, DerivedModel
from edge_runtime.model.experts import kernel as kernels
from edge_runtime.model.experts.adaptor import LEAST_LABELS, Adaptor
from edge_runtime.model.experts.kernel import KernelChoice, KernelHead, class_weights
from edge_runtime.model.experts.mixing import best_temperature, fit_weights, log_softmax, loss_of
from edge_runtime.model.reference import DriftProjection, drift_reference
from edge_runtime.model.room import Room, room_within
from hdc.detection.score import OODScore, views
from hdc.domain.cells import Cells, counts_of
from hdc.domain.folds import folds_of, spread
from hdc.domain.frame import MOST_ROWS, Frame, fit_frame, gains
from hdc.domain.prototypes import Prototypes, by_class

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Shrinkages that are tried: on PACS, digits, sounds and motion finer steps change nothing.
SHRINKAGES = (0.1, 0.3, 1.0)
PULLS = (0.0, 4.0, 16.0)
# Rows and folds that shrinkage and pull are chosen on.
CHOICE_ROWS, CHOICE_FOLDS = 300, 3
# Rows of a cell that are held out together, at the most, where settings and weights are chosen: a
# longer run may be a domain of its own, and then only guesses are compared. With all digits in one
# batch 95.4 instead of 93.6, and 95.9 instead of 94.1 (seeds 0 and 1); PACS, sounds, clothes
# and cameras within 0.3. Of cells of few rows a fold is one run, as it was: 10 labels of a class in
# turn lose a point of digits.
RUN = 24
# Up to so many labels every row is held out once; beyond, one fold speaks for all.
ALL_HELD_OUT = 1000
FEW, FOLDS_OF_FEW, N_FOLDS = 200, 4, 3
HELD_OUT = 800
# With fewer held-out labels, weights are those that hold on average.
LEAST_HELD_OUT = 12
# Part of the loss of guessing, from which held-out labels have told nothing.
GUESSED = 0.95
USUAL_WEIGHTS = {"gaussian": 0.5, "prototypes": 4.0, "kernel": 4.0, "adaptor": 0.0}


@dataclass(frozen=True)
class FitOptions:
    """What a fit needs beside labels.

    Attributes
    ----------
    taps
        Widths of the taps that a row is made of.
    hidden
        Units of the adaptor; 0: none. There is none where it does not fit.
    budget_bytes
        For everything learned.
    """

    taps: tuple[int, ...]
    n_dims: int = 8192
    hidden: int = 256
    seed: int = 0
    budget_bytes: int = 2**25


@dataclass
class FittedModel:
    """A model, and what the fit found out about the labels.

    Attributes
    ----------
    suspects
        Indices of rows whose label the others contradict.
    judged
        Indices of rows that were judged for it.
    """

    model: DerivedModel
    suspects: Indices
    judged: Indices


@dataclass
class _Rows:
    """The rows of a fit: labels, cells, and where features are to be had."""

    index: Indices  # of the store
    y: Indices
    slots: Indices
    scenes: Indices
    store: Exemplars
    n_classes: int

    def __post_init__(self) -> None:
        names, self.cells = np.unique(self.keys(), return_inverse=True)
        self.cell_classes, self.cell_slots = names // 65_536, names % 65_536

    def keys(self) -> Indices:
        """One number for each cell of class and slot."""
        return self.y * 65_536 + self.slots

    def units(self, rows: Indices) -> Matrix:
        return self.store.units(self.index[rows])


def fit(store: Exemplars, gone: Statistics, n_classes: int, options: FitOptions) -> FittedModel:
    """The model of everything in store, for `n_classes` classes.

    Raises
    ------
    ValueError
        There is no label. Those that are suspected count where there is no other.
    """
    trusted = (store.column("is_suspect") == 0) | (store.column("is_confirmed") == 1)
    index = np.flatnonzero(trusted) if trusted.any() else np.arange(len(store))
    if len(index) == 0:
        raise ValueError("there is no label to learn from")
    rows = _Rows(
        index,
        store.column("labels")[index].astype(np.int64),
        store.column("slots")[index].astype(np.int64),
        store.column("scenes")[index],
        store,
        n_classes,
    )
    n_cells = len(np.unique(np.concatenate([rows.keys(), gone.classes * 65_536 + gone.slots])))
    room = room_within(
        options.budget_bytes, store.n_features, n_cells, options.n_dims, n_classes, options.hidden
    )
    gain = gains(store.scale, options.taps)
    shrinkage, pull = _choose_frame(rows, gain, options.seed)
    held = _Held(rows, gain, shrinkage, pull, options, room)
    held.run()
    model = _final(rows, gone, gain, shrinkage, pull, held, options, room)
    judged, suspects = _suspects(rows, model, store, n_classes)
    return FittedModel(model, suspects, judged)


def recall(model: DerivedModel, store: Exemplars, n_rows: int) -> None:
    """Make what a saved model lacks to take labels: from the first `n_rows` rows, all but new ones.

    The rows that it was fitted on, and those appended since, are found in their order.
    """
    n_fitted = max(n_rows - model.n_appended, 0)
    trusted = (store.column("is_suspect") == 0) | (store.column("is_confirmed") == 1)
    learned = np.flatnonzero(trusted[:n_fitted])
    U = np.empty((len(learned), model.frame.n_dims), np.float32)
    for start in range(0, len(learned), kernels.ROWS_AT_ONCE):
        some = slice(start, start + kernels.ROWS_AT_ONCE)
        U[some] = model.project(store.raw(learned[some]))
    labels = store.column("labels").astype(np.int64)
    y, since = labels[learned], np.arange(n_fitted, n_rows)
    keys = y * 65_536 + store.column("slots")[learned].astype(np.int64)
    _, cells = np.unique(keys, return_inverse=True)
    weights = class_weights(cells, int(cells.max(initial=-1)) + 1)
    model.kernel.recall(U, y, weights, model.project(store.raw(since)), labels[since])


def _cells_of(U: Matrix, rows: _Rows, part: Indices, pull: float) -> Cells:
    cells = Cells(U.shape[1], pull)
    sums = np.eye(len(rows.cell_classes), dtype=np.float32)[rows.cells[part]].T @ U
    counts = counts_of(rows.cells[part], len(sums))
    there = counts > 0
    cells.add(sums[there], rows.cell_classes[there], rows.cell_slots[there], counts[there])
    return cells


def _frame_of(rows: _Rows, part: Indices, gain: Matrix, shrinkage: float, seed: int) -> Frame:
    """The frame of at most `MOST_ROWS` of these rows."""
    picked = part[spread(rows.cells[part], MOST_ROWS)]
    _, cells = np.unique(rows.cells[picked], return_inverse=True)
    return fit_frame(rows.units(picked), cells, gain, shrinkage, seed)


def _choose_frame(rows: _Rows, gain: Matrix, seed: int) -> tuple[float, float]:
    """Shrinkage and pull of least held-out loss, of the Gaussian and of one kernel."""
    few = spread(rows.cells, CHOICE_ROWS)
    if len(few) < 2 * CHOICE_FOLDS or len(np.unique(rows.y)) < 2:
        return SHRINKAGES[1], PULLS[1]
    folds = folds_of(rows.cells[few], rows.scenes[few], CHOICE_FOLDS, RUN)
    found: dict[tuple[float, float], list[Scores]] = {}
    heads: dict[float, list[Scores]] = {}
    truth = []
    for fold in range(CHOICE_FOLDS):
        part, held = few[folds != fold], few[folds == fold]
        held = held[np.isin(rows.y[held], rows.y[part])]
        if len(held) == 0:
            continue
        truth.append(rows.y[held])
        weights = class_weights(rows.y[part], rows.n_classes)
        Z, H = rows.units(part), rows.units(held)
        for shrinkage in SHRINKAGES:
            _, cells = np.unique(rows.cells[part], return_inverse=True)
            frame = fit_frame(Z, cells, gain, shrinkage, seed)
            U, V = frame.project(frame.centred(Z)), frame.project(frame.centred(H))
            for pull in PULLS:
                means = _cells_of(U, rows, part, pull)
                scores = means.scores(means.distances(V), frame.level[1] ** 2, rows.n_classes)
                found.setdefault((shrinkage, pull), []).append(scores)
            head = KernelHead.fit(
                KernelChoice(1.0, 0.3), U, rows.y[part], weights, rows.n_classes,
                np.arange(len(U)),
            )  # fmt: skip
            heads.setdefault(shrinkage, []).append(head.scores(V))
    if not truth:
        return SHRINKAGES[1], PULLS[1]
    y = np.concatenate(truth)
    loss = {key: best_temperature(np.concatenate(s), y)[0] for key, s in found.items()}
    head_loss = {key: best_temperature(np.concatenate(s), y)[0] for key, s in heads.items()}
    return min(loss, key=lambda key: loss[key] + head_loss[key[0]])


Part = tuple[Indices, Indices]  # rows that are learned, rows that are held out


class _Projected(NamedTuple):
    """A part in the frame of its learned rows: both projected, held-out ones beside the cells."""

    frame: Frame
    learned: Matrix
    centred: Matrix  # held-out rows, as `held`
    held: Matrix
    cells: Cells
    distances: Matrix
    cosines: Scores


class _Held:
    """What the experts say of rows that they have not learned."""

    def __init__(
        self,
        rows: _Rows,
        gain: Matrix,
        shrinkage: float,
        pull: float,
        options: FitOptions,
        room: Room,
    ) -> None:
        self.rows, self.gain, self.shrinkage, self.pull = rows, gain, shrinkage, pull
        self.options, self.room = options, room
        self.index = np.zeros(0, np.int64)
        self.experts: list[Scores] = []
        self.calibrated = np.zeros(0, np.int64)  # rows that `views` are of
        self.views: Scores = np.zeros((0, 3))
        self.nearest = np.zeros((0, 2), np.int64)  # class and slot of the cell nearest to them
        self.choice = KernelChoice(1.0, 0.3)

    def parts(self, run: int | None = None) -> list[Part]:
        """Folds as (rows that are learned, rows that are held out)."""
        rows, n = self.rows, len(self.rows.y)
        many = n > ALL_HELD_OUT
        n_folds = max(n // HELD_OUT, 2) if many else FOLDS_OF_FEW if n <= FEW else N_FOLDS
        folds = folds_of(rows.cells, rows.scenes, n_folds, run)
        found = []
        for fold in [n % n_folds] if many else range(n_folds):
            learned, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            held = held[np.isin(rows.y[held], rows.y[learned])]
            if len(learned) and len(held):
                found.append((learned, held))
        return found

    def run(self) -> None:
        """Fit and ask, fold by fold; calibrate on folds of one run each."""
        parts, y = self.parts(RUN), self.rows.y
        if not parts:
            return
        projected = [self._projected(*part) for part in parts]
        self.choice = kernels.choose(
            [
                (U, y[learned], V, y[held])
                for (learned, held), (_, U, _, V, *_) in zip(parts, projected, strict=True)
            ],
            self.rows.n_classes,
        )
        found = [self._ask(part, made) for part, made in zip(parts, projected, strict=True)]
        self.experts = [np.concatenate(scores) for scores in zip(*found, strict=True)]
        self.index = np.concatenate([held for _, held in parts])
        for k, part in enumerate(self.parts()):
            is_same = k < len(parts) and np.array_equal(part[1], parts[k][1])
            self._calibrate(part[1], projected[k] if is_same else self._projected(*part))

    def _projected(self, learned: Indices, held: Indices) -> _Projected:
        """A part in the frame of its learned rows."""
        frame = _frame_of(self.rows, learned, self.gain, self.shrinkage, self.options.seed)
        centred = frame.centred(self.rows.units(held))
        U, V = _project(frame, self.rows, learned), frame.project(centred)
        cells = _cells_of(U, self.rows, learned, self.pull)
        prototypes = Prototypes(frame.n_dims, self.options.n_dims, self.options.seed)
        prototypes.derive(cells.means)
        cosines = prototypes.similarities(prototypes.encode(V))
        return _Projected(frame, U, centred, V, cells, cells.distances(V), cosines)

    def _calibrate(self, held: Indices, made: _Projected) -> None:
        """How far out held-out rows are: no row of the same run is learned."""
        frame, _, centred, V, cells, D, cosines = made
        found = views(cosines, D, frame.outside(centred, V))
        nearest = np.argmin(D, axis=1)
        pairs = np.stack([cells.classes[nearest], cells.slots[nearest]], axis=1)
        self.views = np.concatenate([self.views, found])
        self.nearest = np.concatenate([self.nearest, pairs])
        self.calibrated = np.concatenate([self.calibrated, held])

    def _ask(self, part: Part, made: _Projected) -> list[Scores]:
        """What each expert that has learned some rows says of others."""
        (learned, held), (frame, U, centred, V, cells, D, cosines) = part, made
        rows, n_classes = self.rows, self.rows.n_classes
        gaussian = cells.scores(D, frame.level[1] ** 2, n_classes)
        head = _kernel_head(self.choice, U, rows, learned, self.room)
        scores = [gaussian, by_class(cosines, cells.members, n_classes), head.scores(V)]
        if self.room.hidden and len(rows.y) >= LEAST_LABELS and len(np.unique(rows.y)) > 1:
            adaptor = _adaptor(frame, rows, learned, self.room, self.options.seed)
            scale = best_temperature(gaussian, rows.y[held])[1]
            scores.append(adaptor.log_probabilities(centred, log_softmax(gaussian * scale)))
        return scores

    def weights(self) -> npt.NDArray[np.float64]:
        """What each of `EXPERTS` counts for in the final model."""
        weights = np.array([USUAL_WEIGHTS[name] for name in EXPERTS])
        if len(self.index) >= LEAST_HELD_OUT and len(np.unique(self.rows.y[self.index])) > 1:
            y = self.rows.y[self.index]
            found = fit_weights(self.experts, y)
            mixed = log_softmax(np.tensordot(found, np.stack(self.experts), 1))
            # Where a slot holds unlike domains, folds in order of arrival ask for the newest of
            # them by the others alone: if that says nothing of any expert, it is no guide.
            if loss_of(mixed, y) < GUESSED * np.log(len(np.unique(self.rows.y))):
                weights[:] = 0.0
                weights[: len(found)] = found
        # A Gaussian is never silent: routing and classes that are new lean on it.
        weights[0] = max(weights[0], 1e-3)
        return weights

    def log_probabilities(self) -> Scores:
        """Of the mixed answer, (n_held_out, n_classes)."""
        weights = self.weights()[: len(self.experts)]
        return log_softmax(np.tensordot(weights, np.stack(self.experts), 1))


def _project(frame: Frame, rows: _Rows, part: Indices) -> Matrix:
    """Projections of rows, decoded a few at a time."""
    U = np.empty((len(part), frame.n_dims), np.float32)
    for start in range(0, len(part), kernels.ROWS_AT_ONCE):
        some = slice(start, start + kernels.ROWS_AT_ONCE)
        U[some] = frame.project(frame.centred(rows.units(part[some])))
    return U


def _kernel_head(
    choice: KernelChoice,
    U: Matrix,
    rows: _Rows,
    part: Indices,
    room: Room,
    *,
    is_growing: bool = False,
) -> KernelHead:
    landmarks = spread(rows.cells[part], room.landmarks)[: room.landmarks]
    weights = class_weights(rows.cells[part], len(rows.cell_classes))
    return KernelHead.fit(
        choice, U, rows.y[part], weights, rows.n_classes, landmarks, is_growing=is_growing
    )


def _adaptor(frame: Frame, rows: _Rows, part: Indices, room: Room, seed: int) -> Adaptor:
    names, cells = np.unique(rows.cells[part], return_inverse=True)
    return Adaptor.fit(frame, rows.units, part, cells, rows.cell_classes[names], room.hidden, seed)


def _final(
    rows: _Rows,
    gone: Statistics,
    gain: Matrix,
    shrinkage: float,
    pull: float,
    held: _Held,
    options: FitOptions,
    room: Room,
) -> DerivedModel:
    everything = np.arange(len(rows.y))
    frame = _frame_of(rows, everything, gain, shrinkage, options.seed)
    U = _project(frame, rows, everything)
    cells = _cells_of(U, rows, everything, pull)
    if len(gone):
        counts = gone.counts.astype(np.float64)
        means = frame.project(frame.centred((gone.sums / counts[:, None]).astype(np.float32)))
        cells.add(means * counts[:, None], gone.classes, gone.slots, counts)
    prototypes = Prototypes(frame.n_dims, options.n_dims, options.seed)
    prototypes.derive(cells.means)
    weights = held.weights()
    head = _kernel_head(held.choice, U, rows, everything, room, is_growing=True)
    adaptor = _adaptor(frame, rows, everything, room, options.seed) if weights[3] > 0 else None
    frame.end_of_training()
    kept = _few_of_each(held.nearest, room.scores)
    score = OODScore(held.views[kept], held.nearest[kept, 0], held.nearest[kept, 1])
    drift = DriftProjection(gain, options.seed)
    reference = drift_reference(
        drift.signs(rows.units(held.calibrated)), held.nearest[:, 0], held.nearest[:, 1],
        options.seed, room.speaking_cells,
    )  # fmt: skip
    units = np.stack([rows.store.centre, rows.store.scale])
    return DerivedModel(
        units,
        frame, cells, prototypes, head, adaptor, weights, score, drift, reference,
        _stated(rows, held), len(rows.y),
    )  # fmt: skip


def _few_of_each(nearest: Indices, n_most: int) -> Indices:
    """Indices of at most so many rows of each cell, evenly over their arrival."""
    if len(nearest) == 0:
        return np.zeros(0, np.int64)
    keys, cells = np.unique(nearest[:, 0] * 65_536 + nearest[:, 1], return_inverse=True)
    picked = []
    for cell in range(len(keys)):
        rows = np.flatnonzero(cells == cell)
        n = min(len(rows), n_most)
        picked.append(rows[np.linspace(0, len(rows) - 1, n).astype(np.int64)])
    return np.sort(np.concatenate(picked))


def _stated(rows: _Rows, held: _Held) -> Mapping[int, tuple[float, int]]:
    """Slot -> cross-validated accuracy and the number of labels behind it."""
    if len(held.index) == 0:
        return {}
    right = held.log_probabilities().argmax(axis=1) == rows.y[held.index]
    slots = rows.slots[held.index]
    return {
        int(slot): (float(right[slots == slot].mean()), int(np.count_nonzero(slots == slot)))
        for slot in np.unique(slots)
    }


def _suspects(
    rows: _Rows, model: DerivedModel, store: Exemplars, n_classes: int
) -> tuple[Indices, Indices]:
    """All rows that are judged, and those whose label the others find unlikely.

    Learned rows are judged by the kernel head without them; suspects of before by the model, which
    has not learned them.
    """
    if np.unique(store.column("slots"), return_counts=True)[1].max() < noise.LEAST_OF_A_SLOT:
        return rows.index, rows.index[:0]
    judged, P = rows.index, np.exp(_left_out(rows, model))
    before = np.setdiff1d(np.arange(len(store)), rows.index)
    if len(before):
        answers = model.answer(store.raw(before), n_classes)
        P = np.concatenate([P, [each.probabilities for each in answers]])
        judged = np.concatenate([judged, before])
    labels, slots = (store.column(c)[judged].astype(np.int64) for c in ("labels", "slots"))
    suspected = noise.suspected(P, labels, slots, counts_of(rows.y, n_classes))
    suspected &= store.column("is_confirmed")[judged] == 0
    return judged, judged[suspected]


def _left_out(rows: _Rows, model: DerivedModel) -> Scores:
    """Log-probabilities of the learned rows by a kernel head that has not learned them."""
    everything = np.arange(len(rows.y))
    U = _project(model.frame, rows, everything)
    weights = class_weights(rows.cells, len(rows.cell_classes))
    scores = kernels.leave_one_out(model.kernel, U, rows.y, weights)
    return log_softmax(scores * best_temperature(scores, rows.y)[1])

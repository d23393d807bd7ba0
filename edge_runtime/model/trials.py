"""What a trial measures: labels since a drift, learned in their old slot and in a new one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_runtime.memory.exemplars import Exemplars
from edge_runtime.model.derived import DerivedModel
from edge_runtime.model.experts.kernel import KernelHead, class_weights
from edge_runtime.records import Trial
from hdc.domain.cells import Cells, counts_of
from hdc.domain.folds import folds_of, spread
from hdc.domain.frame import fit_frame, gains

Indices = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

# Rows of before that take part, and the folds of the new ones.
OLD_ROWS, N_FOLDS = 300, 3
SHRINKAGE = 0.3
# Labels just before the first one that is tried: it takes some until a drift is noticed.
DOUBTFUL_ROWS = 40
# Means of few labels are drawn to those of their class by so many labels at the least.
LEAST_PULL = 4.0


def try_new_slot(
    store: Exemplars,
    recent: Indices,
    model: DerivedModel,
    taps: Sequence[int],
    n_classes: int,
    is_answered_right: Sequence[bool],
    seed: int,
) -> Trial:
    """Measure `recent` rows of the store, as labels of their slot and as labels of a new one.

    Parameters
    ----------
    is_answered_right : of the labels that came, those of `recent` among them.
    """
    labels, slots = (store.column(c).astype(np.int64) for c in ("labels", "slots"))
    before = _rows_before(store, recent)
    host, new = int(counts_of(slots[recent]).argmax()), int(slots.max()) + 1
    gain = gains(store.scale, taps)
    folds = folds_of(labels[recent], store.column("scenes")[recent], N_FOLDS)
    found: dict[int, list[Scores]] = {host: [], new: []}
    truth: list[Indices] = []
    nearer: list[npt.NDArray[np.bool_]] = []
    for fold in range(N_FOLDS):
        learned, held = recent[folds != fold], recent[folds == fold]
        if not len(learned) or not len(held):
            continue
        rows = np.concatenate([before, learned])
        Z, H, y = store.units(rows), store.units(held), labels[rows]
        truth.append(labels[held])
        for tag in (host, new):
            own = np.concatenate([slots[before], np.full(len(learned), tag)])
            scores, D, cells = _learned(Z, y, own, H, model, gain, n_classes, seed)
            found[tag].append(scores)
            if tag == new:
                nearer.append(_nearer(D, cells, labels[held], host, new))
    if not truth:
        return Trial(len(recent), float(np.mean(is_answered_right)), 0.0, 0.0)
    y = np.concatenate(truth)
    one, other = (np.concatenate(found[tag]).argmax(axis=1) for tag in (host, new))
    votes = np.concatenate(nearer)
    return Trial(
        n_labels=len(is_answered_right),
        existing=float(np.mean(is_answered_right)),
        one_model=float(np.mean(one == y)),
        new_slot=float(np.mean(other == y)),
        n_shared=len(votes),
        nearer=float(votes.mean()) if len(votes) else 0.0,
        stated=model.stated.get(host, (math.nan, 0))[0],
    )


def _rows_before(store: Exemplars, recent: Indices) -> Indices:
    """A few rows of each cell from before the drift: what came just before it may be of both."""
    is_recent = np.zeros(len(store), np.bool_)
    is_recent[recent] = True
    trusted = (store.column("is_suspect") == 0) | (store.column("is_confirmed") == 1)
    before = np.flatnonzero(~is_recent & trusted)
    sure = before[before < int(recent.min()) - DOUBTFUL_ROWS]
    before = sure if len(sure) else before
    labels, slots = (store.column(c)[before].astype(np.int64) for c in ("labels", "slots"))
    return np.asarray(before[spread(labels * 65_536 + slots, OLD_ROWS)])


def _learned(
    Z: Matrix,
    y: Indices,
    slots: Indices,
    H: Matrix,
    model: DerivedModel,
    gain: Matrix,
    n_classes: int,
    seed: int,
) -> tuple[Scores, Matrix, Cells]:
    """Scores of held-out rows H by what rows Z teach, their distances to its cells, and these."""
    _, cells = np.unique(y * 65_536 + slots, return_inverse=True)
    frame = fit_frame(Z, cells, gain, SHRINKAGE, seed)
    U, V = (frame.project(frame.centred(each)) for each in (Z, H))
    means = Cells(frame.n_dims, max(model.cells.pull, LEAST_PULL))
    means.add(U, y, slots)
    D = means.distances(V)
    head = KernelHead.fit(
        model.kernel.choice, U, y, class_weights(y, n_classes), n_classes, np.arange(len(U))
    )
    w = model.weights
    gaussian = means.scores(D, frame.level[1] ** 2, n_classes)
    return w[0] * gaussian + max(w[2], 1.0) * head.scores(V), D, means


def _nearer(
    D: npt.NDArray[np.float32], cells: Cells, y: Indices, host: int, new: int
) -> npt.NDArray[np.bool_]:
    """Whether rows of classes that both slots have are nearer to the new one."""
    votes = []
    for i, k in enumerate(y.tolist()):
        old = np.flatnonzero((cells.classes == k) & (cells.slots == host))
        fresh = np.flatnonzero((cells.classes == k) & (cells.slots == new))
        if len(old) and len(fresh):
            votes.append(bool(D[i, fresh[0]] < D[i, old[0]]))
    return np.array(votes, np.bool_)

"""Cross-fitting: every label both trains a slot and judges it, never at the same time.

A slot is fitted on all folds but one and scores the one held out. The held-out scores calibrate
it (as strange samples would score, had they not been seen), choose the temperature of its
prototypes, and say whether an adaptor earns its bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_runtime.labelled import Classes, Matrix

if TYPE_CHECKING:
    from edge_runtime.slots import Scores, Slot

TEMPERATURES = (5.0, 10.0, 20.0, 40.0, 80.0)
# Labels below which no adaptor is tried: prototypes need fewer.
MIN_ADAPTOR_LABELS = 40


@dataclass(frozen=True)
class CrossFit:
    """Held-out results of n labelled samples, in their order."""

    best_cosines: Scores
    log_norms: Scores
    temperature: float
    predicted: Classes
    accuracy: float
    adaptor_helps: bool


def folds_of(y: Classes, n_folds: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A fold for each sample, every class spread over the folds as evenly as it goes."""
    fold = np.empty(len(y), np.int64)
    start = 0
    for k in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == k))
        fold[rows] = (start + np.arange(len(rows))) % n_folds
        start += len(rows)
    return fold


def cross_fit(slot: Slot, X: Matrix, y: Classes) -> CrossFit:
    """Held-out scores of a labelled batch under slots like `slot`; `slot` itself is not changed."""
    from edge_runtime.slots import log_softmax

    inherited = len(slot.parent.domain.counts) if slot.parent is not None else 0
    n, n_classes = len(y), max(int(y.max()) + 1, inherited)
    n_folds = min(slot.settings.n_folds, n)
    fold = folds_of(y, n_folds, np.random.default_rng(slot.seed))
    cosines, log_norms = np.full((n, n_classes), -1.0), np.zeros(n)
    adaptor_logs = np.zeros((n, n_classes))
    try_adaptor = n >= MIN_ADAPTOR_LABELS and len(np.unique(y)) > 1
    for held in range(n_folds if n > 1 else 0):
        test, train = fold == held, fold != held
        part = slot.empty()
        part.fit_domain(X[train], y[train])
        scores = part.score(X[test], n_classes)
        cosines[test], log_norms[test] = scores.cosines, scores.log_norms
        if try_adaptor:
            adaptor_logs[test] = _adaptor_logs(part, X[train], y[train], X[test], n_classes)
    temperature = max(TEMPERATURES, key=lambda t: _fit_of(log_softmax(t * cosines), y))
    prototype_logs = log_softmax(temperature * cosines)
    alone = np.argmax(prototype_logs, axis=1)
    both = np.argmax(prototype_logs + adaptor_logs, axis=1)
    helps = try_adaptor and _is_better(both == y, alone == y)
    predicted = both if helps else alone
    return CrossFit(
        best_cosines=cosines.max(axis=1),
        log_norms=log_norms,
        temperature=temperature,
        predicted=predicted,
        accuracy=float(np.mean(predicted == y)),
        adaptor_helps=helps,
    )


def _is_better(new: npt.NDArray[np.bool_], old: npt.NDArray[np.bool_]) -> bool:
    """Whether `new` is right where `old` is wrong more often than the reverse, beyond chance.

    McNemar's test at one standard error: an adaptor may not help by luck, nor need certainty.
    """
    wins, losses = int(np.sum(new & ~old)), int(np.sum(old & ~new))
    return wins - losses > math.sqrt(wins + losses)


def _adaptor_logs(
    part: Slot, X: Matrix, y: Classes, X_held: Matrix, n_classes: int
) -> npt.NDArray[np.float64]:
    if len(np.unique(y)) < 2:
        return np.zeros((len(X_held), n_classes))
    adaptor = part.fit_adaptor(X, y)
    logs = np.full((len(X_held), n_classes), np.log(1e-6))
    probabilities = adaptor.predict_proba(part.domain.standardise(part.lift(X_held)))
    logs[:, adaptor.classes_] = np.log(np.maximum(probabilities, 1e-6))
    return logs


def _fit_of(log_probabilities: Scores, y: Classes) -> float:
    """Mean log-probability of the true class."""
    return float(log_probabilities[np.arange(len(y)), y].mean())

"""Cross-fitting: every label both trains a slot and judges it, never at the same time.

A slot is fitted on all folds but one and scores the one held out. The held-out scores calibrate
it (as strange samples would score, had they not been seen), choose its shrinkage and the
temperature of its prototypes, and say whether an adaptor earns its bytes.
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

Bools = npt.NDArray[np.bool_]

TEMPERATURES = (5.0, 10.0, 20.0, 40.0, 80.0)
# With this one prototypes leave the answer to the adaptor, where that is better still.
LEAST = 2.5
# Shares of the isotropic covariance, the one for few labels first: with 2,000 labels 1,456 features
# of pictures want 0.3, and 432 of sounds a tenth of it.
SHRINKAGES = (0.3, 0.1, 0.03, 0.01, 0.003)
# Labels below which the first of them is taken.
MIN_SHRINKAGE_LABELS = 200
# Labels below which no adaptor is tried: prototypes need fewer.
MIN_ADAPTOR_LABELS = 40
# Held-out labels that are enough to judge an adaptor by; fitting one is what takes the time.
ADAPTOR_JUDGES = 400


@dataclass(frozen=True)
class CrossFit:
    """Held-out results of n labelled samples, in their order."""

    best_cosines: Scores
    log_norms: Scores
    temperature: float
    shrinkage: float
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


@dataclass(frozen=True)
class _HeldOut:
    """What was said of samples by slots that had not seen them, for each of `SHRINKAGES` tried."""

    cosines: Scores  # (n_shrinkages, n, n_classes)
    log_norms: Scores  # (n_shrinkages, n)
    adaptors: list[tuple[Bools, Classes, Scores]]  # rows, classes known, log-probabilities of them


def cross_fit(slot: Slot, X: Matrix, y: Classes) -> CrossFit:
    """Held-out results of a labelled batch under slots like `slot`; `slot` is not changed."""
    held = _hold_out(slot, X, y)
    at, alone_at = _best_fit(held, y)
    prototype_logs = log_softmax(alone_at * held.cosines[at])
    right, temperature, helps = np.argmax(prototype_logs, axis=1) == y, alone_at, False
    if held.adaptors:
        judged = np.any([rows for rows, _, _ in held.adaptors], axis=0)
        alone, both, mostly = (
            np.argmax(logs[judged], axis=1) == y[judged]
            for logs in (prototype_logs, *(_with_adaptors(held, at, t) for t in (alone_at, LEAST)))
        )
        if _is_better(mostly, both):
            both, temperature = mostly, LEAST
        helps = _is_better(both, alone)
        right, temperature = (both, temperature) if helps else (right, alone_at)
    return CrossFit(
        best_cosines=held.cosines[at].max(axis=1),
        log_norms=held.log_norms[at],
        temperature=temperature,
        shrinkage=SHRINKAGES[at],
        accuracy=float(np.mean(right)),
        adaptor_helps=helps,
    )


def _hold_out(slot: Slot, X: Matrix, y: Classes) -> _HeldOut:
    inherited = len(slot.parent.domain.counts) if slot.parent is not None else 0
    n, n_classes = len(y), max(int(y.max()) + 1, inherited)
    shrinkages = SHRINKAGES if n >= MIN_SHRINKAGE_LABELS else SHRINKAGES[:1]
    n_folds = min(slot.settings.n_folds, n) if n > 1 else 0
    fold = folds_of(y, max(n_folds, 1), np.random.default_rng(slot.seed))
    cosines = np.full((len(shrinkages), n, n_classes), -1.0)
    log_norms, adaptors, n_judged = np.zeros(cosines.shape[:2]), [], 0
    for held in range(n_folds):
        test, train = fold == held, fold != held
        part = slot.empty()
        part.fit_domain(X[train], y[train])
        for s, shrinkage in enumerate(shrinkages):
            part.shrink(shrinkage)
            scores = part.score(X[test], n_classes)
            cosines[s, test], log_norms[s, test] = scores.cosines, scores.log_norms
        is_wanted = n >= MIN_ADAPTOR_LABELS and n_judged < ADAPTOR_JUDGES
        if is_wanted and len(np.unique(y[train])) > 1:
            adaptor = part.fit_adaptor(X[train], y[train])
            adaptors.append((test, adaptor.classes_, part.adaptor_logs(adaptor, X[test])))
            n_judged += int(test.sum())
    return _HeldOut(cosines, log_norms, adaptors)


def _best_fit(held: _HeldOut, y: Classes) -> tuple[int, float]:
    """Which shrinkage and temperature of prototypes make the true classes most likely."""
    choices = [(s, t) for s in range(len(held.cosines)) for t in TEMPERATURES]
    return max(choices, key=lambda c: _fit_of(log_softmax(c[1] * held.cosines[c[0]]), y))


def _with_adaptors(held: _HeldOut, at: int, temperature: float) -> Scores:
    logs = log_softmax(temperature * held.cosines[at])
    for rows, known, of_adaptor in held.adaptors:
        logs[rows] = combined(logs[rows], known, of_adaptor)
    return logs


def combined(prototype_logs: Scores, known: Classes, adaptor_logs: Scores) -> Scores:
    """Log-probabilities (n, n_classes) of prototypes and an adaptor of the classes `known`.

    Among those both have a say; what the prototypes give to classes that the adaptor has never
    met, it cannot take away.
    """
    logs = prototype_logs.copy()
    ours = prototype_logs[:, known]
    mass = np.logaddexp.reduce(ours, axis=1, keepdims=True)
    logs[:, known] = mass + log_softmax(ours + adaptor_logs)
    return logs


def log_softmax(logits: Scores) -> Scores:
    """Logarithms of probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _is_better(new: Bools, old: Bools) -> bool:
    """Whether `new` is right where `old` is wrong more often than the reverse, beyond chance.

    McNemar's test at one standard error: an adaptor may not help by luck, nor need certainty.
    """
    wins, losses = int(np.sum(new & ~old)), int(np.sum(old & ~new))
    return wins - losses > math.sqrt(wins + losses)


def _fit_of(log_probabilities: Scores, y: Classes) -> float:
    """Mean log-probability of the true class."""
    return float(log_probabilities[np.arange(len(y)), y].mean())

"""Cross-fitting: every label both trains a slot and judges it, never at the same time.

A slot is fitted on all folds but one and scores the one held out. The held-out scores calibrate
it (as strange samples would score, had they not been seen), choose its shrinkage and what
prototypes and densities count for, and say whether an adaptor earns its bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_runtime.labelled import Classes, Matrix
from edge_runtime.mixing import (
    LARGEST_LOSS,
    MIXES,
    N_ALIKE,
    Mix,
    combined,
    losses_of,
    prototype_logs,
)

if TYPE_CHECKING:
    from edge_runtime.slots import Scores, Slot

Bools = npt.NDArray[np.bool_]

# Shares of the isotropic covariance, the one for few labels first: with 2,000 labels 1,456 features
# of pictures want 0.3, and 432 of sounds a tenth of it.
SHRINKAGES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
# Labels below which the first of them is taken, and no weight is given to densities.
MIN_SHRINKAGE_LABELS = 200
# Labels below which no adaptor is tried: prototypes need fewer.
MIN_ADAPTOR_LABELS = 100
# Held-out labels that are enough to judge an adaptor by; fitting one is what takes the time.
ADAPTOR_JUDGES = 800


@dataclass(frozen=True)
class CrossFit:
    """Held-out results of n labelled samples, in their order."""

    best_cosines: Scores
    log_norms: Scores
    losses: Scores  # (n_judged, len(MIXES)) of every mix, see `mixing`
    judged: Classes  # (n_judged,) true classes of the samples that these are of
    alone: Mix  # the best without an adaptor
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
    densities: Scores  # (n_shrinkages, n, n_classes)
    log_norms: Scores  # (n_shrinkages, n)
    adaptors: list[tuple[Bools, Classes, Scores]]  # rows, classes known, log-probabilities of them


def cross_fit(slot: Slot, X: Matrix, y: Classes) -> CrossFit:
    """Held-out results of a labelled batch under slots like `slot`; `slot` is not changed."""
    held = _hold_out(slot, X, y)
    of_each = [_losses(held, at, y) for at in range(len(held.cosines))]
    at = int(np.argmin([losses.mean(axis=0).min() for losses in of_each]))
    losses, judged, helps = of_each[at], np.ones(len(y), np.bool_), False
    alone = _best_of(losses)
    right = _is_right(_logs(held, at, alone), y)
    if held.adaptors:
        judged = np.any([rows for rows, _, _ in held.adaptors], axis=0)
        losses, of_both = losses[judged], _losses(held, at, y, judged, with_adaptors=True)
        helps = _is_better(of_both, losses)
        if helps:
            losses = of_both
            right = _is_right(_with_adaptors(held, at, _best_of(losses)), y)
    return CrossFit(
        best_cosines=held.cosines[at].max(axis=1),
        log_norms=held.log_norms[at],
        losses=losses,
        judged=y[judged],
        alone=alone,
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
    densities = np.full(cosines.shape, -np.inf)
    log_norms, adaptors, n_judged = np.zeros(cosines.shape[:2]), [], 0
    for held in range(n_folds):
        test, train = fold == held, fold != held
        part = slot.empty()
        part.fit_domain(X[train], y[train])
        framed = part.domain.frame(part.corrected(X[test]))  # the same for every shrinkage
        for s, shrinkage in enumerate(shrinkages):
            part.shrink(shrinkage)
            scores = part.score_framed(framed, n_classes)
            cosines[s, test], log_norms[s, test] = scores.cosines, scores.log_norms
            known = part.domain.log_likelihoods(framed)
            densities[s, test, : known.shape[1]] = known
        is_wanted = n >= MIN_ADAPTOR_LABELS and n_judged < ADAPTOR_JUDGES
        if is_wanted and len(np.unique(y[train])) > 1:
            adaptor = part.fit_adaptor(X[train], y[train])
            adaptors.append((test, adaptor.classes_, part.adaptor_logs(adaptor, X[test])))
            n_judged += int(test.sum())
    return _HeldOut(cosines, densities, log_norms, adaptors)


def _losses(
    held: _HeldOut,
    at: int,
    y: Classes,
    rows: Bools | slice = slice(None),
    *,
    with_adaptors: bool = False,
) -> Scores:
    """Losses (n, len(MIXES)) of all mixes on some rows, with one of `SHRINKAGES`."""
    can_weigh = len(y) >= MIN_SHRINKAGE_LABELS
    answer = _with_adaptors if with_adaptors else _logs
    losses = np.full((len(y[rows]), len(MIXES)), LARGEST_LOSS)
    for m, mix in enumerate(MIXES):
        if mix.density_weight and not can_weigh:
            continue
        if m % N_ALIKE and not with_adaptors:
            losses[:, m] = losses[:, m - 1]
        else:
            losses[:, m] = losses_of(answer(held, at, mix)[rows], y[rows])
    return losses


def _best_of(losses: Scores) -> Mix:
    return MIXES[int(np.argmin(losses.mean(axis=0)))]


def _logs(held: _HeldOut, at: int, mix: Mix) -> Scores:
    return prototype_logs(held.cosines[at], held.densities[at], mix)


def _with_adaptors(held: _HeldOut, at: int, mix: Mix) -> Scores:
    logs = _logs(held, at, mix)
    for rows, known, of_adaptor in held.adaptors:
        logs[rows] = combined(logs[rows], known, of_adaptor, mix.adaptor_weight)
    return logs


def _is_right(logs: Scores, y: Classes) -> Bools:
    return np.asarray(np.argmax(logs, axis=1) == y)


def _is_better(new: Scores, old: Scores) -> bool:
    """Whether the best mix of `new` losses (n, len(MIXES)) is less than that of `old`.

    By more than a standard error of the mean difference: an adaptor may not help by luck, nor need
    certainty.
    """
    gains = old[:, np.argmin(old.mean(axis=0))] - new[:, np.argmin(new.mean(axis=0))]
    return bool(gains.mean() > gains.std() / math.sqrt(len(gains)))

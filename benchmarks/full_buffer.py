"""Which samples a full buffer keeps: scores, and choices among scored samples.

Pure functions of arrays; where the buffer is and when it is full is not known here. A choice is
returned as ascending indices, so that the order of arrival survives.

Compare any score with `keep_random`. Measured (`benchmarks/results/selection.md`, three tasks):
small buffers of the hardest samples by EL2N lose tens of points to a balanced random choice,
because the hardest samples are no fair picture of their class; herding gains where features are
good.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hdc.estimator import check_random_state

Indices = npt.NDArray[np.int64]


def el2n_scores(probabilities: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return how wrong a classifier is about each sample, from 0 to sqrt(2); higher is harder.

    The score is ``| p - y* |_2`` for probabilities p and the one-hot true label, EL2N (Paul,
    Ganguli and Dziugaite, "Deep Learning on a Data Diet", NeurIPS 2021, who average it over ten
    networks early in training).

    Parameters
    ----------
    probabilities : (n_samples, n_classes) or (n_models, n_samples, n_classes)
        Of several models the scores are averaged.
    y : (n_samples,)
        Indices of the true classes.

    Examples
    --------
    >>> el2n_scores([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], [0, 0, 0]).round(3).tolist()
    [0.0, 0.707, 1.414]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim not in (2, 3) or p.shape[-1] == 0 or p.shape[0] == 0:
        raise ValueError(
            f"probabilities have shape {p.shape}, expected (n_samples, n_classes) or (n_models, "
            "n_samples, n_classes)."
        )
    if not ((p >= 0) & (p <= 1)).all() or not np.allclose(p.sum(axis=-1), 1.0, atol=1e-3):
        raise ValueError("probabilities do not lie within 0 and 1 or do not sum to 1: logits?")
    labels = _class_indices(y, p.shape[-2])
    if labels.size and labels.max() >= p.shape[-1]:
        raise ValueError(f"y holds class {labels.max()}, but there are {p.shape[-1]} classes.")
    norms = np.linalg.norm(p - np.eye(p.shape[-1])[labels], axis=-1)
    scores: npt.NDArray[np.float64] = norms if norms.ndim == 1 else norms.mean(axis=0)
    return scores


def herding_scores(
    X: npt.ArrayLike, y: npt.ArrayLike, means: npt.ArrayLike | None = None, *, n_first: int = 100
) -> npt.NDArray[np.float64]:
    """Return when each sample is taken, 0 for the first of its class, then -1, and so on.

    Samples of a class are taken one after the other, so that the mean of those taken is nearest to
    the mean of the class (iCaRL: Rebuffi et al., CVPR 2017). The distance is Euclidean: standardise
    first.

    Parameters
    ----------
    X : (n_samples, n_features)
        Finite.
    y : (n_samples,)
        Class indices.
    means : (n_classes, n_features), optional
        Means of all samples of each class that were seen, also of those that are gone; by default
        the means of X.
    n_first
        How many of each class are told apart; all others score ``-n_first``.

    Examples
    --------
    >>> herding_scores([[0.0], [1.0], [4.0], [9.0]], [0, 0, 0, 1], n_first=2).tolist()
    [-2.0, 0.0, -1.0, 0.0]
    """
    values = np.asarray(X, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"X has shape {values.shape}, expected (n_samples, n_features), finite.")
    if isinstance(n_first, bool) or not isinstance(n_first, (int, np.integer)) or n_first < 1:
        raise ValueError(f"n_first is {n_first!r}, expected an int of 1 or more.")
    labels = _class_indices(y, len(values))
    targets = None if means is None else np.asarray(means, dtype=np.float64)
    expected = (int(labels.max(initial=-1)) + 1, values.shape[1])
    if targets is not None and (
        targets.ndim != 2 or len(targets) < expected[0] or targets.shape[1] != expected[1]
    ):
        raise ValueError(f"means have shape {targets.shape}, expected {expected}.")
    scores = np.full(len(values), -float(n_first))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        mean = values[own].mean(axis=0) if targets is None else targets[label]
        first = _herded(values[own], mean, n_first)
        scores[own[first]] = 0.0 - np.arange(len(first))
    return scores


def _herded(
    X: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.intp]:
    squares = np.square(X).sum(axis=1)
    total, taken = np.zeros_like(mean), np.empty(min(n, len(X)), dtype=np.intp)
    for i in range(len(taken)):
        # |(total + x) / (i + 1) - mean|^2, scaled, without what all x share.
        gaps = squares + 2 * X @ (total - (i + 1) * mean)
        gaps[taken[:i]] = np.inf
        taken[i] = gaps.argmin()
        total = total + X[taken[i]]
    return taken


def keep_highest(scores: npt.ArrayLike, n_keep: int, y: npt.ArrayLike | None = None) -> Indices:
    """Return the indices of the ``n_keep`` highest scores; between equals the later sample wins.

    Parameters
    ----------
    scores : (n_samples,)
        Finite.
    n_keep
        0 or more; all are kept if there are no more.
    y : (n_samples,), optional
        Class indices. With them every class keeps equally many, and what a small class leaves
        over goes to the others.

    Examples
    --------
    >>> keep_highest([0.9, 0.1, 0.8, 0.7], 2).tolist()
    [0, 2]
    >>> keep_highest([0.9, 0.1, 0.8, 0.7], 2, y=[0, 1, 0, 0]).tolist()
    [0, 1]
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"scores have shape {values.shape}, expected (n_samples,), all finite.")
    if isinstance(n_keep, bool) or not isinstance(n_keep, (int, np.integer)) or n_keep < 0:
        raise ValueError(f"n_keep is {n_keep!r}, expected an int of 0 or more.")
    labels = np.zeros(len(values), np.int64) if y is None else _class_indices(y, len(values))
    best_first = np.lexsort((-np.arange(len(values)), -values))
    # Its rank within its own class, then in all, orders the samples: classes take turns.
    rank = np.empty(len(values), dtype=np.int64)
    for label in np.unique(labels):
        of_class = best_first[labels[best_first] == label]
        rank[of_class] = np.arange(len(of_class))
    turns = best_first[np.argsort(rank[best_first], kind="stable")]
    kept: Indices = np.sort(turns[:n_keep]).astype(np.int64)
    return kept


def keep_random(
    n_samples: int, n_keep: int, y: npt.ArrayLike | None = None, *, random_state: Any = None
) -> Indices:
    """Return the indices of ``n_keep`` random samples, as balanced as `keep_highest` if given y.

    >>> len(keep_random(10, 4, random_state=0))
    4
    """
    return keep_highest(check_random_state(random_state).random(n_samples), n_keep, y)


def _class_indices(y: npt.ArrayLike, n_samples: int) -> Indices:
    labels = np.asarray(y)
    if labels.shape != (n_samples,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"y is {labels.dtype} of shape {labels.shape}, expected class indices ({n_samples},)."
        )
    if labels.size and labels.min() < 0:
        raise ValueError(f"y holds class index {labels.min()}, expected 0 or more.")
    return labels.astype(np.int64)

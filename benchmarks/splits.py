"""Splits, views and settings: who may see what, in which order, and what is tried on it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.features import FeatureSet, Labels, Matrix


@dataclass(frozen=True)
class Stream:
    """Training rows of each domain, in the order they come, and its test rows."""

    train: tuple[Labels, ...]
    test: tuple[Labels, ...]


def domain_stream(data: FeatureSet, seed: int, test_share: float = 0.2) -> Stream:
    """Domains one after the other, each shuffled; a share of every class and domain is for test.

    Where rows come in scenes they keep their order, and whole scenes of each domain are for test.
    """
    rng = np.random.default_rng(seed)
    train, test = [], []
    for domain in range(len(data.domains)):
        rows = np.flatnonzero(data.domain == domain)
        is_test = _held_of(data, rows, test_share, rng)
        learned = rows[~is_test]
        train.append(rng.permutation(learned) if data.scene is None else learned)
        test.append(rows[is_test])
    return Stream(tuple(train), tuple(test))


def _held_of(
    data: FeatureSet, rows: Labels, share: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Mark a share of the rows of each class, or of the scenes where there are such."""
    if data.scene is None:
        return hold_out(data.y[rows], share, rng)
    scenes, which = np.unique(data.scene[rows], return_inverse=True)
    return hold_out(np.zeros(len(scenes), np.int64), share, rng)[which]


def hold_out(groups: Labels, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Mark a share of every group, rounded."""
    held = np.zeros(len(groups), bool)
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        held[members[: round(share * len(members))]] = True
    return held


def first_of_each_class(y: Labels, n_labels: int) -> Labels:
    """Positions of the first `n_labels` samples of each class, in their order."""
    chosen = [np.flatnonzero(y == k)[:n_labels] for k in np.unique(y)]
    return np.sort(np.concatenate(chosen))


def validation_part(data: FeatureSet, stream: Stream, seed: int) -> Stream:
    """Return the training rows alone, a fifth of them for test: what tuning may look at."""
    rng = np.random.default_rng([seed, 1])
    held = [_held_of(data, rows, 0.2, rng) for rows in stream.train]
    pairs = list(zip(stream.train, held, strict=True))
    return Stream(tuple(rows[~h] for rows, h in pairs), tuple(rows[h] for rows, h in pairs))


def grid(**choices: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of the choices, as keyword arguments.

    >>> grid(rate=[1, 2], loss=["l2"])
    [{'rate': 1, 'loss': 'l2'}, {'rate': 2, 'loss': 'l2'}]
    """
    return [dict(zip(choices, each, strict=True)) for each in itertools.product(*choices.values())]


@dataclass(frozen=True)
class View:
    """What a peer sees of the features: all taps or the embedding, standardised or as they are.

    A standardised view takes mean and spread from `reference` rows, which a stream has: those of
    its first domain.
    """

    taps: str = "all"
    standardise: bool = True

    def __str__(self) -> str:
        """Return the view in words."""
        return f"{self.taps}{'' if self.standardise else ', raw'}"

    def of(self, data: FeatureSet, reference: Labels) -> Matrix:
        """Features (n_samples, n_columns) of the whole data set in this view."""
        n_columns = data.X.shape[1]
        start = 0 if self.taps == "all" else n_columns - list(data.taps.values())[-1]
        X = data.X[:, start:]
        if not self.standardise:
            return X
        centre, spread = X[reference].mean(axis=0), X[reference].std(axis=0)
        return scaled(X, centre, spread)


def scaled(X: Matrix, centre: Matrix, spread: Matrix) -> Matrix:
    """Standardised features, within ten: what never varied before would be without bound."""
    return np.clip((X - centre) / (spread + 1e-6), -10, 10).astype(np.float32)

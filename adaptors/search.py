"""`search_adaptors`: which adaptor to build, from a few labelled samples, before any is trained.

Candidates within the budgets are drawn, each is built with random weights, a forward pass of the
samples gives its outputs, and `proxies` score them. Candidates are ranked by each proxy, and the
ranks of those in `AGGREGATE` are combined as AZ-NAS does (CVPR 2024): the sum of log(rank / m), in
which one very bad rank weighs more than several good ones. A score from few samples is noisy, so
its rank is the one to be expected of fresh samples: where it cannot tell candidates apart, an exact
one decides. EAR chooses adaptors zero-shot too (arXiv 2308.02084), by a formula that is not known
to us. Nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import erf
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from adaptors import proxies
from adaptors.candidates import DENSE_KINDS, Candidate, Tap, candidate_space, drawn
from adaptors.search_classifier import ONLY_TAP, AdaptorClassifier, finite_array
from adaptors.search_network import AdaptorNetwork, averaged
from adaptors.standardise import Standardiser
from hdc import estimator as contract

Array = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

# Fewer are noise; the Gram matrix of more would take minutes on a board.
MIN_SAMPLES: Final = 8
MAX_SAMPLES: Final = 2000
# Random weights that the nearest mean is averaged over.
N_DRAWS: Final = 5


class Evidence(NamedTuple):
    """What a proxy may look at: the candidate, what it puts out untrained, class indices.

    ``outputs`` are those of one draw of weights, its taps first; ``features`` are the softmax's
    inputs of every draw.
    """

    candidate: Candidate
    outputs: Sequence[Array]
    features: Sequence[Array]
    y: npt.NDArray[np.int64]


# Every one: higher is meant to be better.
PROXIES: Final[Mapping[str, Callable[[Evidence], float]]] = {
    "expressivity": lambda seen: proxies.expressivity(seen.outputs),
    "effective_rank": lambda seen: proxies.effective_rank(seen.outputs[-1]),
    "progressivity": lambda seen: proxies.progressivity(seen.outputs),
    "naswot": lambda seen: proxies.naswot(seen.outputs[-1]),
    "alignment": lambda seen: proxies.alignment(seen.outputs[-1], seen.y),
    "nearest_mean": lambda seen: float(
        np.mean([proxies.nearest_mean_accuracy(F, seen.y) for F in seen.features])
    ),
    "ridge_fit": lambda seen: proxies.ridge_fit(seen.outputs[-1], seen.y),
    "tap_fit": lambda seen: proxies.ridge_fit(seen.outputs[0], seen.y),
    "n_params": lambda seen: float(seen.candidate.n_params),
    "n_macs": lambda seen: float(seen.candidate.n_macs),
}
# Three questions: what the taps could say, how far classes keep apart in untrained features, and
# how much there is to learn with. Any one alone is worse: the fit of the taps sees no adaptor, the
# nearest mean falls for small taps, the size for taps that say little. Settled on seven tasks, of
# which `benchmarks/search.py` records the letters alone. Mean regret there: 1.8 points; 2.3 without
# standard errors, 2.2 with one draw of weights, 2.7 without the fit of the taps, 3.9 without the
# nearest mean, 5.1 by size alone.
AGGREGATE: Final = ("tap_fit", "nearest_mean", "n_params")
# Of scores that estimate a number for all samples from n of them: that of a share, and of a share
# of variance (Olkin and Finn, 1995). The others are exact, or ranked as if they were.
STANDARD_ERRORS: Final[Mapping[str, Callable[[Scores, int], Scores]]] = {
    "tap_fit": lambda r2, n: 2 * np.sqrt(np.clip(r2, 0.0, None) / n) * (1 - r2),
    "nearest_mean": lambda p, n: np.sqrt(p * (1 - p) / n),
}


@dataclass(frozen=True)
class Row:
    """One candidate: its proxies, the expected rank by each (1 is worst), and the aggregate."""

    candidate: Candidate
    scores: Mapping[str, float]
    ranks: Mapping[str, float]
    aggregate: float


@dataclass(frozen=True)
class SearchResult:
    """The chosen candidate, why, and all others, best first.

    Attributes
    ----------
    best : Candidate
    why : str
    table : tuple of Row
    """

    best: Candidate
    why: str
    table: tuple[Row, ...]

    def build(self, **params: Any) -> AdaptorClassifier:
        """Return an untrained estimator of the chosen candidate; see `AdaptorClassifier`."""
        return AdaptorClassifier(self.best, **params)

    def __str__(self) -> str:
        return self.to_text(10)

    def to_text(self, n_rows: int | None = None) -> str:
        """Return the table, best first, columns aligned."""
        names = list(self.table[0].scores)
        cells = [["candidate", "bytes", "MACs", "aggregate", *names]]
        for row in self.table[:n_rows]:
            c = row.candidate
            numbers = [str(c.n_bytes), str(c.n_macs), f"{row.aggregate:.2f}"]
            cells.append([str(c), *numbers, *(f"{row.scores[name]:.4g}" for name in names)])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = (
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in cells
        )
        return "\n".join([self.why, *lines])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-able values."""
        rows = [
            {
                "candidate": row.candidate.to_dict(),
                "name": str(row.candidate),
                "bytes": row.candidate.n_bytes,
                "macs": row.candidate.n_macs,
                "scores": dict(row.scores),
                "ranks": dict(row.ranks),
                "aggregate": row.aggregate,
            }
            for row in self.table
        ]
        return {"best": self.best.to_dict(), "why": self.why, "table": rows}


def search_adaptors(
    X: Any,
    y: npt.ArrayLike,
    *,
    budget_bytes: int,
    budget_macs: int | None = None,
    taps: Sequence[str] | None = None,
    n_candidates: int = 100,
    random_state: Any = None,
) -> SearchResult:
    """Choose an adaptor within hard budgets, from untrained forward passes alone.

    Parameters
    ----------
    X : dict {tap: (n_samples, d) or (n_samples, h, w, c)}, or one (n_samples, d) array
        One to two hundred samples are enough; 2,000 at most.
    y : (n_samples,)
        Their labels, integers or strings, two classes or more.
    budget_bytes, budget_macs
        Bytes that the built adaptor may hold, and multiplications of one prediction: never
        exceeded. See `Candidate.n_bytes`.
    taps : optional
        Names of the taps that may be read; all of X by default.
    n_candidates
        Drawn from the whole space; all of it if that is smaller.
    random_state : None, int or numpy Generator
        Draws the candidates and their weights.

    Raises
    ------
    ValueError
        No candidate fits (the smallest is named), a tap does not exist, X is not finite or too
        small, y has a single class.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], 20)
    >>> X = {"early": rng.normal(size=(60, 4)), "late": rng.normal(size=(60, 8)) + 3 * y[:, None]}
    >>> result = search_adaptors(X, y, budget_bytes=1500, random_state=0)
    >>> result.best.n_bytes <= 1500, len(result.table)
    (True, 33)
    >>> result.build(random_state=0).fit(X, y).score(X, y) > 0.8
    True
    """
    arrays = _taps(X, taps)
    n_samples = len(next(iter(arrays.values())))
    labels = contract.check_y(y, n_samples)
    classes, indices = np.unique(labels, return_inverse=True)
    _check_samples(n_samples, len(classes))
    for name, value in (("budget_bytes", budget_bytes), ("n_candidates", n_candidates)):
        _check_positive(name, value)
    if budget_macs is not None:
        _check_positive("budget_macs", budget_macs)
    rng = contract.check_random_state(random_state)
    space = candidate_space([Tap(k, v.shape[1:]) for k, v in arrays.items()], len(classes))
    affordable = _within(space, budget_bytes, budget_macs)
    candidates = drawn(affordable, n_candidates, rng)
    scores = scored(candidates, arrays, indices, rng)
    return ranked(candidates, scores, n_samples=n_samples)


def scored(
    candidates: Sequence[Candidate],
    taps: Mapping[str, Array],
    y: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> list[dict[str, float]]:
    """Return every proxy of every candidate, built untrained, by name; ``y`` are class indices."""
    views = _standardised_taps(taps)
    scores = []
    for c in candidates:
        view = views["vectors" if c.kind in DENSE_KINDS else "maps"]
        # Without weights of its own every draw is the same.
        draws = [AdaptorNetwork(c, rng).outputs(view) for _ in range(N_DRAWS if c.layers else 1)]
        seen = Evidence(c, draws[0], [outputs[-1] for outputs in draws], y)
        scores.append({name: proxy(seen) for name, proxy in PROXIES.items()})
    return scores


def ranked(
    candidates: Sequence[Candidate],
    scores: Sequence[Mapping[str, float]],
    aggregate: Sequence[str] = AGGREGATE,
    *,
    n_samples: int,
) -> SearchResult:
    """Return candidates ordered by the sum over ``aggregate`` of log(rank / m); see the module."""
    m = len(candidates)
    by_name = {}
    for name in scores[0]:
        values = np.array([each[name] for each in scores])
        error = STANDARD_ERRORS.get(name)
        by_name[name] = rank(values, 0.0 if error is None else error(values, n_samples).mean())
    total = np.sum([np.log(by_name[name] / m) for name in aggregate], axis=0)
    # Among equals the smaller one: nothing speaks for its greater cost.
    order = sorted(range(m), key=lambda i: (-total[i], candidates[i].n_bytes))
    table = tuple(
        Row(
            candidates[i],
            scores[i],
            {name: float(ranks[i]) for name, ranks in by_name.items()},
            float(total[i]),
        )
        for i in order
    )
    return SearchResult(table[0].candidate, _why(table[0], aggregate, m), table)


def rank(values: npt.ArrayLike, error: float = 0.0) -> Scores:
    """Return ranks from 1, the lowest, to m, the highest; equals share the mean of theirs.

    With a standard error it is the rank to be expected where each value has that much normal noise,
    independent of the others': values nearer than the error nearly share a rank.

    >>> rank([0.5, 2.0, 0.5]).tolist()
    [1.5, 3.0, 1.5]
    >>> rank([0.50, 0.51, 0.90], error=0.1).round(1).tolist()
    [1.5, 1.5, 3.0]
    """
    v = np.asarray(values, dtype=np.float64)
    gaps = v[:, None] - v
    # Twice the chance that one value is above another, less one.
    lead = np.sign(gaps)
    if error > 0:
        lead = np.reshape([erf(gap) for gap in (gaps / (2 * error)).flat], gaps.shape)
    ranks: Scores = (1 + len(v) + lead.sum(axis=1)) / 2
    return ranks


def _standardised_taps(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Return the taps standardised for vectors (maps averaged first) and for convolutions."""
    views = {"vectors": {k: averaged(v) for k, v in arrays.items()}, "maps": arrays}
    return {view: {k: _standardised(v) for k, v in of.items()} for view, of in views.items()}


def _standardised(X: Array) -> Array:
    return Standardiser(X.shape[-1]).update(X.reshape(-1, X.shape[-1])).transform(X)


def _why(row: Row, aggregate: Sequence[str], m: int) -> str:
    c = row.candidate
    places = ", ".join(f"{name} {m + 1 - row.ranks[name]:.3g}" for name in aggregate)
    return (
        f"{c}: {c.n_bytes} bytes, {c.n_macs} MACs; best of {m} untrained candidates within budget "
        f"by the sum of log ranks (expected places, 1 is best: {places})"
    )


def _within(space: list[Candidate], n_bytes: int, n_macs: int | None) -> list[Candidate]:
    limit = np.inf if n_macs is None else n_macs
    affordable = [c for c in space if c.n_bytes <= n_bytes and c.n_macs <= limit]
    if not affordable:
        least = min(space, key=lambda c: c.n_bytes)
        leanest = min(space, key=lambda c: c.n_macs)
        raise ValueError(
            f"no candidate fits budget_bytes={n_bytes}, budget_macs={n_macs}: the smallest is "
            f"{least} with {least.n_bytes} bytes and {least.n_macs} MACs, the one of fewest MACs "
            f"{leanest} with {leanest.n_bytes} bytes and {leanest.n_macs} MACs."
        )
    return affordable


def _taps(X: Any, names: Sequence[str] | None) -> dict[str, Array]:
    given = X if isinstance(X, Mapping) else {ONLY_TAP: X}
    chosen = list(given) if names is None else list(names)
    missing = [name for name in chosen if name not in given]
    if missing or not chosen:
        raise ValueError(f"taps {missing} do not exist: X has {sorted(given)}.")
    arrays = {name: finite_array(given[name], name) for name in chosen}
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"taps have different numbers of samples: {counts}.")
    return arrays


def _check_samples(n_samples: int, n_classes: int) -> None:
    if n_classes < 2:
        raise ValueError("y names a single class, expected two or more: nothing to tell apart.")
    least = max(MIN_SAMPLES, 2 * n_classes)
    if not least <= n_samples <= MAX_SAMPLES:
        raise ValueError(
            f"X has {n_samples} samples of {n_classes} classes, expected {least} to {MAX_SAMPLES}: "
            "proxies of fewer are noise, more make them slow."
        )


def _check_positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}, expected an int of 1 or more.")

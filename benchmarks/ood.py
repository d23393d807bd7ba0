"""Out-of-distribution samples: the score of `EdgeRuntime` beside published detectors.

All methods see the same features. The runtime learns the rows in one batch and scores samples by
`peek_many`, as a board does. AUROC, and the share of out-of-distribution samples that pass where
95 % of those in distribution do (FPR at 95 % TPR), all fresh. Nothing is tuned: no detector sees
one of the former before it is scored. Which samples are learned, which are tested, and every random
projection change with the seed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.command import main
from benchmarks.features import Matrix
from benchmarks.hdff import HDFFDetector
from benchmarks.ood_tasks import Task, tasks
from benchmarks.options import Options
from benchmarks.peers import ood_detectors as peers
from benchmarks.reporting import Report, mean_and_sd
from edge_runtime import EdgeRuntime

OURS, MAHALANOBIS = "edge-runtime", "Mahalanobis"
QUICK_ROWS = 300
Scorer = Callable[[Matrix], Any]


def run(options: Options) -> Report | None:
    """Return the table of all methods on all pairs; None where no task has its data."""
    records = [
        record
        for seed in options.seed_range
        for task in tasks(options, seed)
        for record in measure(_shortened(task) if options.quick else task, seed)
    ]
    return _report(records, options) if records else None


def measure(task: Task, seed: int) -> Iterator[dict[str, Any]]:
    """Yield AUROC and FPR of each method for each kind of sample out of distribution."""
    for name, score in scorers(task, seed):
        known = score(task.test)
        for kind, X in task.ood.items():
            auroc, fpr = auroc_and_fpr(known, score(X))
            pair = f"{task.name} against {kind}"
            yield {"pair": pair, "method": name, "seed": seed, "auroc": auroc, "fpr": fpr}
        print(f"{task.name}, seed {seed}: {name}", file=sys.stderr)


def scorers(task: Task, seed: int) -> Iterator[tuple[str, Scorer]]:
    """Yield each method fitted to the task: samples in, scores out, higher is more normal."""
    X, y = task.train, np.unique(task.y, return_inverse=True)[1]
    with warnings.catch_warnings():  # logistic regression that has not converged is near enough
        warnings.simplefilter("ignore")
        softmax = peers.MaxSoftmax().fit(X, y)
    yield "MSP", softmax.score_samples
    yield "energy", peers.Energy(softmax.model).fit(X, y).score_samples
    yield "ViM", peers.ViM(softmax.model).fit(X, y).score_samples
    yield MAHALANOBIS, peers.Mahalanobis().fit(X, y).score_samples
    yield "relative Mah.", peers.RelativeMahalanobis().fit(X, y).score_samples
    yield "kNN", peers.NearestNeighbours().fit(X, y).score_samples
    yield "cosine NCM", peers.CosineNearestMean().fit(X, y).score_samples
    hdff = HDFFDetector(random_state=seed).fit(task.by_tap(X), y)
    yield "HDFF", lambda X: hdff.score_samples(task.by_tap(X))
    runtime = EdgeRuntime(random_state=seed)
    runtime.learn_many(task.samples(X), y.tolist())
    yield OURS, lambda X: np.array([-p.ood_score for p in runtime.peek_many(task.samples(X))])


def auroc_and_fpr(known: Any, ood: Any) -> tuple[float, float]:
    """Chance that a known sample scores higher than one that is not; share of those above its 5 %.

    >>> auroc_and_fpr(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0]))
    (0.75, 0.5)
    """
    ascending = np.sort(ood)
    below = np.searchsorted(ascending, known, side="left")
    up_to = np.searchsorted(ascending, known, side="right")
    auroc = (below + up_to).mean() / (2 * len(ood))
    threshold = np.quantile(known, 0.05, method="lower")
    return float(auroc), float((ood >= threshold).mean())


def _shortened(task: Task) -> Task:
    train = np.random.default_rng(0).permutation(len(task.train))[:QUICK_ROWS]
    ood = {kind: X[:QUICK_ROWS] for kind, X in task.ood.items()}
    test, test_y = task.test[:QUICK_ROWS], task.test_y[:QUICK_ROWS]
    return Task(task.name, task.train[train], task.y[train], test, test_y, ood, task.taps)


def _report(records: Sequence[Mapping[str, Any]], options: Options) -> Report:
    methods = list(dict.fromkeys(record["method"] for record in records))
    pairs = list(dict.fromkeys(record["pair"] for record in records))
    cells = {
        (p, m): [r for r in records if (r["pair"], r["method"]) == (p, m)]
        for p in pairs
        for m in methods
    }
    rows = [
        [pair, *(mean_and_sd([r["auroc"] for r in cells[pair, m]]) for m in methods)]
        for pair in pairs
    ]
    for what in ("auroc", "fpr"):
        means = [
            np.mean([np.mean([r[what] for r in cells[pair, m]]) for pair in pairs]) for m in methods
        ]
        label = (
            "mean AUROC of all pairs" if what == "auroc" else "mean FPR at 95 % TPR (low is good)"
        )
        rows.append([label, *(f"{100 * mean:.1f}" for mean in means)])
    ours = [np.mean([r["auroc"] for r in cells[pair, OURS]]) for pair in pairs]
    theirs = [np.mean([r["auroc"] for r in cells[pair, MAHALANOBIS]]) for pair in pairs]
    worst = int(np.argmin(np.subtract(ours, theirs)))
    gap = 100 * (ours[worst] - theirs[worst])
    return Report(
        name="ood",
        title="Out of distribution: AUROC, % (higher is better)",
        protocol=(
            f"Lite0 features, four taps (HAPT: statistics of windows, no encoder); all methods on "
            f"the same features; {len(options.seed_range)} seeds, mean ± standard deviation. "
            f"Least favourable pair against Mahalanobis: {pairs[worst]}, {gap:+.1f} points."
        ),
        columns=("in against out of distribution", *methods),
        rows=rows,
        records=records,
    )


if __name__ == "__main__":
    main(run, __doc__)

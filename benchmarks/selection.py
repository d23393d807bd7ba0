"""What a full buffer should keep: a classifier trained on k samples per class of a stream.

EL2N and herding (`full_buffer`) against chance, the most recent, and the nearest to the class
mean. Streams: PACS on Lite0's taps, domain after domain; Fashion-MNIST pixels; letters. A
sample is scored when it comes, by networks that learn the stream in one pass, before they learn it;
a choice by such a score is the same whether it is made at every sample or once at the end, which is
how it is made here. "Rescored" scores the buffer anew with every chunk of the stream; herding sees
the buffer, the chunk and running means, or looks back on all of the stream.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adaptors import TargetProjectionClassifier
from benchmarks.command import main
from benchmarks.features import FeatureSet, Labels, Matrix, pacs_features
from benchmarks.full_buffer import el2n_scores, herding_scores, keep_highest, keep_random
from benchmarks.options import Options
from benchmarks.reporting import Report, mean_and_sd
from benchmarks.splits import domain_stream
from examples.datasets import fashion, letter
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.pacs import DataAbsentError

Scores = npt.NDArray[np.float64]

PER_CLASS, QUICK_PER_CLASS = (5, 10, 20, 50), (5,)
N_STREAM, N_TEST, QUICK_STREAM = 4_000, 4_000, 500
CHUNK, N_NETWORKS = 100, 5
# As many steps for every size of buffer: compared is what it holds, not how long it is learned.
STEPS, BATCH_SIZE, HIDDEN = 400, 16, 128
REFERENCE: Final = "random, balanced"


@dataclass(frozen=True)
class Task:
    """A labelled stream in order of arrival, and test rows; accuracy is the mean over `group`."""

    name: str
    X: Matrix
    y: Labels
    group: Labels
    stream: Labels
    test: Labels

    def accuracy(self, kept: Labels, seed: int) -> float:
        """Test accuracy of a classifier that has learned these places of the stream."""
        rows = self.stream[kept]
        epochs = max(1, round(STEPS * BATCH_SIZE / len(rows)))
        model = _network(seed, epochs).fit(self.X[rows], self.y[rows])
        right, group = model.predict(self.X[self.test]) == self.y[self.test], self.group[self.test]
        return float(np.mean([right[group == each].mean() for each in np.unique(group)]))


class Arrivals:
    """One pass of a stream; choices are places in it, ascending."""

    def __init__(self, task: Task, seed: int) -> None:
        self.n_classes, self.seed = int(task.y.max()) + 1, seed
        self.X, self.y = task.X[task.stream], task.y[task.stream]

    @cached_property
    def probabilities(self) -> Scores:
        """What each network says of each sample when it comes: (N_NETWORKS, n_samples, classes)."""
        said = [_probabilities(networks, self.X[rows]) for rows, networks in self._passes()]
        return np.concatenate(said, axis=1)

    @cached_property
    def one_network(self) -> Scores:
        """EL2N of each sample when it comes, by one network."""
        return el2n_scores(self.probabilities[0], self.y)

    @cached_property
    def networks(self) -> Scores:
        """EL2N of each sample when it comes, the mean over networks."""
        return el2n_scores(self.probabilities, self.y)

    @cached_property
    def nearness(self) -> Scores:
        """Minus the squared distance to the running mean of the class."""
        means, counts = np.zeros((self.n_classes, self.X.shape[1])), np.zeros(self.n_classes)
        scores = np.empty(len(self.y))
        for i, (x, k) in enumerate(zip(self._standardised, self.y, strict=True)):
            counts[k] += 1
            means[k] += (x - means[k]) / counts[k]
            scores[i] = -np.square(x - means[k]).sum()
        return scores

    def rescored(self, n_keep: int) -> Labels:
        """Return what remains where the buffer is scored anew with every chunk that comes."""
        kept = np.empty(0, np.int64)
        for rows, networks in self._passes():
            pool = np.concatenate([kept, rows])
            scores = el2n_scores(_probabilities(networks, self.X[pool]), self.y[pool])
            kept = pool[keep_highest(scores, n_keep, self.y[pool])]
        return kept

    def herded(self, n_keep: int, *, looks_back: bool) -> Labels:
        """Return what remains where the buffer is herded anew with every chunk, or once at all."""
        kept = np.empty(0, np.int64)
        n_first = n_keep // self.n_classes
        for rows in [self._places] if looks_back else self._chunks():
            pool = np.concatenate([kept, rows])
            seen = slice(0, rows[-1] + 1)
            means = self._means(self._standardised[seen], self.y[seen])
            y = self.y[pool]
            scores = herding_scores(self._standardised[pool], y, means, n_first=n_first)
            kept = pool[keep_highest(scores, n_keep, y)]
        return kept

    def _means(self, Z: Matrix, y: Labels) -> Scores:
        members = np.eye(self.n_classes)[y]
        return np.asarray(members.T @ Z / np.maximum(members.sum(axis=0), 1)[:, None])

    @property
    def _places(self) -> Labels:
        return np.arange(len(self.y))

    def _chunks(self) -> list[Labels]:
        return np.split(self._places, range(CHUNK, len(self.y), CHUNK))

    def _passes(self) -> Iterator[tuple[Labels, list[TargetProjectionClassifier]]]:
        """Yield each chunk with the networks that have learned all chunks before it."""
        networks = [_network(1_000 * self.seed + i, epochs=1) for i in range(N_NETWORKS)]
        for network in networks:  # of the very first sample, so that there is something to say
            network.partial_fit(self.X[:1], self.y[:1], classes=np.arange(self.n_classes))
        for rows in self._chunks():
            yield rows, networks
            for network in networks:
                network.partial_fit(self.X[rows], self.y[rows])

    @cached_property
    def _standardised(self) -> Matrix:
        Z: Matrix = (self.X - self.X.mean(axis=0)) / (self.X.std(axis=0) + np.float32(1e-6))
        return Z


def _network(seed: int, epochs: int) -> TargetProjectionClassifier:
    return TargetProjectionClassifier(
        (HIDDEN,), epochs=epochs, batch_size=BATCH_SIZE, random_state=seed
    )


def _probabilities(networks: Sequence[TargetProjectionClassifier], X: Matrix) -> Scores:
    return np.stack([network.predict_proba(X) for network in networks])


# Every way to choose n_keep places of a stream, random ones by a seed of their own.
Choice = Callable[[Arrivals, int], Labels]
CHOICES: Final[Mapping[str, Choice]] = {
    "random": lambda a, n: keep_random(len(a.y), n, random_state=a.seed),
    REFERENCE: lambda a, n: keep_random(len(a.y), n, a.y, random_state=a.seed),
    "most recent": lambda a, n: keep_highest(np.arange(len(a.y)), n),
    "most recent, balanced": lambda a, n: keep_highest(np.arange(len(a.y)), n, a.y),
    "EL2N highest": lambda a, n: keep_highest(a.networks, n),
    "EL2N highest, balanced": lambda a, n: keep_highest(a.networks, n, a.y),
    "EL2N highest, balanced, one network": lambda a, n: keep_highest(a.one_network, n, a.y),
    "EL2N highest, balanced, rescored": lambda a, n: a.rescored(n),
    "EL2N lowest, balanced": lambda a, n: keep_highest(-a.networks, n, a.y),
    "nearest to the running mean": lambda a, n: keep_highest(a.nearness, n, a.y),
    "herding": lambda a, n: a.herded(n, looks_back=False),
    "herding, looks back": lambda a, n: a.herded(n, looks_back=True),
}


def run(options: Options) -> Report | None:
    """Compare all choices on every task that has its data; None where no task has."""
    records = [
        record
        for make in (_pacs, _fashion, _letters)
        for seed in options.seed_range
        for task in _made(make, options, seed)
        for record in judge(task, seed, QUICK_PER_CLASS if options.quick else PER_CLASS)
    ]
    return report_of(records, quick=options.quick) if records else None


def judge(task: Task, seed: int, per_class: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the accuracy of every choice of every size of buffer, for one order of the stream."""
    arrivals = Arrivals(task, seed)
    for k in per_class:
        for name, choose in CHOICES.items():
            kept = choose(arrivals, k * arrivals.n_classes)
            accuracy = task.accuracy(kept, seed)
            about = {"task": task.name, "seed": seed, "kept": name, "per class": k}
            yield {**about, "n": len(kept), "accuracy": accuracy}
    print(f"{task.name}: seed {seed}", file=sys.stderr)


def report_of(records: Sequence[Mapping[str, Any]], *, quick: bool = False) -> Report:
    """Return the table: accuracy by size of buffer, and the mean gain over balanced chance."""
    sizes = list(dict.fromkeys(record["per class"] for record in records))
    rows = []
    for task, kept in dict.fromkeys((r["task"], r["kept"]) for r in records):
        found = _table(records, task, kept, sizes)
        gains = (found - _table(records, task, REFERENCE, sizes)).mean(axis=1)
        gain = "" if kept == REFERENCE else mean_and_sd(gains)
        rows.append([task, kept, *(mean_and_sd(column) for column in found.T), gain])
    n_seeds = len({record["seed"] for record in records})
    return Report(
        name="selection",
        title="Which samples a full buffer keeps: test accuracy of what learns from it, %",
        protocol=(
            f"k samples per class kept out of a stream of at most {N_STREAM:,}; then {STEPS} steps "
            f"of {BATCH_SIZE} of a {HIDDEN}-unit TargetProjectionClassifier on the buffer alone; "
            f"EL2N of {N_NETWORKS} networks that learn the stream; {n_seeds} seeds, mean ± sd; "
            f"gain: over {REFERENCE!r}, mean over k, points, paired by seed"
            f"{'; quick: fewer of all' if quick else ''}."
        ),
        columns=("task", "kept", *(f"k = {k}" for k in sizes), "gain"),
        rows=rows,
        records=records,
    )


def _table(
    records: Sequence[Mapping[str, Any]], task: str, kept: str, sizes: Sequence[int]
) -> Scores:
    """Return accuracies (n_seeds, n_sizes) of one choice on one task."""
    mine = [r["accuracy"] for r in records if (r["task"], r["kept"]) == (task, kept)]
    return np.reshape(mine, (-1, len(sizes)))


# -- tasks ------------------------------------------------------------------------------------


def _made(make: Callable[[Options, int], Task], options: Options, seed: int) -> Iterator[Task]:
    try:
        yield make(options, seed)
    except (ArchiveUnavailableError, DataAbsentError) as error:
        if seed == 0:
            print(f"SKIPPED {make.__name__.strip('_')}: {error}", file=sys.stderr)


def _pacs(options: Options, seed: int) -> Task:
    return pacs_task(pacs_features(options.data_dir), seed, _n_stream(options))


def pacs_task(data: FeatureSet, seed: int, n_stream: int) -> Task:
    """Domains one after the other, equally long each, as far as they reach."""
    parts = domain_stream(data, seed)
    each = n_stream // len(parts.train)
    stream = np.concatenate([rows[:each] for rows in parts.train])
    test = np.concatenate(parts.test)
    return Task("PACS, Lite0", data.X, data.y, data.domain, stream, test)


def _fashion(options: Options, seed: int) -> Task:
    (images, y), (test_images, test_y) = fashion.load()
    rng = np.random.default_rng(seed)
    parts = rng.choice(len(y), _n_stream(options), False), rng.choice(len(test_y), N_TEST, False)
    chosen = np.concatenate([images[parts[0]], test_images[parts[1]]])
    X = chosen.reshape(len(chosen), -1).astype(np.float32)
    labels = np.concatenate([y[parts[0]], test_y[parts[1]]])
    return _split("Fashion-MNIST pixels", X, labels, np.arange(len(X)), len(parts[0]))


def _letters(options: Options, seed: int) -> Task:
    X, y = letter.load()
    rows = np.random.default_rng(seed).permutation(len(y))
    return _split("letters", X, y, rows, _n_stream(options))


def _split(name: str, X: Matrix, y: Labels, rows: Labels, n_stream: int) -> Task:
    test = rows[n_stream : n_stream + N_TEST]
    return Task(name, X, y, np.zeros_like(y), rows[:n_stream], test)


def _n_stream(options: Options) -> int:
    return QUICK_STREAM if options.quick else N_STREAM


if __name__ == "__main__":
    main(run, __doc__)

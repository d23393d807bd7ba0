"""Classes that come in steps: what is kept of the first ones, with and without a buffer of samples.

Tasks: MNIST on fixed random convolutions, two digits at a time; letters, 26 classes in five steps.
A step brings all training rows of its classes and nothing else. The same network learns all classes
at once by `fit`; step by step by `partial_fit` alone, which forgets; and with a buffer that keeps
equally many samples of every class. `hdc.PrototypeClassifier` keeps statistics of each class, and
no samples. Nothing is tuned: rates are the defaults for all.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from adaptors import TargetProjectionClassifier
from adaptors._learner import HIDDEN_RATES
from benchmarks.command import main
from benchmarks.features import Labels, Matrix
from benchmarks.full_buffer import keep_random
from benchmarks.options import Options
from benchmarks.reporting import ABSENT, Report, mean_and_sd
from benchmarks.search import random_convolutions
from benchmarks.splits import hold_out
from examples.datasets import letter, mnist
from examples.datasets.archives import ArchiveUnavailableError

MNIST_TRAIN, MNIST_TEST, POSITIONS = 6_000, 4_000, 4
EPOCHS, BATCH_SIZE = 10, 32
QUICK_ROWS, QUICK_EPOCHS = 1_000, 2
TEST_SHARE = 0.2
HIDDEN_RATE = HIDDEN_RATES["cross_entropy"]  # the default; stated, since it has to fall


@dataclass(frozen=True)
class Task:
    """Data with a fixed split, the classes that each step brings, and the buffers to try."""

    name: str
    X: Matrix
    y: Labels
    train: Labels
    test: Labels
    steps: tuple[tuple[int, ...], ...]
    buffers: tuple[int, ...]
    hidden: tuple[int, ...] = (256,)
    epochs: int = EPOCHS

    def rows_of(self, step: int) -> Labels:
        """Training rows of the classes that a step brings."""
        return self.train[np.isin(self.y[self.train], self.steps[step])]

    def accuracy(self, model: Incremental, last_step: int) -> float:
        """Accuracy on test rows of all classes up to this step."""
        known = np.concatenate(self.steps[: last_step + 1])
        rows = self.test[np.isin(self.y[self.test], known)]
        return float(np.mean(model.predict(self.X[rows]) == self.y[rows]))


class Incremental(Protocol):
    """What learns one step after the other."""

    def learn(self, X: Matrix, y: Labels) -> None:
        """Learn all rows of a step."""

    def predict(self, X: Matrix) -> Labels:
        """Return class indices."""

    @property
    def n_bytes_kept(self) -> int:
        """Bytes of samples, or of statistics of classes, kept for later steps."""


class AllAtOnce:
    """`fit` on every row there has been: what the others are measured against."""

    def __init__(self, task: Task, seed: int) -> None:
        self._model = network(task, seed)
        self._X, self._y = empty(task)

    def learn(self, X: Matrix, y: Labels) -> None:
        self._X, self._y = np.concatenate([self._X, X]), np.concatenate([self._y, y])
        self._model.fit(self._X, self._y)

    def predict(self, X: Matrix) -> Labels:
        return np.asarray(self._model.predict(X), np.int64)

    @property
    def n_bytes_kept(self) -> int:
        return int(self._X.nbytes + self._y.nbytes)


class Buffered:
    """`partial_fit` on the rows of a step, among as many kept ones of each earlier class.

    The buffer holds ``capacity`` rows, float16 as in a slot; 0 learns each step alone. Rates fall
    linearly within a step.
    """

    def __init__(self, task: Task, seed: int, capacity: int) -> None:
        self._model, self._rng = network(task, seed), np.random.default_rng([seed, 1])
        self.capacity = capacity
        self._X, self._y = empty(task, np.float16)

    def learn(self, X: Matrix, y: Labels) -> None:
        model = self._model
        for epoch in range(model.epochs):
            left = 1 - epoch / model.epochs
            model.learning_rate, model.hidden_learning_rate = left, left * HIDDEN_RATE
            again = self._recalled(y)
            rows = np.concatenate([X, self._X[again].astype(np.float32)])
            labels = np.concatenate([y, self._y[again]])
            order = self._rng.permutation(len(labels))
            model.partial_fit(rows[order], labels[order])
        model.learning_rate, model.hidden_learning_rate = 1.0, HIDDEN_RATE
        self._keep(X, y)

    def predict(self, X: Matrix) -> Labels:
        return np.asarray(self._model.predict(X), np.int64)

    @property
    def n_bytes_kept(self) -> int:
        return int(self._X.nbytes + self._y.nbytes)

    def _recalled(self, y: Labels) -> Labels:
        """Draw rows of the buffer: of each class as many as a class of this step has."""
        per_class = round(len(y) / len(np.unique(y)))
        drawn = [
            self._rng.choice(np.flatnonzero(self._y == k), per_class) for k in np.unique(self._y)
        ]
        return np.concatenate(drawn) if drawn else np.zeros(0, np.int64)

    def _keep(self, X: Matrix, y: Labels) -> None:
        rows, labels = np.concatenate([self._X, X.astype(np.float16)]), np.concatenate([self._y, y])
        kept = keep_random(len(labels), self.capacity, labels, random_state=self._rng)
        self._X, self._y = rows[kept], labels[kept]


class Refitted(Buffered):
    """`fit` anew on the buffer alone after each step, as a young slot does."""

    def learn(self, X: Matrix, y: Labels) -> None:
        self._keep(X, y)
        self._model.fit(self._X.astype(np.float32), self._y)


def network(task: Task, seed: int) -> TargetProjectionClassifier:
    """Return the network that all of them train."""
    return TargetProjectionClassifier(
        task.hidden,
        hidden_learning_rate=HIDDEN_RATE,
        epochs=task.epochs,
        batch_size=BATCH_SIZE,
        random_state=seed,
    )


def empty(task: Task, dtype: Any = np.float32) -> tuple[Any, Labels]:
    """Return no rows and no labels."""
    return np.zeros((0, task.X.shape[1]), dtype), np.zeros(0, np.int64)


def methods(task: Task) -> Mapping[str, Callable[[int], Incremental]]:
    """Return what competes on a task: by name, a function of the seed."""
    found: dict[str, Callable[[int], Incremental]] = {
        "tpSGD, all at once": partial(AllAtOnce, task),
        "tpSGD, steps alone": partial(Buffered, task, capacity=0),
    }
    for size in task.buffers:
        found[f"tpSGD, steps and a buffer of {size:,}"] = partial(Buffered, task, capacity=size)
        found[f"tpSGD, fit on a buffer of {size:,}"] = partial(Refitted, task, capacity=size)
    return found


def run(options: Options) -> Report | None:
    """Run every method on every task that has its data; None where no task has."""
    tasks = list(_tasks(options))
    return compare(tasks, options) if tasks else None


def compare(tasks: Sequence[Task], options: Options) -> Report:
    """Return the table of all methods on the tasks."""
    records = []
    for task in tasks:
        for name, build in methods(task).items():
            for seed in options.seed_range:
                run_of = {"task": task.name, "method": name, "seed": seed}
                records.append({**run_of, **follow(task, build(seed), name)})
            last = records[-1]["final"]
            print(f"{task.name}: {name}: {last:.3f}", file=sys.stderr, flush=True)
    sizes = "; ".join(
        f"{t.name}: {len(t.train):,} train, {len(t.test):,} test, {len(t.steps)} steps, "
        f"{t.epochs} epochs"
        for t in tasks
    )
    quick = "; quick: a part of the data" if options.quick else ""
    return Report(
        name="incremental",
        title="Classes in steps: test accuracy, %",
        protocol=(
            f"{sizes}; {len(options.seed_range)} seeds, mean ± standard deviation{quick}. Final: "
            "all classes after the last step. On the way: mean over steps of the accuracy on the "
            "classes so far. First: the classes of the first step, after the last. Kept: samples, "
            "or statistics of classes, beside the model."
        ),
        columns=("task", "method", "final", "on the way", "first", "kept kB", "CPU s"),
        rows=_rows(records),
        records=records,
    )


def follow(task: Task, model: Incremental, name: str) -> dict[str, Any]:
    """Let a model learn the steps; return accuracies, kept bytes and seconds."""
    # Learning again after each step would only cost time where the order makes no difference.
    at_once = name.endswith("all at once")
    on_the_way: list[float] = []
    seconds = 0.0
    for step in range(len(task.steps)):
        rows = task.train if at_once else task.rows_of(step)
        if at_once and step < len(task.steps) - 1:
            continue
        start = time.process_time()
        model.learn(task.X[rows], task.y[rows])
        seconds += time.process_time() - start
        on_the_way.append(task.accuracy(model, step))
    return {
        "final": on_the_way[-1],
        "on the way": float("nan") if at_once else float(np.mean(on_the_way)),
        "first": task.accuracy(model, 0),
        "kept": model.n_bytes_kept,
        "seconds": seconds,
    }


def _rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = []
    for task, method in dict.fromkeys((r["task"], r["method"]) for r in records):
        runs = [r for r in records if (r["task"], r["method"]) == (task, method)]
        shown = [mean_and_sd([r[n] for r in runs]) for n in ("final", "on the way", "first")]
        kept = f"{runs[0]['kept'] / 1000:,.0f}" if runs[0]["kept"] else ABSENT
        seconds = f"{np.mean([r['seconds'] for r in runs]):.1f}"
        rows.append([task, method, *shown, kept, seconds])
    return rows


# -- tasks ------------------------------------------------------------------------------------


def _tasks(options: Options) -> Iterator[Task]:
    for make in (_digits, _letters):
        try:
            task = make()
        except ArchiveUnavailableError as error:
            print(f"SKIPPED {make.__name__[1:]}: {error}", file=sys.stderr)
            continue
        if options.quick:
            task = replace(task, train=task.train[:QUICK_ROWS], epochs=QUICK_EPOCHS)
        yield task


def _digits() -> Task:
    (images, y), (test_images, test_y) = mnist.load()
    both = np.concatenate([images[:MNIST_TRAIN], test_images[:MNIST_TEST]])
    labels = np.concatenate([y[:MNIST_TRAIN], test_y[:MNIST_TEST]])
    X = random_convolutions(both, POSITIONS)["map2"].reshape(len(both), -1)
    rows = np.arange(len(both))
    train, test = rows[:MNIST_TRAIN], rows[MNIST_TRAIN:]
    steps = tuple((k, k + 1) for k in range(0, 10, 2))
    return Task("Split-MNIST", X, labels, train, test, steps, (500, 1_000, 2_000))


def _letters() -> Task:
    X, y = letter.load()
    held = hold_out(y, TEST_SHARE, np.random.default_rng(0))
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    steps = tuple(tuple(part.tolist()) for part in np.array_split(np.arange(26), 5))
    return Task("letter", X, y, train, test, steps, (1_300, 2_600, 5_200))


if __name__ == "__main__":
    main(run, __doc__)

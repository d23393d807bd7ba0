"""tpSGD against backpropagation and against no hidden learning at all, on the same network.

Two tasks: Fashion-MNIST pixels, 784-500-10, and all taps of Lite0 on PACS, 1456-256-7, where the
score is the average over the four domains. Learning rates, and the activation of the peers, are
tuned per method on a part of the training data; the test data are used once per seed. Epochs, batch
size and the linear fall of the rates are the same for all.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from adaptors import TargetProjectionClassifier
from benchmarks.features import FeatureSet, Labels, Matrix, pacs_features
from benchmarks.options import Options, parse
from benchmarks.peers.backprop import BackpropClassifier
from benchmarks.reporting import Report, mean_and_sd
from benchmarks.splits import domain_stream, grid, hold_out
from examples.datasets import fashion
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.pacs import DataAbsentError

EPOCHS, BATCH_SIZE = 12, 32
# All of Fashion-MNIST, for every method, setting and seed, would take hours on one core.
FASHION_ROWS = 10_000
TUNING_ROWS = 4_000
QUICK_ROWS = 1_000


class Model(Protocol):
    """What learns: scikit-learn's two verbs."""

    def fit(self, X: Matrix, y: Labels) -> Any:
        """Learn from scratch."""

    def predict(self, X: Matrix) -> Labels:
        """Return class indices."""


@dataclass(frozen=True)
class Task:
    """Data with a fixed split; the score is the mean accuracy over `group`."""

    name: str
    X: Matrix
    y: Labels
    group: Labels
    train: Labels
    test: Labels
    hidden: int

    def score(self, model: Model, rows: Labels) -> float:
        """Accuracy on `rows`, averaged over the groups they belong to."""
        right, group = model.predict(self.X[rows]) == self.y[rows], self.group[rows]
        return float(np.mean([right[group == each].mean() for each in np.unique(group)]))

    def tuning_split(self) -> tuple[Labels, Labels]:
        """Return a part of the training rows to learn from, and another to choose by."""
        rng = np.random.default_rng(0)
        kinds = self.group * (int(self.y.max()) + 1) + self.y
        held = hold_out(kinds[self.train], 0.2, rng)
        learn, choose = rng.permutation(self.train[~held]), self.train[held]
        return learn[:TUNING_ROWS], choose


@dataclass(frozen=True)
class Method:
    """A learning rule and the settings among which validation chooses."""

    name: str
    build: Callable[..., Model]
    settings: Sequence[Mapping[str, Any]]

    def tune(self, task: Task) -> Mapping[str, Any]:
        """Return the settings that answer validation rows best."""
        learn, choose = task.tuning_split()
        scores = [task.score(self.fit(task, learn, 0, each), choose) for each in self.settings]
        return self.settings[int(np.argmax(scores))]

    def fit(self, task: Task, rows: Labels, seed: int, settings: Mapping[str, Any]) -> Model:
        """Return a model that has learned `rows`."""
        schedule = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "random_state": seed}
        model = self.build(hidden=(task.hidden,), **schedule, **settings)
        with warnings.catch_warnings():  # a rate that diverges is a bad candidate, no more
            warnings.simplefilter("ignore", RuntimeWarning)
            model.fit(task.X[rows], task.y[rows])
        return model


def _tpsgd(loss: str, hidden_rates: Sequence[float]) -> Method:
    settings = grid(loss=[loss], learning_rate=[0.3, 1.0, 3.0], hidden_learning_rate=hidden_rates)
    return Method(f"tpSGD, {loss.replace('_', ' ')}", TargetProjectionClassifier, settings)


def _backprop(name: str, **choices: Sequence[Any]) -> Method:
    return Method(name, BackpropClassifier, grid(activation=["tanh", "relu"], **choices))


METHODS = (
    _tpsgd("l2", [0.3, 1.0]),
    _tpsgd("l1", [0.3, 1.0, 3.0]),
    _tpsgd("cross_entropy", [3.0, 10.0, 30.0]),
    _backprop(
        "random frozen hidden",
        freeze_hidden=[True],
        optimiser=["adam"],
        learning_rate=[1e-3, 3e-3, 1e-2],
    ),
    _backprop("backprop, SGD momentum", optimiser=["sgd"], learning_rate=[3e-3, 1e-2, 3e-2, 1e-1]),
    _backprop("backprop, Adam", optimiser=["adam"], learning_rate=[1e-4, 3e-4, 1e-3, 3e-3]),
)


def run(options: Options) -> Report | None:
    """Run every method on every task that has its data; None where no task has."""
    tasks = list(_tasks(options))
    return compare(tasks, options) if tasks else None


def compare(tasks: Sequence[Task], options: Options, methods: Sequence[Method] = METHODS) -> Report:
    """Return the table of all methods on the tasks."""
    records = []
    for task in tasks:
        for method in methods:
            settings = method.settings[0] if options.quick else method.tune(task)
            for seed in options.seed_range:
                start = time.process_time()
                model = method.fit(task, task.train, seed, settings)
                seconds = time.process_time() - start
                score = task.score(model, task.test)
                run_of = {"task": task.name, "method": method.name, "seed": seed}
                chosen = ", ".join(f"{name}={value}" for name, value in settings.items())
                records.append({**run_of, "accuracy": score, "seconds": seconds, "chosen": chosen})
            print(f"{task.name}: {method.name} ({chosen}): {score:.3f}", file=sys.stderr)
    return Report(
        name="local_learning",
        title="Local learning: test accuracy of the same network under different rules, %",
        protocol=_protocol(tasks, options),
        columns=("task", "method", "accuracy", "CPU s", "chosen on validation"),
        rows=_rows(records),
        records=records,
    )


def _rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = []
    for task, method in dict.fromkeys((each["task"], each["method"]) for each in records):
        runs = [each for each in records if (each["task"], each["method"]) == (task, method)]
        seconds = float(np.mean([each["seconds"] for each in runs]))
        accuracy = mean_and_sd([each["accuracy"] for each in runs], n_digits=2)
        rows.append([task, method, accuracy, f"{seconds:.1f}", str(runs[0]["chosen"])])
    return rows


def _protocol(tasks: Sequence[Task], options: Options) -> str:
    sizes = "; ".join(f"{t.name}: {len(t.train)} train, {len(t.test)} test" for t in tasks)
    quick = "; quick: a part of the data, no tuning" if options.quick else ""
    return (
        f"{sizes}; {EPOCHS} epochs, batch {BATCH_SIZE}; {len(options.seed_range)} seeds, "
        f"mean ± standard deviation{quick}."
    )


# -- tasks ------------------------------------------------------------------------------------


def _tasks(options: Options) -> Iterator[Task]:
    n_rows = QUICK_ROWS if options.quick else None
    try:
        yield _fashion(n_rows or FASHION_ROWS)
    except ArchiveUnavailableError as error:
        print(f"SKIPPED Fashion-MNIST: {error}", file=sys.stderr)
    try:
        yield features_task(pacs_features(options.data_dir), n_rows)
    except DataAbsentError as error:
        print(f"SKIPPED PACS: {error}", file=sys.stderr)


def _fashion(n_rows: int) -> Task:
    (images, y), (test_images, test_y) = fashion.load()
    X = np.concatenate([images, test_images]).reshape(-1, 784).astype(np.float32)
    X /= 255
    rows = np.arange(len(X))
    train, test = rows[: len(images)], rows[len(images) :]
    group = np.zeros(len(X), np.int64)
    name = "Fashion-MNIST pixels, 784-500-10"
    return Task(name, X, np.concatenate([y, test_y]), group, train[:n_rows], test, 500)


def features_task(data: FeatureSet, n_rows: int | None = None, hidden: int = 256) -> Task:
    """All domains of a feature set learned together."""
    stream = domain_stream(data, seed=0)
    train = np.random.default_rng(0).permutation(np.concatenate(stream.train))[:n_rows]
    name = f"PACS, Lite0 features, {data.X.shape[1]}-{hidden}-{len(data.classes)}"
    return Task(name, data.X, data.y, data.domain, train, np.concatenate(stream.test), hidden)


if __name__ == "__main__":
    options = parse(__doc__)
    report = run(options)
    if report is not None:
        report.publish(options.out, record=options.record)

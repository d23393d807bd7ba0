"""One-pass hypervector classifiers: `hdc.PrototypeClassifier` beside torchhd's models.

The accuracy of torchhd's centroid, AdaptHD and OnlineHD with the encoder, scale and learning rate
that do best on a held-out fifth of the training data; ours take no tuning. On PACS every class of
every domain has its prototype, and the score is the mean accuracy over domains. The control is
the cosine to the nearest class mean.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.command import main
from benchmarks.features import FeatureSet, Labels, Matrix, image_features, pacs_features
from benchmarks.options import Options
from benchmarks.peers.torchhd_models import TorchHDClassifier
from benchmarks.reporting import Report, mean_and_sd
from benchmarks.splits import domain_stream, grid, hold_out
from examples.datasets import fashion, mnist
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.pacs import DataAbsentError
from hdc import PrototypeClassifier

N_TRAIN, N_TEST, N_TUNE, QUICK_ROWS = 10_000, 10_000, 2_000, 400
N_FEATURE_ROWS = 6_000


@dataclass(frozen=True)
class Task:
    """A split; prototypes are of `y`, and predictions count as right where `y // n_parts` is."""

    name: str
    X: Matrix
    y: Labels
    n_parts: int
    train: Labels
    test: Labels

    def score(self, predicted: Labels, rows: Labels) -> float:
        """Accuracy of classes, averaged over the parts that a class has."""
        right = predicted // self.n_parts == self.y[rows] // self.n_parts
        part = self.y[rows] % self.n_parts
        return float(np.mean([right[part == each].mean() for each in np.unique(part)]))


@dataclass(frozen=True)
class Method:
    """A classifier and the settings among which held-out training rows choose."""

    name: str
    build: Callable[..., Any]
    settings: Sequence[Mapping[str, Any]] = ({},)

    def chosen(self, task: Task) -> Mapping[str, Any]:
        """Return the settings that classify held-out training rows best."""
        if len(self.settings) == 1:
            return self.settings[0]
        rng = np.random.default_rng(0)
        held = hold_out(task.y[task.train], 0.2, rng)
        learn = rng.permutation(task.train[~held])[:N_TUNE]
        choose = task.train[held][:N_TUNE]
        scores = [
            task.score(self.fitted(task, learn, 0, each).predict(task.X[choose]), choose)
            for each in self.settings
        ]
        return self.settings[int(np.argmax(scores))]

    def fitted(self, task: Task, rows: Labels, seed: int, settings: Mapping[str, Any]) -> Any:
        """Return a classifier that has learned `rows`."""
        return self.build(random_state=seed, **settings).fit(task.X[rows], task.y[rows])


class CosineNearestMean:
    """Cosine to the class means of standardised features: prototypes without hypervectors."""

    def __init__(self, random_state: int) -> None:
        del random_state

    def fit(self, X: Matrix, y: Labels) -> CosineNearestMean:
        """Learn the class means."""
        self._mean, self._deviation = X.mean(axis=0), np.maximum(X.std(axis=0), 1e-6)
        Z = (X - self._mean) / self._deviation
        means = np.stack([Z[y == c].mean(axis=0) for c in range(int(y.max()) + 1)])
        self._means = means / np.linalg.norm(means, axis=1, keepdims=True)
        return self

    def predict(self, X: Matrix) -> Labels:
        """Return the class of the nearest mean."""
        Z = (X - self._mean) / self._deviation
        return np.asarray((Z @ self._means.T).argmax(axis=1), np.int64)


def _ours(name: str, **settings: Any) -> Method:
    return Method(f"edge-runtime, {name}", PrototypeClassifier, [settings])


def _torchhd(model: str) -> Method:
    rates = [0.035, 0.3, 1.0] if model != "centroid" else [1.0]
    scales = [0.003, 0.01, 0.03, 0.1]
    settings = [
        *grid(model=[model], encoder=["Sinusoid"], scale=scales, learning_rate=rates, epochs=[10]),
        *grid(model=[model], encoder=["Projection"], learning_rate=rates, epochs=[10]),
    ]
    return Method(f"torchhd {model}", TorchHDClassifier, settings)


METHODS = (
    _ours("bundle, 8,192 bits"),
    _ours("bundle, 2,048 bits", n_dims=2048),
    _ours("bundle, 2,048 Fourier features", n_fourier=2048),
    _ours("adapt, 8,192 bits", update="adapt"),
    _ours("online, 8,192 bits", update="online"),
    _torchhd("centroid"),
    _torchhd("adapt"),
    _torchhd("online"),
    Method("cosine nearest mean", CosineNearestMean),
)


def run(options: Options) -> Report | None:
    """Return the table of all methods on all tasks; None where no task has its data."""
    methods = [m for m in METHODS if find_spec("torchhd") or not m.name.startswith("torchhd")]
    if len(methods) < len(METHODS):
        print("SKIPPED torchhd: pip install -e '.[bench]'", file=sys.stderr)
    records = []
    settings: dict[tuple[str, str], Mapping[str, Any]] = {}
    for seed in options.seed_range:
        for task in _tasks(options, seed):
            for method in methods:
                key = task.name, method.name
                if key not in settings:
                    quick = method.settings[0]
                    settings[key] = quick if options.quick else method.chosen(task)
                fitted = method.fitted(task, task.train, seed, settings[key])
                score = task.score(fitted.predict(task.X[task.test]), task.test)
                print(f"{task.name}, {seed}: {method.name}: {score:.3f}", file=sys.stderr)
                record = {"task": task.name, "method": method.name, "seed": seed}
                records.append({**record, "accuracy": score, "chosen": str(dict(settings[key]))})
    return _report(records, options) if records else None


def _report(records: Sequence[Mapping[str, Any]], options: Options) -> Report:
    tasks = list(dict.fromkeys(record["task"] for record in records))
    methods = list(dict.fromkeys(record["method"] for record in records))

    def cell(task: str, method: str) -> str:
        runs = [r for r in records if (r["task"], r["method"]) == (task, method)]
        return mean_and_sd([r["accuracy"] for r in runs])

    return Report(
        name="classify",
        title="Hypervector classifiers: test accuracy, % (torchhd: 8,192 dimensions, floats)",
        protocol=(
            f"{len(options.seed_range)} seeds, mean ± standard deviation; pixels: {N_TRAIN:,} "
            f"training and {N_TEST:,} test images. torchhd's encoder, scale and learning rate are "
            "chosen on held-out training data, ours are the defaults."
        ),
        columns=("method", *tasks),
        rows=[[method, *(cell(task, method) for task in tasks)] for method in methods],
        records=records,
    )


# -- tasks ------------------------------------------------------------------------------------


def _tasks(options: Options, seed: int) -> Iterator[Task]:
    makers: tuple[Callable[[], Task], ...] = (
        lambda: _pacs(pacs_features(options.data_dir), seed),
        lambda: _pixels("MNIST pixels", mnist.load()),
        lambda: _pixels("Fashion-MNIST pixels", fashion.load()),
        lambda: _fashion_features(seed),
    )
    for make in makers:
        try:
            task = make()
        except (ArchiveUnavailableError, DataAbsentError) as error:
            print(f"SKIPPED: {error}", file=sys.stderr)
            continue
        if options.quick:
            task = replace(task, train=task.train[:QUICK_ROWS], test=task.test[:QUICK_ROWS])
        yield task


def _pacs(data: FeatureSet, seed: int) -> Task:
    stream = domain_stream(data, seed)
    rng = np.random.default_rng(seed)
    train, test = rng.permutation(np.concatenate(stream.train)), np.concatenate(stream.test)
    n_domains = len(data.domains)
    name = "PACS, Lite0, class x domain"
    return Task(name, data.X, data.y * n_domains + data.domain, n_domains, train, test)


def _pixels(name: str, splits: Any) -> Task:
    (images, y), (test_images, test_y) = splits
    X = np.concatenate([images[:N_TRAIN], test_images[:N_TEST]]).reshape(-1, 784)
    labels = np.concatenate([y[:N_TRAIN], test_y[:N_TEST]])
    rows = np.arange(len(X))
    return Task(name, X.astype(np.float32) / 255, labels, 1, rows[:N_TRAIN], rows[N_TRAIN:])


def _fashion_features(seed: int) -> Task:
    (images, y), _ = fashion.load()
    X = image_features("fashion", images[:N_FEATURE_ROWS])
    rows = np.random.default_rng(seed).permutation(N_FEATURE_ROWS)
    cut = N_FEATURE_ROWS * 2 // 3
    return Task("Fashion-MNIST, Lite0", X, y[:N_FEATURE_ROWS], 1, rows[:cut], rows[cut:])


if __name__ == "__main__":
    main(run, __doc__)

"""What `benchmarks.local_learning` learns: data with a fixed split, shape, epochs and batch size.

A task is loaded by its key in `TASKS`. Its `kind` says which methods compete on it, so that another
module may add tasks of a kind of its own. Nothing is learned here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.features import FeatureSet, Labels, Matrix, image_features, pacs_features
from benchmarks.splits import domain_stream, hold_out
from examples.datasets import corruptions, digits, fashion, letter, mnist

EPOCHS, BATCH_SIZE = 12, 32
CONVOLUTIONAL_EPOCHS = 8
# All 60,000 images for each setting and seed: larger batches and fewer passes make it affordable.
WHOLE_EPOCHS, WHOLE_BATCH = 10, 64
TUNING_ROWS, WHOLE_TUNING_ROWS = 4_000, 8_000
PART_ROWS = 10_000
# Fewer training rows than these are split several times for tuning.
MANY_ROWS, SMALL_TASK_SPLITS = 5_000, 4
QUICK_ROWS, QUICK_EPOCHS = 1_000, 2
# Encoding is what these cost: of each domain, so many images to learn from or to split.
DIGIT_ROWS = 1_500
CORRUPTED_TRAIN, CORRUPTED_TEST = 1_000, 400
FOG, NOISE = 0.6, 0.25
TEST_SHARE = 0.2
PACS_DOMAINS = ("photo", "art_painting", "cartoon", "sketch")


class Model(Protocol):
    """What learns: scikit-learn's two verbs."""

    def fit(self, X: npt.NDArray[Any], y: Labels) -> Any:
        """Learn from scratch."""

    def predict(self, X: npt.NDArray[Any]) -> Labels:
        """Return class indices."""


@dataclass(frozen=True)
class Task:
    """Data with a fixed split; the score is the mean accuracy over `group`.

    Attributes
    ----------
    key, name
        For the command line, and for the table.
    X, y, group : (n_samples, ...), (n_samples,), (n_samples,)
        Samples of any shape, class indices, and what accuracy is averaged over.
    train, test
        Rows of X; those of `train` are in random order or in that of the data set.
    hidden
        Widths of the hidden layers, or channels where the kind is "convolutional".
    kind
        Which methods compete.
    tuning_rows
        At most so many rows are learned from while settings are tuned.
    relative_seeds
        At most so many seeds for methods that are neither tpSGD nor what it is measured against.
    """

    key: str
    name: str
    X: npt.NDArray[Any]
    y: Labels
    group: Labels
    train: Labels
    test: Labels
    hidden: tuple[int, ...]
    kind: str = "dense"
    epochs: int = EPOCHS
    batch_size: int = BATCH_SIZE
    tuning_rows: int = TUNING_ROWS
    relative_seeds: int | None = None

    def score(self, model: Model, rows: Labels) -> float:
        """Accuracy on `rows`, averaged over the groups they belong to."""
        right, group = model.predict(self.X[rows]) == self.y[rows], self.group[rows]
        return float(np.mean([right[group == each].mean() for each in np.unique(group)]))

    def tuning_splits(self) -> list[tuple[Labels, Labels]]:
        """Return parts of the training rows to learn from, each with another to choose by.

        Where few rows are held back, chance would choose: such a task is split several times.
        """
        kinds = self.group * (int(self.y.max()) + 1) + self.y
        splits = []
        for seed in range(1 if len(self.train) >= MANY_ROWS else SMALL_TASK_SPLITS):
            rng = np.random.default_rng(seed)
            held = hold_out(kinds[self.train], 0.2, rng)
            learn = rng.permutation(self.train[~held])[: self.tuning_rows]
            splits.append((learn, self.train[held]))
        return splits

    def shortened(self) -> Task:
        """Return the task with few training rows and epochs: to show that it runs."""
        return replace(self, train=self.train[:QUICK_ROWS], epochs=QUICK_EPOCHS)


# -- images -----------------------------------------------------------------------------------

Images = tuple[tuple[npt.NDArray[np.uint8], Labels], tuple[npt.NDArray[np.uint8], Labels]]


def image_task(
    key: str, name: str, images: Images, hidden: tuple[int, ...], n_rows: int, **choices: Any
) -> Task:
    """Pixels from 0 to 1, split as published; the first `n_rows` are for training."""
    (train, y), (test, test_y) = images
    X = np.concatenate([train[:n_rows], test]).astype(np.float32) / 255
    labels = np.concatenate([y[:n_rows], test_y])
    shape = (28, 28, 1) if choices.get("kind") == "convolutional" else (784,)
    rows, cut = np.arange(len(X)), len(train[:n_rows])
    X = X.reshape(-1, *shape)
    group = np.zeros(len(X), np.int64)
    return Task(key, name, X, labels, group, rows[:cut], rows[cut:], hidden, **choices)


def _whole(key: str, name: str, load: Callable[[], Images], hidden: tuple[int, ...]) -> Task:
    choices = {"epochs": WHOLE_EPOCHS, "batch_size": WHOLE_BATCH, "relative_seeds": 3}
    title = f"{name}, {_shape(784, hidden, 10)}"
    return image_task(key, title, load(), hidden, 60_000, tuning_rows=WHOLE_TUNING_ROWS, **choices)


def _part(key: str, hidden: tuple[int, ...]) -> Task:
    title = f"Fashion-MNIST, {PART_ROWS:,} rows, {_shape(784, hidden, 10)}"
    return image_task(key, title, fashion.load(), hidden, PART_ROWS)


def _convolutional(key: str, name: str, load: Callable[[], Images]) -> Task:
    title = f"{name}, {PART_ROWS:,} rows, two convolutions 16, 32"
    choices = {"kind": "convolutional", "epochs": CONVOLUTIONAL_EPOCHS}
    return image_task(key, title, load(), (16, 32), PART_ROWS, **choices)


# -- features ---------------------------------------------------------------------------------


def features_task(data: FeatureSet, key: str, name: str, hidden: tuple[int, ...] = (256,)) -> Task:
    """All domains of a feature set learned together; a fifth of each class and domain is for test.

    The order of the domains' names decides the split.
    """
    stream = domain_stream(data, seed=0, test_share=TEST_SHARE)
    train = np.random.default_rng(0).permutation(np.concatenate(stream.train))
    title = f"{name}, {_shape(data.X.shape[1], hidden, len(data.classes))}"
    test = np.concatenate(stream.test)
    return Task(key, title, data.X, data.y, data.domain, train, test, hidden)


@cache
def _pacs_features(data_dir: Path) -> FeatureSet:
    return pacs_features(data_dir)


def _pacs(data_dir: Path) -> Task:
    return features_task(_pacs_features(data_dir), "pacs", "PACS, Lite0")


def _pacs_domain(data_dir: Path, domain: str) -> Task:
    """One domain by itself, with the same training and test rows as in the joint task."""
    joint = _pacs(data_dir)
    data = _pacs_features(data_dir)
    index = data.domains.index(domain)
    train, test = (rows[joint.group[rows] == index] for rows in (joint.train, joint.test))
    return replace(
        joint,
        key=f"pacs_{domain}",
        name=joint.name.replace("PACS", f"PACS {domain.replace('_', ' ')}"),
        train=train,
        test=test,
    )


def _digits() -> Task:
    """Handwritten, scanned and printed digits together."""
    rng = np.random.default_rng(0)
    hands: dict[str, tuple[npt.NDArray[np.uint8], Labels]] = {
        "handwritten": digits.handwritten(),
        "scanned": digits.scanned(),
        "printed": digits.printed(DIGIT_ROWS, random_state=0),
    }
    parts = []
    for name, (images, y) in hands.items():
        rows = rng.permutation(len(y))[:DIGIT_ROWS]
        parts.append((image_features(f"{name}-local", images[rows]), y[rows]))
    return features_task(_feature_set(parts, tuple(hands)), "digits", "digits in 3 hands, Lite0")


def _fashion_corruptions() -> Task:
    """Clear, foggy and noisy pictures of clothes, no picture in two conditions."""
    (images, y), (test_images, test_y) = fashion.load()
    conditions: dict[str, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
        "clear": lambda pictures: pictures,
        "fog": lambda pictures: corruptions.fog(pictures, FOG, random_state=0),
        "noise": lambda pictures: corruptions.noise(pictures, NOISE, random_state=0),
    }
    parts, held = [], []
    for i, (name, spoil) in enumerate(conditions.items()):
        train = slice(i * CORRUPTED_TRAIN, (i + 1) * CORRUPTED_TRAIN)
        test = slice(i * CORRUPTED_TEST, (i + 1) * CORRUPTED_TEST)
        pictures = np.concatenate([images[train], test_images[test]])
        labels = np.concatenate([y[train], test_y[test]])
        parts.append((image_features(f"fashion-{name}-local", spoil(pictures)), labels))
        held.append(np.arange(len(labels)) >= CORRUPTED_TRAIN)
    data = _feature_set(parts, tuple(conditions))
    is_test = np.concatenate(held)
    task = features_task(data, "fashion_corruptions", "Fashion-MNIST clear, fog, noise, Lite0")
    train_rows = np.random.default_rng(0).permutation(np.flatnonzero(~is_test))
    return replace(task, train=train_rows, test=np.flatnonzero(is_test))


def _feature_set(parts: list[tuple[Matrix, Labels]], names: tuple[str, ...]) -> FeatureSet:
    X = np.concatenate([features for features, _ in parts])
    y = np.concatenate([labels for _, labels in parts])
    domain = np.repeat(np.arange(len(parts)), [len(labels) for _, labels in parts])
    classes = tuple(map(str, range(int(y.max()) + 1)))
    return FeatureSet(X, y, domain, {"all": X.shape[1]}, classes, names)


def _letter() -> Task:
    X, y = letter.load()
    held = hold_out(y, TEST_SHARE, np.random.default_rng(0))
    hidden, group = (256,), np.zeros(len(y), np.int64)
    name = f"letter, {_shape(X.shape[1], hidden, len(letter.CLASSES))}"
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    return Task("letter", name, X, y, group, train, test, hidden, epochs=30)


def _shape(n_inputs: int, hidden: tuple[int, ...], n_classes: int) -> str:
    """Layer sizes, equal ones counted.

    >>> _shape(784, (200, 200), 10), _shape(784, (500,), 10)
    ('784-200x2-10', '784-500-10')
    """
    same = len(hidden) > 1 and len(set(hidden)) == 1
    inner = [f"{hidden[0]}x{len(hidden)}"] if same else map(str, hidden)
    return "-".join([str(n_inputs), *inner, str(n_classes)])


Loader = Callable[[Path], Task]

TASKS: Mapping[str, Loader] = {
    "mnist": lambda _: _whole("mnist", "MNIST", mnist.load, (500,)),
    "mnist_deep": lambda _: _whole("mnist_deep", "MNIST", mnist.load, (1000, 1000)),
    "fashion": lambda _: _whole("fashion", "Fashion-MNIST", fashion.load, (500,)),
    "fashion_10k": lambda _: _part("fashion_10k", (500,)),
    "six_layers": lambda _: _part("six_layers", (200,) * 5),
    "cnn_mnist": lambda _: _convolutional("cnn_mnist", "MNIST", mnist.load),
    "cnn_fashion": lambda _: _convolutional("cnn_fashion", "Fashion-MNIST", fashion.load),
    "pacs": _pacs,
    "pacs_photo": lambda folder: _pacs_domain(folder, "photo"),
    "pacs_art": lambda folder: _pacs_domain(folder, "art_painting"),
    "pacs_cartoon": lambda folder: _pacs_domain(folder, "cartoon"),
    "pacs_sketch": lambda folder: _pacs_domain(folder, "sketch"),
    "digits": lambda _: _digits(),
    "fashion_corruptions": lambda _: _fashion_corruptions(),
    "letter": lambda _: _letter(),
}

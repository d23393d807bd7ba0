"""In-distribution samples and others, near and far, on features: what `benchmarks.ood` measures on.

A task is drawn anew for each seed: which known samples are learned and which are tested and, for
Fashion-MNIST, which two classes are held back as near ones out of distribution. Nothing is learned
here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.features import Labels, Matrix, image_features, pacs_features
from benchmarks.options import Options
from benchmarks.splits import hold_out
from examples.datasets import digits, fashion, hapt
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.pacs import DataAbsentError

TEST_SHARE = 0.3
LITE0_TAPS = {"tap1": 24, "tap2": 40, "tap3": 112, "embedding": 1280}
FASHION_ROWS, FAR_ROWS, PRINTED_ROWS = 6_000, 1_000, 3_000


@dataclass(frozen=True)
class Task:
    """Samples in distribution to learn and to test, and those out of it that they are told from.

    Attributes
    ----------
    train, y : (n, n_features), (n,)
    test, test_y : (m, n_features), (m,)
    ood : name -> (k, n_features)
    taps : width of each tap, in the order of the columns
    """

    name: str
    train: Matrix
    y: Labels
    test: Matrix
    test_y: Labels
    ood: Mapping[str, Matrix]
    taps: Mapping[str, int]

    def by_tap(self, X: Matrix) -> dict[str, Matrix]:
        """The columns of each tap."""
        ends = np.cumsum(list(self.taps.values()))[:-1]
        return dict(zip(self.taps, np.split(X, ends, axis=1), strict=True))

    def samples(self, X: Matrix) -> list[dict[str, Matrix]]:
        """Rows as a runtime takes them: the vector of each tap."""
        return [{name: part[0] for name, part in self.by_tap(row[None]).items()} for row in X]


def tasks(options: Options, seed: int) -> Iterator[Task]:
    """Every task that has its data; the others are named on standard error."""
    makers: tuple[Callable[[Options, int], Iterator[Task]], ...] = (_pacs, _fashion, _printed, _imu)
    for make in makers:
        try:
            yield from make(options, seed)
        except (ArchiveUnavailableError, DataAbsentError) as error:
            print(f"SKIPPED {make.__name__[1:]}: {error}", file=sys.stderr)


def _task(
    name: str,
    known: tuple[Matrix, Labels],
    ood: Mapping[str, Matrix],
    taps: Mapping[str, int],
    seed: int,
) -> Task:
    X, y = known
    held = hold_out(y, TEST_SHARE, np.random.default_rng(seed))
    return Task(name, X[~held], y[~held], X[held], y[held], ood, taps)


def _pacs(options: Options, seed: int) -> Iterator[Task]:
    """Each domain against the three others."""
    data = pacs_features(options.data_dir)
    for known, name in enumerate(data.domains):
        inside = data.domain == known
        others = {
            other: data.X[data.domain == k] for k, other in enumerate(data.domains) if k != known
        }
        yield _task(f"PACS {name}", (data.X[inside], data.y[inside]), others, data.taps, seed)


def _fashion(options: Options, seed: int) -> Iterator[Task]:
    """Eight classes against the two held back (near), handwritten digits and noise (far)."""
    X, y = _fashion_features()
    away = {2 * seed % 10, (2 * seed + 1) % 10}
    is_known = ~np.isin(y, list(away))
    ood = {
        "2 classes held back": X[~is_known],
        "handwritten digits": _handwritten_features(),
        "uniform noise": _noise_features(),
    }
    yield _task("Fashion-MNIST, 8 classes", (X[is_known], y[is_known]), ood, LITE0_TAPS, seed)


def _printed(options: Options, seed: int) -> Iterator[Task]:
    """Printed digits against printed letters (near) and handwritten digits (far)."""
    ood = {
        "printed letters": _letters_features(),
        "handwritten digits": _handwritten_features(),
    }
    yield _task("printed digits", _printed_features(), ood, LITE0_TAPS, seed)


def _imu(options: Options, seed: int) -> Iterator[Task]:
    """Activities of daily living against the transitions between them; tested on other people."""
    X, y, users = _imu_features()
    is_known = y <= hapt.N_BASIC
    people = np.random.default_rng(seed).permutation(np.unique(users))
    is_test = np.isin(users, people[: round(TEST_SHARE * len(people))])
    learn, test = is_known & ~is_test, is_known & is_test
    taps = {"statistics": X.shape[1]}
    ood = {"transitions": X[~is_known]}
    yield Task("HAPT activities", X[learn], y[learn] - 1, X[test], y[test] - 1, ood, taps)


# -- features ---------------------------------------------------------------------------------


@cache
def _fashion_features() -> tuple[Matrix, Labels]:
    (images, y), _ = fashion.load()
    return image_features("fashion", images[:FASHION_ROWS]), y[:FASHION_ROWS]


@cache
def _handwritten_features() -> Matrix:
    images, _ = digits.handwritten()
    rows = np.random.default_rng(0).choice(len(images), FAR_ROWS, replace=False)
    return image_features("handwritten", images[rows])


@cache
def _noise_features() -> Matrix:
    noise = np.random.default_rng(0).integers(0, 256, (FAR_ROWS, 28, 28), dtype=np.uint8)
    return image_features("noise", noise)


@cache
def _printed_features() -> tuple[Matrix, Labels]:
    images, y = digits.printed(PRINTED_ROWS, random_state=0)
    return image_features("printed", images), y


@cache
def _letters_features() -> Matrix:
    images, _ = digits.printed(FAR_ROWS, random_state=0, characters=digits.LETTERS)
    return image_features("letters", images)


@cache
def _imu_features() -> tuple[Matrix, Labels, Labels]:
    """Mean, deviation, roughness and spectrum of each channel; there is no encoder of IMU data."""
    signals, y, users = hapt.load()
    spectrum = np.abs(np.fft.rfft(signals - signals.mean(axis=1, keepdims=True), axis=1))[:, 1:33]
    bands = np.log(spectrum.reshape(len(signals), 8, 4, -1).mean(axis=2) + 1e-3)
    rough = np.log(np.abs(np.diff(signals, axis=1)).mean(axis=1) + 1e-3)
    spread = np.log(signals.std(axis=1) + 1e-3)
    columns = [signals.mean(axis=1), spread, rough, bands.reshape(len(signals), -1)]
    return np.concatenate(columns, axis=1).astype(np.float32), y, users

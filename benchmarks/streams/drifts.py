"""Feature sets of tables and sensors that drift: no encoder, raw measures or simple statistics.

    segment    19 measures of a picture's patch, 7 kinds; turned by 0, 30, 60 and 90 degrees in nine
               planes of two measures each, drawn at random
    phoneme    5 harmonics, nasal or oral; quarters of the first one, from weak to strong
    magic      10 measures of a shower of light, gamma or hadron; each measure by a gain of its own,
               raised to the powers 0, 1, 2 and 3
    bearings   9 faults of a bearing under four loads; statistics and spectrum of 21 ms, 256 samples
               (1,024 samples and 32 bands are told apart without an error by all methods)
    outdoor    40 objects, approached again and again in changing light: consecutive quarters

No row is in two domains. The first three come by package (KEEL); the others lie in a folder that
the user names. Frames of an approach, and windows of a recording, are one scene: whole scenes are
held out, and rows keep their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.features import FeatureSet, Labels, Matrix
from examples.datasets import keel
from examples.datasets.archives import KEEL, fetch
from examples.datasets.pacs import DataAbsentError

STAGES = 4
DEGREES = 30.0  # that segment is turned by at each stage
GAIN_SPREAD = 0.35  # standard deviation of the logarithms of magic's gains
WINDOW, BANDS = 256, 4
EVERY_WINDOW, WINDOWS_OF_A_SCENE = 3, 13  # of a recording every third, thirteen a scene
STATISTICS = 9
FRAMES_OF_A_SCENE = 10
BEARINGS, STREAMS = "bearings.npz", "streams.npz"


def segment() -> FeatureSet:
    """Patches of pictures, whose standardised measures are turned further and further."""
    X, y, classes = _table("segment", 19)
    stage = _dealt(len(y))
    planes = np.random.default_rng(1).permutation(X.shape[1])
    first, second = planes[0:18:2], planes[1:18:2]
    Z = (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9)
    angle = np.radians(DEGREES) * stage[:, None]
    turned = Z.copy()
    turned[:, first] = np.cos(angle) * Z[:, first] - np.sin(angle) * Z[:, second]
    turned[:, second] = np.sin(angle) * Z[:, first] + np.cos(angle) * Z[:, second]
    names = tuple(f"{DEGREES * i:.0f} degrees" for i in range(STAGES))
    return _raw(turned, y, stage, classes, names)


def phoneme() -> FeatureSet:
    """Vowels, from those whose first harmonic is weak to those where it is strong."""
    X, y, classes = _table("phoneme", 5)
    edges = np.quantile(X[:, 0], np.arange(1, STAGES) / STAGES)
    stage = np.searchsorted(edges, X[:, 0], side="right")
    names = tuple(f"quarter {i + 1}" for i in range(STAGES))
    return _raw(X, y, stage, classes, names)


def magic() -> FeatureSet:
    """Showers of light by a telescope whose measures gain or lose strength, each as it does."""
    X, y, classes = _table("magic", 10)
    stage = _dealt(len(y))
    gain = np.exp(np.random.default_rng(1).normal(0, GAIN_SPREAD, X.shape[1]))
    names = tuple(f"gain {i}" for i in range(STAGES))
    return _raw(X * gain ** stage[:, None], y, stage, classes, names)


def bearings(data_dir: Path) -> FeatureSet:
    """Vibration of a bearing with nine faults; each load of the motor is a domain.

    Raises
    ------
    DataAbsentError
        `bearings.npz` is not in `data_dir`.
    """
    recordings = _arrays(data_dir, BEARINGS)
    faults = tuple(sorted({name.split("_")[0] for name in recordings}))
    loads = tuple(sorted({name.split("_")[1] for name in recordings}))
    rng = np.random.default_rng(0)
    parts: list[tuple[Matrix, Labels, Labels]] = []
    for domain, load in enumerate(loads):
        scenes = []
        for k, fault in enumerate(faults):
            X = window_features(_windows(recordings[f"{fault}_{load}"]))
            n = len(X) // WINDOWS_OF_A_SCENE
            scenes += [(part, k) for part in np.array_split(X, n)]
        for i in rng.permutation(len(scenes)).tolist():
            X, k = scenes[i]
            parts.append((X, np.full(len(X), k), np.full(len(X), domain)))
    X, y, domain_of = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    scene = np.repeat(np.arange(len(parts)), [len(part) for part, _, _ in parts])
    taps = {"statistics": STATISTICS, "spectrum": BANDS}
    return FeatureSet(X, y, domain_of, taps, faults, loads, scene)


def outdoor(data_dir: Path) -> FeatureSet:
    """Objects in a garden, in the order in which they were approached.

    Raises
    ------
    DataAbsentError
        `streams.npz` is not in `data_dir`.
    """
    arrays = _arrays(data_dir, STREAMS)
    X, y = arrays["outdoor_X"].astype(np.float32), arrays["outdoor_y"].astype(np.int64)
    place = np.arange(len(y))
    classes = tuple(f"object {k}" for k in range(int(y.max()) + 1))
    names = tuple(f"quarter {i + 1}" for i in range(STAGES))
    domain, scene = place * STAGES // len(y), place // FRAMES_OF_A_SCENE
    return FeatureSet(X, y, domain, {"colours": X.shape[1]}, classes, names, scene)


def window_features(windows: Matrix) -> Matrix:
    """Statistics, and logarithms of the power in even bands, of vibrations (n, n_samples)."""
    W = windows.astype(np.float64)
    W = W - W.mean(axis=1, keepdims=True)
    size = np.abs(W)
    rms = np.sqrt((W * W).mean(axis=1)) + 1e-9
    mean_size = size.mean(axis=1) + 1e-9
    peak = size.max(axis=1)
    unit = W / rms[:, None]
    crossings = (np.diff(np.signbit(W), axis=1) != 0).mean(axis=1)
    statistics = np.stack(
        [
            np.log(rms), np.log(peak + 1e-9), peak / rms, (unit**3).mean(axis=1),
            (unit**4).mean(axis=1), rms / mean_size, peak / mean_size, crossings,
            np.median(size, axis=1) / rms,
        ],
        axis=1,
    )  # fmt: skip
    power = np.abs(np.fft.rfft(W * np.hanning(W.shape[1]), axis=1)[:, 1:]) ** 2
    bands = power.reshape(len(W), BANDS, -1).mean(axis=2)
    return np.concatenate([statistics, np.log(bands + 1e-9)], axis=1).astype(np.float32)


def _windows(recording: npt.NDArray[Any]) -> Matrix:
    """Windows (n, WINDOW) that do not overlap, in units of g."""
    n = len(recording) // WINDOW
    cut = recording[: n * WINDOW].reshape(n, WINDOW)[::EVERY_WINDOW]
    return cut.astype(np.float32) / 4_000


def _table(name: str, n_features: int) -> tuple[Matrix, Labels, tuple[str, ...]]:
    X, names = keel.read(fetch(KEEL), name, n_features)
    classes, y = np.unique(names, return_inverse=True)
    return X, y.astype(np.int64), tuple(classes.tolist())


def _dealt(n: int) -> Labels:
    """Stage of each of n rows, at random and as many of each."""
    return np.random.default_rng(0).permutation(np.arange(n) % STAGES)


def _raw(
    X: npt.NDArray[Any], y: Labels, domain: Labels, classes: tuple[str, ...], names: tuple[str, ...]
) -> FeatureSet:
    taps = {"measures": X.shape[1]}
    return FeatureSet(X.astype(np.float32), y, domain.astype(np.int64), taps, classes, names)


def _arrays(data_dir: Path, name: str) -> Mapping[str, npt.NDArray[Any]]:
    path = data_dir / name
    if not path.is_file():
        raise DataAbsentError(
            f"{path} not found: it is no part of this project; name its folder by --data-dir"
        )
    with np.load(path, allow_pickle=False) as saved:
        return {key: saved[key] for key in saved.files}

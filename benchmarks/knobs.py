"""What each setting of hdc costs: bytes held, and microseconds for one sample, on 1,456 features.

The features are random: costs depend on sizes alone. What a setting gains is in `benchmarks.ood`
and `benchmarks.classify`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.command import main
from benchmarks.features import Matrix
from benchmarks.options import Options
from benchmarks.reporting import Report
from benchmarks.timing import medians
from hdc import FourierFeatures, OODDetector, PrototypeClassifier, SignedHadamard

WIDTHS = {"tap1": 24, "tap2": 40, "tap3": 112, "embedding": 1280}
N_FEATURES, N_SAMPLES, N_CLASSES = sum(WIDTHS.values()), 600, 10
Row = tuple[str, int, Callable[[], Any]]  # name, bytes held, what is timed


def run(options: Options) -> Report:
    """Return the table of costs."""
    rng = np.random.default_rng(0)
    y = np.arange(N_SAMPLES) % N_CLASSES
    X = rng.standard_normal((N_SAMPLES, N_FEATURES)).astype(np.float32)
    X[:, :N_CLASSES] += 3 * np.eye(N_CLASSES, dtype=np.float32)[y]
    rows = [*_projections(X), *_classifiers(X, y), *_detectors(X, y)]
    rounds = 5 if options.quick else 200
    times = medians({name: call for name, _, call in rows}, rounds)
    records = [
        {"what": name, "kib": n_bytes / 1024, "us": times[name] * 1e6} for name, n_bytes, _ in rows
    ]
    return Report(
        name="knobs",
        title="What each setting of hdc costs, for one sample",
        protocol=(
            f"{N_FEATURES:,} features in four taps, {N_CLASSES} classes, one thread, medians over "
            f"{rounds} rounds. Bytes are those held to answer; learning a full whitening takes "
            f"{4 * N_FEATURES**2 / 2**20:.1f} MiB of covariance besides."
        ),
        columns=("setting", "KiB", "µs"),
        rows=[[r["what"], f"{r['kib']:,.0f}", f"{r['us']:,.0f}"] for r in records],
        records=records,
    )


def _projections(X: Matrix) -> list[Row]:
    rows: list[Row] = []
    for n_dims in (1024, 2048, 4096, 8192, 16384):
        projection = SignedHadamard(N_FEATURES, n_dims)
        name = f"projection, n_dims={n_dims}"
        rows.append((name, projection.n_bytes, partial(projection.bits, X[:1])))
    fourier = FourierFeatures(N_FEATURES, 2048)
    rows.append(("2,048 Fourier features", 0, partial(fourier.transform, X[:1])))
    return rows


def _classifiers(X: Matrix, y: Any) -> list[Row]:
    settings: dict[str, dict[str, Any]] = {
        "whiten=False": {"whiten": False},
        "the default": {},
        "n_dims=2048": {"n_dims": 2048},
        "n_fourier=2048": {"n_fourier": 2048},
        'update="online"': {"update": "online"},
    }
    rows: list[Row] = []
    for name, given in settings.items():
        model = PrototypeClassifier(random_state=0, **given).fit(X, y)
        held = model.n_bytes_ + model.projection_.n_bytes
        held += model.whitening_.n_bytes if model.whiten else 0
        rows.append((f"classifier, {name}", held, partial(model.predict, X[:1])))
    return rows


def _detectors(X: Matrix, y: Any) -> list[Row]:
    ends = np.cumsum(list(WIDTHS.values()))[:-1]
    taps = dict(zip(WIDTHS, np.split(X, ends, axis=1), strict=True))
    one = {name: tap[:1] for name, tap in taps.items()}
    settings: dict[str, dict[str, Any]] = {
        "the default": {},
        "n_dims=2048": {"n_dims": 2048},
        'form="low_rank", rank=64': {"form": "low_rank"},
        'form="diagonal"': {"form": "diagonal"},
    }
    rows: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for name, given in settings.items():
            model = OODDetector(random_state=0, **given).fit(taps, y)
            call = partial(model.p_value, one)
            rows.append((f"detector of four taps, {name}", model.n_bytes_, call))
        joined = OODDetector(random_state=0).fit(X, y)
    rows.append(("detector of one matrix", joined.n_bytes_, partial(joined.p_value, X[:1])))
    return rows


if __name__ == "__main__":
    main(run, __doc__)

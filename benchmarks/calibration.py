"""False alarms of `hdc.OODDetector`: stated rates against those on fresh known samples.

A detector is fitted to so many known samples, and calibrates on them by cross-fitting; then it
sees known samples that it never saw. Repeated on fresh draws: the promise holds on average over
calibration sets.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.command import main
from benchmarks.features import Matrix
from benchmarks.ood_tasks import Task, tasks
from benchmarks.options import Options
from benchmarks.reporting import Report
from hdc import OODDetector

RATES = (0.01, 0.05, 0.10)
SIZES = (50, 200, 1000)
TASKS = ("Fashion-MNIST, 8 classes", "printed digits", "HAPT activities")
N_TEST = 500
SMALL_TAPS, ALL_TAPS = "narrow taps", "all taps"


def run(options: Options) -> Report | None:
    """Return the table of alarm rates; None where no task has its data."""
    repetitions = 2 if options.quick else 100
    found = [task for task in tasks(options, seed=0) if task.name in TASKS]
    records = [
        {"known": label, "n": n, "rate": rate, "alarms": alarms}
        for task in found
        for label, views in _selections(task)
        for n in SIZES
        for rate, alarms in zip(RATES, _alarms(views, task.y, n, repetitions), strict=True)
    ]
    return _report(records, repetitions) if records else None


def _selections(task: Task) -> Iterator[tuple[str, dict[str, Matrix]]]:
    """Yield all taps of a task and, where one is much wider than the rest, those without it."""
    known = task.by_tap(task.train)
    yield f"{task.name}, {ALL_TAPS}", known
    if "embedding" in known:
        narrow = {name: X for name, X in known.items() if name != "embedding"}
        yield f"{task.name}, {SMALL_TAPS}", narrow


def _alarms(taps: Mapping[str, Matrix], y: Any, n: int, repetitions: int) -> Any:
    """Mean share of fresh known samples with a p-value up to each rate, (len(RATES),)."""
    shares = []
    for seed in range(repetitions):
        rows = np.random.default_rng(seed).permutation(len(y))
        learned, fresh = rows[:n], rows[n : n + N_TEST]
        with warnings.catch_warnings():  # 50 samples cannot meet 1 %: then they must not alarm
            warnings.simplefilter("ignore", UserWarning)
            detector = OODDetector(random_state=seed)
            detector.fit({name: X[learned] for name, X in taps.items()}, y[learned])
        p = detector.p_value({name: X[fresh] for name, X in taps.items()})
        shares.append([(p <= rate).mean() for rate in RATES])
    print(f"{list(taps)}: {n} samples", file=sys.stderr)
    return np.mean(shares, axis=0)


def _report(records: list[dict[str, Any]], repetitions: int) -> Report:
    rows = []
    for known, n in dict.fromkeys((r["known"], r["n"]) for r in records):
        alarms = [r["alarms"] for r in records if (r["known"], r["n"]) == (known, n)]
        rows.append([known, str(n), *(f"{100 * share:.2f}" for share in alarms)])
    excess = max(r["alarms"] / r["rate"] for r in records) - 1
    return Report(
        name="calibration",
        title="False alarms on fresh known samples, %",
        protocol=(
            f"`hdc.OODDetector` fitted to n known samples and calibrated by cross-fitting on the "
            f"same; {N_TEST} fresh ones each; {repetitions} repetitions. Largest excess over a "
            f"stated rate: {100 * excess:+.1f} % of it."
        ),
        columns=("known samples", "n", *(f"stated {100 * rate:.0f} %" for rate in RATES)),
        rows=rows,
        records=records,
    )


if __name__ == "__main__":
    main(run, __doc__)

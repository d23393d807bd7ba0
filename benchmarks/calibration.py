"""False alarms of `EdgeRuntime`: stated rates against those on fresh known samples.

A runtime learns so many labels in one batch; then it sees samples of the same classes that it never
saw. Repeated on fresh draws: the promise holds on average over calibration sets. Rows are shuffled:
what scenes do to a rate is not measured here.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from benchmarks.command import main
from benchmarks.ood_tasks import Task, tasks
from benchmarks.options import Options
from benchmarks.reporting import Report
from edge_runtime import EdgeRuntime

RATES = (0.01, 0.05, 0.10)
SIZES = (50, 200, 1000)
TASKS = ("Fashion-MNIST, 8 classes", "printed digits", "HAPT activities")
N_TEST = 500
REPETITIONS = 20


def run(options: Options) -> Report | None:
    """Return the table of alarm rates; None where no task has its data."""
    repetitions = 2 if options.quick else REPETITIONS
    found = [task for task in tasks(options, seed=0) if task.name in TASKS]
    records = [
        {"known": task.name, "n": n, "rate": rate, "alarms": alarms}
        for task in found
        for n in SIZES
        for rate, alarms in zip(RATES, _alarms(task, n, repetitions), strict=True)
    ]
    return _report(records, repetitions) if records else None


def _alarms(task: Task, n: int, repetitions: int) -> Any:
    """Mean share of fresh known samples with a p-value up to each rate, (len(RATES),)."""
    samples, shares = task.samples(task.train), []
    for seed in range(repetitions):
        rows = np.random.default_rng(seed).permutation(len(task.y))
        runtime = EdgeRuntime(random_state=seed)
        runtime.learn_many([samples[i] for i in rows[:n]], task.y[rows[:n]].tolist())
        fresh = runtime.peek_many([samples[i] for i in rows[n : n + N_TEST]])
        p = np.array([each.p_value for each in fresh])
        shares.append([(p <= rate).mean() for rate in RATES])
    print(f"{task.name}: {n} samples", file=sys.stderr)
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
            f"`EdgeRuntime` with n labels in one batch, all taps; "
            f"{N_TEST} fresh samples each; {repetitions} repetitions. Largest excess over a "
            f"stated rate: {100 * excess:+.1f} % of it."
        ),
        columns=("known samples", "n", *(f"stated {100 * rate:.0f} %" for rate in RATES)),
        rows=rows,
        records=records,
    )


if __name__ == "__main__":
    main(run, __doc__)
